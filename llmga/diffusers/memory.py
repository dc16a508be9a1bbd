"""Less memory, when a device has too little of it: slower, and said in words."""

import logging
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

import torch

from llmga.choices import OFFLOADS
from llmga.errors import UserError

Result = TypeVar("Result")
log: logging.Logger = logging.getLogger(__name__)


def to_device(pipe: Any, device: torch.device, *, offload: str = "none", tile_vae: bool = False) -> Any:
    """Put a pipeline on its device.

    Args:
        offload: a row of `OFFLOADS`: `model` keeps only the part at work on the device, `sequential` only the layer,
            `group` the layer and the next one, which comes while the first one works.
        tile_vae: decode large pictures in overlapping tiles.

    Raises:
        UserError: for an unknown offload, and for any on a CPU.
    """
    if offload not in OFFLOADS:
        raise UserError(f"unknown offload {offload!r}; use one of: {', '.join(OFFLOADS)}.")
    if tile_vae:
        pipe.vae.enable_tiling()
    if offload != "none" and device.type == "cpu":
        raise UserError(f"offload {offload!r} moves weights from a GPU to the CPU, but --device is cpu; use none.")
    return move_to(pipe, device, offload)


def move_to(pipe: Any, device: torch.device, offload: str) -> Any:
    """As `to_device`, without a look at whether it makes sense; again for a pipeline that has a new part."""
    if offload == "none":
        return pipe.to(device)
    if offload == "group":
        _offload_groups(pipe, device)
    elif offload == "model":
        pipe.enable_model_cpu_offload(device=device)
    else:
        pipe.enable_sequential_cpu_offload(device=device)
    return pipe


def _offload_groups(pipe: Any, device: torch.device) -> None:
    """Let every layer of parts that do not yet do so wait on the CPU; on CUDA the next one is fetched by a stream."""
    from diffusers.hooks import apply_group_offloading
    from diffusers.hooks.group_offloading import _is_group_offload_enabled

    streams = device.type == "cuda"
    options: dict[str, Any] = {"offload_type": "leaf_level", "use_stream": streams, "record_stream": streams}
    for part in _networks(pipe):
        if not _is_group_offload_enabled(part):
            own: Any = getattr(part, "enable_group_offload", None)  # which knows what of it cannot wait
            apply = own or partial(apply_group_offloading, part)
            apply(device, **options)


def _networks(pipe: Any) -> Iterator[torch.nn.Module]:
    return (part for part in pipe.components.values() if isinstance(part, torch.nn.Module))


def bring_together(pipe: Any) -> None:
    """Take all offloading off, so that every weight is in reach on the CPU."""
    from diffusers.hooks import HookRegistry
    from diffusers.hooks.group_offloading import _GROUP_OFFLOADING, _LAYER_EXECUTION_TRACKER
    from diffusers.hooks.group_offloading import _LAZY_PREFETCH_GROUP_OFFLOADING as LAZY

    pipe.remove_all_hooks()
    for part in _networks(pipe):
        if execution_group(part) is not None:
            registry = HookRegistry.check_if_exists_or_initialize(part)
            for name in (_GROUP_OFFLOADING, _LAYER_EXECUTION_TRACKER, LAZY):
                registry.remove_hook(name, recurse=True)


def execution_group(part: Any) -> torch.device | None:
    """Where a part computes whose layers wait in groups; None for any other."""
    from diffusers.hooks.group_offloading import _get_group_onload_device, _is_group_offload_enabled

    grouped = isinstance(part, torch.nn.Module) and _is_group_offload_enabled(part)
    return torch.device(_get_group_onload_device(part)) if grouped else None


def execution_device(part: Any) -> torch.device:
    """Where a part of a pipeline computes: with offloading its weights wait elsewhere, or nowhere."""
    if (grouped := execution_group(part)) is not None:
        return grouped
    hooks = (getattr(each, "_hf_hook", None) for each in part.modules()) if hasattr(part, "_hf_hook") else ()
    devices = (getattr(hook, "execution_device", None) for hook in hooks)
    found = next((device for device in devices if device is not None), part.device)
    return torch.device(found)


def free_memory(device: torch.device) -> int | None:
    """Bytes that a device has left, about; None where that is not known."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    known = device.type == "cpu" and "SC_AVPHYS_PAGES" in getattr(os, "sysconf_names", ())
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if known else None


def with_less_memory(pipe: Any, work: Callable[[], Result]) -> Result:
    """`work()`; each time the device runs out of memory, ease its load, say so and try once more.

    Raises:
        UserError: when nothing helps.
    """
    for ease in (_tile, _offload, None):
        try:
            return work()
        except torch.OutOfMemoryError:
            eased = ease and ease(pipe)
        if not eased:
            break
        log.warning("out of memory; trying again %s", eased)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    raise UserError("the device has too little memory even with VAE tiling and offloading; choose a smaller --size "
                    "or --device cpu.")  # fmt: skip


def _tile(pipe: Any) -> str:
    pipe.vae.enable_tiling()
    return "with the picture decoded in tiles."


def _offload(pipe: Any) -> str | None:
    """Nothing where there is no GPU, or only the part at work is on it already."""
    if pipe.device.type != "cuda":
        return None
    pipe.enable_model_cpu_offload(device=pipe.device)
    return "with only the part at work on the device, which is slower."

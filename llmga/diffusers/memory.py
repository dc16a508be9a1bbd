"""Less memory, when a device has too little of it: slower, and said in words."""

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from llmga.choices import OFFLOADS
from llmga.errors import UserError

Result = TypeVar("Result")
log: logging.Logger = logging.getLogger(__name__)


def to_device(pipe: Any, device: torch.device, *, offload: str = "none", tile_vae: bool = False) -> Any:
    """Put a pipeline on its device.

    Args:
        offload: a row of `OFFLOADS`: `model` keeps only the part at work on the device, `sequential` only the layer.
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
    if offload == "model":
        pipe.enable_model_cpu_offload(device=device)
    else:
        pipe.enable_sequential_cpu_offload(device=device)
    return pipe


def execution_device(part: Any) -> torch.device:
    """Where a part of a pipeline computes: with offloading its weights wait elsewhere, or nowhere."""
    hooks = (getattr(each, "_hf_hook", None) for each in part.modules()) if hasattr(part, "_hf_hook") else ()
    devices = (getattr(hook, "execution_device", None) for hook in hooks)
    found = next((device for device in devices if device is not None), part.device)
    return torch.device(found)


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

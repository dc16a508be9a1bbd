"""Where a model's weights lie, in which number format, and how its attention is computed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from llmga.errors import UserError
from llmga.extras import require
from llmga.inputs import as_whole
from llmga.registry import Registry
from llmga.runtime import pick_device, pick_dtype

# Implementation -> the package that it needs.
ATTENTIONS: Registry[str | None] = Registry(
    "attention implementation", {"sdpa": None, "eager": None, "flash_attention_2": "flash-attn"}
)

MAPS = ("auto", "balanced", "balanced_low_0", "sequential")  # of transformers


@dataclass(frozen=True)
class Placement:
    """Where a model runs, in which number format and how; `placement` makes it.

    Attributes:
        device: where the inputs go; the whole model, too, unless it is spread.
        spread: over several devices: `device_map`, `max_memory` and `offload_folder` of transformers; empty: not.
        quantised: bitsandbytes' settings, or None.
    """

    device: torch.device
    dtype: torch.dtype
    spread: Mapping[str, Any] = field(default_factory=dict)
    quantised: Any = None
    attention: str = "sdpa"

    @property
    def plain(self) -> bool:
        """Whether `model.to(device, dtype)` is all there is to do."""
        return not self.spread and self.quantised is None and self.attention == "sdpa"

    def options(self) -> dict[str, Any]:
        """Keywords of `from_pretrained`."""
        return {
            "dtype": self.dtype,
            "quantization_config": self.quantised,
            "attn_implementation": self.attention,
            "device_map": {"": self.device},
        } | dict(self.spread)


def placement(
    *,
    device: str = "auto",
    dtype: str | torch.dtype | None = None,
    load_8bit: bool = False,
    load_4bit: bool = False,
    attention: str = "sdpa",
    num_gpus: int = 1,
    device_map: str | Mapping[str, Any] | None = None,
    max_memory: Mapping[int | str, int | str] | None = None,
    offload_folder: str | Path | None = None,
) -> Placement:
    """What `load_mllm` was asked for, checked against this machine.

    Raises:
        UserError: for a device, a number of GPUs, an attention implementation or a quantisation that is not there.
    """
    chosen = pick_device(device)
    number = dtype if isinstance(dtype, torch.dtype) else pick_dtype(dtype, chosen)
    _check_attention(attention, chosen, number)
    spread = _spread(chosen, num_gpus, device_map, max_memory, offload_folder)
    return Placement(chosen, number, spread, quantisation(load_8bit, load_4bit, number), attention)


def _spread(
    device: torch.device,
    num_gpus: int,
    device_map: str | Mapping[str, Any] | None,
    max_memory: Mapping[int | str, int | str] | None,
    offload_folder: str | Path | None,
) -> dict[str, Any]:
    if as_whole(num_gpus, "num_gpus") < 1:
        raise UserError(f"--num-gpus {num_gpus} is out of range; use at least 1.")
    if num_gpus > 1:
        _check_gpus(device, num_gpus)
        free: dict[int | str, int | str] = {}
        free |= {index: torch.cuda.mem_get_info(index)[0] * 9 // 10 for index in range(num_gpus)}  # room for the cache
        max_memory = {**free, **(max_memory or {})}
    if num_gpus == 1 and device_map is None and not max_memory and offload_folder is None:
        return {}
    if isinstance(max_memory, str):
        max_memory = parse_max_memory(max_memory)
    if not isinstance(max_memory, Mapping | None):
        raise UserError(
            f'max_memory {max_memory!r} is no table of caps; give one such as {{0: "20GiB", "cpu": "60GiB"}}.'
        )
    if isinstance(device_map, str) and device_map not in MAPS:
        raise UserError(f"device_map {device_map!r} is not known; use {', '.join(MAPS)}.")
    if offload_folder is None and max_memory and set(max_memory) <= {"cpu"}:
        raise UserError("a cap on the memory of the CPU alone needs a place for the rest; give --offload-folder.")
    spread: dict[str, Any] = {"device_map": device_map or "auto"}
    if max_memory:
        spread["max_memory"] = dict(max_memory)
    if offload_folder is not None:
        Path(offload_folder).mkdir(parents=True, exist_ok=True)
        spread["offload_folder"] = str(offload_folder)
    return spread


def _check_gpus(device: torch.device, wanted: int) -> None:
    there = torch.cuda.device_count() if device.type == "cuda" else 0
    if wanted > there:
        raise UserError(f"--num-gpus {wanted} was asked for, but {there} can be used on device {str(device)!r}; "
                        "use 1.")  # fmt: skip


def _check_attention(name: str, device: torch.device, dtype: torch.dtype) -> None:
    if ATTENTIONS[name] is None:
        return
    from transformers.utils import is_flash_attn_2_available

    if device.type != "cuda" or dtype == torch.float32:
        raise UserError(
            f"attention {name!r} runs on a CUDA GPU in half precision, not on {device.type} in {dtype}; use sdpa."
        )
    if not is_flash_attn_2_available():
        raise UserError(f"attention {name!r} needs the package {ATTENTIONS[name]}, which is not installed; use sdpa.")


def quantisation(load_8bit: bool, load_4bit: bool, dtype: torch.dtype) -> Any:
    """The settings for bitsandbytes, or None.  Vision tower, projector and output layer keep their number format.

    Raises:
        UserError: when both are asked for, or bitsandbytes is not installed.
    """
    if not (load_8bit or load_4bit):
        return None
    if load_8bit and load_4bit:
        raise UserError("load_8bit and load_4bit exclude each other; give one.")
    from transformers import BitsAndBytesConfig

    require("bitsandbytes", "--load-8bit" if load_8bit else "--load-4bit")
    kept = ["model.vision_tower", "model.multi_modal_projector", "lm_head"]  # the library wants them from the root on
    if load_8bit:
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=kept)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=kept,
    )


def parse_max_memory(text: str) -> dict[int | str, str]:
    """ "0=20GiB,cpu=60GiB" -> {0: "20GiB", "cpu": "60GiB"}, a cap per GPU number, cpu or disk.

    Raises:
        UserError: for entries of another form.
    """
    caps: dict[int | str, str] = {}
    for entry in text.split(","):
        where, _, amount = (part.strip() for part in entry.partition("="))
        if not (where.isdecimal() or where in ("cpu", "disk", "mps")) or not _is_amount(amount):
            raise UserError(f"--max-memory {text!r} is not understood; use entries such as 0=20GiB,cpu=60GiB.")
        caps[int(where) if where.isdecimal() else where] = amount
    return caps


def _is_amount(text: str) -> bool:
    number = text.rstrip("BKMGTbkmgti")
    return bool(number) and number.replace(".", "", 1).isdecimal() and text != number

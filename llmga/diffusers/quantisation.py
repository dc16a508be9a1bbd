"""The denoiser in fewer bits, by diffusers' own quantisers; the rest of a painter stays as it is."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from llmga.choices import PAINTER_QUANTS
from llmga.diffusers.assembly import Assembly
from llmga.diffusers.checkpoints import open_part
from llmga.diffusers.file_headers import read_header
from llmga.diffusers.plan import DENOISERS, FP8, ON_GPU, check_pair
from llmga.errors import UserError, reason
from llmga.extras import require

FLAG = "--painter-quant"


def is_gguf(quant: str) -> bool:
    """Whether it is a file in place of the denoiser's weights."""
    return quant.endswith(".gguf")


def check_quant(quant: str | None, device: torch.device, offload: str) -> None:
    """See that a denoiser can be held so here.

    Raises:
        UserError: for an unknown name, a file that is not there, and what the device or the offload does not do.
    """
    if quant is None:
        return
    if is_gguf(quant):
        if not Path(quant).is_file():
            raise UserError(f"{FLAG} {quant!r} is not there; give the path of a .gguf file.")
        require("gguf", f"{FLAG} {quant}")
    elif quant not in PAINTER_QUANTS:
        raise UserError(f"unknown {FLAG} {quant!r}; use one of: {', '.join(PAINTER_QUANTS)}, or a .gguf file.")
    if quant in ON_GPU:
        require("bitsandbytes", f"{FLAG} {quant}")
        if device.type != "cuda":
            raise UserError(
                f"{FLAG} {quant} needs a CUDA GPU, but --device is {device.type}; use {FP8} or a .gguf file."
            )
    if quant == FP8 and device.type == "mps":
        raise UserError(f"{FLAG} {quant} keeps numbers that MPS does not have; leave it out.")
    check_pair(quant, offload)


def quantised_denoiser(
    assembly: Assembly, index: Mapping[str, Any], quant: str | None, dtype: torch.dtype, device: torch.device
) -> dict[str, Any]:
    """The denoiser by its name in the folder, held in fewer bits; {} where it is opened as it is.

    Args:
        assembly: where its configuration and its weights are.
        index: its `model_index.json`.
        quant: as `load_pipeline` takes it, and checked.
        dtype: in which it computes.
        device: where it will be.

    Raises:
        UserError: the weights do not fit it.
    """
    if quant in (None, FP8):
        return {}
    name = next((name for name in DENOISERS if isinstance(index.get(name), list)), None)
    if name is None:
        raise UserError(f"{str(assembly.path)!r} has no denoiser that {FLAG} is for; leave it out.")
    library, kind = index[name]
    if is_gguf(quant):
        model_class = getattr(importlib.import_module(library), kind)
        return {name: _from_gguf(Path(quant), model_class, assembly.configs / name, dtype)}
    if name in assembly.sources:
        raise UserError(f"{FLAG} {quant} is for folders in diffusers layout; make one of the file with llmga convert.")
    placed = {"quantization_config": config_of(quant, dtype), "device_map": {"": device}}
    return {name: open_part(assembly.path / name, library, kind, dtype, **placed)}


def config_of(quant: str, dtype: torch.dtype) -> Any:
    """What diffusers is told of `nf4` or `int8`."""
    from diffusers import BitsAndBytesConfig

    if quant == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)


def _from_gguf(file: Path, model_class: Any, config: Path, dtype: torch.dtype) -> Any:
    from diffusers import GGUFQuantizationConfig
    from diffusers.loaders.single_file_utils import SingleFileComponentError
    from diffusers.models.model_loading_utils import load_gguf_checkpoint

    names = list(read_header(file).shapes)
    if not hasattr(model_class, "from_single_file"):
        raise UserError(f"{FLAG} {str(file)!r} is for painters whose denoiser opens from one file; a "
                        f"{model_class.__name__} does not.")  # fmt: skip
    try:
        tensors = load_gguf_checkpoint(str(file))
        bare = any(name.startswith("input_blocks.") for name in tensors)  # diffusers looks for whole checkpoints' names
        model = model_class.from_single_file(
            {f"model.diffusion_model.{name}": tensor for name, tensor in tensors.items()} if bare else tensors,
            config=str(config),
            quantization_config=GGUFQuantizationConfig(compute_dtype=dtype),
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
        )
    except (
        OSError,
        ValueError,
        RuntimeError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        SingleFileComponentError,
    ) as problem:
        raise UserError(f"{FLAG} {str(file)!r} does not fit {str(config)!r} ({reason(problem)[:200]}); give one of "
                        "that very model.") from None  # fmt: skip
    missing = [name for name, tensor in model.state_dict().items() if tensor.is_meta]
    if missing:
        raise UserError(f"{FLAG} {str(file)!r} lacks {len(missing)} of the weights of {str(config)!r}, such as "
                        f"{missing[0]!r}; it has {len(names)}, such as {(names or ['none'])[0][:60]!r}.")  # fmt: skip
    return model


def store_in_fp8(denoiser: Any) -> None:
    """Keep the weights of its large layers in eight bits (e4m3), each widened while it computes."""
    denoiser.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=denoiser.dtype)

"""What is added to a loaded painter: low-rank weights, a ControlNet, a picture as prompt.

Each is checked against the painter's own widths first: libraries load what fits and leave the rest aside in silence.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from llmga.diffusers.families import INPAINTING
from llmga.diffusers.memory import put, working_device
from llmga.diffusers.text_to_image import Generator
from llmga.errors import UserError

LORA_NAME = "pytorch_lora_weights.safetensors"
LORA_PARTS, LORA_KEY = ("unet", "transformer", "text_encoder", "text_encoder_2"), ".lora_A.weight"
CONTROLLED = {
    "StableDiffusionPipeline": "StableDiffusionControlNetPipeline",
    "StableDiffusionXLPipeline": "StableDiffusionXLControlNetPipeline",
}


def add_loras(generator: Generator, given: Sequence[str]) -> None:
    """Load low-rank weights, all active together.

    Args:
        given: safetensors files, or folders that hold one, each with an optional `:weight` (1 when left out).

    Raises: UserError when one is missing, damaged or made for another family.
    """
    weights = {}
    for number, text in enumerate(given):
        file, weight = _file_and_weight(text)
        name = f"lora{number}"
        _add_lora(generator, file, name)
        generator.added.append(_mark("lora", file, weight))
        weights[name] = weight
    if weights:
        generator.pipeline.set_adapters(list(weights), list(weights.values()))
        generator.encoder.forget()


def _mark(kind: str, place: Path, weight: float, picture: Image.Image | None = None) -> dict[str, Any]:
    """What a record says of an addition: its weights by their SHA-256, and the picture that guides by that of its
    RGB pixels."""
    file = place if place.is_file() else next(iter(sorted(place.glob("*.safetensors")) + sorted(place.glob("*.bin"))))
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    seen = picture and hashlib.sha256(picture.convert("RGB").tobytes()).hexdigest()
    return {"kind": kind, "name": place.name, "sha256": digest, "weight": weight, "picture": seen}


def _file_and_weight(text: str) -> tuple[Path, float]:
    path, _, last = text.rpartition(":")
    if path and re.fullmatch(r"-?(\d+\.?\d*|\.\d+)", last):
        return _lora_file(path), float(last)
    return _lora_file(text), 1.0


def _lora_file(path: str) -> Path:
    place = Path(path)
    files = sorted(place.glob("*.safetensors")) if place.is_dir() else [place]
    named = [file for file in files if file.name == LORA_NAME] or files
    if len(named) != 1 or not named[0].is_file() or named[0].suffix != ".safetensors":
        raise UserError(f"low-rank weights {path!r} are not there; give a .safetensors file, or a folder with one.")
    return named[0]


def _add_lora(generator: Generator, file: Path, name: str) -> None:
    if find_spec("peft") is None:  # diffusers asks for it only after reading the file
        raise UserError(f"low-rank weights {str(file)!r} need the package peft; install llmga[train].")
    pipeline = generator.pipeline
    try:
        blocks = {"unet_config": pipeline.unet.config} if hasattr(pipeline, "unet") else {}  # other tools number them
        state = pipeline.lora_state_dict(str(file), **blocks)
        _check_fit(generator, state[0] if isinstance(state, tuple) else state, file)
        pipeline.load_lora_weights(str(file), adapter_name=name)
    except UserError:
        raise
    except Exception as problem:  # every library on the way has its own kind
        reason = (str(problem).strip().splitlines() or [type(problem).__name__])[0][:200]
        raise UserError(f"low-rank weights {str(file)!r} cannot be loaded: {reason}") from None


def _check_fit(generator: Generator, state: Mapping[str, torch.Tensor], file: Path) -> None:
    """Every low-rank matrix must find a layer of its width."""
    found = list(_inner_matrices(state))
    if not found:
        raise UserError(f"{str(file)!r} holds no low-rank weights that diffusers knows; give another file.")
    parts = {name: getattr(generator.pipeline, name, None) for name in LORA_PARTS}
    layers = {name: {} if part is None else dict(part.named_modules()) for name, part in parts.items()}
    for part, name, tensor in found:
        layer = layers[part].get(name)
        width = getattr(layer, "in_features", None) or getattr(layer, "in_channels", None)
        if width != tensor.shape[1]:
            raise UserError(f"low-rank weights {str(file)!r} were made for another family than "
                            f"{generator.family.name}: {part}.{name} does not fit; choose others.")  # fmt: skip


def _inner_matrices(state: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, str, torch.Tensor]]:
    """(part of the pipeline, layer in it, matrix that the layer's input meets), whatever year's spelling is used."""
    from diffusers.utils import convert_state_dict_to_peft, convert_unet_state_dict_to_peft

    for part in LORA_PARTS:
        own = {key.removeprefix(f"{part}."): tensor for key, tensor in state.items() if key.startswith(f"{part}.")}
        if own and not any(LORA_KEY in key for key in own):
            own = (convert_state_dict_to_peft if "text" in part else convert_unet_state_dict_to_peft)(own)
        yield from ((part, key.removesuffix(LORA_KEY), own[key]) for key in own if key.endswith(LORA_KEY))


def use_controlnet(generator: Generator, folder: str | Path, picture: Image.Image, scale: float = 1.0) -> None:
    """Paint along the lines of a picture (edges, depth, pose: what the ControlNet was trained on) from now on.

    Raises: UserError when it does not fit the painter, or the painter repaints pictures.
    """
    from diffusers import ControlNetModel

    name = generator.family.pipeline_class
    if generator.family.task == INPAINTING or name not in CONTROLLED:
        raise UserError(f"a ControlNet cannot guide {generator.family.name}; use one of SD1.5 or SDXL, from words.")
    controlnet = _opened(ControlNetModel, folder, "ControlNet", torch_dtype=generator.denoiser.dtype)
    _check_width(generator, controlnet.config.cross_attention_dim, f"ControlNet {str(folder)!r}")
    import diffusers

    kind = getattr(diffusers, CONTROLLED[name])
    device = working_device(generator.denoiser)
    parts = generator.pipeline.components | {"controlnet": controlnet}
    generator.pipeline = put(kind(**parts), device, generator.offload)
    generator.pipeline.set_progress_bar_config(disable=True)
    generator.extra |= {"image": picture.convert("RGB"), "controlnet_conditioning_scale": scale}
    generator.added.append(_mark("controlnet", Path(folder), scale, picture))


def use_ip_adapter(generator: Generator, file: str | Path, picture: Image.Image, scale: float = 1.0) -> None:
    """Let a picture speak beside the words from now on.

    Args:
        file: the adapter's safetensors file, with the folder `image_encoder` beside it.

    Raises: UserError when it does not fit the painter.
    """
    from safetensors import SafetensorError, safe_open

    file = Path(file)
    try:
        with safe_open(file, "pt") as tensors:
            names = tensors.keys()
            widths = {tensors.get_slice(name).get_shape()[1] for name in names if name.endswith("to_k_ip.weight")}
    except (OSError, SafetensorError):
        raise UserError(f"IP-Adapter {str(file)!r} is missing or damaged; give its .safetensors file.") from None
    _check_width(generator, widths.pop() if len(widths) == 1 else None, f"IP-Adapter {str(file)!r}")
    if not (file.parent / "image_encoder").is_dir():
        raise UserError(f"IP-Adapter {str(file)!r} needs the folder image_encoder beside it; copy it there.")
    device = working_device(generator.denoiser)
    generator.pipeline.remove_all_hooks()  # what it adds is to be offloaded with the rest
    try:
        generator.pipeline.load_ip_adapter(
            str(file.parent), subfolder="", weight_name=file.name, image_encoder_folder="image_encoder"
        )
    except (OSError, ValueError, RuntimeError, KeyError) as problem:
        reason = str(problem).strip().splitlines()[0][:200]
        raise UserError(f"IP-Adapter {str(file)!r} does not fit {generator.family.name}: {reason}") from None
    put(generator.pipeline, device, generator.offload)
    generator.pipeline.set_ip_adapter_scale(scale)
    generator.extra |= {"ip_adapter_image": picture.convert("RGB")}
    generator.added.append(_mark("ip-adapter", file, scale, picture))


def _opened(kind: Any, folder: str | Path, what: str, **options: Any) -> Any:
    try:
        return kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **options)
    except (OSError, ValueError, RuntimeError, KeyError) as problem:
        reason = (str(problem).strip().splitlines() or [""])[0][:200]
        raise UserError(f"{what} {str(folder)!r} cannot be opened: {reason}") from None


def _check_width(generator: Generator, width: int | None, what: str) -> None:
    """The width of the text that attention reads tells the families apart."""
    own = generator.denoiser.config.cross_attention_dim
    if width != own:
        raise UserError(f"{what} was made for another family than {generator.family.name}: its text is {width} wide, "
                        f"this one's {own}; choose another.")  # fmt: skip

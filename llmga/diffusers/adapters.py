"""What is added to a loaded pipeline: low-rank weights, a ControlNet, a picture as prompt.

Each is checked against the pipeline's own widths first: libraries load what fits and leave the rest aside in silence.
"""

import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from llmga.diffusers.families import INPAINTING
from llmga.diffusers.lora_files import open_lora
from llmga.diffusers.lora_injection import activate, check_decomposed, inject
from llmga.diffusers.lora_layers import layers_of
from llmga.diffusers.lora_origin import check_origin
from llmga.diffusers.memory import execution_device, move_to
from llmga.diffusers.pipeline import Pipeline
from llmga.errors import UserError
from llmga.extras import require
from llmga.files import fingerprint

LARGEST_WEIGHT = 1000
NUMBER = r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?"
CONTROLLED = {
    "StableDiffusionPipeline": "StableDiffusionControlNetPipeline",
    "StableDiffusionXLPipeline": "StableDiffusionXLControlNetPipeline",
}


def add_loras(pipeline: Pipeline, given: Sequence[str]) -> None:
    """Load low-rank weights, all active together with those that are there.

    A weight is a share of the difference that the file makes, for DoRA as well.

    Args:
        given: files or folders that `open_lora` reads, each with an optional `:weight` (1 when left out), at most
            `LARGEST_WEIGHT`.

    Raises:
        UserError: when one is missing, damaged, made for another family or otherwise not to be applied exactly; nothing
            is changed then.
    """
    given = [given] if isinstance(given, str) else given  # a string is one file, not its letters
    if not given:
        return
    require("peft", f"the file of low-rank weights {given[0]!r}")
    if not hasattr(pipeline.pipe, "lora_state_dict"):
        raise UserError(f"{pipeline.path!r} takes no low-rank weights; leave out {given[0]!r}.")
    opened = []
    for place, weight in map(_place_and_weight, given):
        file = open_lora(place)
        check_origin(file, pipeline)
        opened.append((file, weight, layers_of(file, pipeline.pipe, pipeline.family.name)))
    check_decomposed(pipeline.pipe, [(file, layers) for file, _, layers in opened], pipeline.offload)
    with _unhooked(pipeline):
        for file, weight, layers in opened:
            inject(pipeline.pipe, layers, weight)
            pipeline.added.append(_mark("lora", file.path, weight))
        activate(pipeline.pipe)
    _forget(pipeline)


def remove_loras(pipeline: Pipeline) -> None:
    """Paint without any low-rank weights from now on."""
    with _unhooked(pipeline):
        pipeline.pipe.unload_lora_weights()
    pipeline.added[:] = [entry for entry in pipeline.added if entry["kind"] != "lora"]
    _forget(pipeline)


def _mark(kind: str, place: Path, weight: float, picture: Image.Image | None = None) -> dict[str, Any]:
    """What a record says of an addition: its weights by their SHA-256, and the picture that guides by that of its
    RGB pixels."""
    file = place if place.is_file() else next(iter(sorted(place.glob("*.safetensors")) + sorted(place.glob("*.bin"))))
    seen = picture and hashlib.sha256(picture.convert("RGB").tobytes()).hexdigest()
    return {"kind": kind, "name": place.name, "sha256": fingerprint(file), "weight": weight, "picture": seen}


def _place_and_weight(text: str) -> tuple[str, float]:
    """Raises: UserError for a weight that is none, or too large; a path may hold colons of its own."""
    path, _, last = text.rpartition(":")
    if path and re.fullmatch(NUMBER, last):
        weight = float(last)
    elif path and Path(path).exists() and not Path(text).exists():
        weight = math.nan
    else:
        return text, 1.0
    if not abs(weight) <= LARGEST_WEIGHT:
        raise UserError(f"low-rank weights {path!r} are given the weight {last[:50]!r}; give a number from "
                        f"-{LARGEST_WEIGHT} to {LARGEST_WEIGHT}, such as :0.8.")  # fmt: skip
    return path, weight


@contextmanager
def _unhooked(pipeline: Pipeline) -> Iterator[None]:
    """Weights in reach; what is added in the body is offloaded with the rest afterwards."""
    device = execution_device(pipeline.denoiser)
    pipeline.pipe.remove_all_hooks()
    try:
        yield
    finally:
        move_to(pipeline.pipe, device, pipeline.offload)


def _forget(pipeline: Pipeline) -> None:
    for each in (pipeline, *pipeline.derived.values()):
        each.encoder.forget()


def use_controlnet(pipeline: Pipeline, folder: str | Path, picture: Image.Image, scale: float = 1.0) -> None:
    """Paint along the lines of a picture (edges, depth, pose: what the ControlNet was trained on) from now on.

    Raises:
        UserError: when it does not fit the pipeline, or the pipeline repaints pictures.
    """
    from diffusers import ControlNetModel

    name = pipeline.family.pipeline_class
    if pipeline.family.task == INPAINTING or name not in CONTROLLED:
        raise UserError(f"a ControlNet cannot guide {pipeline.family.name}; use one of SD1.5 or SDXL, from words.")
    controlnet = _opened(ControlNetModel, folder, "ControlNet", torch_dtype=pipeline.denoiser.dtype)
    _check_width(pipeline, controlnet.config.cross_attention_dim, f"ControlNet {str(folder)!r}")
    import diffusers

    kind = getattr(diffusers, CONTROLLED[name])
    device = execution_device(pipeline.denoiser)
    parts = pipeline.pipe.components | {"controlnet": controlnet}
    pipeline.pipe = move_to(kind(**parts), device, pipeline.offload)
    pipeline.pipe.set_progress_bar_config(disable=True)
    pipeline.extra |= {"image": picture.convert("RGB"), "controlnet_conditioning_scale": scale}
    pipeline.added.append(_mark("controlnet", Path(folder), scale, picture))


def use_ip_adapter(pipeline: Pipeline, file: str | Path, picture: Image.Image, scale: float = 1.0) -> None:
    """Let a picture speak beside the words from now on.

    Args:
        file: the adapter's safetensors file, with the folder `image_encoder` beside it.

    Raises:
        UserError: when it does not fit the pipeline.
    """
    from safetensors import SafetensorError, safe_open

    if pipeline.family.prompt_arguments is None:
        raise UserError(f"an IP-Adapter cannot speak to {pipeline.family.name}; use one of SD1.5 or SDXL.")
    file = Path(file)
    try:
        with safe_open(file, "pt") as tensors:
            names = tensors.keys()
            widths = {tensors.get_slice(name).get_shape()[1] for name in names if name.endswith("to_k_ip.weight")}
    except (OSError, SafetensorError):
        raise UserError(f"IP-Adapter {str(file)!r} is missing or damaged; give its .safetensors file.") from None
    _check_width(pipeline, widths.pop() if len(widths) == 1 else None, f"IP-Adapter {str(file)!r}")
    if not (file.parent / "image_encoder").is_dir():
        raise UserError(f"IP-Adapter {str(file)!r} needs the folder image_encoder beside it; copy it there.")
    try:
        with _unhooked(pipeline):
            pipeline.pipe.load_ip_adapter(
                str(file.parent), subfolder="", weight_name=file.name, image_encoder_folder="image_encoder"
            )
    except (OSError, ValueError, RuntimeError, KeyError) as problem:
        reason = (str(problem).strip().splitlines() or [type(problem).__name__])[0][:200]
        raise UserError(f"IP-Adapter {str(file)!r} does not fit {pipeline.family.name}: {reason}") from None
    pipeline.pipe.set_ip_adapter_scale(scale)
    pipeline.extra |= {"ip_adapter_image": picture.convert("RGB")}
    pipeline.added.append(_mark("ip-adapter", file, scale, picture))


def _opened(kind: Any, folder: str | Path, what: str, **options: Any) -> Any:
    try:
        return kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **options)
    except (OSError, ValueError, RuntimeError, KeyError) as problem:
        reason = (str(problem).strip().splitlines() or [""])[0][:200]
        raise UserError(f"{what} {str(folder)!r} cannot be opened: {reason}") from None


def _check_width(pipeline: Pipeline, width: int | None, what: str) -> None:
    """See that an addition is for this family, which the width of the text that attention reads shows."""
    own = pipeline.denoiser.config.cross_attention_dim
    if width != own:
        raise UserError(f"{what} was made for another family than {pipeline.family.name}: its text is {width} wide, "
                        f"this one's {own}; choose another.")  # fmt: skip

"""What is added to a loaded pipeline: low-rank weights, taught words, a ControlNet, a picture as prompt.

Each is checked against the pipeline's own widths first: libraries load what fits and leave the rest aside in silence.
"""

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from llmga.diffusers.control import IP_ADAPTER, MOST_CONTROLS, Control
from llmga.diffusers.control_maps import CONTROLS
from llmga.diffusers.control_networks import check_family, open_network
from llmga.diffusers.embeddings import bundled_words, open_embeddings, teach, vectors_for
from llmga.diffusers.guidance import CONTROLLED, Guides
from llmga.diffusers.lora_files import open_lora
from llmga.diffusers.lora_injection import activate, inject
from llmga.diffusers.lora_layers import layers_of
from llmga.diffusers.lora_merging import check_mergeable, merge, unmerge
from llmga.diffusers.lora_origin import check_origin
from llmga.diffusers.memory import bring_together, execution_device, move_to
from llmga.diffusers.picture_prompt import open_picture_prompt
from llmga.diffusers.pipeline import Pipeline
from llmga.errors import UserError, reason
from llmga.extras import require
from llmga.files import fingerprint

LARGEST_WEIGHT = 1000
NUMBER = r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?"


def add_loras(pipeline: Pipeline, given: Sequence[str]) -> None:
    """Load low-rank weights, all active together with those that are there.

    A weight is a share of the difference that the file makes, whatever the method; differences of several files add up.

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
    if pipeline.quant is not None:
        raise UserError(f"low-rank weights {given[0]!r} cannot be added to a denoiser in fewer bits; leave "
                        "--painter-quant out.")  # fmt: skip
    require("peft", f"the file of low-rank weights {given[0]!r}")
    if not hasattr(pipeline.pipe, "lora_state_dict"):
        raise UserError(f"{pipeline.path!r} takes no low-rank weights; leave out {given[0]!r}.")
    opened = []
    for place, weight in map(_place_and_weight, given):
        file = open_lora(place)
        check_origin(file, pipeline)
        opened.append((file, weight, layers_of(file, pipeline.pipe, pipeline.family.name)))
    check_mergeable(pipeline.pipe, [(file, changes) for file, _, changes in opened])
    words = [(word, vectors_for(word, pipeline, again=True)) for file, *_ in opened for word in bundled_words(file)]
    with _unhooked(pipeline):
        for file, weight, changes in opened:
            inject(pipeline.pipe, changes.beside, weight)
            merge(pipeline.pipe, changes.merged, weight)
            pipeline.added.append(mark_of("lora", file.path, weight))
        for word, vectors in words:
            teach(word, vectors)
        activate(pipeline.pipe)
    _forget(pipeline)


def add_embeddings(pipeline: Pipeline, given: Sequence[str]) -> None:
    """Teach words by textual inversion: a prompt that names one is read with its vectors.

    Args:
        given: files that `open_embeddings` reads, each with an optional `:TOKEN`, the word.

    Raises:
        UserError: when one is missing, damaged, or made for another family; nothing is changed then.
    """
    opened = [word for text in given for word in open_embeddings(*_place_and_token(text))]
    names = [word.token for word in opened]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"{twice!r} is taught twice; give one of the files another name, as FILE:TOKEN.")
    learnt = [(word, vectors_for(word, pipeline)) for word in opened]
    if not learnt:
        return
    with _unhooked(pipeline):
        for word, vectors in learnt:
            teach(word, vectors)
            pipeline.added.append(mark_of("embedding", word.path, 1.0) | {"token": word.token})
    _forget(pipeline)


def _place_and_token(text: str) -> tuple[str, str | None]:
    """A path may hold colons of its own."""
    path, _, last = str(text).rpartition(":")
    return (path, last) if path and not Path(text).exists() and not set(last) & set("/\\") else (str(text), None)


def remove_loras(pipeline: Pipeline) -> None:
    """Paint without any low-rank weights from now on; words that came with them stay known."""
    with _unhooked(pipeline):
        pipeline.pipe.unload_lora_weights()
        unmerge(pipeline.pipe)
    pipeline.added[:] = [entry for entry in pipeline.added if entry["kind"] != "lora"]
    _forget(pipeline)


def mark_of(kind: str, place: Path, weight: float = 1.0) -> dict[str, Any]:
    """What a record says of an addition: its weights by their SHA-256."""
    file = place if place.is_file() else next(iter(sorted(place.glob("*.safetensors")) + sorted(place.glob("*.bin"))))
    return {"kind": kind, "name": place.name, "sha256": fingerprint(file), "weight": weight, "picture": None}


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
    bring_together(pipeline.pipe)
    try:
        yield
    finally:
        move_to(pipeline.pipe, device, pipeline.offload)


def _forget(pipeline: Pipeline) -> None:
    for each in (pipeline, *pipeline.derived.values()):
        each.encoder.forget()


def add_controlnet(pipeline: Pipeline, path: str | Path, name: str = "map") -> None:
    """Load a ControlNet, ControlNet-Union or T2I-Adapter, which then guides what names it in its `controls`.

    Args:
        path: as `open_network` takes it.
        name: the row of `CONTROLS` that it was made for; "map" for any.

    Raises:
        UserError: when it does not fit the pipeline, or there are too many.
    """
    CONTROLS[name]
    if name == IP_ADAPTER:
        raise UserError(f"--controlnet {name}={path} is no ControlNet; give it as --ip-adapter {path}.")
    if pipeline.family.class_name not in CONTROLLED:
        raise UserError(f"a ControlNet cannot guide {pipeline.family.name}; use one of SD1.5 or SDXL.")
    guides = pipeline.guides
    if len(guides.networks) >= MOST_CONTROLS:
        raise UserError(f"ControlNet {str(path)!r} would be one more than the {MOST_CONTROLS} that are loaded at most; "
                        "leave one out.")  # fmt: skip
    network = open_network(path, name, pipeline.denoiser, pipeline.denoiser.dtype)
    guides.marks[str(network.path)] = mark_of(network.kind, network.path)
    guides.networks.append(network)


def share_controlnets(pipeline: Pipeline, guides: Guides) -> None:
    """Let a pipeline be guided by the networks that another one has loaded.

    Raises:
        UserError: when one does not fit the pipeline.
    """
    for network in guides.networks:
        check_family(network, pipeline.denoiser)
    pipeline.guides.networks += guides.networks
    pipeline.guides.marks |= guides.marks


def use_controlnet(
    pipeline: Pipeline, path: str | Path, picture: Image.Image, scale: float = 1.0, name: str = "map"
) -> None:
    """Load a ControlNet and paint along a picture from now on, beside what guides already.

    Args:
        path: as `add_controlnet` takes it.
        picture: what `name` is taken from; with "map" what the ControlNet reads (edges, depth, pose …).
        scale: how much, 0 to 2.
        name: as `add_controlnet` takes it.

    Raises:
        UserError: as `add_controlnet`.
    """
    control = Control(name, scale, image=picture)
    add_controlnet(pipeline, path, name)
    always_guide(pipeline, control)


def add_ip_adapter(pipeline: Pipeline, file: str | Path) -> None:
    """Load an IP-Adapter, plain or plus, which then guides what names it in its `controls`.

    Args:
        file: the adapter's .safetensors or .bin file, with the folder `image_encoder` beside it, or in the folder above
            it, or in the folder `models` there, as the published ones lie.

    Raises:
        UserError: when it does not fit the pipeline.
    """
    file = Path(file)
    if pipeline.family.class_name not in CONTROLLED:
        raise UserError(f"an IP-Adapter cannot speak to {pipeline.family.name}; use one of SD1.5 or SDXL.")
    if pipeline.guides.picture_prompt is not None:
        raise UserError(f"IP-Adapter {str(file)!r} would be the second; give one.")
    if pipeline.quant not in (None, "fp8-storage"):
        raise UserError(f"IP-Adapter {str(file)!r} cannot be put into a denoiser that is held as {pipeline.quant}; use "
                        "--painter-quant fp8-storage, or leave it out.")  # fmt: skip
    adapter = open_picture_prompt(file)
    _check_width(pipeline, adapter.width, f"IP-Adapter {str(file)!r}")
    encoder = adapter.encoder(pipeline.pipe.text_encoder.dtype)
    try:
        with _unhooked(pipeline):
            pipeline.pipe.register_modules(image_encoder=encoder)
            pipeline.pipe.load_ip_adapter(adapter.state, subfolder="", weight_name="", image_encoder_folder=None)
    except (OSError, ValueError, RuntimeError, KeyError) as problem:
        raise UserError(
            f"IP-Adapter {str(file)!r} does not fit {pipeline.family.name}: {reason(problem)[:200]}."
        ) from None
    for other in pipeline.derived.values():
        other.pipe.register_modules(image_encoder=encoder, feature_extractor=pipeline.pipe.feature_extractor)
    pipeline.guides.marks[str(file)] = mark_of("ip-adapter", file)
    pipeline.guides.picture_prompt = str(file)


def use_ip_adapter(pipeline: Pipeline, file: str | Path, picture: Image.Image, scale: float = 1.0) -> None:
    """Load an IP-Adapter and let a picture speak beside the words from now on.

    Raises:
        UserError: as `add_ip_adapter`.
    """
    control = Control(IP_ADAPTER, scale, image=picture)
    add_ip_adapter(pipeline, file)
    always_guide(pipeline, control)


def always_guide(pipeline: Pipeline, control: Control) -> None:
    """Let a control with its picture guide every call that names none, beside those that do already.

    Raises:
        UserError: when nothing that is loaded does it.
    """
    pipeline.controls((*pipeline.guides.standing, control))
    pipeline.guides.standing = (*pipeline.guides.standing, control)


def _check_width(pipeline: Pipeline, width: int | None, what: str) -> None:
    """See that an addition is for this family, which the width of the text that attention reads shows."""
    own = pipeline.denoiser.config.cross_attention_dim
    if width != own:
        raise UserError(f"{what} was made for another family than {pipeline.family.name}: its text is {width} wide, "
                        f"this one's {own}; choose another.")  # fmt: skip

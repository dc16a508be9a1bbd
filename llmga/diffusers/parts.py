"""A UNet or a VAE from elsewhere, in place of the one that a checkpoint brings: `--unet`, `--vae`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmga.diffusers.checkpoints import Opener, open_part, read_json
from llmga.diffusers.file_headers import BESIDE, GGUF, is_weight_file
from llmga.diffusers.single_file import conversion
from llmga.diffusers.single_file.conversion import Part, Weights
from llmga.diffusers.single_file.families import FAMILIES
from llmga.diffusers.single_file.opening import open_model
from llmga.diffusers.single_file.shapes import below
from llmga.diffusers.single_file.tensors import TensorFile
from llmga.download import cached, is_hub_id
from llmga.errors import UserError
from llmga.model_directories import hint, in_model_directories, places

PARTS = ("unet", "vae")
KINDS = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL"}
SAID = {"unet": "UNet", "vae": "VAE"}
# What no shape tells, so that the base's own counts.
HIDDEN = ("attention_head_dim", "addition_time_embed_dim", "addition_embed_type", "upcast_attention")


@dataclass(frozen=True)
class PartSource:
    """Where a part of a pipeline comes from.

    Attributes:
        place: the file or the folder.
        config: its settings, as its config.json states them.
        open: number format -> the model, on the CPU.
        release: lets go of what `open` needs.
    """

    place: Path
    config: Mapping[str, Any]
    open: Opener
    release: Callable[[], None] = lambda: None


def part_source(name: str, given: str | Path, base: Mapping[str, Any]) -> PartSource:
    """A part from a file or a folder.

    Args:
        name: `unet` or `vae`.
        given: a file in the layout of diffusers or of the authors (LDM), alone or in a whole checkpoint; the folder of
            a part, or of a pipeline that has it; its bare name in a model directory; or an id of the hub that the cache
            has.
        base: settings of the part whose place it takes.

    Raises:
        UserError: it is not there, is something else, or of another family than the base.
    """
    place = find_part(name, given)
    found = _of_file(name, place, base) if place.is_file() else _of_folder(name, place)
    _check_family(name, place, found.config, base)
    return found


def find_part(name: str, given: str | Path) -> Path:
    """The file or the folder of a part, as `part_source` takes it.

    Raises:
        UserError: it is not there.
    """
    candidates = [*places(given)]
    if is_hub_id(str(given)):
        candidates += [*in_model_directories(str(given).partition("/")[2]), *filter(None, [cached(str(given))])]
    for place in candidates:
        if place.is_file():
            if place.suffix.lower() == GGUF and name == "unet":
                raise UserError(f"--unet {str(given)!r} is a GGUF file; {BESIDE} its family.")
            if not is_weight_file(place):
                raise UserError(f"--{name} {str(given)!r} is no file of weights; give a .safetensors file or a folder.")
            return place
        for folder in (place / name, place):
            if (folder / "config.json").is_file():
                return folder
        if place.is_dir():
            return _only_file(name, place)
    fetch = f"; or fetch it first: llmga download {given}" if is_hub_id(str(given)) else ""
    raise UserError(f"--{name} {str(given)!r} is not there{hint(given)} give a file of a {SAID[name]}, its folder, or "
                    f"that of a pipeline{fetch}.")  # fmt: skip


def _only_file(name: str, folder: Path) -> Path:
    files = [file for file in sorted(folder.iterdir()) if is_weight_file(file)]
    if len(files) != 1:
        held = ", ".join(file.name for file in files[:5]) or "no file of weights"
        raise UserError(f"--{name} {str(folder)!r} has no config.json and holds {held}; give the path of one file.")
    return files[0]


def _of_folder(name: str, folder: Path) -> PartSource:
    config = read_json(folder / "config.json")
    if (kind := config.get("_class_name")) != KINDS[name]:
        raise UserError(
            f"--{name} {str(folder)!r} is a {kind} and no {KINDS[name]}; give the folder of a {SAID[name]}."
        )
    return PartSource(folder, config, lambda dtype: open_part(folder, "diffusers", KINDS[name], dtype))


def _of_file(name: str, path: Path, base: Mapping[str, Any]) -> PartSource:
    file = TensorFile(path)
    kind = file.kind
    if kind.name not in (name, "checkpoint") or (kind.name == "checkpoint" and kind.family not in FAMILIES):
        raise UserError(f"--{name} {str(path)!r} is {kind.said} and no {SAID[name]}; {kind.opens}.")
    if kind.layout is None:
        raise UserError(f"--{name} {str(path)!r} is {kind.said}; {kind.opens}.")
    part, weights = (_as_it_is if kind.layout == "diffusers" else _converted)(name, file, base)
    where = f"the {SAID[name]} in {str(path)!r}"
    return PartSource(path, part.config, lambda dtype: open_model(part, weights(), dtype, where), file.release)


def _as_it_is(name: str, file: TensorFile, base: Mapping[str, Any]) -> tuple[Part, Callable[[], Weights]]:
    prefix = f"{name}." if any(key.startswith(f"{name}.") for key in file) else ""
    shapes = below(file.header.shapes, prefix)
    if name == "unet":
        distilled = shapes.get("time_embedding.cond_proj.weight")  # told the guidance, as latent consistency models are
        seen = {
            "in_channels": shapes["conv_in.weight"][1],
            "time_cond_proj_dim": distilled[1] if distilled else None,
            "cross_attention_dim": next(shape[1] for key, shape in shapes.items() if key.endswith("attn2.to_k.weight")),
        }
    else:
        seen = {"latent_channels": shapes["decoder.conv_in.weight"][1]}
    part = Part("diffusers", KINDS[name], {**base, **seen}, prefix)

    def weights() -> Weights:
        found = {key.removeprefix(prefix): each for key, each in file.beginning(prefix).items()}
        return conversion.todays_vae(found) if name == "vae" else found

    return part, weights


def _converted(name: str, file: TensorFile, base: Mapping[str, Any]) -> tuple[Part, Callable[[], Weights]]:
    if name == "vae":
        part = conversion.vae_part(file, {})
        if part is None:
            raise UserError(f"--vae {str(file.path)!r} is {file.kind.said}, in which there is no VAE; give a file of "
                            "one.")  # fmt: skip
        part = Part(part.library, part.kind, {**base, **part.config}, part.prefix)
        return part, lambda: conversion.vae_weights(file, part)
    part = conversion.unet_part(file, FAMILIES[str(file.kind.family)])
    told = HIDDEN if "_class_name" in base else ()  # by the base, where its own part is there
    seen = {key: value for key, value in part.config.items() if key not in told}
    part = Part(part.library, part.kind, {**base, **seen}, part.prefix)
    return part, lambda: conversion.unet_weights(file, part)


def _check_family(name: str, place: Path, config: Mapping[str, Any], base: Mapping[str, Any]) -> None:
    """Raises: UserError for what would fail in the middle of the first picture."""
    what = {"unet": "cross_attention_dim", "vae": "latent_channels"}[name]
    if what in base and config.get(what, base[what]) != base[what]:
        raise UserError(f"--{name} {str(place)!r} has a {what} of {config[what]}, but --sdmodel_id one of "
                        f"{base[what]}: they are of different families; give one of the same.")  # fmt: skip

"""A diffusers folder written from a single file, and back: every tensor bit for bit.

What a single file holds beside its models (averages of a training, constants, marks) has no place in a folder; it goes
into `other_tensors.safetensors` there, with the file's metadata, and comes back from it.
"""

import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llmga.diffusers.assembly import Given, tokenizers_of
from llmga.diffusers.checkpoints import read_index, read_json
from llmga.diffusers.config_folders import write_json
from llmga.diffusers.file_headers import load_pytorch
from llmga.diffusers.pipelines import read_defaults
from llmga.diffusers.single_file import conversion
from llmga.diffusers.single_file.checkpoint import CONFIGS, SingleFile
from llmga.diffusers.single_file.conversion import Part
from llmga.diffusers.single_file.families import FAMILIES, UNET, VAE, SingleFileFamily, Tower
from llmga.diffusers.single_file.inverse import open_clip_to_ldm, unet_to_ldm, vae_to_ldm
from llmga.diffusers.single_file.vocabulary import as_files
from llmga.errors import UserError
from llmga.files import check_writable, told_unwritten, whole_folder
from llmga.weight_files import STEMS, choose

REST = "other_tensors.safetensors"
MARKS = ("v_pred", "ztsnr")  # they follow from the scheduler
Weights = dict[str, Tensor]


def check_free(out: Path) -> None:
    """Raises: UserError when something is there already, or nothing can be put there."""
    if out.is_file() or (out.is_dir() and any(out.iterdir())) or out.is_symlink():
        raise UserError(f"{str(out)!r} is there already; give a new place.")
    check_writable(out)


def to_folder(path: Path, out: Path, *, tokenizer: Given = None, dtype: torch.dtype | None = None) -> None:
    """Write a diffusers folder.

    Args:
        path: the single file.
        out: a new folder.
        tokenizer: as `load_pipeline` takes it.
        dtype: number format of the models; None leaves each tensor its own.

    Raises:
        UserError: the file cannot be read, brings no VAE, or there is no vocabulary for it, or the place cannot be
            written.
    """
    from safetensors.torch import save_file

    check_free(out)
    single = SingleFile(path)
    parts, used = single.parts(), set()
    if "vae" not in parts:
        raise UserError(f"{str(path)!r} brings no VAE, which a folder needs; give a file that has one.")
    with told_unwritten(out), whole_folder(out) as draft:
        write_json(draft, single.configurations())
        towers = {tower.part: parts[tower.part].config for tower in single.family.towers}
        for name, make in tokenizers_of(path, single, towers, tokenizer).items():
            as_files(make(), draft / name)
        for name, part in parts.items():
            weights = single.weights(name, part)
            single.check(name, part, weights)
            used |= {f"{part.prefix}{each}" for each in _as_authors(name, part, weights, single.family)}
            save_file(_cast(weights, dtype), draft / name / f"{STEMS[part.library]['safetensors']}.safetensors",
                      {"format": "pt"})  # fmt: skip
        rest = {name: single.file[name] for name in _unused(single, used)}
        metadata = {name: text for name, text in single.file.header.metadata.items() if name != CONFIGS}
        if rest or metadata:
            save_file(_cast(rest, None), draft / REST, metadata)


def _unused(single: SingleFile, used: set[str]) -> Iterator[str]:
    towers = {part.prefix: tower for tower in single.family.towers if (part := single.parts().get(tower.part))}
    for name in single.file:
        prefix = next((each for each in towers if name.startswith(each)), "")
        today = prefix + conversion.modern(name.removeprefix(prefix), towers[prefix]) if prefix else name
        if today not in used and not (single.family.name == "sdxl" and _is_mark(name, single.file[name])):
            yield name


def _is_mark(name: str, tensor: Tensor) -> bool:
    """Whether it is just what `to_file` writes by itself."""
    return name in MARKS and tensor.dtype == torch.float32 and tensor.numel() == 0


def _as_authors(name: str, part: Part, weights: Mapping[str, Tensor], family: SingleFileFamily) -> Weights:
    """A part's tensors as the authors name them, without its prefix."""
    if name == "unet":
        return unet_to_ldm(weights, part.config)
    if name == "vae":
        return vae_to_ldm(weights, part.config)
    tower = next(each for each in family.towers if each.part == name)
    return dict(weights) if tower.layout == "clip" else open_clip_to_ldm(weights)


def _cast(weights: Mapping[str, Tensor], dtype: torch.dtype | None) -> Weights:
    """Tensors of their own memory, as the format wants them."""
    return {
        name: (each.to(dtype) if dtype is not None and each.is_floating_point() else each).contiguous()
        for name, each in weights.items()
    }


def to_file(folder: Path, out: Path, *, dtype: torch.dtype | None = None) -> None:
    """Write a single file in the layout of the family's authors, which other programs read.

    Args:
        folder: of a diffusers pipeline.
        out: a new .safetensors file.
        dtype: as `to_folder` takes it.

    Raises:
        UserError: the folder lacks something, its family has no single files, or the place cannot be written.
    """
    check_free(out)
    if out.suffix != ".safetensors":
        raise UserError(f"{str(out)!r} does not end with .safetensors, and no other single files are written; let the "
                        "name end so.")  # fmt: skip
    index = read_index(folder)
    family = _family_of(folder, index)
    stated = {name: read_json(folder / name / "config.json") for name in ("unet", "vae", *_texts(family))}
    stated["scheduler"] = read_json(folder / "scheduler/scheduler_config.json")
    rest, metadata = _rest(folder)
    prefixes = {"unet": UNET, "vae": VAE} | {each.part: _prefix(folder, each, stated, rest) for each in family.towers}
    tensors: Weights = {}
    for name, prefix in prefixes.items():
        part = Part(index[name][0], index[name][1], stated[name], prefix)
        found = _as_authors(name, part, _hub_names(name, _read(folder / name, part.library)), family)
        tensors |= _cast({f"{prefix}{each}": tensor for each, tensor in found.items()}, dtype)
    tensors |= _marks(family, stated["scheduler"]) | rest
    if defaults := read_defaults(folder):
        stated["defaults"] = defaults
    with told_unwritten(out):
        _save(tensors, out, _metadata(family, stated) | metadata | {CONFIGS: json.dumps(stated)})


def _texts(family: SingleFileFamily) -> Iterator[str]:
    return (tower.part for tower in family.towers)


def _family_of(folder: Path, index: Mapping[str, Any]) -> SingleFileFamily:
    kind = str(index.get("_class_name"))
    families = [family for family in FAMILIES.values() if kind in family.pipelines.values()]
    if not families:
        known = ", ".join(dict.fromkeys(each for family in FAMILIES.values() for each in family.pipelines.values()))
        raise UserError(f"{str(folder)!r} is a {kind}, which has no single files here; those of {known} have.")
    linear = read_json(folder / "unet/config.json").get("use_linear_projection", False)
    return families[-1 if linear else 0]


def _prefix(folder: Path, tower: Tower, stated: Mapping[str, Any], rest: Weights) -> str:
    """What a text tower's names begin with.

    Raises:
        UserError: other programs want layers that diffusers leaves out, and that are not kept in the folder, either.
    """
    if not tower.unused:
        return tower.prefixes[0]
    first = f"transformer.resblocks.{stated[tower.part]['num_hidden_layers']}."
    kept = (prefix for prefix in tower.prefixes if any(name.startswith(prefix + first) for name in rest))
    if (found := next(kept, None)) is None:
        raise UserError(f"{str(folder)!r} lacks the last layer of its text encoder, which single files of Stable "
                        "Diffusion 2 hold though nothing looks at it; use the folder itself.")  # fmt: skip
    return found


def _read(folder: Path, library: str) -> Weights:
    """All tensors of a part, whatever files they are in."""
    from safetensors import safe_open

    files = choose(folder, library)
    names = [name for name in files.names if name.endswith(files.kind)]
    names = [files.whole] if files.whole and not files.shards else [name for name in names if name != files.whole]
    found: Weights = {}
    for name in names:
        if files.kind == "bin":
            found |= load_pytorch(folder / name)
        else:
            with safe_open(folder / name, "pt") as stream:
                found |= {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118
    return found


def _hub_names(name: str, weights: Mapping[str, Tensor]) -> Weights:
    """The names that hubs have: old ones of attention made new, text towers with their `text_model.`."""
    if name == "vae":
        return conversion.todays_vae(weights)
    if name == "unet":
        return dict(weights)
    outside = ("text_model.", "text_projection.")
    return {each if each.startswith(outside) else f"text_model.{each}": tensor for each, tensor in weights.items()}


def _rest(folder: Path) -> tuple[Weights, dict[str, str]]:
    """What a folder that was written here keeps of its file."""
    from safetensors import safe_open

    if not (folder / REST).is_file():
        return {}, {}
    with safe_open(folder / REST, "pt") as stream:
        return {key: stream.get_tensor(key) for key in stream.keys()}, dict(stream.metadata() or {})  # noqa: SIM118


def _marks(family: SingleFileFamily, scheduler: Mapping[str, Any]) -> Weights:
    """What tells other programs that an SDXL says the velocity."""
    if family.name != "sdxl" or scheduler.get("prediction_type") != "v_prediction":
        return {}
    names = MARKS if scheduler.get("rescale_betas_zero_snr") else MARKS[:1]
    return {name: torch.empty(0) for name in names}


def _metadata(family: SingleFileFamily, stated: Mapping[str, Any]) -> dict[str, str]:
    """In the words of Stability's model specification."""
    prediction = {"v_prediction": "v"}.get(str(stated["scheduler"].get("prediction_type")), "epsilon")
    inpaints = "-inpainting" if stated["unet"].get("in_channels") == 9 else ""
    return {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": f"{family.architecture}{inpaints}",
        "modelspec.prediction_type": prediction,
    }


def _save(tensors: Weights, out: Path, metadata: dict[str, str]) -> None:
    """A file that is whole or not there at all."""
    from safetensors.torch import save_file

    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.{secrets.token_hex(4)}.draft")
    try:
        save_file(tensors, draft, metadata)
        os.replace(draft, out)
    finally:
        draft.unlink(missing_ok=True)


LAYOUTS: dict[str, Callable[..., None]] = {"diffusers": to_folder, "single-file": to_file}

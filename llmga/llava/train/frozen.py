"""Frozen weights leave a training with every bit that they came with, whatever format it computed in."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from llmga.errors import UserError
from llmga.llava import checkpoints, towers
from llmga.llava.hf_layout.reading import hf_layout_weights, is_hf_layout
from llmga.llava.paths import find_checkpoint
from llmga.llava.train.settings import Stage1Config
from llmga.llava.weights import TOWER
from llmga.training.checkpoints import newest_checkpoint


def exact(weights: Mapping[str, Tensor], frozen: Collection[str], config: Stage1Config, kind: str) -> dict[str, Tensor]:
    """Those of the frozen weights that were rounded, as they are stored where the run started from.

    A stored one counts only when it rounds to what the run computed with, so another file in its place does no harm.

    Args:
        weights: the model's, by our names.
        kind: of the projector.
    """
    rounded = {name for name in frozen if weights[name].dtype in (torch.float16, torch.bfloat16)}
    found: dict[str, Tensor] = {}
    origins = _origins(config)
    while rounded - found.keys() and (folder := next(origins, None)):
        for name, stored in _stored(folder, rounded - found.keys(), kind):
            if (whole := _unrounded(weights[name], stored)) is not None:
                found[name] = whole
    return found


def _origins(config: Stage1Config) -> Iterator[Path]:
    """The run's last checkpoint, since what it started from may be gone by then, and folders of that."""
    if last := newest_checkpoint(config.resume_dir()):
        yield last
    for name in filter(None, (config.mllm, config.mllm_base, config.text_model, config.vision_tower)):
        with suppress(UserError):
            folder = find_checkpoint(name)
            yield folder
            tower = checkpoints.read_json(folder, "config.json").get("mm_vision_tower")
            if tower and (apart := towers.find_tower(tower, folder)):
                yield apart


def _stored(folder: Path, names: Collection[str], kind: str) -> Iterator[tuple[str, Tensor]]:
    """Those of these weights that a folder holds: one of ours, a plain text model, or a vision tower."""
    with suppress(UserError):
        if is_hf_layout(said := checkpoints.read_json(folder, "config.json")):
            weights = hf_layout_weights(folder, said)
            yield from ((name, weights[key]) for key in weights if (name := _own(key, names, kind)))
            return
        for file in sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin")):
            yield from _in_file(file, names, kind)


def _in_file(file: Path, names: Collection[str], kind: str) -> Iterator[tuple[str, Tensor]]:
    from safetensors import safe_open

    if file.suffix == ".bin":
        tensors = checkpoints.read_tensors(file)
        yield from ((name, tensors[key]) for key in tensors if (name := _own(key, names, kind)))
        return
    with safe_open(file, "pt") as opened:
        yield from ((name, opened.get_tensor(key)) for key in opened.keys() if (name := _own(key, names, kind)))  # noqa: SIM118


def _own(key: str, names: Collection[str], kind: str) -> str | None:
    """The one of these names that a stored weight has in our model; a tower alone lacks what is before its parts."""
    own = (checkpoints.own_name(key, kind), TOWER + key.removeprefix("vision_model."))
    return next((name for name in own if name in names), None)


def _unrounded(rounded: Tensor, stored: Tensor) -> Tensor | None:
    """The stored weight, with the rows that the run added; None when it is another than the rounded one."""
    rounded, rows = rounded.detach().to("cpu"), len(stored) if stored.dim() else None
    if rounded.shape[1:] != stored.shape[1:] or not torch.equal(rounded[:rows], stored.to(rounded.dtype)):
        return None
    if rounded.shape == stored.shape:
        return stored
    return torch.cat([stored, rounded[rows:].to(stored.dtype)])

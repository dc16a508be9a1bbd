"""What a run on accelerate needs to go on where it was: saved in a checkpoint, and taken up again."""

import json
from collections.abc import Collection, Mapping
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any, Protocol

from accelerate import Accelerator
from safetensors.torch import save_file
from torch import Tensor

from llmga.errors import UserError
from llmga.training.checkpoints import (
    UNFINISHED,
    checkpoints,
    discard_unfinished,
    full_disk_explained,
    publish,
    require_same_settings,
)
from llmga.training.wholeness import require_whole

STATE_FILE = "run.json"
NEEDED = (STATE_FILE, "random_states_*.pkl")


class Data(Protocol):
    """What checkpoints need to know of the examples."""

    def __len__(self) -> int: ...

    def digest(self) -> str:
        """What changes when the content does."""


def save_checkpoint(
    accelerator: Accelerator, config: Any, step: int, files: Mapping[str, Mapping[str, Tensor]], data: Data
) -> None:
    """Write `checkpoint-N` whole, and only then remove the oldest; all processes must call it.

    Args:
        accelerator: what holds weights, optimisers and random states.
        config: the run's settings, a dataclass with `run` (folder) and `keep` (how many checkpoints stay).
        step: optimiser steps done.
        files: what accelerate does not know of, named tensors by file name; each process writes its own.
        data: what there is to learn from.

    Raises:
        UserError: the disk is full.
    """
    run = Path(config.run)
    unfinished = run / UNFINISHED / f"checkpoint-{step}"
    with full_disk_explained(run, "--run"):
        if accelerator.is_main_process:
            discard_unfinished(run)
            unfinished.mkdir(parents=True)
        accelerator.wait_for_everyone()
        accelerator.save_state(str(unfinished))
        for name, tensors in files.items():
            save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, unfinished / name)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            state = {"step": step, "settings": asdict(config), "stream": _stream(accelerator, data)}
            (unfinished / STATE_FILE).write_text(json.dumps(state, indent=2))
            publish(unfinished, run / unfinished.name, config.keep)
    accelerator.wait_for_everyone()


def find_resume(config: Any) -> Path | None:
    """The checkpoint to go on from, None for a fresh start.

    Args:
        config: the run's settings, with `run` (folder) and `resume` (latest, none, or the folder of a checkpoint).

    Raises:
        UserError: it is damaged, a named one cannot be used, or the run would fall behind checkpoints that it has.
    """
    found = checkpoints(config.run)
    newest = found[-1] if found else None
    folder = newest if config.resume == "latest" else Path(config.resume)
    if newest and folder and newest.resolve() != folder.resolve():
        raise UserError(f"{str(newest)!r} is further than --resume {config.resume}; choose another --run or remove it.")
    if folder is None or config.resume == "none":
        return None
    if config.resume != "latest" and not (folder / STATE_FILE).is_file():
        raise UserError(f"--resume {config.resume!r} is no checkpoint of a run; use latest, none or a checkpoint-N.")
    require_whole(folder, next((one for one in reversed(found) if one.resolve() != folder.resolve()), None), NEEDED)
    return folder


def _stream(accelerator: Accelerator, data: Data) -> dict[str, Any]:
    """What the examples and their order follow from, beside the settings."""
    return {"processes": accelerator.num_processes, "records": len(data), "digest of the data": data.digest()}


def load_checkpoint(accelerator: Accelerator, folder: Path, config: Any, free: Collection[str], data: Data) -> int:
    """Take up the state of a checkpoint; what `save_checkpoint` was given as `files` is the caller's to read.

    Args:
        accelerator: what holds weights, optimisers and random states.
        folder: the checkpoint.
        config: the run's settings, a dataclass.
        free: settings that may differ between two halves of a run without changing its course.
        data: what there is to learn from.

    Returns:
        Optimiser steps done.

    Raises:
        UserError: it was made with settings, data or processes that would change the course of the run.
    """
    state, stream = json.loads((folder / STATE_FILE).read_text()), _stream(accelerator, data)
    now = json.loads(json.dumps(asdict(config))) | stream
    # Older checkpoints do not tell all of it: settings that came later were then as they are by themselves.
    defaults = {one.name: one.default for one in fields(config) if one.default is not MISSING}
    before = json.loads(json.dumps(defaults, default=str)) | state["settings"] | stream | state.get("stream", {})
    require_same_settings(folder, before, now, free.__contains__, "--run")
    accelerator.load_state(str(folder))
    return state["step"]

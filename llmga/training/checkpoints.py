"""Checkpoints of a training run: written whole or not at all, kept in number, found again."""

import json
import os
import re
import shutil
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import Tensor

from llmga.errors import UserError
from llmga.wholeness import require_whole

STATE_FILE = "run.json"
NEEDED = (STATE_FILE, "random_states_*.pkl")


class Run(Protocol):
    """What checkpoints need to know of a training's settings, a frozen dataclass.

    Attributes:
        run: folder of the checkpoints; keep: how many of them stay; resume: latest, none, or the folder of one.
        output: folder of the finished model.
    """

    run: str
    keep: int
    resume: str
    output: str


class Data(Protocol):
    """What checkpoints need to know of the examples."""

    def __len__(self) -> int: ...

    def digest(self) -> str:
        """What changes when the content does."""


def checkpoints(run: Path) -> list[Path]:
    """`checkpoint-N` folders, oldest first; other names are nobody's business here."""
    found = [path for path in run.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    return sorted(found, key=lambda path: int(path.name.split("-")[1]))


def save_checkpoint(
    accelerator: Accelerator, config: Run, step: int, files: Mapping[str, Mapping[str, Tensor]], data: Data
) -> None:
    """Write `checkpoint-N` beside its place, move it there, and only then remove the oldest.

    Args:
        files: what accelerate does not know of, named tensors by file name; each process writes its own.
        data: what there is to learn from.
    """
    folder = Path(config.run) / f"checkpoint-{step}"
    partial = folder.with_suffix(".partial")
    if accelerator.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(partial))
    for name, tensors in files.items():
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, partial / name)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        state = {"step": step, "settings": asdict(config), "stream": _stream(accelerator, data)}
        (partial / STATE_FILE).write_text(json.dumps(state, indent=2))
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
        for old in checkpoints(Path(config.run))[: -config.keep]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()


def find_resume(config: Run) -> Path | None:
    """The checkpoint to go on from, None for a fresh start.

    Raises: UserError when it is damaged, when a named one cannot be used, or when the run would fall behind
        checkpoints it already has.
    """
    found = checkpoints(Path(config.run))
    if config.resume == "latest":
        if found:
            require_whole(found[-1], found[-2] if len(found) > 1 else None, NEEDED)
        return found[-1] if found else None
    if found and found[-1].resolve() != Path(config.resume).resolve():
        raise UserError(
            f"{str(found[-1])!r} is further than --resume {config.resume}; choose another --run or remove it."
        )
    if config.resume == "none":
        return None
    folder = Path(config.resume)
    if not (folder / STATE_FILE).is_file():
        raise UserError(f"--resume {config.resume!r} is no checkpoint of a run; use latest, none or a checkpoint-N.")
    require_whole(folder, next((one for one in reversed(found) if one.resolve() != folder.resolve()), None), NEEDED)
    return folder


def _stream(accelerator: Accelerator, data: Data) -> dict[str, Any]:
    """What the examples and their order follow from, beside the settings."""
    return {"processes": accelerator.num_processes, "records": len(data), "digest of the data": data.digest()}


def load_checkpoint(accelerator: Accelerator, folder: Path, config: Run, free: Collection[str], data: Data) -> int:
    """Take up the state of a checkpoint; what `save_checkpoint` was given as `files` is the caller's to read.

    Args:
        free: settings that may differ between two halves of a run without changing its course.
        data: what there is to learn from.
    Returns: optimiser steps already done.

    Raises: UserError when it was made with settings, data or processes that would change the course of the run.
    """
    state, stream = json.loads((folder / STATE_FILE).read_text()), _stream(accelerator, data)
    now = json.loads(json.dumps(asdict(config))) | stream
    before = state["settings"] | stream | state.get("stream", {})  # older checkpoints do not tell all of it
    changed = [f"{key} {before.get(key)!r} -> {value!r}" for key, value in now.items()
               if key not in free and before.get(key) != value]  # fmt: skip
    if changed:
        raise UserError(f"{str(folder)!r} was made with other settings ({', '.join(changed)}); "
                        "give the same ones, or another --run to start afresh.")  # fmt: skip
    accelerator.load_state(str(folder))
    return state["step"]


def averaged(ema: Any, names: list[str]) -> dict[str, Tensor]:
    """The tensors of a diffusers `EMAModel` by name; the very tensors, so that copying into them restores it."""
    return dict(zip(names, ema.shadow_params, strict=True))


def restore_averaged(ema: Any, names: list[str], file: Path, step: int) -> None:
    """Give an `EMAModel` back what `averaged` gave."""
    stored = load_file(file)
    for name, shadow in averaged(ema, names).items():
        shadow.copy_(stored[name])
    ema.optimization_step = step


def check_writable(folder: str) -> None:
    """Hours of training must not end in a folder that cannot be written.  Raises: UserError."""
    probe = Path(folder) / f".writable-{os.getpid()}"  # several processes may ask at once
    try:
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as problem:
        raise UserError(f"cannot write to {folder!r} ({problem.strerror}); choose another --output.") from None

"""Checkpoints of a run: written whole or not at all, kept in number, found again."""

import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from safetensors.torch import load_file, save_file

from llmga.diffusers.train.config import TrainConfig
from llmga.errors import UserError

EMA_FILE, STATE_FILE = "unet_ema.safetensors", "run.json"
# What may differ between the two halves of a run without changing its course.
FREE = {
    "run",
    "output",
    "save_dtype",
    "device",
    "gradient_checkpointing",
    "workers",
    "checkpoint_every",
    "keep",
    "validation_every",
    "validation_pictures",
    "resume",
}


def checkpoints(run: Path) -> list[Path]:
    """`checkpoint-N` folders, oldest first; other names are nobody's business here."""
    found = [path for path in run.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    return sorted(found, key=lambda path: int(path.name.split("-")[1]))


def save_checkpoint(accelerator: Accelerator, ema: Any, names: list[str], step: int, config: TrainConfig) -> None:
    """Write `checkpoint-N` beside its place, move it there, and only then remove the oldest.

    Args:
        ema: an EMAModel or None; `names` are those of its tensors.
    """
    folder = Path(config.run) / f"checkpoint-{step}"
    partial = folder.with_suffix(".partial")
    if accelerator.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(partial))
    if accelerator.is_main_process:
        if ema is not None:
            save_file(dict(zip(names, (p.contiguous() for p in ema.shadow_params), strict=True)), partial / EMA_FILE)
        (partial / STATE_FILE).write_text(json.dumps({"step": step, "settings": asdict(config)}, indent=2))
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
        for old in checkpoints(Path(config.run))[: -config.keep]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()


def find_resume(config: TrainConfig) -> Path | None:
    """The checkpoint to go on from, None for a fresh start.

    Raises: UserError when a named one cannot be used, or when the run would fall behind checkpoints it already has.
    """
    found = checkpoints(Path(config.run))
    if config.resume == "latest":
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
    return folder


def load_checkpoint(accelerator: Accelerator, ema: Any, names: list[str], folder: Path, config: TrainConfig) -> int:
    """Take up the state of a checkpoint.

    Returns: optimiser steps already done.

    Raises: UserError when it was made with settings that would change the course of the run.
    """
    state = json.loads((folder / STATE_FILE).read_text())
    now = json.loads(json.dumps(asdict(config)))
    free = FREE | {"steps"} if config.schedule == "constant" else FREE
    changed = [f"{key} {state['settings'].get(key)!r} -> {value!r}" for key, value in now.items()
               if key not in free and state["settings"].get(key) != value]  # fmt: skip
    if changed:
        raise UserError(f"{str(folder)!r} was made with other settings ({', '.join(changed)}); "
                        "give the same ones, or another --run to start afresh.")  # fmt: skip
    accelerator.load_state(str(folder))
    if ema is not None:
        tensors = load_file(folder / EMA_FILE)
        for name, shadow in zip(names, ema.shadow_params, strict=True):
            shadow.copy_(tensors[name])
        ema.optimization_step = state["step"]
    return state["step"]

"""Checkpoints of a run: written whole or not at all, deleted only after a newer one is whole, found again."""

import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from llmga.errors import UserError
from llmga.llava.datasets.records import Records
from llmga.llava.datasets.sources import DataSource
from llmga.llava.train.settings import TrainConfig
from llmga.wholeness import require_whole

UNFINISHED = "unfinished"  # what is being written; renamed when it is whole
STATE = "trainer_state.json"
NEEDED = ("config.json", "*.safetensors", "optimizer.pt", "scheduler.pt", "rng_state*.pth")
NEEDED_OF_PARTS = ("config.json", "*.safetensors", "latest")  # as DeepSpeed keeps the optimizer's state
DATA = "data.json"  # which records the run learns from
# Settings that say which sample comes when and what learns: with others, a run does not go on but becomes another.
COURSE = (
    *("data", "conv_mode", "max_length", "seed", "global_batch", "group_by_length", "pack", "eval_fraction"),
    *("tune", "tune_tower", "lora_rank", "lora_alpha", "lora_dropout", "bits"),
)


def checkpoints(run: Path) -> list[Path]:
    """The complete checkpoint-N of a run, the oldest first."""
    named = [path for path in run.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    return sorted((path for path in named if (path / STATE).is_file()), key=lambda path: int(path.name.split("-")[1]))


def newest_checkpoint(folder: str | Path) -> Path | None:
    """The complete checkpoint-N with the largest N, or None."""
    return next(reversed(checkpoints(Path(folder))), None)


def discard_unfinished(*folders: str | Path) -> None:
    """Remove what a killed run was writing."""
    for folder in folders:
        shutil.rmtree(Path(folder) / UNFINISHED, ignore_errors=True)


def require_same_course(checkpoint: Path, config: TrainConfig) -> None:
    """Raises: UserError when the checkpoint was made with settings that this run would break with."""
    file = checkpoint / config.FILE_NAME
    if not file.is_file():
        return  # older checkpoints do not tell
    then, now = json.loads(file.read_text())["settings"], json.loads(json.dumps(asdict(config)))
    # Without packs, batch x accumulation may be split anew; low-rank matrices mean nothing beside other weights.
    fixed = [*COURSE, *(["batch"] if config.pack else []), *(["mllm"] if config.low_rank else [])]
    changed = [f"{key} {then[key]!r} -> {now[key]!r}" for key in fixed if key in then and then[key] != now[key]]
    if changed:
        raise UserError(
            f"{str(checkpoint)!r} was made with other settings ({', '.join(changed)}); give the same ones, or "
            "another --output-dir and --checkpoint-dir to start afresh."
        )


def require_usable(checkpoint: Path, *, complete: bool = False) -> None:
    """Raises: UserError for one that is damaged, which names the one before it.

    Args:
        complete: see also that no file is missing.
    """
    before = [one for one in checkpoints(checkpoint.parent) if one.name != checkpoint.name]
    needed = NEEDED_OF_PARTS if any(checkpoint.glob("global_step*")) else NEEDED
    require_whole(checkpoint, before[-1] if before else None, needed if complete else ())


def save_data(folder: Path, sources: Sequence[DataSource], records: Sequence[Records]) -> None:
    """Write what `require_same_data` looks at."""
    (folder / DATA).write_text(json.dumps(_contents(sources, records), indent=2) + "\n")


def require_same_data(checkpoint: Path, sources: Sequence[DataSource], records: Sequence[Records]) -> None:
    """Raises: UserError when files hold other records than when the checkpoint was made."""
    if not (checkpoint / DATA).is_file():
        return  # older checkpoints do not tell
    pairs = zip(json.loads((checkpoint / DATA).read_text()), _contents(sources, records), strict=False)
    told = [f"{now['file']!r}: {_change(then, now)}" for then, now in pairs if _change(then, now)]
    if told:
        raise UserError(
            f"{str(checkpoint)!r} was made with other data ({', '.join(told)}); give back the same records, or another "
            "--output-dir and --checkpoint-dir to start afresh."
        )


def _contents(sources: Sequence[DataSource], records: Sequence[Records]) -> list[dict[str, Any]]:
    return [
        {"file": source.file, "records": len(each), "digest": each.digest()}
        for source, each in zip(sources, records, strict=True)
    ]


def _change(then: dict[str, Any], now: dict[str, Any]) -> str:
    if then["records"] != now["records"]:
        return f"{then['records']} -> {now['records']} records"
    return "" if then["digest"] == now["digest"] else f"other ones of its {now['records']} records"


def require_same_parts(checkpoint: Path, stage: int | None, processes: int) -> None:
    """Raises: UserError for a checkpoint that DeepSpeed cannot put together for this run.

    Args:
        stage: of ZeRO; None is no DeepSpeed.
        processes: that train together.
    """
    now, then = _parts(stage, processes), _parts_of(checkpoint)
    if now != then:
        raise UserError(
            f"{str(checkpoint)!r} was made {then}, but this run is {now}; give the same, or another --output-dir and "
            "--checkpoint-dir to start afresh."
        )


def _parts_of(checkpoint: Path) -> str:
    if not any(checkpoint.glob("global_step*")):
        return _parts(None, 1)
    parts = len(list(checkpoint.glob("global_step*/*optim_states.pt")))
    whole = not any(checkpoint.glob("global_step*/zero_*_model_states.pt"))
    return _parts(0 if not parts else 2 if whole else 3, parts)


def _parts(stage: int | None, processes: int) -> str:
    """What has to be the same: ZeRO cuts the optimizer's state into as many parts as there are processes."""
    if not stage:
        return "without DeepSpeed" if stage is None else "without ZeRO in DeepSpeed"
    return f"{'with ZeRO-3' if stage == 3 else 'with ZeRO-1 or 2'} on {processes} process(es)"


def publish(unfinished: Path, final: Path, keep: int) -> None:
    """Give a complete checkpoint its name, and only then delete those beyond the `keep` newest."""
    _flush(unfinished)
    shutil.rmtree(final, ignore_errors=True)
    unfinished.rename(final)
    with suppress(OSError):  # it is not empty where the finished model is being written
        unfinished.parent.rmdir()
    for old in checkpoints(final.parent)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)


def publish_model(unfinished: Path, folder: Path) -> None:
    """Move a complete model into a folder that may hold other things; config.json, the sign of it, comes last."""
    _flush(unfinished)
    for entry in sorted(unfinished.iterdir(), key=lambda path: path.name == "config.json"):
        target = folder / entry.name
        if target.is_dir():
            shutil.rmtree(target)
        entry.replace(target)
    unfinished.rmdir()


def _flush(folder: Path) -> None:
    """To the disk itself, so that a power cut cannot leave a name without its content."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


@contextmanager
def told_if_full(run: Path) -> Iterator[None]:
    """Raises: UserError when what is written inside does not fit on the disk; the last checkpoint stays."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as problem:
        if not _is_of_the_disk(problem):
            raise
        discard_unfinished(run)
        free = shutil.disk_usage(run).free / 2**30
        raise UserError(
            f"{str(run)!r} could not be written ({_reason(problem)}; {free:.1f} GiB are free): make room or choose "
            f"another --checkpoint-dir; the same command then {what_comes_next(run)}."
        ) from problem


def what_comes_next(run: Path) -> str:
    """What starting the same command again does."""
    last = newest_checkpoint(run)
    return f"goes on from {str(last)!r}" if last else "starts anew"


def require_room(run: Path) -> None:
    """Raises: OSError when another checkpoint as large as the last does not fit, before any of it is written."""
    last = newest_checkpoint(run)
    needed = sum(path.stat().st_size for path in last.rglob("*") if path.is_file()) if last else 0
    if needed > shutil.disk_usage(run).free:
        raise OSError(f"a checkpoint takes {needed / 2**30:.1f} GiB")


def _is_of_the_disk(problem: Exception) -> bool:
    """PyTorch and safetensors wrap what the system said in errors of their own."""
    wrapped = ("PytorchStreamWriter", "inline_container", "No space left", "I/O error")
    return isinstance(problem, OSError) or any(words in str(problem) for words in wrapped)


def _reason(problem: Exception) -> str:
    return getattr(problem, "strerror", None) or str(problem).splitlines()[0]

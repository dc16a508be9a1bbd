"""The folders `checkpoint-N` of a run: written whole or not at all, kept in number, found again.

What is being written lies in the folder `unfinished` of the run, and gets its name when it is whole.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from llmga.errors import UserError, reason

UNFINISHED = "unfinished"
LAST_WRITTEN = ("config.json", "model_index.json")  # the files by which a model folder is known
GIB = 1 << 30


def checkpoints(run: str | Path) -> list[Path]:
    """The `checkpoint-N` of a run that are not empty, the oldest first; folders of other names are left alone."""
    named = [path for path in Path(run).glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    return sorted((path for path in named if _has_files(path)), key=lambda path: int(path.name.split("-")[1]))


def _has_files(folder: Path) -> bool:
    try:
        return any(folder.iterdir())
    except FileNotFoundError:  # a run that is still going has deleted it meanwhile
        return False


def newest_checkpoint(run: str | Path) -> Path | None:
    """The one with the largest N, None where there is none."""
    return next(reversed(checkpoints(run)), None)


def discard_unfinished(*folders: str | Path) -> None:
    """Remove what a killed run was writing."""
    for folder in folders:
        shutil.rmtree(Path(folder) / UNFINISHED, ignore_errors=True)


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
    """Move a complete model into a folder that may hold other things; the file by which it is known comes last."""
    _flush(unfinished)
    for entry in sorted(unfinished.iterdir(), key=lambda path: path.name in LAST_WRITTEN):
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
def full_disk_explained(run: Path, flag: str) -> Iterator[None]:
    """While a checkpoint is written.

    Args:
        run: the folder of the run's checkpoints.
        flag: that chooses another one, such as `--run`.

    Raises:
        UserError: what is written does not fit on the disk; the last checkpoint stays.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as problem:
        if not _is_of_the_disk(problem):
            raise
        discard_unfinished(run)
        cause = getattr(problem, "strerror", None) or reason(problem)
        raise UserError(
            f"{str(run)!r} could not be written ({cause}; {shutil.disk_usage(run).free / GIB:.1f} GiB are free): make "
            f"room or choose another {flag}; the same command then {what_comes_next(run)}."
        ) from problem


def _is_of_the_disk(problem: Exception) -> bool:
    """PyTorch and safetensors wrap what the system said in errors of their own."""
    wrapped = ("PytorchStreamWriter", "inline_container", "No space left", "I/O error")
    return isinstance(problem, OSError) or any(words in str(problem) for words in wrapped)


def what_comes_next(run: Path) -> str:
    """What starting the same command again does."""
    last = newest_checkpoint(run)
    return f"goes on from {str(last)!r}" if last else "starts anew"


def require_room(run: Path) -> None:
    """See that another checkpoint as large as the last fits, before any of it is written.

    Raises:
        OSError: it does not.
    """
    last = newest_checkpoint(run)
    needed = size_of(last) if last else 0
    if needed > shutil.disk_usage(run).free:
        raise OSError(f"a checkpoint takes {needed / GIB:.1f} GiB")


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def require_same_settings(
    checkpoint: Path, before: Mapping[str, Any], now: Mapping[str, Any], free: Callable[[str], bool], afresh: str
) -> None:
    """See that a run goes on as it began.

    Args:
        checkpoint: that is taken up.
        before: the settings it was made with.
        now: those of this run, as JSON has them.
        free: whether the setting of this name may differ without changing the course of the run.
        afresh: the flags that let a run start anew.

    Raises:
        UserError: others differ, too.
    """
    changed = [_change(key, before.get(key), value) for key, value in now.items()
               if not free(key) and before.get(key) != value]  # fmt: skip
    if changed:
        raise UserError(f"{str(checkpoint)!r} was made with other settings ({', '.join(changed)}); "
                        f"give the same ones, or another {afresh} to start afresh.")  # fmt: skip


def _change(key: str, before: Any, now: Any) -> str:
    """What differs in a setting; of a list how many there are, or the first that is another one."""
    if not isinstance(before, list) or not isinstance(now, list):
        return f"{key} {before!r} -> {now!r}"
    if len(before) != len(now):
        return f"--{key} differs: {len(before)} {'sources' if key == 'data' else 'values'} before, {len(now)} now"
    number, then, this = next((number, *pair) for number, pair in enumerate(zip(before, now, strict=True), 1)
                              if pair[0] != pair[1])  # fmt: skip
    if not isinstance(this, dict):
        return f"{key} {number}: {then!r} -> {this!r}"
    return f"{key} {number}: " + ", ".join(_change(name, then.get(name), value) for name, value in this.items()
                                           if then.get(name) != value)  # fmt: skip


def check_writable(folder: str, flag: str = "--output") -> None:
    """Hours of training must not end in a folder that cannot be written.

    Args:
        folder: is made.
        flag: that chooses another one.

    Raises:
        UserError: nothing can be written there.
    """
    probe = Path(folder) / f".writable-{os.getpid()}"  # several processes may ask at once
    try:
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as problem:
        raise UserError(f"cannot write to {folder!r} ({problem.strerror}); choose another {flag}.") from None

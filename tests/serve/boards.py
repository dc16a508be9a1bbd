"""What a test sets and sees of a painter, here or in processes of their own."""

import os
import pickle
import threading
import time
from pathlib import Path
from typing import Any

TOTAL = 4  # steps of a picture
NEWEST = "newest"


class Board:
    """Of a painter in this process.

    Attributes:
        pace: seconds of a step.  `total`: steps of a picture.
        calls: what was asked for.  `done`: how many steps were finished.  `started`: set when a step is begun.
    """

    def __init__(self) -> None:
        self.pace, self.total, self.done = 0.0, TOTAL, 0
        self.calls: list[dict[str, Any]] = []
        self.started: threading.Event | Flag = threading.Event()

    def called(self, asked: dict[str, Any]) -> None:
        self.calls.append(asked)

    def stepped(self) -> None:
        self.done += 1


class FolderBoard:
    """The same of painters in other processes, in a folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.started = Flag(folder / "started")

    @property
    def pace(self) -> float:
        return float(self._read("pace", "0"))

    @pace.setter
    def pace(self, seconds: float) -> None:
        write(self.folder / "pace", str(seconds).encode())

    @property
    def total(self) -> int:
        return int(self._read("total", str(TOTAL)))

    @total.setter
    def total(self, steps: int) -> None:
        write(self.folder / "total", str(steps).encode())

    @property
    def calls(self) -> list[dict[str, Any]]:
        return [pickle.loads(file.read_bytes()) for file in sorted(self.folder.glob("*.call"))]

    @property
    def done(self) -> int:
        return len(self._read("done", ""))

    def called(self, asked: dict[str, Any]) -> None:
        kept = {name: value for name, value in asked.items() if not callable(value)}
        write(self.folder / f"{time.monotonic_ns():020}-{os.getpid()}.call", pickle.dumps(kept))

    def stepped(self) -> None:
        with (self.folder / "done").open("a") as file:
            file.write(".")

    def _read(self, name: str, usual: str) -> str:
        try:
            return (self.folder / name).read_text()
        except FileNotFoundError:
            return usual


class Flag:
    """An event that other processes see."""

    def __init__(self, file: Path):
        self.file = file

    def set(self) -> None:
        self.file.touch()

    def is_set(self) -> bool:
        return self.file.exists()

    def wait(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while not self.is_set() and time.monotonic() < until:
            time.sleep(0.01)
        return self.is_set()


def write(file: Path, content: bytes) -> None:
    """Write a file that others see whole or not at all."""
    begun = file.with_name(f"{file.name}.{os.getpid()}.{threading.get_ident()}.begun")
    begun.write_bytes(content)
    begun.replace(file)


def begin(folder: Path) -> FolderBoard:
    """A new board below a folder; painters write on it from their next call on."""
    made = FolderBoard(folder / f"{time.monotonic_ns():020}")
    write(folder / NEWEST, made.folder.name.encode())
    return made


def newest(folder: Path) -> FolderBoard:
    """The board on which a call of now is noted."""
    return FolderBoard(folder / (folder / NEWEST).read_text())

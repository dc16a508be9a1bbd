"""The door of Serve's proxy, with bounds and deadlines that a test chooses in a file; Ray imports it by its name."""

import json
import os
import threading
import time
from pathlib import Path

from starlette.middleware import Middleware
from uvicorn.config import HTTP_PROTOCOLS

from llmga.serve.api import connections
from llmga.serve.api.connections import ConnectionLimiter
from llmga.serve.cluster import door
from tests.serve.boards import write

VARIABLE = "LLMGA_TRIED_DOOR"  # of the environment: a folder
WANTED, APPLIED, HELD = "wanted.json", "applied.json", "held"
DEADLINES = ("HEADERS_TIMEOUT", "BODY_TIMEOUT", "READ_TIMEOUT", "MIN_RATE")
LIMITS = ("max_total", "max_per_address")


def guard() -> list[Middleware]:
    made = door.guard()
    limiter = HTTP_PROTOCOLS["auto"].limiter
    threading.Thread(target=follow, args=(limiter, Path(os.environ[VARIABLE])), daemon=True).start()
    return made


def follow(limiter: ConnectionLimiter, folder: Path) -> None:
    """Do as the file says, and tell how many connections there are."""
    usual = {name: getattr(connections, name) for name in DEADLINES} | {name: getattr(limiter, name) for name in LIMITS}
    applied = held = None
    while True:
        wanted = read(folder / WANTED)
        if wanted != applied:
            for name, value in (usual | chosen(wanted)).items():
                setattr(connections if name in DEADLINES else limiter, name, value)
            applied = wanted
            write(folder / APPLIED, applied.encode())
        if limiter.counts.total() != held:
            held = limiter.counts.total()
            write(folder / HELD, str(held).encode())
        time.sleep(0.02)


def chosen(wanted: str) -> dict[str, float]:
    return {name: value for name, value in json.loads(wanted).items() if name in (*DEADLINES, *LIMITS)}


def read(file: Path) -> str:
    return file.read_text() if file.exists() else "{}"


class TriedDoor:
    """That door, from the test's side.

    Args:
        folder: of both sides.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def becomes(self, **values: float) -> None:
        """Have those bounds and deadlines, the others as usual."""
        wanted = json.dumps(values | {"turn": time.monotonic_ns()})
        write(self.folder / WANTED, wanted.encode())
        until = time.monotonic() + 30
        while read(self.folder / APPLIED) != wanted:
            assert time.monotonic() < until, "the door does not follow"
            time.sleep(0.01)

    def held(self) -> int:
        """How many connections there are."""
        return int(read(self.folder / HELD))

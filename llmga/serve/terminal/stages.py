"""What a program is loading, told stage by stage while a person waits: the name, and for how long already."""

import os
import sys
import time
from collections.abc import Mapping
from threading import Event, Thread
from typing import TextIO

FRAMES = "\u280b\u2819\u2839\u2838\u283c\u2834\u2826\u2827\u2807\u280f"  # a dot that runs around
PAUSE = 0.1  # seconds between two of them
DIM, PLAIN, CLEAR = "\033[2m", "\033[0m", "\r\033[K"


class Stages:
    """Tells what is loading: `stages("the painter")` begins a stage and ends the one before.

    The cursor stays where it is seen: a Ctrl-C in the midst of an import ends the process as it is.

    Args:
        out: where it is told.
        environment: the variables of the process.
        told: False tells nothing.
    """

    def __init__(self, out: TextIO, environment: Mapping[str, str], *, told: bool = True):
        self._out, self._told = out, told
        self._moves = environment.get("TERM", "dumb") not in ("dumb", "")
        self._dim, self._plain = ("", "") if environment.get("NO_COLOR") else (DIM, PLAIN)
        self._began = self._first = time.monotonic()
        self._what, self._ended, self._thread = "", Event(), Thread()

    def __call__(self, what: str) -> None:
        """Begin a stage, such as "the painter my-sdxl"."""
        self._end_stage()
        self._what, self._began = what, time.monotonic()
        if self._told and self._moves:
            self._ended = Event()
            self._thread = Thread(target=self._turn, args=(what, self._ended), daemon=True)
            self._thread.start()
        elif self._told:
            self._say(f"loading {what}\n")

    @property
    def seconds(self) -> float:
        """How long all has taken."""
        return time.monotonic() - self._first

    def close(self) -> None:
        """End the last stage."""
        self._end_stage()

    def __enter__(self) -> "Stages":
        return self

    def __exit__(self, problem: object, *_: object) -> None:
        if problem is None:
            self.close()
        elif self._what:
            self._stop_turning()
            self._say(CLEAR if self._told and self._moves else "")

    def _turn(self, what: str, ended: Event) -> None:
        number = 0
        while not ended.is_set():
            dot, taken = FRAMES[number % len(FRAMES)], time.monotonic() - self._began
            self._say(f"{CLEAR}{self._dim}{dot} loading {what} \u2026 {taken:.0f} s{self._plain}")
            number += 1
            ended.wait(PAUSE)

    def _end_stage(self) -> None:
        if not self._what:
            return
        self._stop_turning()
        if self._told and self._moves:
            taken = time.monotonic() - self._began
            self._say(f"{CLEAR}{self._dim}loaded {self._what} in {taken:.1f} s{self._plain}\n")
        self._what = ""

    def _stop_turning(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _say(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def stages_for_person() -> Stages:
    """What tells a person at a terminal what is loading, and nothing where a program reads or writes."""
    return Stages(sys.stderr, os.environ, told=sys.stdin.isatty() and sys.stderr.isatty())

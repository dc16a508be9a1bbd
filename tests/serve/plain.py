"""Models that obey the contracts and answer at once; they can be had in another process, too."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from llmga.assistant.fair_lock import FairLock
from llmga.assistant.loading import Models
from llmga.compositing import paste_back
from llmga.diffrir.restorers import RESTORERS
from llmga.errors import UserError
from llmga.llava.planner import Planner
from llmga.serve.api.service import Service
from llmga.serve.cluster.replicas import Words
from tests.serve.boards import TOTAL, Board, FolderBoard, newest

COLOURS = {"red": (250, 0, 0), "green": (0, 250, 0), "blue": (0, 0, 250)}


class EchoPlanner(Planner):
    """Says the mean colour of a picture that it is shown, paints what it is told to, and repeats anything else."""

    steers = True

    def _answer(self, asked, sampling, cancelled):
        last = asked.messages[-1]
        self.ended_by = "marker"
        for piece in self._reply(last, sampling, asked).split(" "):
            if cancelled():
                self.ended_by = "caller"
                return
            yield piece + " "

    def _reply(self, last, sampling, asked):
        if "history" in last.text:
            told = " | ".join(message.text for message in asked.messages[:-1])
            return told.replace("<", "{").replace(">", "}")
        if "process" in last.text:
            return f"process {os.getpid()}"
        if "system" in last.text:
            return str(asked.system)
        if last.images and sampling.picture == "auto":
            return " ".join("{} {} {}".format(*colour_of(image)) for image in last.images)
        if sampling.picture == "always" or "paint" in last.text:
            return f"Gladly. <gen_image> {last.text} </gen_image> There."
        return f"You said: {last.text}"


def colour_of(image):
    return np.asarray(image.convert("RGB")).reshape(-1, 3).mean(0).round().astype(int)


class PlainPainter(Board):
    """Paints the first colour that the prompt names; where there is a mask, only there.

    Args:
        boards: of a folder, for painters whose process is not the test's; else this is its own.
    """

    path = "/secret/place/plain"

    def __init__(self, boards: Path | None = None):
        super().__init__()
        self.boards = boards

    def __call__(
        self,
        prompt,
        image=None,
        mask=None,
        *,
        seed=0,
        size=None,
        on_step=None,
        on_preview=None,
        restore=None,
        **options,
    ):
        board: Board | FolderBoard = self if self.boards is None else newest(self.boards)
        board.called({"prompt": prompt, "image": image, "mask": mask, "seed": seed, "size": size} | options)
        if "forbidden" in prompt:
            raise UserError(f"{self.path!r} does not paint this forbidden prompt (--size 8); ask for another.")
        if "broken" in prompt:
            raise RuntimeError("the secret inside")
        total = board.total
        for step in range(1, total + 1):
            board.started.set()
            time.sleep(board.pace)
            board.stepped()
            if on_preview is not None:
                on_preview(step, Image.new("RGB", (4, 4)))
            on_step(step, total)
        if "noise" in prompt:
            return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8))
        named = next((rgb for name, rgb in COLOURS.items() if name in prompt), (9, 9, 9))
        if "process" in prompt:
            named = (os.getpid() >> 16 & 255, os.getpid() >> 8 & 255, os.getpid() & 255)
        painted = Image.new("RGB", size or (image.size if image else (16, 8)), named)
        return painted if mask is None else paste_back(image, restore(painted, image, mask), mask)

    def use_sampler(self, name=None):
        pass

    def report(self, prompt):
        return ""

    def describe(self, **given):
        own = {"family": "plain", "sampler": "Plain", "steps": TOTAL, "guidance_scale": 2.5}
        return own | {name: value for name, value in given.items() if value is not None}


class Noted:
    """A handle of painters, and the board on which they note what is asked of them."""

    def __init__(self, handle: Any, board: FolderBoard):
        self._handle, self.board = handle, board

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handle, name)


def painter_of(service: Service) -> Board | FolderBoard:
    pipeline = service.engine.models.pipeline
    if isinstance(pipeline, PlainPainter):
        return pipeline
    return pipeline.handle.board if isinstance(pipeline.handle, Noted) else pipeline.handle.replica.models.pipeline


def lock_of(service: Service) -> FairLock:
    """Where pictures wait for their turn."""
    models = service.engine.models
    return models.lock if isinstance(models.pipeline, PlainPainter) else models.pipeline.handle.replica.models.lock


class PlainSource:
    """Where replicas get these models from.

    Args:
        boards: see `PlainPainter`.
    """

    def __init__(self, boards: Path | None = None):
        self.boards = boards

    def words(self):
        return Words(EchoPlanner, (), 4)

    def painter(self):
        return Models(EchoPlanner, PlainPainter(self.boards), RESTORERS["none"], ())

"""Models that obey the contracts and answer at once; they can be had in another process, too."""

import os
import threading
import time

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


class PlainPainter:
    """Paints the first colour that the prompt names; where there is a mask, only there.

    Attributes:
        pace: seconds of a step.  `started`: set when a step is begun.  `done`: how many steps were finished.
    """

    total = 4
    path = "/secret/place/plain"

    def __init__(self):
        self.pace, self.done, self.calls = 0.0, 0, []
        self.started = threading.Event()

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
        self.calls.append({"prompt": prompt, "image": image, "mask": mask, "seed": seed, "size": size} | options)
        if "forbidden" in prompt:
            raise UserError(f"{self.path!r} does not paint this forbidden prompt (--size 8); ask for another.")
        if "broken" in prompt:
            raise RuntimeError("the secret inside")
        for step in range(1, self.total + 1):
            self.started.set()
            time.sleep(self.pace)
            self.done += 1
            if on_preview is not None:
                on_preview(step, Image.new("RGB", (4, 4)))
            on_step(step, self.total)
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
        own = {"family": "plain", "sampler": "Plain", "steps": self.total, "guidance_scale": 2.5}
        return own | {name: value for name, value in given.items() if value is not None}


def painter_of(service: Service) -> PlainPainter:
    pipeline = service.engine.models.pipeline
    return pipeline if isinstance(pipeline, PlainPainter) else pipeline.handle.replica.models.pipeline


def lock_of(service: Service) -> FairLock:
    """Where pictures wait for their turn."""
    models = service.engine.models
    return models.lock if isinstance(models.pipeline, PlainPainter) else models.pipeline.handle.replica.models.lock


class PlainSource:
    """Where replicas get these models from.

    Attributes:
        pace: seconds of a step.
    """

    def __init__(self, pace=0.0):
        self.pace = pace

    def words(self):
        return Words(EchoPlanner, (), 4)

    def painter(self):
        painter = PlainPainter()
        painter.pace = self.pace
        return Models(EchoPlanner, painter, RESTORERS["none"], ())

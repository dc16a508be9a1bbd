"""A visit to the page, and the steps that it is made of: what a person does, and what is to be seen then."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from llmga.assistant.loading import Models
from tests.serve.page.driver import Asked, Driver, slowed


@dataclass
class Visit:
    """What a step has at hand.

    Attributes:
        tab: the browser's tab.
        other: a second one of the same visitor, once there is one.
        models: of the page.
        asked: hosts beyond this machine that the server turned to.
        folder: for files.
        kept: what a later step compares with.
        slow: holds the painter back, see `slow_down`, until it is closed.
    """

    tab: Driver
    models: Models
    asked: Asked
    folder: Path
    other: Driver | None = None
    kept: dict[str, Any] = field(default_factory=dict)
    slow: ExitStack = field(default_factory=ExitStack)

    def slow_down(self) -> None:
        """Let paintings last until they are stopped."""
        self.slow.enter_context(slowed(self.models, later=5))

    def pixels(self, number: int) -> np.ndarray:
        """A picture of the conversation: height × width × 3."""
        return np.asarray(self.tab.picture(number).convert("RGB")).astype(int)

    def photo(self, colour: str) -> Path:
        """The file of a picture that a person has."""
        Image.new("RGB", (64, 64), colour).save(file := self.folder / f"{colour}.png")
        return file


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        name: what is done; of its screenshot, too.
        act: does it, and asserts what is to be seen after it.
        task: what somebody wanted who did just this; "" where it is not counted.
        least: clicks and keys that the task takes on a page where everything is in reach and the message box keeps the
            focus: one for each thing that only the person can say, and one to send it.
    """

    name: str
    act: Callable[[Visit], None]
    task: str = ""
    least: int = 0


class Steps(list[Step]):
    """Steps in their order; used as a decorator it adds one."""

    def __call__(self, name: str, task: str = "", least: int = 0) -> Callable[[Callable[[Visit], None]], None]:
        return lambda act: self.append(Step(name, act, task, least))

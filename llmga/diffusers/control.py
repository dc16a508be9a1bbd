"""What guides a painting beside the words, as people write it: `canny:0.6,depth:0.5:0-0.8`."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from llmga.choices import CONTROLS
from llmga.errors import UserError
from llmga.registry import Registry, registered

if TYPE_CHECKING:
    from PIL import Image

MOST_CONTROLS = 4  # at once: each ControlNet computes about half as much as the denoiser
LARGEST_SCALE = 2.0
LONGEST_TEXT = 300  # characters
OFF, READY, IP_ADAPTER = "off", "map", "ip-adapter"
FORM = "NAME[:SCALE][:START-END][:map]"
_NUMBER = r"\d{1,4}(?:\.\d{0,6})?|\.\d{1,6}"
_SPAN = re.compile(rf"({_NUMBER})-({_NUMBER})")


@dataclass(frozen=True)
class Control:
    """One way in which a picture guides a painting.

    Attributes:
        name: a row of `llmga.diffusers.control_maps.CONTROLS`: what is taken from the picture.
        scale: how much, 0 to 2.
        start: the share of the steps after which it begins, 0 to 1.
        end: the share of the steps after which it ends, above `start` up to 1.
        ready: the picture is the map itself, such as drawn edges, and nothing is taken from it.
        image: the picture; None is the one that is repainted.

    Raises:
        UserError: for an unknown name, or a number out of range.
    """

    name: str
    scale: float = 1.0
    start: float = 0.0
    end: float = 1.0
    ready: bool = False
    image: "Image.Image | None" = field(default=None, repr=False)

    def __post_init__(self) -> None:
        Registry("control", dict.fromkeys((*CONTROLS, *registered("control"))))[self.name]
        if not 0 <= self.scale <= LARGEST_SCALE:
            raise UserError(f"control {self.name!r} has the scale {self.scale:g}; use 0 to {LARGEST_SCALE:g}.")
        if not 0 <= self.start < self.end <= 1:
            raise UserError(f"control {self.name!r} works from {self.start:g} to {self.end:g} of the steps; use two "
                            "shares from 0 to 1, such as 0-0.8.")  # fmt: skip
        if self.name == IP_ADAPTER and (self.start, self.end) != (0, 1):
            raise UserError("an ip-adapter works in all steps; leave its START-END out.")

    def __str__(self) -> str:
        """As `parse_controls` reads it."""
        scale = "" if self.scale == 1 else f":{self.scale:g}"
        span = "" if (self.start, self.end) == (0, 1) else f":{self.start:g}-{self.end:g}"
        return f"{self.name}{scale}{span}{f':{READY}' if self.ready else ''}"


def parse_controls(text: str, images: "Sequence[Image.Image | None]" = ()) -> tuple[Control, ...]:
    """What a person typed.

    Args:
        text: `NAME[:SCALE][:START-END][:map]`, several with commas between them; "off" is none at all.
        images: the pictures in the same order; those that are left out are None.

    Raises:
        UserError: for what is unclear, unknown or out of range, more than `MOST_CONTROLS`, and more pictures than
            controls.
    """
    parts = [part.strip() for part in text.lower().split(",")] if len(text) <= LONGEST_TEXT else []
    if parts == [OFF]:
        parts = []
    elif not 1 <= len(parts) <= MOST_CONTROLS:
        raise UserError(f"control {text[:40]!r} is none or too long; give 1 to {MOST_CONTROLS} of the form {FORM}, "
                        f"with commas between them, or {OFF}.")  # fmt: skip
    if len(images) > len(parts):
        raise UserError(f"{len(images)} control pictures are more than the {len(parts)} controls; give one for each.")
    pictures = [*images, *[None] * (len(parts) - len(images))]
    return tuple(replace(_parsed(part), image=image) for part, image in zip(parts, pictures, strict=True))


def controls_text(controls: Iterable[Control]) -> str:
    """The inverse of `parse_controls`."""
    return ",".join(map(str, controls)) or OFF


def parse_words(text: str) -> tuple[Control, str]:
    """What a person typed with blanks between: `canny 0.6 0-0.8 map photo.jpg`.

    Returns:
        The control, and what is left: the name of a file.

    Raises:
        UserError: as `parse_controls`.
    """
    name, _, rest = text.strip().partition(" ")
    words = [name]
    while _word(rest.strip().partition(" ")[0].lower()):
        word, _, rest = rest.strip().partition(" ")
        words.append(word)
    (control,) = parse_controls(":".join(words)) or (None,)
    if control is None:
        raise UserError(f"{OFF!r} stands alone; write {FORM.replace('[:', ' [')} [FILE].")
    return control, rest.strip()


def _parsed(text: str) -> Control:
    name, *words = (word.strip() for word in text.split(":"))
    given: dict[str, float | bool] = {}
    for word in words:
        found = _word(word)
        if not found or found.keys() & given.keys():
            raise UserError(f"control {text!r} is unclear at {word!r}; write it as {FORM}, such as canny:0.6:0-0.8.")
        given |= found
    return Control(name, **given)  # type: ignore[arg-type]  # as `_word` finds them


def _word(word: str) -> dict[str, float | bool]:
    if word == READY:
        return {"ready": True}
    if span := _SPAN.fullmatch(word):
        return {"start": float(span[1]), "end": float(span[2])}
    scale = float(word) if re.fullmatch(_NUMBER, word) else math.nan
    return {} if math.isnan(scale) else {"scale": scale}

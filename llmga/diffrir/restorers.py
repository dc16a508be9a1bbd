"""Restorers: a painted picture and its reference in, the picture in which both agree out."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from PIL import Image

from llmga.choices import RESTORER, SCALES
from llmga.diffrir.checkpoints import default_path
from llmga.diffrir.matching import match
from llmga.diffrir.restorer import DiffRIR, open_diffrir
from llmga.errors import UserError, named_arguments
from llmga.inputs import as_pictures
from llmga.registry import Registry

# restorer(image, reference, mask) -> image: the painted picture, the picture before painting (None when there was
# none) and the mask whose white part was painted (None for all of it).  The painted picture shows the kept region as
# it was painted, too: only so can a restorer see how far off the painting is.  Each may be a Pillow image, a path or an
# array, as in `inputs.as_picture`.
Restorer = Callable[[Image.Image, Image.Image | None, Image.Image | None], Image.Image]


def none(image: Image.Image, reference: Image.Image | None = None, mask: Image.Image | None = None) -> Image.Image:
    """Leave the picture as it was painted."""
    return as_pictures(image, reference, mask)[0]


def match_only(
    image: Image.Image, reference: Image.Image | None = None, mask: Image.Image | None = None
) -> Image.Image:
    """Fit the tone."""
    return match(*as_pictures(image, reference, mask))


def match_and_blend(
    image: Image.Image, reference: Image.Image | None = None, mask: Image.Image | None = None
) -> Image.Image:
    """Fit the tone, then blend what still differs at the seam into the painted region."""
    return match(*as_pictures(image, reference, mask), blend=True)


@dataclass
class LazyDiffRIR:
    """A DiffRIR network of one scale; its weights are opened when it is first called.

    Attributes:
        scale: sides of the result over sides of the picture, 1, 2 or 4.
        path: weights; None takes those in the model directory, `checkpoints/Inference`.
    """

    scale: int
    path: str | Path | None = None
    device: str = "auto"

    @cached_property
    def restorer(self) -> DiffRIR:
        """The network, opened.

        Raises:
            UserError: when there are no such weights.
        """
        return open_diffrir(self.path or default_path(self.scale), self.scale, device=self.device)

    def __call__(
        self, image: Image.Image, reference: Image.Image | None = None, mask: Image.Image | None = None
    ) -> Image.Image:
        return self.restorer(image, reference, mask)


RESTORERS: Registry[Restorer] = Registry(
    "restorer",
    {
        "none": none,
        "match": match_only,
        "match+blend": match_and_blend,
        **{f"diffrir-x{scale}": LazyDiffRIR(scale) for scale in (1, *SCALES)},
    },
)


@named_arguments()
def load_restorer(name: str | None = None, path: str | Path | None = None, device: str = "auto") -> Restorer:
    """Load a restorer, which makes a painted picture agree with what it was painted into.

    Args:
        name: a row of `RESTORERS`, those registered from outside included; None is `match+blend`, or with a path the
            DiffRIR network that lies there.
        path: weights, for the rows that have some; None takes those in the model directory, `checkpoints/Inference`.
        device: auto, cpu, cuda, cuda:N or mps.

    Returns:
        `restorer(image, reference, mask) -> image`: RGB pictures and a mask of mode L, white where it was painted;
        without reference and mask the whole picture is enlarged, or left as it is.

    Raises:
        UserError: for an unknown name, and for weights that are missing, damaged, of another scale or not wanted.
    """
    if name is None and path is not None:
        return open_diffrir(path, device=device)
    row = RESTORERS[RESTORER if name is None else name]
    if isinstance(row, LazyDiffRIR):
        return open_diffrir(path or default_path(row.scale), row.scale, device=device)
    if path is not None:
        raise UserError(f"restorer {name!r} has no weights, but {str(path)!r} was given; choose a diffrir row.")
    return row


def restorer_name(restorer: Restorer) -> str:
    """The row that a restorer is, or wraps (`functools.wraps`); of one that is none, what its kind is called."""
    restorer = inspect.unwrap(restorer)
    rows = (name for name, row in RESTORERS.items() if row is restorer)
    own = f"diffrir-x{restorer.scale}" if isinstance(restorer, DiffRIR | LazyDiffRIR) else None
    return own or next(rows, None) or str(getattr(restorer, "__name__", type(restorer).__name__))

"""Where records come from: one flag per source."""

from dataclasses import dataclass
from typing import Any

from llmga.errors import UserError
from llmga.llava.datasets.base import Phrasing
from llmga.llava.datasets.kinds import KINDS
from llmga.llava.datasets.layouts import LAYOUTS
from llmga.llava.datasets.mapping import renaming

NAMES = {"images": "image_folder", "share": "share", "per_vqa": "per_vqa", "layout": "layout",
         "language": "language", "paint": "paint"}  # fmt: skip
NUMBERS = ("share", "per_vqa", "paint")


@dataclass(frozen=True)
class DataSource:
    """One file of records, or the shards of one.

    Attributes:
        kind: a key of `KINDS`.
        file: a file of `FILE_KINDS`, a pattern such as data/*.jsonl, a folder of shards, a data set as the `datasets`
            library saves it, or one of the Hub (`owner/name`).
        image_folder: where the records' picture names start: a folder or an lmdb; several, separated by ";", are
            searched in order.
        share: how much of it an epoch takes: 0.5 a random half, 2 everything twice.
        per_vqa: instead of `share`: how many samples all sources of this kind give together, over the number of
            records of kind vqa; each gives by its size.
        layout: how its records are written, a key of `LAYOUTS`.
        language: of the questions, a row of `instructions.INSTRUCTIONS`; "auto" goes by each caption.
        paint: how often a picture is asked for instead of a description (default: the kind's own share).
        columns: other names of its records' keys, as in question=query,answer=response.
    """

    kind: str
    file: str
    image_folder: str = ""
    share: float = 1.0
    per_vqa: float | None = None
    layout: str = "2024"
    language: str = "auto"
    paint: float | None = None
    columns: str = ""

    @property
    def phrasing(self) -> Phrasing:
        """In which words it asks, and how often for a picture."""
        return Phrasing(self.language, self.paint)

    @classmethod
    def parse(cls, text: str) -> "DataSource":
        """Read `kind=file[,images=folder][,share=number]…`, the words of `NAMES`.

        Raises:
            UserError: for a text of another form, and a number that is none.
        """
        (kind, _, file), *rest = (part.partition("=") for part in text.split(","))
        options = {name: value for name, _, value in rest}
        if not file or not options.keys() <= NAMES.keys() or len(options) < len(rest):
            raise UserError(
                f"data source {text!r} must look like kind=file,images=folder,share=1.0; "
                f"known are {', '.join(NAMES)}, each once."
            )
        return cls(kind, file, **{NAMES[name]: _value(name, value, text) for name, value in options.items()})

    def check(self) -> None:
        """See whether the source can be read as it says.

        Raises:
            UserError: for an unknown kind, layout or language, and for a number beyond its limits.
        """
        kind = KINDS[self.kind]
        LAYOUTS[self.layout]
        renaming(self.columns)
        self.phrasing.check()
        for name, number in (("share", self.share), ("per_vqa", self.per_vqa)):
            if number is not None and not 0 < number < 1000:
                raise UserError(f"the {name} of {self.file!r} is {number}, but must be between 0 and 1000.")
        if self.per_vqa is not None and (self.share != 1 or self.kind == "vqa"):
            raise UserError(
                f"per_vqa of {self.file!r} is a size of its own, for kinds but vqa; leave one of the two out."
            )
        if self.paint is not None and (kind.paint is None or not 0 <= self.paint <= 1):
            raise UserError(
                f"paint of {self.file!r} is {self.paint}, but must be from 0 to 1, for the kinds sg and t2i."
            )


def _value(name: str, text: str, whole: str) -> Any:
    if name not in NUMBERS:
        return text
    try:
        return float(text)
    except ValueError:
        raise UserError(f"the {name} in data source {whole!r} must be a number.") from None

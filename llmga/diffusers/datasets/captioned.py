"""Pictures with captions, from several lists and tables, by one running number."""

import base64
import binascii
import io
import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from PIL import Image

from llmga.diffusers.datasets.archives import read_at
from llmga.diffusers.datasets.image_stores import ImageStore, open_image_stores
from llmga.diffusers.datasets.sources import read_source
from llmga.diffusers.datasets.tables import has_several, is_text
from llmga.errors import UserError
from llmga.fingerprints import digest, picture_stand_ins
from llmga.images import open_image
from llmga.training.skipped import Unreadable

if TYPE_CHECKING:
    from datasets import Dataset

ADDRESS = "data:"  # begin of a name that is the picture itself, in base64
TURNED = range(5, 9)  # EXIF orientations that swap width and height


class CaptionedImages:
    """The records of all sources.

    Args:
        data: what `sources.read_source` reads.
        stores: folders and LMDBs of the pictures that lists name.
        cache: where tables are unpacked.
        originals: JSON of picture name -> the caption that it was found with; taken `share` of the time.
        prior: sources of what the model is to go on painting as it did; their pictures stand behind those of `data`, as
            many of them as there are of those: repeated, or the first ones.

    Raises:
        UserError: something is missing, empty or of another form.
    """

    tables: "list[Dataset]"
    texts: "list[Dataset]"

    def __init__(
        self,
        data: Sequence[str],
        stores: Sequence[str],
        cache: Path,
        *,
        originals: str | None = None,
        share: float = 0.05,
        prior: Sequence[str] = (),
    ):
        self.names: list[str] = [*data, *prior]
        self.tables = [read_source(Path(path), cache) for path in self.names]
        self.ends: list[int] = list(accumulate(map(len, self.tables)))
        self.learnt: int = self.ends[len(data) - 1]  # records of `data`; those behind are prior ones
        self.named: list[bool] = [is_text(table, "image") for table in self.tables]
        # Rows without the pictures that came with them, so that a caption can be read without one.
        self.texts = [
            table if named else table.remove_columns("image")
            for table, named in zip(self.tables, self.named, strict=True)
        ]
        reads = any(self.named) or any(map(_has_masks, self.tables))
        self.stores: list[ImageStore] = open_image_stores(stores) if reads else []
        self.originals: dict[str, str] = _read_originals(originals)
        self.share = share

    def __len__(self) -> int:
        return self.learnt * (2 if self.learnt < self.ends[-1] else 1)

    def is_prior(self, index: int) -> bool:
        """Whether the record keeps what the model paints already, instead of teaching something."""
        return index >= self.learnt

    def digest(self) -> str:
        """Of names, captions and pictures that came with them, in their order; not of pictures in `stores`."""
        columns = [_parts(table, name) for table in self.tables for name in table.column_names]
        return digest(chain(*columns, *self.originals.items()))

    def _at(self, index: int) -> tuple[int, int]:
        """Number of the table, and row in it."""
        if index >= self.learnt:
            index = self.learnt + (index - self.learnt) % (self.ends[-1] - self.learnt)
        table = bisect_right(self.ends, index)
        return table, index - (self.ends[table - 1] if table else 0)

    def _text(self, index: int) -> dict[str, Any]:
        table, row = self._at(index)
        return self.texts[table][row]

    def caption(self, index: int, rng: Random) -> str:
        """The record's caption, or one of its captions, or now and then the one that the picture was found with."""
        caption = self._text(index)["caption"]
        if not isinstance(caption, str):
            caption = rng.choice(caption) if caption else ""
        if self.originals and rng.random() < self.share:
            return self.originals.get(self.name(index), caption)
        return caption

    def captions(self) -> Iterator[str]:
        """Every caption that `caption` may give, some of them several times."""
        for table in self.tables:
            column = table["caption"]
            yield from (said or "" for said in (chain.from_iterable(column) if has_several(table) else column))
        yield from self.originals.values()

    def name(self, index: int) -> str:
        """What tells this record's picture from all others."""
        table, row = self._at(index)
        found = self.texts[table][row]
        if self.named[table] and not found["image"].startswith(ADDRESS):
            return found["image"]
        return f"{self.names[table]}#{found.get('same_as', row)}"

    def stamp(self, index: int) -> str:
        """What changes when the picture does; nothing when it is not there."""
        table, row = self._at(index)
        if not self.named[table]:
            return self.tables[table]._fingerprint
        name = self.texts[table][row]["image"]
        if name.startswith(ADDRESS):
            return digest([name])
        return next((stamp for store in self.stores if (stamp := store.stamp(name))), "")

    def picture(self, index: int) -> Image.Image:
        """RGB, upright, every pixel kept; raises `Unreadable` for one that is damaged or nowhere."""
        return self._opened(self._source(index), self.name(index))

    def mask(self, index: int) -> Image.Image | None:
        """The record's own mask, gray, white where to paint; None where one is to be drawn."""
        name = self._text(index).get("mask")
        return name and self._opened(self._found(name), name).convert("L")

    def size(self, index: int) -> tuple[int, int]:
        """(height, width) in pixels of the upright picture, without reading it whole; raises `Unreadable`."""
        source = self._source(index)
        try:
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
                turned = image.getexif().get(0x0112) in TURNED
                return image.size if turned else image.size[::-1]
        except MemoryError:
            raise
        except Exception:  # as `open_image`, whatever a decoder stumbles over
            raise Unreadable(f"the training picture {self.name(index)!r} is not readable; save it again.") from None

    def _source(self, index: int) -> Path | bytes:
        table, row = self._at(index)
        found = self.tables[table][row]
        image = found["image"]
        if self.named[table]:
            return self._found(image)
        if "at" in found:
            return read_at(Path(image["path"]), found["at"], found["size"])
        if isinstance(image, bytes):
            return image
        encoded, path = ((image or {}).get(part) for part in ("bytes", "path"))
        if encoded is not None:
            return encoded
        if path is None:
            raise Unreadable(f"the training picture {self.name(index)!r} is empty; take the row out or fill it.")
        return Path(path)

    def _found(self, name: str) -> Path | bytes:
        if name.startswith(ADDRESS):
            return _in_address(name)
        for store in self.stores:
            if (found := store.find(name)) is not None:
                return found
        raise Unreadable(f"the training picture {name!r} is in none of --images; check the list and the folders.")

    @staticmethod
    def _opened(source: Path | bytes, name: str) -> Image.Image:
        try:
            return open_image(source, working_side=None, name="it" if isinstance(source, bytes) else None)
        except UserError as problem:
            raise Unreadable(f"the training picture {name!r} cannot be used: {problem}") from None


def _in_address(name: str) -> bytes:
    """The picture that a `data:` address holds."""
    try:
        return base64.b64decode(name.partition(",")[2], validate=True)
    except binascii.Error:
        raise Unreadable(f"the training picture {name[:40]!r}… is no base64; write it again.") from None


def _parts(table: Any, name: str) -> Iterator[str | None]:
    column = table.data.column(name)
    return picture_stand_ins(column) if name == "image" and not is_text(table, name) else _texts(column)


def _texts(column: Any) -> Iterator[str | None]:
    """Numbers and lists as texts, too."""
    for chunk in column.chunks:
        yield from (each if each is None or isinstance(each, str) else repr(each) for each in chunk.to_pylist())


def _has_masks(table: Any) -> bool:
    masks = table.data.column("mask") if "mask" in table.column_names else None
    return masks is not None and masks.null_count < len(masks)


def _read_originals(path: str | None) -> dict[str, str]:
    if path is None:
        return {}
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as problem:
        raise UserError(f"cannot read the captions {path!r} ({problem.strerror}); check --originals.") from None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise UserError(f"{path!r} must be a JSON object of picture names and captions; check --originals.")
    return found

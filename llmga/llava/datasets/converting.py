"""Any readable source in our own form: what is learnt of each record is kept, and what is left out is counted."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from llmga.errors import UserError
from llmga.images import open_image
from llmga.llava.conversation import Conversation
from llmga.llava.datasets.base import Kind, Record, UnusableRecord
from llmga.llava.datasets.kinds import KINDS
from llmga.llava.datasets.left_out import MALFORMED, REASONS
from llmga.llava.datasets.mixture import conversation_of, open_sources
from llmga.llava.datasets.pictures import MISSING, called, find_picture
from llmga.llava.datasets.records import Records
from llmga.llava.datasets.sources import DataSource
from llmga.llava.datasets.writing import Writer, writer

EXAMPLES = 3  # places that are named for each reason
SIDE = 64  # pixels to which a picture is decoded to see that it can be: a JPEG's coarse form is fast
DIALOGUES = ("vqa", "text")  # kinds of one form
NAMES = {"user": "human", "assistant": "gpt"}


@dataclass
class Converted:
    """What became of the records.

    Attributes:
        source: what --data calls the result.
        reasons: why records were left out, counted; `places` are the first of each.
    """

    source: str = ""
    read: int = 0
    written: int = 0
    pictures: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    places: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def lines(self) -> list[str]:
        """For a report."""
        found = [f"{self.written} of {self.read} records written, with {self.pictures} pictures"]
        for reason, count in self.reasons.most_common():
            found.append(f"left out, {reason}: {count}")
            found += [f"    {place}" for place in self.places[reason]]
        return [*found, f"learn from it with --data {self.source}"]


def convert(sources: Sequence[DataSource], out: Path) -> Converted:
    """Write the records of all sources there.

    Raises:
        UserError: a source cannot be read, they are of several kinds, the place is taken, or nothing can be used.
    """
    name = _kind_of(sources)
    done, every = Converted(), open_sources(sources)
    with writer(out, KINDS[name]) as target:
        for source, records in zip(sources, every, strict=True):
            _write(source, records, target, done)
        if not done.written:
            reason, count = done.reasons.most_common(1)[0]
            raise UserError(
                f"not one of {done.read} records can be used ({reason}: {count}, {done.places[reason][0].rstrip('.')})."
            )
        done.source = f"{name}={target.source}"
    return done


def _kind_of(sources: Sequence[DataSource]) -> str:
    kinds = {"vqa" if source.kind in DIALOGUES and len(sources) > 1 else source.kind for source in sources}
    if len(kinds) > 1:
        raise UserError(f"records of the kinds {', '.join(sorted(kinds))} do not fit one file; write a file of each.")
    return kinds.pop()


def _write(source: DataSource, records: Records, target: Writer, done: Converted) -> None:
    for row in range(len(records)):
        done.read += 1
        shown: list[bytes] = []
        try:
            record = records[row]
            said = _said(source, record, shown)
        except UnusableRecord as problem:
            reason = str(problem) if str(problem) in REASONS else MALFORMED
            done.reasons[reason] += 1
            if len(done.places[reason]) < EXAMPLES:
                done.places[reason].append(f"record {row} of {source.file!r}: {problem.__cause__ or problem}")
            continue
        target.add({**_id(record), "image": shown, **said})
        done.written += 1
        done.pictures += len(shown)


def _said(source: DataSource, record: Record, shown: list[bytes]) -> dict[str, Any]:
    """The fields of the record without its pictures, whose files' content goes to `shown`.

    Raises:
        UnusableRecord: nothing can be learnt from it.
    """

    def open_picture(name: Any) -> Image.Image:
        try:
            found = find_picture(source.image_folder, name)
            image = open_image(found, working_side=SIDE, name=called(name, found))
            shown.append(found if isinstance(found, bytes) else found.read_bytes())
            return image
        except Exception as problem:  # as in training, whatever a decoder stumbles over
            raise UnusableRecord(MISSING) from problem

    talk, kind = conversation_of(source, record, open_picture, np.random.default_rng(0)), KINDS[source.kind]
    said = {"conversations": turns_of(talk)} if "conversations" in kind.fields else _fields(record, kind)
    try:
        "".join([talk.system or "", *(message.text for message in talk.messages)]).encode()
    except UnicodeEncodeError as problem:
        raise UnusableRecord(MALFORMED) from problem
    return said


def turns_of(talk: Conversation) -> list[dict[str, str]]:
    """The turns of a conversation as a record has them, each picture with its marker."""
    system = [] if talk.system is None else [{"from": "system", "value": talk.system}]
    return system + [{"from": NAMES[message.role], "value": message.marked_text()} for message in talk.messages]


def _fields(record: Record, kind: Kind) -> dict[str, Any]:
    return {name: record[name] for name in kind.fields if name != "image"}


def _id(record: Record) -> dict[str, str]:
    named = next((record[key] for key in ("id", "__key__") if record.get(key) is not None), None)
    return {} if named is None or not isinstance(named, (str, int)) else {"id": str(named)}

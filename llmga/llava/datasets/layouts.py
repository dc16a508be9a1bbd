"""How files write the same records.

A layout reads a file and gives every record the keys that its kind knows.  `2024` is how the published data set and
LLaVA's files are written, and what other trainers read; the others are the sources of the first version of LLMGA.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmga.llava.conversation import IMAGE_MARKER
from llmga.llava.datasets.json_stream import Item, items, pairs
from llmga.llava.datasets.turns import speaker_of, words_of
from llmga.registry import Registry

DIGITS = 12  # of a picture's number in the names of COCO's files


@dataclass(frozen=True)
class RecordLayout:
    """A way of writing records.

    Attributes:
        read: a JSON or JSONL file -> its records as they stand there.
        adapt: one of them, or of a table (parquet, arrow) -> the record with the keys that kinds know.
    """

    read: Callable[[Path], Iterator[Item]]
    adapt: Callable[[dict[str, Any]], dict[str, Any]]

    def items(self, file: Path) -> Iterator[Item]:
        """The adapted records of a JSON or JSONL file."""
        for item in self.read(file):
            adapted = self.adapt(item.value) if isinstance(item.value, dict) else item.value
            yield item if adapted is item.value else _item(adapted)


# Other names of a key, the first that says something counts: `images` and `messages` are those of LLaMA-Factory,
# ms-swift and TRL, whose turns have role and content and the first two of which have a system text beside them, too.
_SPELLINGS = {"image": ("images", "image_path", "image_paths"), "conversations": ("messages",)}


def spelled(record: dict[str, Any]) -> dict[str, Any]:
    """The record under our keys, a `system` beside the turns as the first of them, their parts joined to texts; the
    very record when nothing is to be done."""
    for key, others in _SPELLINGS.items():
        if not record.get(key) and (other := next((name for name in others if record.get(name)), None)):
            record = {**{name: record[name] for name in record if name != other}, key: record[other]}
            if key == "image" and isinstance(record[key], list) and len(record[key]) == 1:
                record[key] = record[key][0]  # where only one is wanted, a list of one is meant so
    said = record.get("conversations")
    if isinstance(said, list) and (system := record.get("system")) and not _has_system(said):
        said = [{"from": "system", "value": system}, *said]
        record = {**record, "conversations": said}
    if not isinstance(said, list) or not any(isinstance(turn, dict) and _parts(turn) for turn in said):
        return record
    shown: list[Any] = []
    joined = [_joined(turn, shown) if isinstance(turn, dict) else turn for turn in said]
    # Parts either bring their pictures along, or stand for those of the record in order.
    own = {"image": shown} if shown and not record.get("image") and None not in shown else {}
    return {**record, "conversations": joined, **own}


def _has_system(turns: list[Any]) -> bool:
    return any(isinstance(turn, dict) and speaker_of(turn) == "system" for turn in turns)


def _parts(turn: dict[str, Any]) -> list[Any] | None:
    said = words_of(turn)
    return said if isinstance(said, list) else None


def _joined(turn: dict[str, Any], shown: list[Any]) -> dict[str, Any]:
    """The turn with a text of its parts, one a line; the pictures go to `shown`, None for one that is elsewhere."""
    parts = _parts(turn) or ()
    said = [read for part in parts if (read := _part(part)) is not None]
    if not said or len(said) < len(parts):
        return turn  # the kind tells what is wrong
    shown += [picture for text, picture in said if text == IMAGE_MARKER]
    key = "value" if "value" in turn else "content"
    return {**turn, key: "\n".join(text for text, _ in said)}


def _part(part: Any) -> tuple[str, Any] | None:
    """(text, picture) of one part of a turn; None for what is neither."""
    if not isinstance(part, dict):
        return (part, None) if isinstance(part, str) else None
    if part.get("type") in ("image", "image_url"):
        found = next((part[key] for key in ("image", "image_url", "path", "url") if part.get(key)), None)
        found = found.get("url", found) if isinstance(found, dict) else found
        return IMAGE_MARKER, found.removeprefix("file://") if isinstance(found, str) else found
    text = part.get("text") if part.get("type", "text") == "text" else None
    return (text, None) if isinstance(text, str) else None


def coco_2023(record: dict[str, Any]) -> dict[str, Any]:
    """`{"image_id": 9, "caption": …, "coco_caption": …}`: pictures by number, COCO's own caption as the short one."""
    number = next((record[key] for key in ("image", "image_id", "id") if record.get(key) is not None), "")
    name = f"{int(number):0{DIGITS}d}.jpg" if str(number).isdecimal() else number
    short = record.get("coco_caption")
    short = short[0] if isinstance(short, list) and short else short
    return {**record, "image": name, **({"ori_caption": short} if short else {})}


def _prompts(path: Path) -> Iterator[Item]:
    """`{"key": "prompt", …}`: the prompts of the pictures that an lmdb holds under the same keys."""
    for key, said in pairs(path):
        yield _item({"image": key, **(said if isinstance(said, dict) else {"caption": said})})


def _item(record: dict[str, Any]) -> Item:
    return Item(json.dumps(record), record)


LAYOUTS = Registry(
    "layout of records",
    {
        "2024": RecordLayout(items, spelled),
        "coco-2023": RecordLayout(items, coco_2023),
        "laion-2023": RecordLayout(_prompts, spelled),
    },
)

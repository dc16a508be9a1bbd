"""How files write the same records.

A layout reads a file and gives every record the keys that its kind knows.  `2024` is how the published data set and
LLaVA's files are written, and every form of `forms.FORMS`; the others are the sources of the first version of LLMGA.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmga.llava.datasets.base import Kind
from llmga.llava.datasets.file_kinds import FILE_KINDS, file_kind
from llmga.llava.datasets.json_stream import Item, items, pairs
from llmga.llava.datasets.mapping import renamed, renaming
from llmga.llava.datasets.recognition import ours
from llmga.registry import Registry

DIGITS = 12  # of a picture's number in the names of COCO's files


@dataclass(frozen=True)
class RecordLayout:
    """A way of writing records.

    Attributes:
        read: a JSON or JSONL file -> its records as they stand there.
        adapt: one of them, or of another type of file -> the record with the keys that a kind knows.
    """

    read: Callable[[Path], Iterator[Item]]
    adapt: Callable[[dict[str, Any], Kind], dict[str, Any]]

    def items(self, file: Path, kind: Kind, columns: str = "") -> Iterator[Item]:
        """The adapted records of a file that is no table.

        Args:
            columns: other names of keys, see `mapping.renamed`.
        """
        named = renaming(columns)
        read = self.read if file_kind(file) == "json" else FILE_KINDS[file_kind(file)].items
        assert read is not None
        for item in read(file):
            adapted = self.adapt(renamed(item.value, named), kind) if isinstance(item.value, dict) else item.value
            yield item if adapted is item.value else _item(adapted)


def coco_2023(record: dict[str, Any], kind: Kind) -> dict[str, Any]:
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
        "2024": RecordLayout(items, ours),
        "coco-2023": RecordLayout(items, coco_2023),
        "laion-2023": RecordLayout(_prompts, ours),
    },
)

"""How the files of different years write the same records.

A layout reads a file and gives every record the keys that its kind knows.  `2024` is how the published data set and
LLaVA's files are written; the others are the sources of the first version of LLMGA.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmga.llava.datasets.json_stream import Item, items, pairs
from llmga.registry import Registry

DIGITS = 12  # of a picture's number in the names of COCO's files


@dataclass(frozen=True)
class Layout:
    """Attributes:
    read: a JSON or JSONL file -> its records.
    adapt: the same for one record of a table (parquet, arrow).
    """

    read: Callable[[Path], Iterator[Item]]
    adapt: Callable[[dict[str, Any]], dict[str, Any]]


def coco_2023(record: dict[str, Any]) -> dict[str, Any]:
    """`{"image_id": 9, "caption": …, "coco_caption": …}`: pictures by number, COCO's own caption as the short one."""
    number = next((record[key] for key in ("image", "image_id", "id") if record.get(key) is not None), "")
    name = f"{int(number):0{DIGITS}d}.jpg" if str(number).isdecimal() else number
    short = record.get("coco_caption")
    short = short[0] if isinstance(short, list) and short else short
    return {**record, "image": name, **({"ori_caption": short} if short else {})}


def _coco(path: Path) -> Iterator[Item]:
    for item in items(path):
        known = isinstance(item.value, dict)
        yield _item(coco_2023(item.value)) if known else item


def _prompts(path: Path) -> Iterator[Item]:
    """`{"key": "prompt", …}`: the prompts of the pictures that an lmdb holds under the same keys."""
    for key, said in pairs(path):
        yield _item({"image": key, **(said if isinstance(said, dict) else {"caption": said})})


def _item(record: dict[str, Any]) -> Item:
    return Item(json.dumps(record), record)


LAYOUTS = Registry(
    "layout of records",
    {
        "2024": Layout(items, lambda record: record),
        "coco-2023": Layout(_coco, coco_2023),
        "laion-2023": Layout(_prompts, lambda record: record),
    },
)

"""Lists of records that name pictures: JSON, JSON lines and CSV, in the shapes that people have them in."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmga.diffusers.datasets.columns import CAPTIONS, MASKS, PICTURES, TURNS, USUAL, lacking, value, whole
from llmga.errors import UserError
from llmga.filetypes import file_type, other_separator

if TYPE_CHECKING:
    from datasets import Dataset

COCO_NAME = "{:012d}.jpg"  # COCO numbers its pictures

Record = dict[str, Any]


def read_list(path: Path, cache: Path) -> "Dataset":
    """A list of records, or one of the objects that `_unfolded` knows, in JSON or in a table of text."""
    from datasets import Dataset

    records = [_record(record, f"record {number} of {str(path)!r}") for number, record in enumerate(_parsed(path))]
    if any(isinstance(record["caption"], list) for record in records):
        for record in records:
            record["caption"] = record["caption"] if isinstance(record["caption"], list) else [record["caption"]]
    return Dataset.from_dict({name: [record[name] for record in records] for name in ("image", "caption", "mask")})


def _parsed(path: Path) -> list[Any]:
    form = "CSV" if path.suffix.lower() in (".csv", ".tsv") else "JSON"
    if kind := file_type(path):
        raise UserError(f"the training list {str(path)!r} is {kind.said}, not {form}; {kind.remedy}.")
    try:
        text = path.read_text(encoding="utf-8-sig")
        records = _unfolded(READERS.get(path.suffix.lower(), json.loads)(text))
    except OSError as problem:
        raise UserError(f"cannot read the training list {str(path)!r} ({problem.strerror}); check --data.") from None
    except UserError as problem:
        raise UserError(f"the training list {str(path)!r} {problem}.") from None
    except UnicodeDecodeError:
        raise UserError(f"the training list {str(path)!r} is not in UTF-8; save it so.") from None
    except (ValueError, RecursionError, csv.Error):
        raise UserError(f"the training list {str(path)!r} is no valid {form}; write a list of records.") from None
    if not isinstance(records, list) or not records:
        raise UserError(f"the training list {str(path)!r} must be a JSON list with at least one record.")
    return records


def _lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _rows(text: str) -> list[Any]:
    """A table of text: tabs part the columns where the first line has some, as in open_clip's.

    Raises:
        UserError: something else does, in words that follow the name of the list.
    """
    header = text.partition("\n")[0]
    delimiter = "\t" if "\t" in header else ","
    if other := other_separator(header, delimiter):
        raise UserError(f"parts the columns of its first line with {other!r}; save it with ',' or tabs between them")
    rows = csv.DictReader(text.splitlines(keepends=True), delimiter=delimiter)
    return [{name: content for name, content in row.items() if isinstance(name, str)} for row in rows]


READERS = {".jsonl": _lines, ".ndjson": _lines, ".csv": _rows, ".tsv": _rows}


def _unfolded(found: Any) -> Any:
    """The list of an object of COCO's annotations, kohya's metadata, names with captions, or one list by name."""
    if not isinstance(found, dict):
        return found
    if isinstance(found.get("annotations"), list) and isinstance(found.get("images"), list):
        return list(_of_coco(found["images"], found["annotations"]))
    lists = [content for content in found.values() if isinstance(content, list)]
    if len(lists) == 1 and all(isinstance(record, dict) for record in lists[0]):
        return lists[0]
    return [{"image": name, "caption": _of_kohya(content)} for name, content in found.items()]


def _of_coco(images: list[Any], annotations: list[Any]) -> Iterator[Record]:
    listed = [each for each in images if isinstance(each, dict) and isinstance(each.get("id"), (int, str))]
    names = {each["id"]: each.get("file_name") for each in listed}
    for each in annotations:
        if isinstance(each, dict):
            number = each.get("image_id")
            yield {"image": (names.get(number) if isinstance(number, (int, str)) else None) or number,
                   "caption": each.get("caption")}  # fmt: skip


def _of_kohya(content: Any) -> Any:
    """Caption and tags of a picture, one behind the other, as kohya's fine-tuning takes them."""
    if not isinstance(content, dict):
        return content
    said = [content.get(name) for name in ("caption", "tags")]
    return ", ".join(part for part in said if isinstance(part, str) and part) or None


def _record(record: Any, where: str) -> Record:
    if not isinstance(record, dict):
        raise UserError(f"{where} is no object with an `image` and a `caption`.")
    image, caption, mask = _picture(value(record, PICTURES)), _caption(record), value(record, MASKS)
    if not isinstance(image, str) or caption is None:
        raise UserError(f"{where} lacks a text `image` or `caption`: {lacking(record)}.")
    if mask is not None and not isinstance(mask, str):
        raise UserError(f"{where} has a `mask` that is no name of a picture.")
    caption = whole(caption) if isinstance(caption, str) else [whole(each) for each in caption]
    return {"image": whole(image), "caption": caption, "mask": whole(mask) if mask else None}


def _picture(image: Any) -> Any:
    if isinstance(image, list) and len(image) == 1:
        image = image[0]
    if isinstance(image, dict):
        image = image.get("path") or image.get("file_name")
    return COCO_NAME.format(image) if isinstance(image, int) and not isinstance(image, bool) else image


def _caption(record: Record) -> str | list[str] | None:
    """The record's caption or captions; of a conversation what was said last."""
    said, turns = value(record, USUAL), value(record, TURNS)
    if said is None and isinstance(turns, list) and turns and isinstance(turns[-1], dict):
        said = value(turns[-1], ("value", "content"))
    if said is None:
        said = value(record, CAPTIONS)
    if isinstance(said, list) and said and all(isinstance(each, str) for each in said):
        return said
    return said if isinstance(said, str) else None

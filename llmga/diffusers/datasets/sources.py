"""CaptionedImages pictures in the forms that people have them in, each read into the same table.

A table is a `datasets.Dataset` with the columns `image`, `caption` and `mask`.  `image` is the name of a picture that
lies elsewhere (`image_stores.py`), or {bytes, path} of one that came with the table; `mask` is a name or None.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmga.errors import UserError
from llmga.filetypes import file_type
from llmga.fingerprints import digest
from llmga.registry import Registry

if TYPE_CHECKING:
    from datasets import Dataset

CAPTIONS = ("caption", "text", "prompt")  # columns that may hold it, the first that is there counts
PICTURES = ("image", "image_id", "key")
ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")  # of pictures with a text beside them
COCO_NAME = "{:012d}.jpg"  # COCO numbers its pictures


def read_list(path: Path, cache: Path) -> "Dataset":
    """A JSON list of {image, caption}, of {image_id, caption} as COCO has them, or of {image, conversations}."""
    from datasets import Dataset

    records = [_record(record, f"record {number} of {str(path)!r}") for number, record in enumerate(_parsed(path))]
    return Dataset.from_dict({name: [record[name] for record in records] for name in ("image", "caption", "mask")})


def _parsed(path: Path) -> list[Any]:
    if kind := file_type(path):
        raise UserError(f"the training list {str(path)!r} is {kind.said}, not JSON; {kind.remedy}.")
    try:
        text = path.read_text(encoding="utf-8")
        lines = path.suffix == ".jsonl"
        records = [json.loads(line) for line in text.splitlines() if line.strip()] if lines else json.loads(text)
    except OSError as problem:
        raise UserError(f"cannot read the training list {str(path)!r} ({problem.strerror}); check --data.") from None
    except (ValueError, RecursionError):
        raise UserError(f"the training list {str(path)!r} is no valid JSON; write a list of records.") from None
    if not isinstance(records, list) or not records:
        raise UserError(f"the training list {str(path)!r} must be a JSON list with at least one record.")
    return records


def _record(record: Any, where: str) -> dict[str, str | None]:
    if not isinstance(record, dict):
        raise UserError(f"{where} is no object with an `image` and a `caption`.")
    image, caption = _first(record, PICTURES), _first(record, CAPTIONS)
    if isinstance(image, int) and not isinstance(image, bool):
        image = COCO_NAME.format(image)
    if caption is None and isinstance(record.get("conversations"), list) and record["conversations"]:
        last = record["conversations"][-1]
        caption = last.get("value") if isinstance(last, dict) else None
    if not isinstance(image, str) or not isinstance(caption, str):
        raise UserError(f"{where} lacks a text `image` or `caption`.")
    mask = record.get("mask")
    if mask is not None and not isinstance(mask, str):
        raise UserError(f"{where} has a `mask` that is no name of a picture.")
    return {"image": image, "caption": caption, "mask": mask}


def _first(record: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((record[name] for name in names if record.get(name) is not None), None)


def read_parquet(path: Path, cache: Path) -> "Dataset":
    """A parquet file, or a folder of them; pictures are names, bytes, or {bytes, path}."""
    files = sorted(map(str, path.glob("*.parquet"))) if path.is_dir() else [str(path)]
    return _columns(_loaded("parquet", path, cache, data_files=files), path)


def read_imagefolder(path: Path, cache: Path) -> "Dataset":
    """A folder of pictures with a `metadata.jsonl` or `metadata.csv` of `file_name` and `caption`."""
    return _columns(_loaded("imagefolder", path, cache, data_dir=str(path), drop_labels=True), path)


def read_pairs(path: Path, cache: Path) -> "Dataset":
    """A folder of pictures with a text of the same name beside each, `1.jpg` and `1.txt`, as kohya's scripts do."""
    from datasets import Dataset, Features, Image, Value

    pictures = sorted(file for file in path.rglob("*") if file.suffix.lower() in ENDINGS)
    columns = {
        "image": [{"bytes": None, "path": str(file)} for file in pictures],
        "caption": [_text_beside(file) for file in pictures],
    }
    table = Dataset.from_dict(columns, Features({"image": Image(decode=False), "caption": Value("string")}))
    states = [file.stat() for file in pictures]
    table._fingerprint = digest(f"{state.st_size} {state.st_mtime_ns}" for state in states)  # as what tells a picture
    return table


def _text_beside(picture: Path) -> str:
    file = picture.with_suffix(".txt")
    try:
        return " ".join(file.read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError):
        raise UserError(f"the caption {str(file)!r} of {picture.name!r} cannot be read; write it as UTF-8 text, "
                        "or take the picture out.") from None  # fmt: skip


def _loaded(kind: str, path: Path, cache: Path, **options: Any) -> "Dataset":
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    try:
        return load_dataset(kind, split="train", cache_dir=str(cache), trust_remote_code=False, **options)
    except (DatasetsError, OSError, ValueError) as problem:
        reason = (str(problem.__cause__ or problem).strip().splitlines() or [type(problem).__name__])[0][:200]
        raise UserError(f"the training data {str(path)!r} cannot be read: {reason}") from None


def _columns(table: "Dataset", path: Path) -> "Dataset":
    """The table with our names, pictures left encoded."""
    from datasets import Image

    found = {
        own: next((name for name in names if name in table.column_names), None)
        for own, names in (("image", PICTURES), ("caption", CAPTIONS))
    }
    lacking = [own for own, name in found.items() if name is None]
    if lacking or not len(table):
        what = f"has no column `{lacking[0]}`" if lacking else "has no row"
        raise UserError(f"the training data {str(path)!r} {what}; pictures need captions: a column of them, "
                        "a metadata.jsonl, or a text 1.txt beside each 1.jpg.")  # fmt: skip
    table = table.rename_columns({name: own for own, name in found.items() if name != own})
    if isinstance(table.features["image"], Image):
        table = table.cast_column("image", Image(decode=False))
    if not is_text(table, "caption"):
        raise UserError(f"the captions of {str(path)!r} are no texts; write a column `{found['caption']}` of texts.")
    return table.select_columns([name for name in ("image", "caption", "mask") if name in table.column_names])


def is_text(table: "Dataset", column: str) -> bool:
    """Whether a column holds texts."""
    return getattr(table.features[column], "dtype", None) in ("string", "large_string")


def read_folder(path: Path, cache: Path) -> "Dataset":
    """Parquet files where a folder holds them, pictures with texts where no metadata is, else an imagefolder."""
    if any(path.glob("*.parquet")):
        return read_parquet(path, cache)
    texts = any(file.with_suffix(".txt").is_file() for file in path.rglob("*") if file.suffix.lower() in ENDINGS)
    return (read_pairs if texts and not any(path.rglob("metadata.*")) else read_imagefolder)(path, cache)


FORMS: Registry[Callable[[Path, Path], "Dataset"]] = Registry("form of training data", {
    ".json": read_list, ".jsonl": read_list, ".parquet": read_parquet, "folder": read_folder,
})  # fmt: skip


def read_source(path: Path, cache: Path) -> "Dataset":
    """Read one of `--data`, by its ending.

    Args:
        cache: where what does not fit into memory is unpacked.

    Raises:
        UserError: it is missing, of another form, or lacks pictures or captions.
    """
    check_sources([str(path)])
    return FORMS[_form(path)](path, cache)


def check_sources(paths: Sequence[str]) -> None:
    """See that all are there.

    Raises:
        UserError: one is missing, or of an unknown form.
    """
    for path in map(Path, paths):
        if not path.exists():
            raise UserError(f"the training data {str(path)!r} is not there; check --data.")
        FORMS[_form(path)]


def _form(path: Path) -> str:
    return "folder" if path.is_dir() else path.suffix.lower() or path.name

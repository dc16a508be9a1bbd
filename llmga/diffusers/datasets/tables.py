"""Tables that the `datasets` library reads: parquet, folders that it saved, and imagefolders."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmga.diffusers.datasets.columns import CAPTIONS, MASKS, PICTURES, first, lacking
from llmga.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")


def parquet_files(path: Path) -> list[Path]:
    """Those of a folder and below, of its training split where some say so; metadata of an imagefolder is none."""
    files = sorted(file for file in path.rglob("*.parquet") if file.name not in METADATA)
    return [file for file in files if "train" in file.name] or files


def read_parquet(path: Path, cache: Path) -> "Dataset":
    """A parquet file, or a folder of them; pictures are names, bytes, or {bytes, path}."""
    files = list(map(str, parquet_files(path) if path.is_dir() else [path]))
    return _columns(_loaded("parquet", path, cache, data_files=files), path)


def is_saved(path: Path) -> bool:
    """Whether the `datasets` library saved this folder."""
    return any((path / name).is_file() for name in ("state.json", "dataset_dict.json"))


def read_saved(path: Path, cache: Path) -> "Dataset":
    """A folder of `Dataset.save_to_disk`; of a `DatasetDict` its split `train`, or the only one."""
    from datasets import DatasetDict, load_from_disk

    try:
        found = load_from_disk(str(path))
    except (OSError, ValueError, KeyError) as problem:
        raise UserError(f"the training data {str(path)!r} cannot be read: {problem}") from None
    if isinstance(found, DatasetDict):
        name = "train" if "train" in found else next(iter(found)) if len(found) == 1 else None
        if name is None:
            raise UserError(f"the training data {str(path)!r} has the splits {', '.join(found)}; give the folder of "
                            "one of them.")  # fmt: skip
        found = found[name]
    return _columns(found, path)


def has_metadata(path: Path) -> bool:
    """Whether a folder or one below holds the metadata of an imagefolder."""
    return any(file.name in METADATA for file in path.rglob("metadata.*"))


def read_imagefolder(path: Path, cache: Path) -> "Dataset":
    """Pictures with a `metadata.jsonl`, `.csv` or `.parquet` of `file_name` and `caption` or `text`."""
    return _columns(_loaded("imagefolder", path, cache, data_dir=str(path), drop_labels=True), path)


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

    wanted = {"image": PICTURES, "caption": CAPTIONS, "mask": MASKS}
    found = {own: name for own, names in wanted.items() if (name := first(table.column_names, names)) is not None}
    missing = [own for own in ("image", "caption") if own not in found]
    if missing or not len(table):
        what = f"has no column `{missing[0]}`: {lacking(table.column_names)}" if missing else "has no row"
        raise UserError(f"the training data {str(path)!r} {what}; pictures need captions: a column of them, "
                        "a metadata.jsonl, or a text 1.txt beside each 1.jpg.")  # fmt: skip
    table = table.select_columns(list(found.values()))
    table = table.rename_columns({name: own for own, name in found.items() if name != own})
    if isinstance(table.features["image"], Image):
        table = table.cast_column("image", Image(decode=False))
    if not is_text(table, "caption") and not has_several(table):
        raise UserError(f"the captions of {str(path)!r} are no texts; write a column `{found['caption']}` of texts.")
    if not _is_picture(table.features["image"]):
        raise UserError(f"the pictures of {str(path)!r} are {table.features['image']}, not names, bytes or "
                        "{bytes, path}; write a column `image` of one picture a row.")  # fmt: skip
    return table


def is_text(table: "Dataset", column: str) -> bool:
    """Whether a column holds texts."""
    return getattr(table.features[column], "dtype", None) in ("string", "large_string")


def has_several(table: "Dataset") -> bool:
    """Whether every picture has a list of captions."""
    inner = getattr(table.features["caption"], "feature", None)
    return getattr(inner, "dtype", None) in ("string", "large_string")


def _is_picture(feature: Any) -> bool:
    if isinstance(feature, dict):
        return "bytes" in feature
    return getattr(feature, "dtype", None) in ("string", "large_string", "binary", "large_binary", "dict") or (
        type(feature).__name__ == "Image"
    )

"""Pictures with captions, listed in one JSON file.

An example record of `train.json`::

    [{"image": "000001.png", "caption": "A vivid image of a large red circle in the middle of a blue field."}]
"""

import json
from pathlib import Path

from PIL import Image

from llmga.errors import UserError
from llmga.images import open_image


class Captioned:
    """The records of a JSON list, by index.

    Args:
        path: the JSON file.
        images: the folder that the records' `image` paths start from.

    Raises: UserError when the file is missing, empty or of another form.
    """

    def __init__(self, path: str | Path, images: str | Path):
        self.images = Path(images)
        self.records = _read(Path(path))

    def __len__(self) -> int:
        return len(self.records)

    def caption(self, index: int) -> str:
        return self.records[index]["caption"]

    def picture(self, index: int) -> Image.Image:
        """RGB, upright, every pixel kept; raises UserError naming a picture that cannot be read."""
        return open_image(self.images / self.records[index]["image"], working_side=None)


def _read(path: Path) -> list[dict[str, str]]:
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise UserError(f"cannot read the training list {str(path)!r} ({problem.strerror}); check --data.") from None
    except ValueError:
        raise UserError(f"the training list {str(path)!r} is no valid JSON; write a list of records.") from None
    if not isinstance(records, list) or not records:
        raise UserError(f"the training list {str(path)!r} must be a JSON list with at least one record.")
    for number, record in enumerate(records):
        whole = isinstance(record, dict) and all(isinstance(record.get(key), str) for key in ("image", "caption"))
        if not whole:
            raise UserError(f"record {number} of {str(path)!r} lacks a text `image` or `caption`.")
    return records

"""Pictures under a name that a person chose: `out.png`, and what follows beside it as `out-2.png`, `out-3.png` …"""

from pathlib import Path

from llmga.assistant.image_files import SUFFIXES
from llmga.assistant.image_folder import ImageFolder
from llmga.errors import UserError
from llmga.files import write_whole

KINDS = {suffix: kind for kind, suffix in SUFFIXES.items()} | {".jpeg": "jpeg"}


class PictureFile(ImageFolder):
    """Writes the first picture to a name and further ones beside it, over what was there; whole or not at all.

    Args:
        out: its ending says the format.
        strip: as `ImageFolder` takes it.

    Raises:
        UserError: the ending is of no format, or nothing can be written there.
    """

    _flag = "--output"

    def __init__(self, out: str | Path, *, strip: bool = False):
        self._out = Path(out)
        super().__init__(self._out.parent, kind_by_name(self._out), strip=strip)

    def _written(self, content: bytes) -> Path:
        number = len(self.paths) + 1
        path = self._out if number == 1 else self._out.with_stem(f"{self._out.stem}-{number}")
        write_whole(path, content)
        return path


def kind_by_name(path: Path) -> str:
    """The row of `FORMATS` that the name of a picture ends with.

    Raises:
        UserError: it ends with none, or is a folder.
    """
    if path.is_dir():
        raise UserError(f"{str(path)!r} is a folder; name a file in it, or give it as --save-path.")
    if (kind := KINDS.get(path.suffix.lower())) is None:
        raise UserError(f"{str(path)!r} ends with no picture format; use one of {', '.join(KINDS)}.")
    return kind

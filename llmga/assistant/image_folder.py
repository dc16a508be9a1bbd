"""Pictures of a session on disk: numbered, never overwritten."""

import tempfile
from contextlib import suppress
from itertools import count
from pathlib import Path

from PIL import Image

from llmga.assistant.credentials import Signer
from llmga.assistant.image_files import FORMATS, SUFFIXES, encoded
from llmga.assistant.record import Record
from llmga.errors import UserError
from llmga.files import write_new


class ImageFolder:
    """Writes `000.png`, `001.png` … into a folder, going on after those that are there; whole or not at all.

    The folder is made, and writing to it tried, at once: a session should not fail after the first painting.

    Args:
        kind: as `llmga.assistant.image_files.encoded` takes it.
        strip: as `encoded` takes it.
        signer: as `encoded` takes it.

    Raises:
        UserError: nothing can be written there, or the kind is unknown.
    """

    _flag = "--save-path"

    def __init__(self, save_path: str | Path, kind: str = "png", *, strip: bool = False, signer: Signer | None = None):
        FORMATS[kind]
        self._kind, self._strip, self.signer = kind, strip, signer
        if not str(save_path):
            raise UserError(f"{self._flag} is empty; give a folder, or leave it out for outputs.")
        self.folder: Path = Path(save_path)
        self.paths: list[Path] = []
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):  # file modes do not tell: root, read-only disks, quotas
                pass
        except OSError as problem:
            raise self._unwritable(problem) from None

    def save(self, image: Image.Image, record: Record, parent: Image.Image | None = None) -> Path:
        """Save a picture under the next free number.

        Args:
            parent: the picture that was changed.

        Raises:
            UserError: the disk does not take it; the session can go on.
        """
        content = encoded(image, record, self._kind, strip=self._strip, signer=self.signer, parent=parent)
        try:
            path = self._written(content)
        except OSError as problem:
            raise self._unwritable(problem) from None
        self.paths.append(path)
        return path

    def _written(self, content: bytes) -> Path:
        """A new file of the next free number; another session in the same folder gets another one."""
        names = (path.stem for suffix in SUFFIXES.values() for path in self.folder.glob(f"*{suffix}"))
        taken = [int(name) for name in names if name.isdecimal()]
        for number in count(max(taken, default=-1) + 1):
            path = self.folder / f"{number:03d}{SUFFIXES[self._kind]}"
            with suppress(FileExistsError):
                write_new(path, content)
                return path
        raise AssertionError("unreachable: count() does not end")

    def _unwritable(self, problem: OSError) -> UserError:
        reason = (problem.strerror or str(problem)).lower()
        return UserError(f"pictures cannot be saved in {str(self.folder)!r} ({reason}); give another {self._flag}.")


def new_folder(parent: str | Path, name: str) -> Path:
    """Make and return the first of `parent/name-1`, `parent/name-2` … that is not there yet.

    Raises:
        UserError: the disk does not take it.
    """
    try:
        Path(parent).mkdir(parents=True, exist_ok=True)
        for number in count(1):
            folder = Path(parent) / f"{name}-{number}"
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            return folder
    except OSError as problem:
        reason = (problem.strerror or str(problem)).lower()
        raise UserError(f"no folder can be made in {str(parent)!r} ({reason}); give another --save-path.") from None
    raise AssertionError("unreachable: count() does not end")

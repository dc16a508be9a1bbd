"""The pictures of a conversation as files, called by what they show: written once, whole, and never changed."""

import hashlib
import io
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from llmga.assistant.credentials import Signer
from llmga.assistant.image_files import encoded
from llmga.assistant.record import Record, picture_hash
from llmga.assistant.session_file import PNG_MODES, lossless, storable
from llmga.files import write_whole
from llmga.images import to_rgb

THUMBNAIL = 160  # longer side in pixels


@dataclass
class PictureFolder:
    """A folder of pictures.

    * `<hash>.png`: a picture that was given, a mask, a canvas (.tif where PNG has no such mode); see `picture_hash`.
    * `<hash>-<8 digits>.png`: one that was painted, with its record, which the digits tell apart.
    * `<hash>-shown.png`: what a browser shows in place of a .tif.
    * `<hash>.webp`: a small one for a list.

    Attributes:
        path: the folder, made with its first file.
        signer: what signs the files of painted ones.
    """

    path: Path
    signer: Signer | None = None
    _hashes: dict[int, tuple[Image.Image, str]] = field(default_factory=dict)  # by identity, the image kept alive
    _there: set[str] = field(default_factory=set)

    def hashed(self, image: Image.Image) -> str:
        """`picture_hash`, computed once."""
        if id(image) not in self._hashes:
            self._hashes[id(image)] = image, picture_hash(image)
        return self._hashes[id(image)][1]

    def given(self, image: Image.Image) -> Path:
        """The file of a picture that was not painted here, as a browser can show it.

        Raises:
            OSError: it cannot be written, as of all below.
        """
        whole = storable(image).mode in PNG_MODES
        name = f"{self.hashed(image)}{'' if whole else '-shown'}.png"
        return (
            self.path / name
            if self._has(name)
            else self.write(name, lossless(storable(image if whole else to_rgb(image))))
        )

    def painted(self, image: Image.Image, record: Record, parent: Image.Image | None) -> Path:
        """The file of a picture that was painted, which says how.

        Args:
            parent: the picture that was changed, for a signed statement.
        """
        digits = hashlib.sha256(record.to_json().encode()).hexdigest()[:8]
        name = f"{self.hashed(image)}-{digits}.png"
        if self._has(name):
            return self.path / name
        return self.write(name, encoded(image, record, signer=self.signer, parent=parent))

    def thumbnail(self, image: Image.Image) -> str:
        """The name of a small file."""
        name = f"{self.hashed(image)}.webp"
        if not self._has(name):
            small, buffer = to_rgb(image), io.BytesIO()
            small.thumbnail((THUMBNAIL, THUMBNAIL))
            small.save(buffer, "WEBP", quality=80)
            self.write(name, buffer.getvalue())
        return name

    def write(self, name: str, content: bytes) -> Path:
        """Write a file."""
        self.path.mkdir(mode=0o700, exist_ok=True)
        write_whole(self.path / name, content)
        self._there.add(name)
        return self.path / name

    def found(self, name: str) -> Path:
        """The file that holds a picture without loss.

        Args:
            name: `<hash>.png` or `<hash>.tif`.

        Raises:
            FileNotFoundError: none does.
        """
        stem, suffix = Path(name).stem, Path(name).suffix
        painted = sorted(self.path.glob(f"{stem}-*.png")) if suffix == ".png" else []
        for path in (self.path / name, *painted):
            if path.is_file():
                return path
        raise FileNotFoundError(name)

    def holds(self, name: str) -> bool:
        """Whether `found` finds it."""
        try:
            return bool(self.found(name))
        except FileNotFoundError:
            return False

    def _has(self, name: str) -> bool:
        if name not in self._there and (self.path / name).is_file():
            self._there.add(name)
        return name in self._there

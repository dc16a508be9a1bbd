"""The pictures of a visit: by their number in the conversation, and as files that the browser fetches."""

import base64
import io
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from llmga.assistant.image_files import PNG_MODES, png_bytes
from llmga.assistant.record import Record
from llmga.errors import UserError
from llmga.images import to_rgb
from llmga.serve.page.drawing import Shown

PREVIEW = 256  # longer side in pixels of an unfinished picture


@dataclass
class Pictures:
    """Pictures in the order in which they are shown.

    Attributes:
        folder: where their files go; the page's server may serve what is in it.
    """

    folder: Path
    numbered: list[Image.Image] = field(default_factory=list)
    _files: dict[int, tuple[Image.Image, Path]] = field(default_factory=dict)  # by identity, the picture kept alive

    def shown(self, image: Image.Image, record: Record | None = None, facts: tuple[str, ...] = ()) -> Shown:
        """The next number for this picture, or the one that it has; a painted one's file carries its record."""
        known = [number for number, other in enumerate(self.numbered) if other is image]
        if not known:
            self.numbered.append(image)
        number = known[0] if known else len(self.numbered) - 1
        return Shown(number, self._url(image, record), image.size, facts, again=bool(known))

    def image(self, number: int | None, otherwise: str) -> Image.Image:
        """Raises: UserError, saying `otherwise`, when there is no such picture."""
        if number is None or not 0 <= number < len(self.numbered):
            raise UserError(otherwise)
        return self.numbered[number]

    def url(self, number: int) -> str:
        """Where the browser gets a picture that is shown."""
        return self._url(self.numbered[number], None)

    def _url(self, image: Image.Image, record: Record | None) -> str:
        if id(image) not in self._files:
            path = self.folder / f"{len(self._files):03d}.png"
            path.write_bytes(png_bytes(image, record) if record else _plain(image))
            self._files[id(image)] = image, path
        return address(self._files[id(image)][1])


def _plain(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    (image if image.mode in PNG_MODES else to_rgb(image)).save(buffer, "PNG")
    return buffer.getvalue()


def address(path: Path) -> str:
    """Where gradio serves a file that lies in its upload folder."""
    return f"gradio_api/file={quote(path.as_posix())}"


def data_uri(picture: Image.Image) -> str:
    """An unfinished picture, small, inside the page."""
    small = to_rgb(picture)
    small.thumbnail((PREVIEW, PREVIEW))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()

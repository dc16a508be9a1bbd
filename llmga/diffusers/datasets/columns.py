"""Which columns and keys hold picture, caption and mask, whoever wrote them."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

# The first that is there counts; capitals are read as small letters.
USUAL = ("caption", "text", "prompt")
CAPTIONS = (
    *USUAL,
    *("txt", "captions", "long_caption", "description", "caption_text", "title", "sentence", "sentences"),
)
ENCODED = ("jpg", "jpeg", "png", "webp")  # columns of encoded pictures, as img2dataset names them
PICTURES = (
    *("image", *ENCODED, "img", "picture", "image_path", "img_path", "file_name", "filename", "filepath", "file_path"),
    *("image_file", "image_name", "path", "file", "key", "image_id", "images"),
)
MASKS = ("mask", "mask_image", "mask_path")
ADDRESSES = ("url", "image_url")  # of pictures that are not here
TURNS = ("conversations", "messages")
ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")  # of pictures with a text beside them


def first(names: Iterable[str], wanted: tuple[str, ...]) -> str | None:
    """The name that comes first in `wanted`, as it is written."""
    written = {name.lower(): name for name in reversed(list(names))}
    return next((written[name] for name in wanted if name in written), None)


def value(record: Mapping[str, Any], wanted: tuple[str, ...]) -> Any:
    """What the first of these keys holds that holds something; None without one."""
    filled = {name: content for name, content in record.items() if content is not None}
    name = first(filled, wanted)
    return None if name is None else filled[name]


def whole(text: str) -> str:
    """Halves of characters, which JSON may hold, become question marks."""
    return text.encode(errors="replace").decode()


def lacking(names: Iterable[str]) -> str:
    """What a form without picture or caption has instead: the name that is nearest to one that is known."""
    given = [str(name) for name in names]
    if address := first(given, ADDRESSES):
        return f"it has addresses (`{address}`) instead of pictures, which img2dataset downloads"
    for what, wanted in (("picture", PICTURES), ("caption", CAPTIONS)):
        if first(given, wanted) is None:
            near = [(name, difflib.get_close_matches(name.lower(), wanted, n=1, cutoff=0.5)) for name in given]
            found = next(((name, close[0]) for name, close in near if close and close[0] != name), None)
            hint = f"; name `{found[0]}` `{found[1]}`" if found else f"; it has {', '.join(given[:8]) or 'nothing'}"
            return f"no {what} (`{wanted[0]}`, `{wanted[1]}`, `{wanted[2]}` …){hint}"
    return "no text where picture or caption should be"

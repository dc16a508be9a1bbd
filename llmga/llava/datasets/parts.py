"""Turns whose content is a list of parts, as OpenAI, Anthropic, Qwen and `datasets` write them: joined to texts."""

from typing import Any

from llmga.llava.conversation import IMAGE_MARKER
from llmga.llava.datasets.turns import WORDS_KEYS, words_of

TEXT_PARTS = ("text", "input_text", "output_text")
IMAGE_PARTS = ("image", "image_url", "input_image")
PLACES = ("image", "image_url", "path", "url", "source")  # keys of such a part that hold the picture


def with_joined_parts(record: dict[str, Any]) -> dict[str, Any]:
    """The record with the parts of each turn as lines of one text; the very record when there are none.

    Parts either bring their pictures along, or stand for those of the record in order.
    """
    said = record.get("conversations")
    if not isinstance(said, list) or not any(isinstance(turn, dict) and _parts(turn) for turn in said):
        return record
    shown: list[Any] = []
    joined = [_joined(turn, shown) if isinstance(turn, dict) else turn for turn in said]
    own = {"image": shown} if shown and not record.get("image") and None not in shown else {}
    return {**record, "conversations": joined, **own}


def _parts(turn: dict[str, Any]) -> list[Any] | None:
    said = words_of(turn)
    return said if isinstance(said, list) else None


def _joined(turn: dict[str, Any], shown: list[Any]) -> dict[str, Any]:
    """The turn with a text of its parts, one a line; the pictures go to `shown`, None for one that is elsewhere."""
    parts = _parts(turn) or ()
    said = [read for part in parts if (read := _part(part)) is not None]
    if not said or len(said) < len(parts):
        return turn  # the kind tells what is wrong
    shown += [picture for text, picture in said if text == IMAGE_MARKER]
    key = next(key for key in WORDS_KEYS if turn.get(key) is not None)
    return {**turn, key: "\n".join(text for text, _ in said)}


def _part(part: Any) -> tuple[str, Any] | None:
    """(text, picture) of one part of a turn; None for what is neither."""
    if not isinstance(part, dict):
        return (part, None) if isinstance(part, str) else None
    kind = part.get("type", "text" if "text" in part else "image" if "image" in part else None)  # Qwen leaves it out
    if kind in IMAGE_PARTS:
        return IMAGE_MARKER, _picture(next((part[key] for key in PLACES if part.get(key)), None))
    text = part.get("text") if kind in TEXT_PARTS else None
    return (text, None) if isinstance(text, str) else None


def _picture(found: Any) -> Any:
    """A name, a URI or bytes; `{"url": …}` is OpenAI's and `{"type": "base64", "data": …}` Anthropic's."""
    if isinstance(found, dict):
        found = found.get("url") or found.get("data") or found
    return found.removeprefix("file://") if isinstance(found, str) else found

"""Others' marks of a picture in the words of a dialogue become ours."""

import re
from typing import Any

from llmga.llava.conversation import IMAGE_MARKER

INLINE = re.compile(r"<img>(.+?)</img>", re.DOTALL)  # Qwen-VL's
# What stands for a picture in the words of others, where `<image>` does not.
MARKERS = tuple(map(re.compile, (
    r"<image_placeholder>", r"<ImageHere>", r"<\|image_\d+\|>", r"<image_?\d+>", r"<\|image(?:_pad)?\|>",
    r"\[IMG\]", r"<img>",
)))  # fmt: skip


def with_inline_pictures(record: dict[str, Any]) -> dict[str, Any]:
    """`<img>a.jpg</img>` in the words becomes a marker and a picture of the record."""
    said, names = record["conversations"], list[str]()
    for number, one in enumerate(said):
        for key, words in one.items() if isinstance(one, dict) else ():
            if isinstance(words, str) and INLINE.search(words):
                names += [name.strip() for name in INLINE.findall(words)]
                said = [*said[:number], {**one, key: INLINE.sub(IMAGE_MARKER, words)}, *said[number + 1 :]]
    return {**record, "conversations": said, "image": names} if names else record


def with_our_markers(record: dict[str, Any]) -> dict[str, Any]:
    """Others' marks of a picture become ours, where as many stand in the words as there are pictures."""
    named, said = record.get("image"), record.get("conversations")
    if not named or not isinstance(said, list) or not all(isinstance(one, dict) for one in said):
        return record
    texts = [words for one in said for words in one.values() if isinstance(words, str)]
    if any(IMAGE_MARKER in words for words in texts):
        return record
    if isinstance(named, dict) and not named.keys() & {"bytes", "path", "file", "url", ""}:
        return _with_named_markers(record, named, said, texts)
    count = len(named) if isinstance(named, list) else 1
    for mark in MARKERS:
        if sum(len(mark.findall(words)) for words in texts) == count:
            return {**record, "conversations": _marked(said, mark)}
    return record


def _with_named_markers(
    record: dict[str, Any], named: dict[str, Any], said: list[dict[str, Any]], texts: list[str]
) -> dict[str, Any]:
    """`{"<image_00>": "a.jpg", …}`, as MiniCPM-V has it: in the order in which the words name them."""
    mark = re.compile("|".join(re.escape(name) for name in sorted(named, key=len, reverse=True)))
    found = [name for words in texts for name in mark.findall(words)]
    rest = [name for name in named if name not in found]
    return {**record, "image": [named[name] for name in (*rest, *found)], "conversations": _marked(said, mark)}


def _marked(said: list[dict[str, Any]], mark: re.Pattern[str]) -> list[dict[str, Any]]:
    return [{key: mark.sub(IMAGE_MARKER, words) if isinstance(words, str) else words for key, words in one.items()}
            for one in said]  # fmt: skip

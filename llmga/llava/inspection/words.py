"""What the words of a record tell before anything is tokenised."""

import re
from collections.abc import Iterator

from llmga.llava.conversation import IMAGE_MARKER
from llmga.llava.datasets.base import Record
from llmga.llava.datasets.turns import picture_names, role_of, turn_fault, words_of
from llmga.llava.generation_prompt import END, START, TAG, visible
from llmga.llava.inspection.pictures import Complaint

# What the bytes 80 to BF of UTF-8 become when they are read as Latin-1 or as Windows does.
TAIL = "[\u0080-\u00bf" + "".join(bytes([byte]).decode("cp1252", "ignore") for byte in range(0x80, 0xA0)) + "]"
# Half characters, control characters, and UTF-8 that was read so; a single Chinese sign might also be an accent and
# two marks of punctuation, two in a row are not.
DAMAGE = re.compile(
    r"[\ufffd\ud800-\udfff\x00-\x08\x0e-\x1f]|[\u00c2\u00c3][\u0080-\u00bf]|\u00e2\u20ac"
    f"|(?:[\u00e3-\u00ef]{TAIL}{{2}}){{2}}"
)
SHOWN = 60  # characters of a record that a report quotes


def complaints(kind: str, record: Record) -> Iterator[Complaint]:
    """What is wrong or odd with a record of the kind, pictures apart, and apart from what keeps it from being read."""
    if "conversations" in record and not any(map(turn_fault, record["conversations"])):
        yield from _turns(record["conversations"])
    yield from _markers(record)
    for text in _texts(record):
        if damage := DAMAGE.search(text):
            yield "damaged-text", f"{damage.group()!r} in {quoted(text)}"
    if kind == "t2i" and record["ori_caption"].strip() == record["caption"].strip():
        yield "nothing-refined", quoted(record["caption"])


def _turns(turns: list) -> Iterator[Complaint]:
    """What is dropped of a dialogue that can be read."""
    said = [turn for turn in turns if role_of(turn) != "system"]
    roles = [role_of(turn) for turn in said]
    if len(set(roles)) < 2:
        return
    if roles[0] == "assistant":
        yield "dropped-turn", f"an answer before any question: {quoted(words_of(said[0]))}"
    elif roles[-1] == "user":
        yield "dropped-turn", f"a question without an answer: {quoted(words_of(said[-1]))}"


def _texts(record: Record) -> Iterator[str]:
    turns = record.get("conversations")
    yield from (words_of(turn) for turn in turns or () if not turn_fault(turn))
    if turns is None:
        yield from (value for key, value in record.items() if isinstance(value, str) and key not in ("image", "id"))


def _markers(record: Record) -> Iterator[Complaint]:
    """Conversations mark their pictures in the questions; the other kinds have one picture and no marker."""
    shown, marked = len(picture_names(record)), sum(text.count(IMAGE_MARKER) for text in _texts(record))
    if "conversations" not in record and marked:
        yield "marker-without-picture", f"{marked} markers in a record of another kind than conversations"
    elif "conversations" in record and marked < shown:
        yield "picture-without-marker", f"{marked} markers, {shown} pictures"


def tag_complaints(answer: str) -> Iterator[Complaint]:
    """Whether the prompts in an answer are written as `<gen_image> … </gen_image>`, one after the other."""
    inside, start = False, 0
    for tag in TAG.finditer(answer):
        if tag.group() not in (START, END):
            yield "tag-misspelt", f"{tag.group()!r} in {quoted(answer)}"
            return
        opens = tag.group() == START
        if opens and inside:
            yield "tag-nested", quoted(answer)
            return
        if not opens and not inside:
            yield "tag-unclosed", f"{END} without {START} in {quoted(answer)}"
            return
        if not opens and not visible(answer[start : tag.start()]):
            yield "tag-empty", quoted(answer)
        inside, start = opens, tag.end()
    if inside:
        yield "tag-unclosed", f"{START} without {END} in {quoted(answer)}"


def quoted(text: str) -> str:
    """The beginning of a text, on one line."""
    flat = " ".join(text.split())
    return repr(flat[:SHOWN] + ("…" if len(flat) > SHOWN else ""))

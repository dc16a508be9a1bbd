"""What the words of a record tell before anything is tokenised."""

import re
from collections.abc import Iterator

from llmga.llava.conversation import IMAGE_MARKER
from llmga.llava.datasets.base import Record
from llmga.llava.datasets.notes import picture_names
from llmga.llava.datasets.text import ROLES
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
    """What is wrong or odd with a record of the kind, pictures apart."""
    if "conversations" in record:
        yield from _turns(record["conversations"])
    yield from _markers(kind, record)
    for text in _texts(record):
        if damage := DAMAGE.search(text):
            yield "damaged-text", f"{damage.group()!r} in {quoted(text)}"
    if kind == "t2i" and record["ori_caption"].strip() == record["caption"].strip():
        yield "nothing-refined", quoted(record["caption"])


def _turns(turns: list) -> Iterator[Complaint]:
    said = [(_role(turn), turn) for turn in turns if _role(turn) != "system"]
    roles = [role for role, _ in said]
    if None in roles:
        yield "turns", f"turn {roles.index(None)} is nobody's: {quoted(str(said[roles.index(None)][1]))}"
    elif "assistant" not in roles or "user" not in roles:
        yield "turns", f"only the {roles[0]} speaks" if roles else "nobody speaks"
    elif roles[0] == "assistant":
        yield "dropped-turn", f"an answer before any question: {quoted(_text(said[0][1]))}"
    elif roles[-1] == "user":
        yield "dropped-turn", f"a question without an answer: {quoted(_text(said[-1][1]))}"
    if any(role == "assistant" and not _text(turn).strip() for role, turn in said):
        yield "no-answer", "an answer without words"


def _role(turn: object) -> str | None:
    """user, assistant, system, or None for a turn that no kind can read."""
    if not isinstance(turn, dict) or not isinstance(turn.get("value", turn.get("content")), str):
        return None
    speaker = turn.get("from", turn.get("role"))
    return speaker if speaker == "system" else ROLES.get(speaker)


def _text(turn: dict) -> str:
    return turn.get("value", turn.get("content"))


def _texts(record: Record) -> Iterator[str]:
    turns = record.get("conversations")
    yield from (_text(turn) for turn in turns or () if _role(turn))
    if turns is None:
        yield from (value for key, value in record.items() if isinstance(value, str) and key not in ("image", "id"))


def _markers(kind: str, record: Record) -> Iterator[Complaint]:
    """Conversations mark their pictures in the questions; the other kinds have one picture and no marker."""
    shown = len(picture_names(record)) if kind != "text" else 0
    turns = record.get("conversations")
    asked = sum(_text(turn).count(IMAGE_MARKER) for turn in turns or () if _role(turn) == "user")
    anywhere = sum(text.count(IMAGE_MARKER) for text in _texts(record))
    if anywhere > (min(asked, shown) if turns else 0):
        yield "marker-without-picture", f"{anywhere} markers, {shown} pictures in a record of kind {kind}"
    elif turns and asked < len(picture_names(record)):
        yield "picture-without-marker", f"{asked} markers, {len(picture_names(record))} pictures"


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

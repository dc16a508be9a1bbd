"""How a chat template wants its messages, found out by trying: those of published models differ, and do not say."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2.exceptions import TemplateError
from PIL import Image

from llmga.llava.conversation import Message

Messages = list[dict[str, Any]]
Render = Callable[[Messages, bool], str]

UNREADABLE = (TemplateError, TypeError, ValueError, AttributeError, LookupError)  # how a template refuses messages
_PROBE = "llmga-probe"


@dataclass(frozen=True)
class ChatForm:
    """What a chat template takes.

    Attributes:
        takes_system: it has a place for the system text; otherwise that opens the first message.
        in_words: the roles whose messages have to be a text; others are parts, which pictures need.
        places: what stands for a picture, a film or a sound; in what people write it becomes ordinary words.
        head: what it writes between the opening of an answer and its words.
        end: what it writes after an answer that is followed by a question.
    """

    takes_system: bool
    in_words: frozenset[str]
    places: frozenset[str] = frozenset()
    head: str = ""
    end: str = ""

    def messages(self, messages: Sequence[Message], system: str) -> Messages:
        """Messages as the template takes them.

        Args:
            system: the system text; an empty one is none.
        """
        told = [self._message(message.role, message.parts()) for message in messages]
        if not system:
            return told
        if self.takes_system:
            return [self._message("system", [system]), *told]
        words, *others = messages[0].parts() or [""]
        opening = [f"{system}\n\n{words}"] if isinstance(words, str) else [f"{system}\n\n", words]
        return [self._message(messages[0].role, [*opening, *others]), *told[1:]]

    def _message(self, role: str, parts: Sequence[str | Image.Image]) -> dict[str, Any]:
        parts = [self._plain(part) if isinstance(part, str) else part for part in parts]
        words = [part for part in parts if isinstance(part, str)]
        if role in self.in_words and len(words) == len(parts):
            return {"role": role, "content": "".join(words)}
        return {"role": role, "content": [_part(part) for part in parts or [""]]}

    def _plain(self, words: str) -> str:
        for place in self.places:
            words = words.replace(place, f"{place[:-1]} {place[-1]}")
        return words


def _part(part: str | Image.Image) -> dict[str, Any]:
    return {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "image": part}


def form_of(render: Render, places: frozenset[str] = frozenset()) -> ChatForm:
    """Try a chat template.

    Args:
        places: as in `ChatForm`.
        render: (messages, whether the answer is opened) -> their text; raises one of UNREADABLE where the template
            refuses them.

    Raises:
        Exception: one of UNREADABLE when it takes no conversation at all.
    """
    in_words: set[str] = set()
    for role in ("user", "assistant"):
        if not _reads(render, role, in_words):
            in_words.add(role)
            if not _reads(render, role, in_words):
                render(_exchange(role, in_words), False)  # says why
                raise ValueError(f"it leaves out what the {role} says")
    takes_system = _reads(render, "system", in_words)
    if not takes_system:
        takes_system = _reads(render, "system", in_words | {"system"})
        in_words |= {"system"} if takes_system else set()
    asked, answer = _exchange("assistant", in_words)
    before, _, after = render([asked, answer, asked], False).partition(_PROBE)
    opening = render([asked], True)
    head = before.removeprefix(opening) if before.startswith(opening) else ""
    return ChatForm(takes_system, frozenset(in_words), places, head, after)


def _reads(render: Render, role: str, in_words: set[str]) -> bool:
    """Whether what this role says is in the text, and not as Python spells it."""
    try:
        told = render(_exchange(role, in_words), False)
    except UNREADABLE:
        return False
    return _PROBE in told and "'type'" not in told


def _exchange(role: str, in_words: set[str]) -> Messages:
    """The shortest conversation in which this role speaks; it says the probe."""
    speakers = {"system": ("system", "user"), "assistant": ("user", "assistant")}.get(role, (role,))
    form = ChatForm(True, frozenset(in_words))
    return [form._message(speaker, [_PROBE if speaker == role else "hello"]) for speaker in speakers]

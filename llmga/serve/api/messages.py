"""The messages of a request as a conversation: everything that the assistant knows comes with them."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from PIL import Image

from llmga.llava.conversation import IMAGE_MARKER, Conversation, Message
from llmga.llava.generation_prompt import END, START
from llmga.plain_text import plain
from llmga.serve.api.chat_schemas import ImagePart, MessageIn, PaintedImage, TextPart

# A picture that was painted, as `to_markdown` writes it.
MARKDOWN_IMAGE = re.compile(r"!\[((?:[^\]\\]|\\.)*)\]\(data:image/[a-z]+;base64,[A-Za-z0-9+/=]*\)", re.DOTALL)

CONTINUE = "Please go on."

OpenImage = Callable[[str], Image.Image]


def to_conversation(messages: Sequence[MessageIn], open_image: OpenImage) -> Conversation:
    """Return the whole conversation; its last message is the one to be answered, and the user's.

    Several messages of one speaker in a row are one turn.  After the assistant's own last words, or where the user says
    nothing, it is asked to go on; where nobody but the developer spoke, that is what is to be answered.

    Args:
        open_image: Opens the picture at an address.
    """
    system = "\n\n".join(_text(message) for message in messages if message.role in ("system", "developer"))
    turns: list[Message] = []
    for message in messages:
        if message.role == "user":
            _append(turns, _user(message, open_image))
        elif message.role == "assistant":
            _append(turns, Message("assistant", _assistant_text(message)))
    if not turns:
        return Conversation((Message("user", system if plain(system).strip() else CONTINUE),))
    last = turns[-1]
    if last.role == "user" and not last.images and not plain(last.text).strip():
        turns[-1] = replace(last, text=CONTINUE)
    if turns[-1].role != "user":
        turns.append(Message("user", CONTINUE))
    return Conversation(tuple(turns), system or None)


def image_urls(messages: Sequence[MessageIn]) -> list[str]:
    """Return where the pictures are that the user shows."""
    shown = (message.content for message in messages if message.role == "user" and isinstance(message.content, list))
    return [part.image_url.url for parts in shown for part in parts if isinstance(part, ImagePart)]


def _append(turns: list[Message], turn: Message) -> None:
    if turns and turns[-1].role == turn.role:
        before = turns.pop()
        turn = replace(turn, text=f"{before.text}\n{turn.text}", images=before.images + turn.images)
    turns.append(turn)


def _without_markers(text: str) -> str:
    """Return words in which nothing stands for a picture."""
    return text.replace(IMAGE_MARKER, "<image >")


def _text(message: MessageIn) -> str:
    if isinstance(message.content, str):
        return _without_markers(message.content)
    return "\n".join(_without_markers(part.text) for part in message.content or () if isinstance(part, TextPart))


def _user(message: MessageIn, open_image: OpenImage) -> Message:
    """Pictures among several texts stay where they are; beside a single one they go in front, as in training."""
    if not isinstance(message.content, list):
        return Message("user", _text(message))
    images = [open_image(part.image_url.url) for part in message.content if isinstance(part, ImagePart)]
    seen = [part for part in message.content if isinstance(part, TextPart | ImagePart)]  # nobody refuses oneself
    parts = [_without_markers(part.text) if isinstance(part, TextPart) else IMAGE_MARKER for part in seen]
    texts = [part for part in parts if part != IMAGE_MARKER]
    return Message("user", "\n".join(texts if len(texts) == 1 else parts), tuple(images))


def _assistant_text(message: MessageIn) -> str:
    """Return what the assistant wrote, its generation prompts where they stood."""
    text = MARKDOWN_IMAGE.sub(lambda found: tagged(re.sub(r"\\(.)", r"\1", found[1])), _text(message))
    for image in sorted(message.images or (), key=lambda image: image.offset, reverse=True):
        if image.revised_prompt:
            text = text[: image.offset] + tagged(image.revised_prompt) + text[image.offset :]
    return text


def tagged(prompt: str) -> str:
    """Return a prompt as the language model writes it."""
    return f"{START} {_without_markers(prompt)} {END}"


def to_markdown(image: PaintedImage) -> str:
    """Return a picture for programs that keep nothing of a message but its text.

    They show the picture, and send its prompt back.

    Args:
        image: With its address.
    """
    prompt = re.sub(r"([\[\]\\])", r"\\\1", image.revised_prompt)
    return f"\n\n![{prompt}]({image.image_url and image.image_url.url})\n\n"


def latest(conversation: Conversation, characters: float) -> Conversation:
    """Return the latest turns of at most so many characters together, the last one whatever its length.

    A language model would leave the older ones out, too, after it had counted the tokens of all of them.
    """
    turns, left = list(conversation.messages), characters
    kept: list[Message] = []
    while turns and (not kept or len(turns[-1].text) <= left):
        left -= len(turns[-1].text)
        kept.insert(0, turns.pop())
    while turns and kept[0].role != "user":
        kept.pop(0)
    return replace(conversation, messages=tuple(kept))

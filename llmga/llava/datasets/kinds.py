"""Kinds of training records.  A new kind is a function here and a row of `KINDS`.

Each function turns a record into a conversation; `rng` draws phrasings and masks, `phrasing` says how the source asks.
"""

import numpy as np
from PIL import Image

from llmga.errors import UserError
from llmga.llava.conversation import IMAGE_MARKER, Conversation
from llmga.llava.datasets.base import Kind, OpenPicture, Phrasing, Record, UnusableRecord
from llmga.llava.datasets.left_out import BLIND
from llmga.llava.datasets.turns import picture_names, turns
from llmga.masks import hide, random_mask
from llmga.registry import Registry

REGENERATE, PAINT = 0.7, 0.5  # how often sg and t2i ask for a picture instead of a description
SHORT_TEXT_FIRST = 0.5


def wrapped(caption: str) -> str:
    """A caption in the form in which the model asks for a picture."""
    return f"<gen_image> {caption.strip()} </gen_image>"


def exchange(question: str, answer: str, *pictures: Image.Image) -> Conversation:
    """One question, about pictures or not, and its answer."""
    return Conversation().say("user", question, tuple(pictures)).say("assistant", answer)


def inpainting(record: Record, open_picture: OpenPicture, rng: np.random.Generator, phrasing: Phrasing) -> Conversation:
    """In- and outpainting: a part of the picture is black, the whole is to be written down.

    Example: `{"image": "LAION/1.jpg", "caption": "A lighthouse on a cliff under a stormy sky …"}`.
    """
    image = open_picture(record["image"])
    kind, mask = random_mask(image.size, rng)
    question = phrasing.ask("outpaint" if kind == "outpaint" else "inpaint", record["caption"], rng)
    return exchange(question, wrapped(record["caption"]), hide(image, mask))


def sg(record: Record, open_picture: OpenPicture, rng: np.random.Generator, phrasing: Phrasing) -> Conversation:
    """Similar generation: a picture is to be made again, or only described.

    Example: `{"image": "COCO/1.jpg", "caption": "A brown dog lies on a wooden floor …"}`.
    """
    caption = record["caption"].strip()
    if rng.random() < (REGENERATE if phrasing.paint is None else phrasing.paint):
        question, answer = phrasing.ask("regenerate", caption, rng), wrapped(caption)
    else:
        question, answer = phrasing.ask("describe", caption, rng), caption
    return exchange(question, answer, open_picture(record["image"]))


def edit(record: Record, open_picture: OpenPicture, rng: np.random.Generator, phrasing: Phrasing) -> Conversation:
    """Editing by words: a picture and an instruction; the answer asks for the changed picture.

    People leave the full stop out, so one at the end is dropped; no other character is.

    Example: `{"image": "COCO/1.jpg", "instruction": "Make the dog white.", "new_caption": "A white dog lies …"}`.
    """
    instruction = record["instruction"].strip()
    if instruction.endswith((".", "。")):
        instruction = instruction[:-1]
    return exchange(instruction, wrapped(record["new_caption"]), open_picture(record["image"]))


def t2i(record: Record, open_picture: OpenPicture, rng: np.random.Generator, phrasing: Phrasing) -> Conversation:
    """Prompt refinement: a few words become a detailed caption, to be painted or only to be read.

    Example: `{"ori_caption": "a dog", "caption": "A brown dog lies on a wooden floor …"}`.
    """
    short, caption = record["ori_caption"].strip(), record["caption"].strip()
    share = PAINT if phrasing.paint is None else phrasing.paint
    paint, behind = rng.random() < share, rng.random() < SHORT_TEXT_FIRST
    pool = "elaborate" if not paint else "generate_after" if behind else "generate_before"
    wish = phrasing.ask(pool, caption, rng)
    question = f"{short} {wish}" if behind else f"{wish} {short}"
    return exchange(question, wrapped(caption) if paint else caption)


def text(record: Record, open_picture: OpenPicture, rng: np.random.Generator, phrasing: Phrasing) -> Conversation:
    """Conversations of words only; their turns go without white space at their ends.

    Example: `{"conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Good day."}]}`.

    Raises:
        UnusableRecord: for turns that teach nothing, and for words about a picture, which nobody would see.
    """
    system, said = turns(record["conversations"])
    if any(IMAGE_MARKER in words for _, words in said):
        raise UnusableRecord(BLIND) from UserError(f"{IMAGE_MARKER} in a record of kind text, which shows none")
    conversation = Conversation(system=system)
    for role, words in said:
        conversation = conversation.say(role, words.strip())
    return conversation


def vqa(record: Record, open_picture: OpenPicture, rng: np.random.Generator, phrasing: Phrasing) -> Conversation:
    """Questions about a picture, of one or several turns, as LLaVA publishes them.

    Each question shows as many pictures as it has markers, and the first with one, or the first at all, those that no
    marker stands for.

    Example: `{"image": "gqa/images/1.jpg", "conversations": [{"from": "human", "value": "<image>\\nWhat is it?"},
    {"from": "gpt", "value": "A cat."}]}`.  `image` may be a list, or missing in records of words only.

    Raises:
        UnusableRecord: as `text`, also for a marker that no picture stands behind and for one in an answer.
    """
    system, said = turns(record["conversations"])
    names = picture_names(record)
    markers = [words.count(IMAGE_MARKER) for _, words in said]
    if any(count for (role, _), count in zip(said, markers, strict=True) if role == "assistant"):
        raise UnusableRecord(BLIND) from UserError(f"{IMAGE_MARKER} in an answer, which shows no picture")
    if sum(markers) > len(names):
        raise UnusableRecord(BLIND) from UserError(f"{sum(markers)} markers {IMAGE_MARKER}, but {len(names)} pictures")
    pictures = [open_picture(name) for name in names]
    conversation = Conversation(system=system)
    for (role, words), share in zip(said, _shares(markers, len(pictures)), strict=True):
        shown, pictures = tuple(pictures[:share]), pictures[share:]
        conversation = conversation.say(role, _placed(words, share), shown)
    return conversation


def _shares(markers: list[int], pictures: int) -> list[int]:
    """Pictures of each turn."""
    first = next((turn for turn, count in enumerate(markers) if count), 0)
    rest = pictures - sum(markers)
    return [count + (rest if turn == first else 0) for turn, count in enumerate(markers)]


def _placed(words: str, pictures: int) -> str:
    """A single marker goes to the front, and white space at the ends goes, as in the original, and so do fewer markers
    than pictures; as many as pictures keep their places in the sentence, which stays as it is."""
    if pictures > 1 and words.count(IMAGE_MARKER) == pictures:
        return words
    return words.replace(IMAGE_MARKER, "").strip()


KINDS = Registry(
    "kind of data",
    {
        "vqa": Kind(("conversations",), vqa),
        "inpainting": Kind(("image", "caption"), inpainting),
        "sg": Kind(("image", "caption"), sg, paint=REGENERATE),
        "edit": Kind(("image", "instruction", "new_caption"), edit),
        "t2i": Kind(("ori_caption", "caption"), t2i, paint=PAINT),
        "text": Kind(("conversations",), text),
    },
)

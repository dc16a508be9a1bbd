"""Questions about a picture, of one or several turns, as LLaVA publishes them.

Example: `{"image": "gqa/images/1.jpg", "conversations": [{"from": "human", "value": "<image>\\nWhat is it?"},
{"from": "gpt", "value": "A cat."}]}`.  `image` may be a list, or missing in records of words only.
"""

import numpy as np

from llmga.llava.conversation import IMAGE_MARKER, Conversation
from llmga.llava.datasets.base import AS_CAPTIONED, Kind, Manner, OpenPicture, Record
from llmga.llava.datasets.notes import picture_names
from llmga.llava.datasets.text import turns


def converse(
    record: Record, open_picture: OpenPicture, rng: np.random.Generator, manner: Manner = AS_CAPTIONED
) -> Conversation:
    """Each message takes as many pictures as it has markers; without any marker the first message takes all."""
    system, said = turns(record["conversations"])
    pictures = [open_picture(name) for name in picture_names(record)]
    shares = _shares([text.count(IMAGE_MARKER) if role == "user" else 0 for role, text in said], len(pictures))
    conversation = Conversation(system=system)
    for (role, text), share in zip(said, shares, strict=True):
        shown, pictures = tuple(pictures[:share]), pictures[share:]
        conversation = conversation.say(role, _placed(text, share), shown)
    return conversation


def _shares(markers: list[int], pictures: int) -> list[int]:
    if sum(markers) == 0:
        return [pictures, *[0] * (len(markers) - 1)]
    shares = []
    for count in markers:
        shares.append(min(count, pictures - sum(shares)))
    return shares


def _placed(text: str, pictures: int) -> str:
    """A single marker goes to the front, and white space at the ends goes, as in the original; several markers keep
    their places in the sentence, which stays as it is."""
    if pictures > 1 and text.count(IMAGE_MARKER) == pictures:
        return text
    return text.replace(IMAGE_MARKER, "").strip()


KIND = Kind(fields=("conversations",), converse=converse)

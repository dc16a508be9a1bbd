"""Questions about a picture, of one or several turns, as LLaVA publishes them.

Example: `{"image": "gqa/images/1.jpg", "conversations": [{"from": "human", "value": "<image>\\nWhat is it?"},
{"from": "gpt", "value": "A cat."}]}`.  `image` may be a list, or missing in records of words only.
"""

import numpy as np

from llmga.errors import UserError
from llmga.llava.conversation import IMAGE_MARKER, Conversation
from llmga.llava.datasets.base import AS_CAPTIONED, Kind, Manner, OpenPicture, Record, Unusable
from llmga.llava.datasets.left_out import BLIND
from llmga.llava.datasets.notes import picture_names
from llmga.llava.datasets.text import turns


def converse(
    record: Record, open_picture: OpenPicture, rng: np.random.Generator, manner: Manner = AS_CAPTIONED
) -> Conversation:
    """Each question shows as many pictures as it has markers, and the first with one, or the first at all, those that
    no marker stands for.

    Raises: Unusable, also for a marker that no picture stands behind and for one in an answer.
    """
    system, said = turns(record["conversations"])
    names = picture_names(record)
    markers = [text.count(IMAGE_MARKER) for _, text in said]
    if any(count for (role, _), count in zip(said, markers, strict=True) if role == "assistant"):
        raise Unusable(BLIND) from UserError(f"{IMAGE_MARKER} in an answer, which shows no picture")
    if sum(markers) > len(names):
        raise Unusable(BLIND) from UserError(f"{sum(markers)} markers {IMAGE_MARKER}, but {len(names)} pictures")
    pictures = [open_picture(name) for name in names]
    conversation = Conversation(system=system)
    for (role, text), share in zip(said, _shares(markers, len(pictures)), strict=True):
        shown, pictures = tuple(pictures[:share]), pictures[share:]
        conversation = conversation.say(role, _placed(text, share), shown)
    return conversation


def _shares(markers: list[int], pictures: int) -> list[int]:
    """Pictures of each turn."""
    first = next((turn for turn, count in enumerate(markers) if count), 0)
    rest = pictures - sum(markers)
    return [count + (rest if turn == first else 0) for turn, count in enumerate(markers)]


def _placed(text: str, pictures: int) -> str:
    """A single marker goes to the front, and white space at the ends goes, as in the original, and so do fewer markers
    than pictures; as many as pictures keep their places in the sentence, which stays as it is."""
    if pictures > 1 and text.count(IMAGE_MARKER) == pictures:
        return text
    return text.replace(IMAGE_MARKER, "").strip()


KIND = Kind(fields=("conversations",), converse=converse)

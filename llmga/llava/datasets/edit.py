"""Editing by words: a picture and an instruction; the answer asks for the changed picture.

Example: `{"image": "COCO/1.jpg", "instruction": "Make the dog white.", "new_caption": "A white dog lies …"}`.
"""

import numpy as np

from llmga.llava.conversation import Conversation
from llmga.llava.datasets.base import AS_CAPTIONED, Kind, Manner, OpenPicture, Record, exchange, wrapped


def converse(
    record: Record, open_picture: OpenPicture, rng: np.random.Generator, manner: Manner = AS_CAPTIONED
) -> Conversation:
    """People leave the full stop out, so one at the end is dropped; no other character is."""
    instruction = record["instruction"].strip()
    if instruction.endswith((".", "。")):
        instruction = instruction[:-1]
    return exchange(instruction, wrapped(record["new_caption"]), open_picture(record["image"]))


KIND = Kind(fields=("image", "instruction", "new_caption"), converse=converse)

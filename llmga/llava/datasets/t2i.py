"""Prompt refinement: a few words become a detailed caption, to be painted or only to be read.

Example: `{"ori_caption": "a dog", "caption": "A brown dog lies on a wooden floor …"}`.
"""

import numpy as np

from llmga.llava.conversation import Conversation
from llmga.llava.datasets.base import AS_CAPTIONED, Kind, Manner, OpenPicture, Record, exchange, wrapped

PAINT = 0.5  # how often a picture is asked for instead of a description
SHORT_TEXT_FIRST = 0.5


def converse(
    record: Record, open_picture: OpenPicture, rng: np.random.Generator, manner: Manner = AS_CAPTIONED
) -> Conversation:
    short, caption = record["ori_caption"].strip(), record["caption"].strip()
    chance = PAINT if manner.paint is None else manner.paint
    paint, behind = rng.random() < chance, rng.random() < SHORT_TEXT_FIRST
    pool = "elaborate" if not paint else "generate_after" if behind else "generate_before"
    wish = manner.ask(pool, caption, rng)
    question = f"{short} {wish}" if behind else f"{wish} {short}"
    return exchange(question, wrapped(caption) if paint else caption)


KIND = Kind(fields=("ori_caption", "caption"), converse=converse, paint=PAINT)

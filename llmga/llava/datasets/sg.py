"""Similar generation: a picture is to be made again, or only described.

Example: `{"image": "COCO/1.jpg", "caption": "A brown dog lies on a wooden floor …"}`.
"""

import numpy as np

from llmga.llava.conversation import Conversation
from llmga.llava.datasets.base import AS_CAPTIONED, Kind, Manner, OpenPicture, Record, exchange, wrapped

REGENERATE = 0.7  # how often a new picture is asked for instead of a description


def converse(
    record: Record, open_picture: OpenPicture, rng: np.random.Generator, manner: Manner = AS_CAPTIONED
) -> Conversation:
    caption = record["caption"].strip()
    if rng.random() < (REGENERATE if manner.paint is None else manner.paint):
        question, answer = manner.ask("regenerate", caption, rng), wrapped(caption)
    else:
        question, answer = manner.ask("describe", caption, rng), caption
    return exchange(question, answer, open_picture(record["image"]))


KIND = Kind(fields=("image", "caption"), converse=converse, paint=REGENERATE)

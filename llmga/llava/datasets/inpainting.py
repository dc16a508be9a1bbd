"""In- and outpainting: a part of the picture is black, the whole is to be written down.

Example: `{"image": "LAION/1.jpg", "caption": "A lighthouse on a cliff under a stormy sky …"}`.
"""

import numpy as np

from llmga.llava.conversation import Conversation
from llmga.llava.datasets.base import AS_CAPTIONED, Kind, Manner, OpenPicture, Record, exchange, wrapped
from llmga.masks import hide, random_mask


def converse(
    record: Record, open_picture: OpenPicture, rng: np.random.Generator, manner: Manner = AS_CAPTIONED
) -> Conversation:
    image = open_picture(record["image"])
    kind, mask = random_mask(image.size, rng)
    question = manner.ask("outpaint" if kind == "outpaint" else "inpaint", record["caption"], rng)
    return exchange(question, wrapped(record["caption"]), hide(image, mask))


KIND = Kind(fields=("image", "caption"), converse=converse)

"""What a schema cannot say of a request: `SCHEMATHESIS_HOOKS=tests.serve.api.sent schemathesis run URL`.

A format stands in the document where values have to be made by hand; what depends on other fields is left out here.
"""

import base64
import io
import math
from typing import Any

import schemathesis
from hypothesis import strategies as st
from PIL import Image
from schemathesis.transport.serialization import Binary

MOST_PICTURES = 16  # of a request, in all of its fields together
MOST_WORK, MOST_STEPS = 150 * 2048 * 2048, 150  # steps times pixels of all pictures of an answer
PICTURES = ("image", "image[]", "mask", "control_image")


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def half(mode: str, colour: Any, other: Any) -> bytes:
    """A picture, and as a mask one that keeps a half of a picture; all have one size."""
    image = Image.new(mode, (16, 16), colour)
    image.paste(other, (0, 0, 8, 16))
    return png(image)


FILES = [half("RGBA", (200, 10, 10, 255), (0, 0, 0, 0)), half("RGB", "white", "black")]
TEXTS = [base64.b64encode(file).decode() for file in FILES]
WORDS = st.text(st.characters(codec="utf-8"), max_size=60)

schemathesis.openapi.format("binary", st.sampled_from(FILES).map(Binary))
schemathesis.openapi.format("base64-picture", st.just(TEXTS[1]))
schemathesis.openapi.format("picture", st.sampled_from(TEXTS).map("data:image/png;base64,{}".format))
schemathesis.openapi.format("size", st.sampled_from(["auto", "16x16", "64x32", "2048x16"]))
schemathesis.openapi.format("control", st.sampled_from(["off", "canny", "canny:0.6:0-0.8,depth"]))
schemathesis.openapi.format("words", WORDS.map("a red {}".format))


@schemathesis.hook
def filter_body(context: Any, body: Any) -> bool:
    """Controls have a picture each, pictures are not too many, a mask keeps something, the answer is not too dear."""
    if not isinstance(body, dict):
        return True
    control, images = body.get("control"), listed(body.get("control_image"))
    controls = 0 if control in (None, "off") else len(str(control).split(","))
    keeps = not body.get("mask") or str(body.get("mask_blur") or 0) in "01"  # a blur reaches across small pictures
    few = sum(len(listed(body.get(name))) for name in PICTURES) <= MOST_PICTURES
    return controls == len(images) and few and keeps and work(body) <= MOST_WORK


def work(body: dict[str, Any]) -> int:
    """Steps times pixels, the most that they may be where the body is none."""
    sides = str(body.get("size")).split("x")
    width, height = sides if len(sides) == 2 else (body.get("width") or 2048, body.get("height") or 2048)
    counts = [body.get(name) or 1 for name in ("n", "batch_size", "n_iter")]
    steps = body.get("num_inference_steps") or body.get("steps") or MOST_STEPS
    try:
        return math.prod(map(int, (width, height, steps, *counts)))
    except (TypeError, ValueError):
        return 0  # refused for something else


def listed(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]

"""A restorer and a kind of pipeline of one's own, used by their names: `python examples/custom_parts.py out.png`."""

import sys
from dataclasses import replace

from diffusers import StableDiffusionXLPipeline
from PIL import Image, ImageEnhance

import llmga
from llmga.diffrir.restorers import RESTORERS
from llmga.diffusers.pipelines import PIPELINES


def vivid(image, reference=None, mask=None):
    """A restorer takes the painted picture, the one before and the mask, and gives the picture back."""
    return ImageEnhance.Color(image).enhance(1.5)


class OwnPipeline(StableDiffusionXLPipeline):
    """Whatever a new kind of pipeline does otherwise; here nothing."""


RESTORERS.register("vivid", vivid)
PIPELINES.register("own", replace(PIPELINES["sdxl"], name="own", pipeline_class=OwnPipeline))

if len(sys.argv) != 2:
    sys.exit(__doc__)
pipeline = llmga.load_pipeline("llmga-toy-sdxl-t2i", name="own")
pipeline("a red circle", seed=1, steps=4)
print(f"{type(pipeline.pipe).__name__} painted as {pipeline.describe()['family']}")

assistant = llmga.load(restorer="vivid")
canvas = Image.new("RGB", (64, 64), "blue")
mask = Image.new("L", canvas.size)
mask.paste(255, (16, 16, 48, 48))
reply = assistant.say("a red circle", images=[canvas], mask=mask)
reply.images[0].save(sys.argv[1])
print(f"restored by {reply.records[0].restorer}")

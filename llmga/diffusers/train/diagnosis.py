"""Why a loss is no finite number: the first thing on the way to it that is none."""

from collections.abc import Mapping, Sequence

from torch import Tensor

# What the UNet is given, in the order in which a step makes it -> why it may be no finite number.
CAUSES = {
    "latents": "the latents of its pictures are none: the weights in the folder vae/ are damaged, copy it again",
    "embeddings": "the embeddings of its captions are none: the text encoders' weights are damaged, or too large for "
    "--mixed-precision fp16, use bf16",
}
UNTOUCHED = (
    "nothing was learnt yet, so --lr is not to blame: the weights in the folder {part}/ are damaged, or too large for "
    "--mixed-precision fp16, use bf16"
)
RATE = "pictures and captions are in order, so the weights went astray: lower --lr"


def cause_of(given: Sequence[Mapping[str, Tensor]], learnt: bool, part: str = "unet") -> str:
    """A sentence's half for the person who trains.

    Args:
        given: what the UNet was given in each forward pass of the step, by the names of `CAUSES`.
        learnt: whether the run changed the weights before.
        part: the part of the pipeline that learns.
    """
    lost = (name for name in CAUSES for each in given if not each[name].isfinite().all())
    return next((CAUSES[name] for name in lost), RATE if learnt else UNTOUCHED.format(part=part))

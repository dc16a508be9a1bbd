"""Settings of stage 2, and the named sets of them."""

from dataclasses import dataclass, replace
from typing import Literal

from llmga.configuration import setting
from llmga.errors import UserError
from llmga.registry import Registry


@dataclass(frozen=True)
class TrainConfig:
    """One run.  Sizes in pixels, steps in optimiser steps."""

    family: Literal["sdxl", "sd15"] = setting("sdxl", help="row of the table of generators")
    task: Literal["text-to-image", "inpainting"] = setting(
        "text-to-image", help="what the UNet is given beside the text"
    )
    pipeline: str = setting("checkpoints/Training/stable-diffusion-xl-base-1.0", help="diffusers folder to start from")
    data: str = setting("data/jsons/llmga-data/T2I/train.json", help="JSON list of {image, caption}")
    images: str = setting("data/imgs", help="folder that the records' pictures are in")
    run: str = setting("runs/stage2", help="folder of checkpoints and log")
    output: str = setting("checkpoints/Training/llmga-sdxl-t2i", help="folder of the finished pipeline")
    save_dtype: Literal["fp32", "fp16", "bf16"] = setting("fp16", help="number format of the finished pipeline")

    resolution: int = setting(1024, help="side of the training pictures", minimum=16, maximum=4096)
    center_crop: bool = setting(True, help="cut from the middle instead of anywhere")
    flip: bool = setting(True, help="mirror every other picture; not for captions that say left and right")
    caption_dropout: float = setting(0.0, help="share of captions left out, for guidance", minimum=0, maximum=1)
    full_mask: float = setting(0.25, help="inpainting: share of pictures hidden as a whole", minimum=0, maximum=1)
    mask_scale: float = setting(1.0, help="inpainting: how much larger than published strokes and boxes are",
                                minimum=1, maximum=2)  # fmt: skip
    layout: str = setting("joined", help="how long prompts are laid out (see long_prompt.py)")
    cache_latents: bool = setting(False, help="encode every picture once; needs center_crop and no flip")

    steps: int = setting(50_000, help="length of the run", minimum=1)
    batch_size: int = setting(4, help="pictures for each process and forward pass", minimum=1)
    accumulation: int = setting(4, help="forward passes for each optimiser step", minimum=1)
    lr: float = setting(2e-5, help="peak learning rate", minimum=0)
    schedule: Literal["constant", "cosine"] = setting("constant", help="learning rate after the warm-up")
    warmup: int = setting(0, help="steps in which the learning rate rises from 0", minimum=0)
    beta1: float = setting(0.9, help="AdamW", minimum=0, maximum=1)
    beta2: float = setting(0.999, help="AdamW", minimum=0, maximum=1)
    epsilon: float = setting(1e-8, help="AdamW", minimum=0)
    weight_decay: float = setting(1e-2, help="AdamW", minimum=0)
    max_grad_norm: float = setting(1.0, help="gradients are clipped to this norm", minimum=0)
    ema_decay: float = setting(0.9999, help="averaging of the weights that are saved; 0 saves the last ones",
                               minimum=0, maximum=1)  # fmt: skip

    snr_gamma: float | None = setting(None, help="min-SNR weighting (5 is usual); none is off", minimum=0)
    noise_offset: float = setting(0.0, help="share of a constant shift in the noise (0.05 to 0.1 is usual)", minimum=0)

    seed: int = setting(0, help="decides order, noise and dropout", minimum=0)
    device: str = setting("auto", help="auto, cpu, cuda, cuda:N or mps")
    mixed_precision: Literal["no", "fp16", "bf16"] = setting("bf16", help="number format of the forward pass on a GPU")
    gradient_checkpointing: bool = setting(True, help="less memory for more time")
    workers: int = setting(4, help="processes that read pictures", minimum=0)
    checkpoint_every: int = setting(2000, help="steps between checkpoints", minimum=1)
    keep: int = setting(2, help="checkpoints kept", minimum=1)
    resume: str = setting("latest", help="latest, none, or the folder of a checkpoint")

    def check(self) -> None:
        """What the fields must be together; raises UserError."""
        if self.cache_latents and (self.flip or not self.center_crop):
            raise UserError("--cache-latents needs --center-crop true and --flip false: a cached picture cannot vary.")
        if self.warmup > self.steps:
            raise UserError(f"--warmup {self.warmup} is longer than the run of {self.steps} steps; lower it.")


SDXL = TrainConfig(run="runs/sdxl-t2i")
SD15 = TrainConfig(
    family="sd15",
    pipeline="checkpoints/Training/stable-diffusion-v1-5",
    run="runs/sd15-t2i",
    output="checkpoints/Training/llmga-sd15-t2i",
    resolution=512,
    batch_size=32,
    accumulation=1,
)
TOY_SDXL = TrainConfig(
    pipeline="checkpoints/Inference/llmga-toy-sdxl-base",
    data="data/toyworld/stage2.json",
    images="data/toyworld/images",
    run="runs/toyworld/stage2",
    output="checkpoints/Inference/llmga-toy-sdxl-t2i",
    resolution=64,
    flip=False,  # its captions say left and right
    caption_dropout=0.1,
    cache_latents=True,
    steps=2400,
    batch_size=32,
    accumulation=1,
    lr=7e-4,
    schedule="cosine",
    warmup=50,
    ema_decay=0.998,
    device="cpu",
    mixed_precision="no",
    gradient_checkpointing=False,
    workers=0,
    checkpoint_every=200,
)
# The base that stage 2 starts from: the same trainer on an untrained UNet and captions of a few words.
TOY_SDXL_BASE = replace(
    TOY_SDXL,
    pipeline="runs/toyworld/sdxl-random",
    data="data/toyworld/short.json",
    run="runs/toyworld/base",
    output="checkpoints/Inference/llmga-toy-sdxl-base",
    steps=2600,
    lr=1e-3,
    warmup=100,
)
# Fills holes; what it knows of painting from words is where it starts.
TOY_SDXL_INPAINT = replace(
    TOY_SDXL,
    task="inpainting",
    pipeline="checkpoints/Inference/llmga-toy-sdxl-t2i",
    run="runs/toyworld/inpaint",
    output="checkpoints/Inference/llmga-toy-sdxl-inpainting",
    mask_scale=2.0,
    steps=1600,
    lr=5e-4,
)

PRESETS = Registry(
    "preset",
    {
        "sd15": SD15,
        "sdxl": SDXL,
        "toy_sdxl": TOY_SDXL,
        "toy_sdxl_base": TOY_SDXL_BASE,
        "toy_sdxl_inpaint": TOY_SDXL_INPAINT,
    },
)

"""Settings of stage 2, and the named sets of them."""

from dataclasses import dataclass, replace
from typing import Literal

from llmga.choices import PROMPT_LAYOUTS
from llmga.diffusers.datasets.tags import Tags
from llmga.errors import UserError
from llmga.registry import Registry
from llmga.training.config import setting
from llmga.training.stream import LARGEST_SEED

LEAST_FACTOR = 0.1  # of Prodigy's rate; what is below was meant for another optimizer


@dataclass(frozen=True)
class Stage2Config:
    """One run.  Sizes in pixels, steps in optimiser steps."""

    family: Literal["sdxl", "sd15", "sd3", "checkpoint"] = setting(
        "sdxl", help="architecture of the pipeline; checkpoint is what it says of itself"
    )
    task: Literal["text-to-image", "inpainting"] = setting("text-to-image", help="what the UNet is given beside text")
    pipeline: str = setting("checkpoints/Training/stable-diffusion-xl-base-1.0", help="diffusers folder or single file")
    unet: str | None = setting(None, help="UNet in its place, a file or a folder")
    vae: str | None = setting(None, help="VAE in its place, a file or a folder")
    tokenizer: str | None = setting(None, help="folder with the vocabulary of a single file; none looks for it")
    run: str = setting(
        "runs/stage2", help="folder of checkpoints, caches and log; moves with another --output", beside="output"
    )
    output: str = setting("checkpoints/Training/llmga-sdxl-t2i", help="folder of the finished pipeline")
    save_dtype: Literal["fp32", "fp16", "bf16"] = setting("fp16", help="number format of the finished pipeline")

    data: tuple[str, ...] = setting(
        ("data/LAION-Aesthetic/train.json",),
        help="lists, tables, tars and folders of captioned pictures; data/README.md has all forms",
    )
    images: tuple[str, ...] = setting(
        ("data/LAION-Aesthetic/lmdb-0", "data/LAION-Aesthetic/lmdb-1"),
        help="where the pictures lie that JSON lists name: folders or LMDBs, the first that has one counts",
    )
    originals: str | None = setting(
        "data/LAION-Aesthetic/laion_3m_prompt.json", help="JSON of picture -> caption that it was found with"
    )
    original_share: float = setting(0.05, help="how often that caption is taken", minimum=0, maximum=1)
    regularisation: tuple[str, ...] = setting(
        (), help="sources of what the model shall go on painting as before; an epoch takes as many pictures of them"
    )
    prior_weight: float = setting(1.0, help="weight of the loss on pictures of --regularisation", minimum=0)

    resolution: int = setting(1024, help="side of the training pictures", minimum=16, maximum=4096)
    buckets: bool = setting(False, help="as many pixels in the aspect that suits each picture, instead of a square")
    bucket_no_upscale: bool = setting(False, help="small pictures go to smaller buckets instead of being enlarged")
    center_crop: bool = setting(True, help="cut from the middle instead of anywhere")
    flip: bool = setting(True, help="mirror every other picture; not for captions that say left and right")
    full_mask: float = setting(0.25, help="inpainting: share of pictures hidden as a whole", minimum=0, maximum=1)
    mask_scale: float = setting(1.0, help="inpainting: how much larger than published strokes and boxes are",
                                minimum=1, maximum=2)  # fmt: skip
    caption_dropout: float = setting(0.0, help="share of captions left out, for guidance", minimum=0, maximum=1)
    shuffle_tags: bool = setting(False, help="mix the tags of a caption, which commas part, each time it is seen")
    tag_dropout: float = setting(0.0, help="how often each tag is left out", minimum=0, maximum=1)
    keep_tokens: int = setting(0, help="tags at the front of a caption that are neither mixed nor left out", minimum=0)
    layout: str = setting("joined", help="how long prompts are laid out: " + ", ".join(PROMPT_LAYOUTS))
    cache_latents: bool = setting(False, help="encode every picture once; needs center_crop and no flip")
    cache_embeddings: bool = setting(False, help="encode every caption once; 0.6 MB each in SDXL, half precision")

    tune: Literal["full", "lora"] = setting(
        "full",
        help="what learns: the whole network (UNet or transformer), or low-rank weights beside it",
        instead={"dora": "--tune lora --dora true"},
    )
    lora_rank: int = setting(16, help="inner width of the low-rank weights", minimum=1, maximum=1024)
    lora_alpha: float | None = setting(None, help="their weight is alpha / rank; none is the rank", minimum=0)
    dora: bool = setting(False, help="low-rank weights change directions, and lengths are learnt beside them (DoRA)")
    train_text_encoder: bool = setting(False, help="the text encoders learn, too, as --tune says")
    text_encoder_lr: float | None = setting(None, help="their peak learning rate; none is --lr", minimum=0)
    steps: int = setting(50_000, help="length of the run", minimum=1)
    batch_size: int = setting(4, help="pictures for each process and forward pass", minimum=1)
    accumulation: int = setting(4, help="forward passes for each optimiser step", minimum=1)
    optimizer: Literal["adamw", "adamw8bit", "adafactor", "prodigy", "muon"] = setting(
        "adamw", help="8 bits and Adafactor spare memory, Prodigy finds the rate, Muon turns matrices"
    )
    lr: float = setting(2e-5, help="peak learning rate; of Prodigy a factor, 1 is usual", minimum=0)
    muon_lr: float | None = setting(None, help="Muon's own for matrices; none is --lr", minimum=0)
    schedule: Literal["constant", "cosine"] = setting("constant", help="learning rate after the warm-up")
    warmup: int = setting(0, help="steps in which the learning rate rises from 0", minimum=0)
    beta1: float = setting(0.9, help="AdamW and Prodigy", minimum=0, maximum=1)
    beta2: float = setting(0.999, help="AdamW and Prodigy", minimum=0, maximum=1)
    epsilon: float = setting(1e-8, help="AdamW and Prodigy", minimum=0)
    weight_decay: float = setting(1e-2, help="share of the weights that a step at rate 1 takes away", minimum=0)
    max_grad_norm: float = setting(1.0, help="gradients are clipped to this norm", minimum=0)
    ema_decay: float = setting(0.9999, help="averaging of the weights that are saved; 0 saves the last ones",
                               minimum=0, maximum=1)  # fmt: skip

    prediction: Literal["checkpoint", "epsilon", "v_prediction"] = setting(
        "checkpoint", help="what the UNet learns to say; checkpoint is what it says already"
    )
    snr_gamma: float | None = setting(None, help="min-SNR weighting (5 is usual); none is off", minimum=0)
    noise_offset: float = setting(0.0, help="share of a constant shift in the noise (0.05 to 0.1 is usual)", minimum=0)

    weighting_scheme: Literal["logit_normal", "mode", "sigma_sqrt", "cosmap", "none"] = setting(
        "logit_normal", help="SD3: how times are drawn and losses weighted, in the words of diffusers' trainers"
    )
    logit_mean: float = setting(0.0, help="SD3: middle of the times of logit_normal")
    logit_std: float = setting(1.0, help="SD3: their spread", minimum=0)
    mode_scale: float = setting(1.29, help="SD3: of the times of mode")

    seed: int = setting(0, help="decides order, noise, holes and dropout", minimum=0, maximum=LARGEST_SEED)
    device: str = setting("auto", help="auto, cpu, cuda, cuda:N or mps")
    mixed_precision: Literal["no", "fp16", "bf16"] = setting("bf16", help="number format of the forward pass on a GPU")
    deepspeed: str | None = setting(None, help="DeepSpeed JSON, such as scripts/zero2.json")
    gradient_checkpointing: bool = setting(True, help="less memory for more time")
    torch_compile: bool = setting(False, help="compile the blocks of the network: minutes at first, faster steps on a "
                                  "GPU")  # fmt: skip
    workers: int = setting(4, help="processes that read pictures", minimum=0)
    checkpoint_every: int = setting(2000, help="steps between checkpoints", minimum=1)
    keep: int = setting(2, help="checkpoints kept", minimum=1)
    resume: str = setting("latest", help="latest, none, or the folder of a checkpoint")
    validation_every: int | None = setting(None, help="steps between pictures painted on the way", minimum=1)
    validation_pictures: int = setting(4, help="how many of them", minimum=1)
    report_to: tuple[Literal["tensorboard", "wandb"], ...] = setting(
        ("tensorboard",), help="where log and pictures also go; WANDB_MODE=offline keeps it on this machine"
    )

    @property
    def tags(self) -> Tags:
        """What is done to the tags of captions."""
        return Tags(self.shuffle_tags, self.keep_tokens, self.tag_dropout)

    def check(self) -> None:
        """See that the fields go together.

        Raises:
            UserError: they do not.
        """
        from llmga.diffusers.long_prompt import LAYOUTS

        LAYOUTS[self.layout]
        if self.cache_latents and (self.flip or not self.center_crop):
            raise UserError("--cache-latents true needs --center-crop true and --flip false, since a cached picture "
                            "cannot vary; give these, or --cache-latents false.")  # fmt: skip
        if self.warmup > self.steps:
            raise UserError(f"--warmup {self.warmup} is longer than the run of {self.steps} steps; lower it.")
        if not self.data:
            raise UserError("--data names nothing; give at least one JSON list, parquet file or folder.")
        if self.bucket_no_upscale and not self.buckets:
            raise UserError("--bucket-no-upscale true is about buckets; give --buckets true, too.")
        if self.cache_embeddings and self.tags:
            raise UserError("--cache-embeddings true needs --shuffle-tags false and --tag-dropout 0, since a cached "
                            "caption cannot vary; give these, or --cache-embeddings false.")  # fmt: skip
        self._check_learning()
        if self.family == "sd3":
            self._check_flow()

    def _check_learning(self) -> None:
        if self.dora and self.tune != "lora":
            raise UserError("--dora true is a kind of low-rank weights; give --tune lora, too.")
        if self.train_text_encoder and self.deepspeed:
            raise UserError("--train-text-encoder true trains several models, which --deepspeed does not take; give "
                            "--deepspeed none.")  # fmt: skip
        if self.train_text_encoder and self.cache_embeddings:
            raise UserError("--train-text-encoder true changes what captions become; give --cache-embeddings false.")
        if self.text_encoder_lr is not None and not self.train_text_encoder:
            raise UserError("--text-encoder-lr needs text encoders that learn; give --train-text-encoder true, too.")
        if self.muon_lr is not None and self.optimizer != "muon":
            raise UserError(
                f"--muon-lr is not for --optimizer {self.optimizer}; give --optimizer muon, or leave it out."
            )
        if self.optimizer == "muon" and (self.mixed_precision == "fp16" or self.deepspeed):
            raise UserError("--optimizer muon is two optimizers, which neither --mixed-precision fp16 nor --deepspeed "
                            "takes; give --mixed-precision bf16 and --deepspeed none.")  # fmt: skip
        if self.optimizer == "prodigy" and self.lr < LEAST_FACTOR:
            raise UserError(f"--lr {self.lr} is a factor of the rate that --optimizer prodigy finds, so nothing would "
                            "be learnt; give --lr 1.")  # fmt: skip
        if self.optimizer == "prodigy" and self.text_encoder_lr not in (None, self.lr):
            raise UserError("--optimizer prodigy finds one rate for all; leave --text-encoder-lr out.")

    def _check_flow(self) -> None:
        if self.task != "text-to-image":
            raise UserError("--family sd3 is trained for --task text-to-image only; inpainting takes sdxl or sd15.")
        if self.train_text_encoder:
            raise UserError("--family sd3 keeps its text encoders; give --train-text-encoder false.")
        if self.snr_gamma is not None or self.noise_offset or self.prediction != "checkpoint":
            raise UserError("--snr-gamma, --noise-offset and --prediction are for sdxl and sd15; of --family sd3 "
                            "--weighting-scheme says what is learnt.")  # fmt: skip


# The settings of the original's launchers.  Each gave its warm-up twice, 1000 and then 0, and the second one counted.
SDXL = Stage2Config(run="runs/sdxl-t2i")
SDXL_INPAINT = replace(
    SDXL,
    task="inpainting",
    pipeline="checkpoints/Training/stable-diffusion-xl-1.0-inpainting-0.1",
    run="runs/sdxl-inpainting",
    output="checkpoints/Training/llmga-sdxl-inpainting",
    caption_dropout=0.05,
)
SD15 = Stage2Config(
    family="sd15",
    pipeline="checkpoints/Training/stable-diffusion-v1-5",
    data=("data/jsons/llmga-data/T2I/train.json",),
    images=("data/imgs",),
    originals=None,
    run="runs/sd15-t2i",
    output="checkpoints/Training/llmga-sd15-t2i",
    resolution=512,
    batch_size=32,
    accumulation=1,
)
SD15_INPAINT = replace(
    SD15,
    task="inpainting",
    pipeline="checkpoints/Training/stable-diffusion-inpainting",
    data=(*SDXL.data, "data/COCO/train.json"),
    images=(*SDXL.images, "data/COCO/train2017"),
    originals=SDXL.originals,
    run="runs/sd15-inpainting",
    output="checkpoints/Training/llmga-sd15-inpainting",
    caption_dropout=0.05,
)
# The stage-2 recipe on a model of flows: diffusers' low-rank recipe for SD3, with the length and the data of SDXL's.
SD3 = replace(
    SDXL,
    family="sd3",
    pipeline="checkpoints/Training/stable-diffusion-3.5-medium",
    run="runs/sd3-t2i",
    output="checkpoints/Training/llmga-sd3-t2i",
    tune="lora",
    lr=1e-4,
)
TOY_SDXL = Stage2Config(
    pipeline="checkpoints/Inference/llmga-toy-sdxl-base",
    data=("data/toyworld/stage2.json",),
    images=("data/toyworld/images",),
    originals=None,
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
    report_to=(),
)
# The base that stage 2 starts from: the same trainer on an untrained UNet and captions of a few words.
TOY_SDXL_BASE = replace(
    TOY_SDXL,
    pipeline="runs/toyworld/sdxl-random",
    data=("data/toyworld/short.json",),
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

PRESETS = Registry("preset", {
    "sd15": SD15,
    "sd15_inpaint": SD15_INPAINT,
    "sdxl": SDXL,
    "sdxl_inpaint": SDXL_INPAINT,
    "sd3": SD3,
    "toy_sdxl": TOY_SDXL,
    "toy_sdxl_base": TOY_SDXL_BASE,
    "toy_sdxl_inpaint": TOY_SDXL_INPAINT,
})  # fmt: skip

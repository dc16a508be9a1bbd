"""Settings of the restoration network's training, and the named sets of them."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from llmga.errors import UserError
from llmga.registry import Registry
from llmga.training.config import setting
from llmga.training.stream import LARGEST_SEED

if TYPE_CHECKING:
    from llmga.diffrir.model import DiffRIRConfig

TRAINING = "checkpoints/Training"
WINDOW = 32  # pixels of `llmga.diffrir.model.WINDOW`, which importing would take seconds; a test holds them equal
SCALES: tuple[Literal[1, 2, 4], ...] = (1, 2, 4)


@dataclass(frozen=True)
class RestorerConfig:
    """One run.  Sizes in pixels of the clean picture, steps in optimiser steps; the defaults are the published ones."""

    objective: Literal["teacher", "prior", "joint", "adversarial"] = setting("teacher", help="what is learnt (row of "
                                                                             "the table in objective.py)")  # fmt: skip
    scale: Literal[1, 2, 4] = setting(1, help="sides of the output over sides of the input")
    dim: int = setting(64, help="channels of the first level of a new network", minimum=8)
    num_blocks: tuple[int, ...] = setting((13, 1, 1, 1), help="blocks of its four levels", minimum=0)
    num_refinement_blocks: int = setting(13, help="blocks behind them", minimum=0)
    n_encoder_res: int = setting(9, help="residual blocks of its prior encoder", minimum=0)
    matched: bool = setting(
        False, help="level tone and drift (llmga.diffrir.matching) before the network sees a picture"
    )
    plain_start: bool = setting(False, help="a new network begins as the picture itself; as published it begins random")
    start: str | None = setting(None, help="weights to start from; none makes a new network (teacher only)")
    teacher: str | None = setting(None, help="stage-1 weights whose prior is to be guessed")

    data: str = setting("data/DiffRIR/train.txt", help="list of pictures, one path a line (llmga.diffrir.listing)")
    images: str = setting("data/DiffRIR", help="folder that the list's paths start from")
    masks: str | None = setting(None, help="folder of masks named as the pictures; none draws them as published")
    validation: str | None = setting(None, help="list of pictures to validate on, below the same folder")
    metrics: str = setting(
        f"{TRAINING}/metrics", help="folder of weights of perceptual metrics, which validation uses if they are there"
    )
    run: str = setting(
        "runs/diffrir", help="folder of checkpoints and log; moves with another --output", beside="output"
    )
    output: str = setting(f"{TRAINING}/diffrir", help="folder of the finished network")
    save_dtype: Literal["fp32", "fp16", "bf16"] = setting("fp32", help="number format of the finished network")

    picture: int = setting(400, help="side of the clean pictures that are degraded", minimum=WINDOW)
    patch: int = setting(256, help="side of what is cut from them", minimum=WINDOW)
    pool: int = setting(
        160, help="older pairs that batches are mixed with, a multiple of the batch; 0 is off", minimum=0
    )
    degradation: Literal["published", "mild"] = setting("published", help="what pictures suffer")
    gain: float = setting(0.06, help="how far the gain of the tone may be from 1", minimum=0, maximum=1)
    bias: float = setting(0.05, help="how far its bias may be from 0", minimum=0, maximum=1)
    drift: float = setting(0.0, help="largest local drift of colours; 0 as published", minimum=0, maximum=1)
    vae: str | None = setting(
        None, help="folder of a diffusers VAE that every second batch goes through; none as published"
    )
    sharpened: bool = setting(False, help="aim at sharpened pictures (the V2 look)")

    steps: int = setting(400_000, help="length of the run", minimum=1)
    batch_size: int = setting(8, help="pictures for each process and step", minimum=1)
    lr: float = setting(2e-4, help="learning rate at the beginning", minimum=0)
    judge_lr: float = setting(1e-4, help="learning rate of the discriminator", minimum=0)
    schedule: Literal["steps", "cosine"] = setting("steps", help="learning rate after the warm-up")
    decay: float = setting(0.5, help="what the rate is multiplied by at each of the decay steps", minimum=0, maximum=1)
    decay_steps: tuple[int, ...] = setting((), help="when", minimum=1)
    warmup: int = setting(0, help="steps in which the learning rate rises from 0", minimum=0)
    beta1: float = setting(0.9, help="Adam", minimum=0, maximum=1)
    beta2: float = setting(0.99, help="Adam", minimum=0, maximum=1)
    max_grad_norm: float = setting(0.0, help="gradients are clipped to this norm; 0 is off", minimum=0)
    ema_decay: float = setting(0.0, help="averaging of the weights that are saved; 0 saves the last ones",
                               minimum=0, maximum=1)  # fmt: skip
    composited: bool = setting(False, help="compare only what was painted")
    perceptual: str | None = setting(
        None, help="torchvision's VGG19 weights for the perceptual loss; none leaves it out"
    )

    seed: int = setting(0, help="decides order, crops, degradations, masks and noise", minimum=0, maximum=LARGEST_SEED)
    device: str = setting("auto", help="auto, cpu, cuda, cuda:N or mps")
    mixed_precision: Literal["no", "bf16"] = setting("no", help="number format of the forward pass on a GPU")
    deepspeed: str | None = setting(
        None, help="DeepSpeed configuration of ZeRO stage 1 or 2, such as scripts/zero2.json"
    )
    workers: int = setting(4, help="processes that read pictures", minimum=0)
    checkpoint_every: int = setting(5000, help="steps between checkpoints", minimum=1)
    validate_every: int = setting(5000, help="steps between validations", minimum=1)
    keep: int = setting(2, help="checkpoints kept", minimum=1)
    resume: str = setting("latest", help="latest, none, or the folder of a checkpoint")

    @property
    def network(self) -> "DiffRIRConfig":
        """What a new network is."""
        from llmga.diffrir.model import DiffRIRConfig

        return DiffRIRConfig(
            self.scale, self.dim, self.num_blocks, self.num_refinement_blocks, n_encoder_res=self.n_encoder_res,
            matched=self.matched,
        )  # fmt: skip

    def check(self) -> None:
        """See that the fields go together.

        Raises:
            UserError: they do not.
        """
        from llmga.diffrir.degradation import least_side

        if self.patch % WINDOW or self.patch > self.picture or self.picture % self.scale:
            raise UserError(f"--patch {self.patch} must be a multiple of {WINDOW} and fit into --picture "
                            f"{self.picture}, a multiple of the scale {self.scale}.")  # fmt: skip
        least = least_side(self.scale) if self.degradation == "published" else WINDOW
        if self.picture < least:
            raise UserError(f"--picture {self.picture} is too small for the published degradation at scale "
                            f"{self.scale}; give at least {least}, or --degradation mild.")  # fmt: skip
        if self.pool % self.batch_size:
            raise UserError(f"--pool {self.pool} is no multiple of --batch-size {self.batch_size}; use one, or 0.")
        if len(self.num_blocks) != 4:
            raise UserError(f"--num-blocks {self.num_blocks} are {len(self.num_blocks)} levels, but there are 4.")
        if self.objective != "teacher" and (self.start is None or self.teacher is None):
            raise UserError(f"--objective {self.objective} needs --start and --teacher; train the stage before first.")
        if self.objective == "adversarial" and self.deepspeed:
            raise UserError("--deepspeed trains one network, but two play here; leave it out.")
        if self.warmup > self.steps:
            raise UserError(f"--warmup {self.warmup} is longer than the run of {self.steps} steps; lower it.")


def stages(scale: Literal[1, 2, 4]) -> dict[str, RestorerConfig]:
    """The published stages of one scale, each starting from the one before."""
    name = f"diffrir-x{scale}"
    teacher = f"{TRAINING}/{name}-s1"

    def named(stage: str, **changes: Any) -> RestorerConfig:
        folders = {"run": f"runs/{name}-{stage}", "output": f"{TRAINING}/{name}-{stage}"}
        return replace(RestorerConfig(scale=scale), **{**folders, **changes})

    s1 = named(
        "s1", steps=400_000 if scale == 1 else 1_000_000,
        decay_steps=(200_000, 300_000) if scale == 1 else (500_000, 700_000),
    )  # fmt: skip
    later: dict[str, Any] = {"teacher": teacher, "ema_decay": 0.999}
    prior = named(
        "s2-prior",
        objective="prior",
        start=teacher,
        gain=0.08,
        steps=100_000,
        decay=0.1,
        decay_steps=(60_000,),
        **later,
    )
    joint = named(
        "s2-joint", objective="joint", start=prior.output, gain=0.08, steps=900_000, decay_steps=(600_000,),
        composited=scale == 1, **later,
    )  # fmt: skip
    gan = named(
        "gan", objective="adversarial", start=joint.output, gain=0.06 if scale == 1 else 0.08, lr=1e-4,
        decay_steps=(300_000, 600_000, 900_000), perceptual=f"{TRAINING}/vgg19-dcbb9e9d.pth",
        output=f"checkpoints/Inference/{name}-gan", **later,
    )  # fmt: skip
    v2 = replace(gan, sharpened=True, run=f"runs/{name}-gan-v2", output=f"checkpoints/Inference/{name}-gan-v2")
    return {
        f"x{scale}-{row}": c
        for row, c in zip(("s1", "s2-prior", "s2-joint", "gan", "gan-v2"), (s1, prior, joint, gan, v2), strict=True)
    }


# A small network for toy scenes and textures.
TOY_S1 = RestorerConfig(
    dim=24,
    num_blocks=(1, 1, 1, 1),
    num_refinement_blocks=1,
    n_encoder_res=0,
    matched=True,
    plain_start=True,
    data="data/toyworld/restoration/train.txt",
    images="data/toyworld/restoration",
    validation="data/toyworld/restoration/validation.txt",
    run="runs/toyworld/diffrir-s1",
    output=f"{TRAINING}/llmga-toy-diffrir-x1-s1",
    picture=96,
    patch=96,
    pool=0,
    degradation="mild",
    gain=0.08,
    drift=0.08,
    steps=600,
    composited=True,
    batch_size=4,
    lr=1e-3,
    schedule="cosine",
    warmup=50,
    max_grad_norm=0.5,
    ema_decay=0.99,
    device="cpu",
    workers=0,
    checkpoint_every=100,
    validate_every=100,
)
TOY_PRIOR = replace(
    TOY_S1,
    objective="prior",
    start=TOY_S1.output,
    teacher=TOY_S1.output,
    run="runs/toyworld/diffrir-prior",
    output=f"{TRAINING}/llmga-toy-diffrir-x1-prior",
    steps=120,
)
TOY_JOINT = replace(
    TOY_PRIOR,
    objective="joint",
    start=TOY_PRIOR.output,
    run="runs/toyworld/diffrir-joint",
    output="checkpoints/Inference/llmga-toy-diffrir-x1",
    save_dtype="fp16",
    steps=2600,
    lr=7e-4,
)

PRESETS = Registry(
    "preset",
    {
        **{name: config for scale in SCALES for name, config in stages(scale).items()},
        **{"toy-x1-s1": TOY_S1, "toy-x1-s2-prior": TOY_PRIOR, "toy-x1-s2-joint": TOY_JOINT},
    },
)

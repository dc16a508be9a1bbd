"""What a run starts from: the checkpoint, made to fit the task, and the machine it runs on."""

from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from llmga.diffusers.assembly import Assembly, assemble
from llmga.diffusers.checkpoints import find_checkpoint, read_index
from llmga.diffusers.families import Family
from llmga.diffusers.pipelines import family_of
from llmga.diffusers.train.config import Stage2Config
from llmga.diffusers.train.lora import add_lora
from llmga.diffusers.train.tasks import Task, widened
from llmga.errors import UserError
from llmga.runtime import pick_device
from llmga.training.deepspeed import accelerate_plugin

HALF = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
TEXT_ENCODERS = ("text_encoder", "text_encoder_2")


def open_accelerator(config: Stage2Config) -> Accelerator:
    """The processes and devices of a run.

    Raises:
        UserError: a device or a DeepSpeed configuration that cannot be used.
    """
    cpu = pick_device(config.device).type == "cpu"
    precision = "no" if cpu else config.mixed_precision
    plugin = accelerate_plugin(
        config.deepspeed, config.batch_size,
        gradient_accumulation_steps=config.accumulation, gradient_clipping=config.max_grad_norm,
    )  # fmt: skip
    return Accelerator(
        cpu=cpu and plugin is None, mixed_precision=precision, gradient_accumulation_steps=config.accumulation,
        deepspeed_plugin=plugin,
    )  # fmt: skip


def base_of(config: Stage2Config) -> Assembly:
    """What a run starts from: a folder or a single file, and the parts that are given beside it.

    Raises:
        UserError: it is not there, or no pipeline.
    """
    return assemble(find_checkpoint(config.pipeline), unet=config.unet, vae=config.vae, tokenizer=config.tokenizer)


def open_base(config: Stage2Config, family: Family, task: Task) -> tuple[Assembly, Any]:
    """The checkpoint and the pipeline of the task's class, its UNet as wide as the task asks.

    Raises:
        UserError: it is not there, of another family, or does not fit the task.
    """
    base = base_of(config)
    folder = base.configs
    with base.named():
        own = family_of(read_index(folder).get("_class_name"), folder).architecture
        if own != family.architecture:
            raise UserError(
                f"{str(folder)!r} is of the family {own}, not {family.architecture}; choose another --family."
            )
        pipe = base.open(family.load_pipeline_class(), torch.float32)
        _fit_unet(pipe, config, folder, task)
    return base, pipe


def _fit_unet(pipe: Any, config: Stage2Config, folder: Path, task: Task) -> None:
    channels, latent = pipe.unet.config.in_channels, pipe.vae.config.latent_channels
    expected = latent + task.extra_channels(latent)
    if channels not in (latent, expected):
        raise UserError(f"the UNet of {str(folder)!r} takes {channels} channels, but {config.task} needs "
                        f"{expected}; choose another pipeline or task.")  # fmt: skip
    if channels != expected and config.tune == "lora":
        raise UserError(f"the UNet of {str(folder)!r} takes {channels} channels and has to learn to see {expected}, "
                        "which low-rank weights cannot; give an inpainting checkpoint or --tune full.")  # fmt: skip
    pipe.unet = widened(pipe.unet, expected)
    if config.resolution % unit_of(pipe):
        raise UserError(
            f"--resolution {config.resolution} is not a multiple of {pipe.vae_scale_factor}; choose one that is."
        )


def unit_of(pipe: Any, levels: int = 0) -> int:
    """Pixels of a latent position, or of one at a UNet's level further down."""
    return pipe.vae_scale_factor * 2**levels


def place_parts(pipe: Any, config: Stage2Config, accelerator: Accelerator) -> None:
    """Frozen text towers in the format of the forward pass; the VAE in single precision, which some overflow without;
    what learns in single precision, and low-rank weights beside a UNet in the format of the forward pass."""
    device, half = accelerator.device, HALF[accelerator.mixed_precision]
    pipe.vae.to(device).requires_grad_(False).eval()
    for name in TEXT_ENCODERS:
        if (tower := getattr(pipe, name, None)) is not None:
            tower.to(device, half).requires_grad_(False).eval()
    unet = pipe.unet.to(device, half if config.tune == "lora" else None).requires_grad_(True).train()
    if config.tune == "lora":
        add_lora(unet, config.lora_rank, config.lora_alpha, config.seed)
    if config.gradient_checkpointing:
        unet.enable_gradient_checkpointing()

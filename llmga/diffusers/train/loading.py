"""What a run starts from: the checkpoint, made to fit the task, and the machine it runs on."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs

from llmga.diffusers.assembly import Assembly, assemble
from llmga.diffusers.checkpoints import find_checkpoint, read_index
from llmga.diffusers.families import Family
from llmga.diffusers.pipelines import family_of
from llmga.diffusers.train.config import Stage2Config
from llmga.diffusers.train.lora import CLIP_TARGETS, add_lora
from llmga.diffusers.train.networks import NETWORKS, trained_family
from llmga.diffusers.train.tasks import Task, widened
from llmga.errors import UserError
from llmga.extras import require
from llmga.runtime import pick_device
from llmga.training.deepspeed import accelerate_plugin

HALF = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


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
    # SDXL's first text encoder is read at the last layer but one: what is behind it gets no gradient.
    handlers = [DistributedDataParallelKwargs(find_unused_parameters=True)] if config.train_text_encoder else None
    return Accelerator(
        cpu=cpu and plugin is None, mixed_precision=precision, gradient_accumulation_steps=config.accumulation,
        deepspeed_plugin=plugin, log_with=_trackers(config), project_dir=config.run, kwargs_handlers=handlers,
    )  # fmt: skip


def _trackers(config: Stage2Config) -> list[str] | None:
    """Where the log also goes; tensorboard, which is asked for unless somebody says otherwise, only where it is."""
    if "wandb" in config.report_to:
        require("wandb", "--report-to wandb")
    return [name for name in config.report_to if find_spec(name)] or None


def base_of(config: Stage2Config) -> Assembly:
    """What a run starts from: a folder or a single file, and the parts that are given beside it.

    Raises:
        UserError: it is not there, or no pipeline.
    """
    return assemble(find_checkpoint(config.pipeline), unet=config.unet, vae=config.vae, tokenizer=config.tokenizer)


def resolved(config: Stage2Config) -> Stage2Config:
    """The settings with the family of the checkpoint.

    Raises:
        UserError: it is not there, is of another family than they say, or one that is not trained.
    """
    base = base_of(config)
    folder = base.configs
    with base.named():
        own: Any = trained_family(read_index(folder).get("_class_name"), folder)
        if config.family == "checkpoint":
            config = replace(config, family=own)
            config.check()
        if own != config.family:
            raise UserError(f"{str(folder)!r} is of the family {own}, not {config.family}; give --family {own} or "
                            "another --pipeline.")  # fmt: skip
    return config


def open_base(config: Stage2Config, task: Task) -> tuple[Assembly, Family, Any]:
    """The checkpoint, the row that paints with it, and the pipeline of the task's class, its UNet as wide as the task
    asks.

    Args:
        config: `resolved`.

    Raises:
        UserError: it does not fit the task.
    """
    base = base_of(config)
    folder = base.configs
    with base.named():
        family = family_of(read_index(folder).get("_class_name"), folder, config.task)
        pipe = base.open(family.load_pipeline_class(), torch.float32)
        if hasattr(pipe, "unet"):
            _fit_unet(pipe, config, folder, task)
    unit = NETWORKS[config.family].side(pipe, False)
    if config.resolution % unit:
        raise UserError(f"--resolution {config.resolution} is not a multiple of {unit}; choose one that is.")
    return base, family, pipe


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


def learning_parts(config: Stage2Config) -> tuple[str, ...]:
    """The parts of the pipeline that learn: the network, then text encoders."""
    row = NETWORKS[config.family]
    return (row.part, *(row.learnable if config.train_text_encoder else ()))


def place_parts(pipe: Any, config: Stage2Config, accelerator: Accelerator) -> None:
    """Frozen text towers in the format of the forward pass; the VAE in single precision, which some overflow without;
    what learns in single precision, and low-rank weights beside a network in the format of the forward pass."""
    device, half = accelerator.device, HALF[accelerator.mixed_precision]
    row = NETWORKS[config.family]
    pipe.vae.to(device).requires_grad_(False).eval()
    for name in row.towers:
        if (tower := getattr(pipe, name, None)) is not None:
            tower.to(device, half).requires_grad_(False).eval()
    for name in learning_parts(config):
        part = getattr(pipe, name).to(device, half if config.tune == "lora" else torch.float32)
        part.requires_grad_(True).train()
        fit_to_learn(part, config, name)
    network = getattr(pipe, row.part)
    if config.gradient_checkpointing:
        network.enable_gradient_checkpointing()
    if config.torch_compile:
        compile_blocks(network, row.compiled, any_shape=config.buckets)


def fit_to_learn(part: Any, config: Stage2Config, name: str) -> None:
    """Low-rank weights beside a part of the pipeline, if the settings say so."""
    if config.tune == "lora":
        row = NETWORKS[config.family]
        targets = row.targets if name == row.part else CLIP_TARGETS
        add_lora(part, config.lora_rank, config.lora_alpha, config.seed, targets=targets, dora=config.dora)


def compile_blocks(network: Any, blocks: tuple[str, ...], *, any_shape: bool) -> None:
    """Compile the blocks of these classes, which are many of a kind, instead of the whole network.

    Args:
        any_shape: whether pictures come in several sizes, for each of which a block would be compiled again.
    """
    for module in network.modules():
        if type(module).__name__ in blocks:
            module.compile(dynamic=any_shape or None)

"""What a run needs of this machine, looked at before anything is loaded."""

from dataclasses import replace

import torch

from llmga.errors import UserError
from llmga.extras import require
from llmga.llava.adapters import is_low_rank
from llmga.llava.datasets.mixture import held_out_of, open_sources, samples_in
from llmga.llava.empty import new_config
from llmga.llava.loading import describe
from llmga.llava.paths import find_checkpoint
from llmga.llava.placement import placement
from llmga.llava.train.resuming import require_same_course, require_same_data, require_steps_left, require_usable
from llmga.llava.train.settings import Attention, Stage1Config
from llmga.runtime import DTYPES
from llmga.training.checkpoints import newest_checkpoint
from llmga.training.deepspeed import read_settings, require_same_parts, zero_stage
from llmga.training.launch import Processes


def ready(config: Stage1Config, processes: Processes | None = None) -> Stage1Config:
    """The same settings with what depends on the machine filled in: accumulation, global batch and attention.

    Raises:
        UserError: something would stop the run later.
    """
    processes = processes or Processes.launched()
    on_cpu = config.device == "cpu" or not torch.cuda.is_available()
    _check_devices(processes, on_cpu)
    _check_formats(config, on_cpu)
    _check_packages(config)
    _check_deepspeed(config)
    _check_models(config)
    records = open_sources(config.sources)
    held_out_of(samples_in(records, config.sources), config.eval_fraction)
    accumulation = _accumulation(config, processes)
    known = replace(
        config,
        accumulation=accumulation,
        global_batch=config.batch * accumulation * processes.world,
        attention=_attention(config, on_cpu),
    )
    _check_same_step(known)
    if checkpoint := newest_checkpoint(config.resume_dir()):
        require_usable(checkpoint)
        require_steps_left(checkpoint, config.steps)
        require_same_course(checkpoint, known)
        require_same_data(checkpoint, config.sources, records)
        require_same_parts(checkpoint, zero_stage(config.deepspeed), processes.world)
    return known


def _check_devices(processes: Processes, on_cpu: bool) -> None:
    gpus = torch.cuda.device_count()
    if not on_cpu and processes.here > gpus:
        raise UserError(
            f"{processes.here} processes were started on a machine with {gpus} GPU(s), which two cannot share; start "
            f"at most {gpus} (GPUS={gpus}), or train on the CPU with --device cpu."
        )


def _check_formats(config: Stage1Config, on_cpu: bool) -> None:
    if on_cpu and "fp16" in (config.precision, config.frozen_dtype):
        raise UserError("--precision fp16 needs a CUDA GPU; use bf16 or fp32 on a CPU.")
    if on_cpu and config.tune == "dora" and config.bits == 8:  # bitsandbytes loses their scales after the first step
        raise UserError("--tune dora with --bits 8 needs a CUDA GPU; give --tune lora or --bits 4 on a CPU.")
    if not on_cpu and config.precision == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise UserError(f"{torch.cuda.get_device_name()} cannot compute in bf16; give --precision fp16 or fp32.")


def _check_packages(config: Stage1Config) -> None:
    if "wandb" in config.report_to:
        require("wandb", "--report-to wandb")
    if config.low_rank:
        require("peft", f"--tune {config.tune}")


def _check_deepspeed(config: Stage1Config) -> None:
    if config.deepspeed is None:
        return
    read_settings(config.deepspeed)
    require("deepspeed", "--deepspeed")
    _check_zero(config)
    if config.bits != 16 and zero_stage(config.deepspeed) == 3:
        raise UserError(
            f"--bits {config.bits} and ZeRO-3 exclude each other, since it cannot cut quantised weights into pieces; "
            "give --deepspeed scripts/zero2.json or none."
        )


def _check_zero(config: Stage1Config) -> None:
    """Whether DeepSpeed takes what stands under "zero_optimization"."""
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig
    from pydantic import ValidationError

    zero = read_settings(config.deepspeed).get("zero_optimization", {})
    if not isinstance(zero, dict):
        raise UserError(f'"zero_optimization" in {config.deepspeed!r} is {zero!r}, but must be an object.')
    try:
        DeepSpeedZeroConfig(**{name: value for name, value in zero.items() if value != "auto"})
    except ValidationError as problem:
        first = problem.errors()[0]
        place = ".".join(map(str, ("zero_optimization", *first["loc"])))
        raise UserError(f"{place!r} in {config.deepspeed!r} is not what DeepSpeed knows: {first['msg']}.") from None


def _check_same_step(config: Stage1Config) -> None:
    """What DeepSpeed's JSON fixes must be what the flags say; "auto" is always right."""
    content = read_settings(config.deepspeed)
    ours = {
        "train_micro_batch_size_per_gpu": 1 if config.pack else config.batch,
        "gradient_accumulation_steps": config.accumulation,
        "train_batch_size": config.global_batch if not config.pack else "auto",
        "bf16.enabled": config.precision == "bf16",
        "fp16.enabled": config.precision == "fp16",
    }
    for name, value in ours.items():
        block, _, key = name.rpartition(".")
        said = (content.get(block, {}) if block else content).get(key, "auto")
        if said not in ("auto", value):
            raise UserError(
                f'{name!r} in {config.deepspeed!r} is {said!r}, but this run\'s is {value!r}; write "auto" there, '
                "or change --batch, --accumulation or --precision."
            )


def _check_models(config: Stage1Config) -> None:
    """Whole weights are taken from the newest checkpoint; what the run once started from may be gone then."""
    if config.low_rank or newest_checkpoint(config.resume_dir()) is None:
        mllm, base, text, tower = (
            folder and find_checkpoint(folder)
            for folder in (config.mllm, config.mllm_base, config.text_model, config.vision_tower)
        )
        if text and tower:
            new_config(text, tower, projector_type=config.projector_type, select_layer=config.select_layer)
        elif mllm and (base or not is_low_rank(mllm)):  # other adapters are judged with the base that they name
            describe(mllm).to_model_config()


def _accumulation(config: Stage1Config, processes: Processes) -> int:
    if config.global_batch is None:
        return config.accumulation
    at_once = config.batch * processes.world
    if config.global_batch % at_once:
        raise UserError(
            f"--global-batch {config.global_batch} cannot be divided by {config.batch} samples on each of "
            f"{processes.world} process(es); give a --batch that divides it, or a multiple of {at_once}."
        )
    return config.global_batch // at_once


def _attention(config: Stage1Config, on_cpu: bool) -> Attention:
    """`auto` is flash attention where it can run, and sdpa otherwise."""
    from transformers.utils import is_flash_attn_2_available

    if config.attention != "auto":  # asked about, since it may be missing
        device, dtype = "cpu" if on_cpu else "cuda", DTYPES[config.precision]
        placement(attention=config.attention, device=device, dtype=dtype)
        return config.attention
    fast = not on_cpu and config.precision != "fp32" and is_flash_attn_2_available()
    return "flash_attention_2" if fast else "sdpa"

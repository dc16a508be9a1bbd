"""What a run needs of this machine, looked at before anything is loaded.

`python -m llmga.llava.train.preflight --preset NAME …` looks without training; PROCESSES says for how many processes.
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from llmga.command_line import quiet_libraries
from llmga.errors import UserError
from llmga.llava.adapters import is_low_rank
from llmga.llava.datasets.mixture import held_out_of, open_sources, samples_in
from llmga.llava.empty import new_config
from llmga.llava.loading import describe
from llmga.llava.paths import find_checkpoint
from llmga.llava.placement import placement
from llmga.llava.train.checkpointing import (
    newest_checkpoint,
    require_same_course,
    require_same_data,
    require_same_parts,
    require_usable,
)
from llmga.llava.train.config import PRESETS
from llmga.llava.train.settings import TrainConfig
from llmga.runtime import DTYPES
from llmga.training import config


@dataclass(frozen=True)
class Processes:
    """How many train together: all over, and on this machine; 0 of `here` is unknown."""

    world: int = 1
    here: int = 1
    rank: int = 0

    @classmethod
    def launched(cls) -> "Processes":
        """As torchrun and deepspeed say in the environment, or PROCESSES before they are started."""
        planned = max(1, int(os.environ.get("PROCESSES", 1)))
        nodes = int(os.environ.get("NODES", 1))
        world = int(os.environ.get("WORLD_SIZE", planned * nodes))
        last = int(os.environ.get("LOCAL_RANK", planned - 1))
        here = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("LOCAL_SIZE", last + 1)))
        return cls(world, max(here, last + 1), int(os.environ.get("RANK", 0)))


def ready(config: TrainConfig, processes: Processes | None = None) -> TrainConfig:
    """The same settings with what depends on the machine filled in: accumulation, global batch and attention.

    Raises: UserError, in one sentence, for whatever would stop the run later.
    """
    processes = processes or Processes.launched()
    on_cpu = config.device == "cpu" or not torch.cuda.is_available()
    _check_devices(processes, on_cpu)
    _check_formats(config, on_cpu)
    _check_packages(config)
    _check_deepspeed(config)
    _check_models(config)
    records = open_sources(config.data)
    held_out_of(samples_in(records, config.data), config.eval_fraction)
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
        require_same_course(checkpoint, known)
        require_same_data(checkpoint, config.data, records)
        require_same_parts(checkpoint, zero_stage(config), processes.world)
    return known


def _check_devices(processes: Processes, on_cpu: bool) -> None:
    gpus = torch.cuda.device_count()
    if not on_cpu and processes.here > gpus:
        raise UserError(
            f"{processes.here} processes were started on a machine with {gpus} GPU(s), which two cannot share; start "
            f"at most {gpus} (GPUS={gpus}), or train on the CPU with --device cpu."
        )


def _check_formats(config: TrainConfig, on_cpu: bool) -> None:
    if on_cpu and "fp16" in (config.precision, config.frozen_dtype):
        raise UserError("--precision fp16 needs a CUDA GPU; use bf16 or fp32 on a CPU.")
    if on_cpu and config.tune == "dora" and config.bits == 8:  # bitsandbytes loses their scales after the first step
        raise UserError("--tune dora with --bits 8 needs a CUDA GPU; give --tune lora or --bits 4 on a CPU.")
    if not on_cpu and config.precision == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise UserError(f"{torch.cuda.get_device_name()} cannot compute in bf16; give --precision fp16 or fp32.")


def _check_packages(config: TrainConfig) -> None:
    for name in config.report_to:
        if name == "wandb" and find_spec(name) is None:
            raise UserError("--report-to wandb needs the package wandb; pip install wandb, or leave it out.")
    if config.low_rank and find_spec("peft") is None:
        raise UserError(f"--tune {config.tune} needs the package peft; pip install peft.")


def _check_deepspeed(config: TrainConfig) -> None:
    if config.deepspeed is None:
        return
    deepspeed_settings(config)
    if find_spec("deepspeed") is None:
        raise UserError("--deepspeed needs the package deepspeed; pip install deepspeed, or give --deepspeed none.")
    _check_zero(config)
    if config.bits != 16 and zero_stage(config) == 3:
        raise UserError(
            f"--bits {config.bits} and ZeRO-3 exclude each other, since it cannot cut quantised weights into pieces; "
            "give --deepspeed scripts/zero2.json or none."
        )


def deepspeed_settings(config: TrainConfig) -> dict[str, Any]:
    """What the DeepSpeed JSON says; empty without one.

    Raises: UserError when it is missing or no JSON object.
    """
    if config.deepspeed is None:
        return {}
    file = Path(config.deepspeed)
    if not file.is_file():
        raise UserError(f"--deepspeed file {config.deepspeed!r} does not exist; the repository has scripts/zero3.json.")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as problem:
        raise UserError(f"--deepspeed file {config.deepspeed!r} is not JSON: {problem}.") from None
    if not isinstance(content, dict):
        raise UserError(f"--deepspeed file {config.deepspeed!r} must hold one JSON object, as scripts/zero3.json does.")
    return content


def _check_zero(config: TrainConfig) -> None:
    """Whether DeepSpeed takes what stands under "zero_optimization"."""
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig
    from pydantic import ValidationError

    zero = deepspeed_settings(config).get("zero_optimization", {})
    if not isinstance(zero, dict):
        raise UserError(f'"zero_optimization" in {config.deepspeed!r} is {zero!r}, but must be an object.')
    try:
        DeepSpeedZeroConfig(**{name: value for name, value in zero.items() if value != "auto"})
    except ValidationError as problem:
        first = problem.errors()[0]
        place = ".".join(map(str, ("zero_optimization", *first["loc"])))
        raise UserError(f"{place!r} in {config.deepspeed!r} is not what DeepSpeed knows: {first['msg']}.") from None


def _check_same_step(config: TrainConfig) -> None:
    """What DeepSpeed's JSON fixes must be what the flags say; "auto" is always right."""
    content = deepspeed_settings(config)
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


def _check_models(config: TrainConfig) -> None:
    """Whole weights are taken from the newest checkpoint; what the run once started from may be gone then."""
    if config.low_rank or newest_checkpoint(config.resume_dir()) is None:
        named = (config.mllm, config.mllm_base, config.text_model, config.vision_tower)
        folders = [folder and find_checkpoint(folder) for folder in named]
        _check_configs(config, *folders)


def _check_configs(
    config: TrainConfig, mllm: Path | None, base: Path | None, text: Path | None, tower: Path | None
) -> None:
    """Raises: UserError for a family, a kind of tower or a way of looking that is not supported."""
    if mllm is None:
        new_config(text, tower, projector_type=config.projector_type, select_layer=config.select_layer)
    elif base is not None or not is_low_rank(mllm):  # other adapters are judged with the base that they name
        describe(mllm).to_model_config()


def zero_stage(config: TrainConfig) -> int | None:
    """None without DeepSpeed."""
    zero = deepspeed_settings(config).get("zero_optimization", {})
    return None if config.deepspeed is None else int(zero.get("stage", 0))


def _accumulation(config: TrainConfig, processes: Processes) -> int:
    if config.global_batch is None:
        return config.accumulation
    at_once = config.batch * processes.world
    if config.global_batch % at_once:
        raise UserError(
            f"--global-batch {config.global_batch} cannot be divided by {config.batch} samples on each of "
            f"{processes.world} process(es); give a --batch that divides it, or a multiple of {at_once}."
        )
    return config.global_batch // at_once


def _attention(config: TrainConfig, on_cpu: bool) -> str:
    """`auto` is flash attention where it can run, and sdpa otherwise."""
    from transformers.utils import is_flash_attn_2_available

    if config.attention != "auto":
        place = {"device": "cpu" if on_cpu else "cuda", "dtype": DTYPES[config.precision]}
        return placement(attention=config.attention, **place).attention
    flash = "flash_attention_2"
    return flash if not on_cpu and config.precision != "fp32" and is_flash_attn_2_available() else "sdpa"


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0 when a run could start, 2 for a user's mistake."""
    quiet_libraries()
    return config.run(ready, PRESETS, argv)


if __name__ == "__main__":
    sys.exit(main())

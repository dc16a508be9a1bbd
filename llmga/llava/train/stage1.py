"""Stage 1 from beginning to end."""

import os
import sys
from pathlib import Path
from typing import Any

import torch

from llmga.errors import STOPPED, UserError
from llmga.llava import packed_attention
from llmga.llava.assembling import add_prompt_tags
from llmga.llava.datasets.left_out import FILE_NAME as LEFT_OUT
from llmga.llava.datasets.mixture import Mixture
from llmga.llava.loading import Mllm, load_mllm, new_mllm
from llmga.llava.train.callbacks import StopAtLostLoss, StopOnSignal
from llmga.llava.train.examination import counted, first_look
from llmga.llava.train.low_rank import add_low_rank, restore_low_rank
from llmga.llava.train.parameters import freeze, set_formats
from llmga.llava.train.readiness import ready
from llmga.llava.train.resuming import is_finished, require_usable
from llmga.llava.train.settings import Stage1Config
from llmga.llava.train.trainer import Stage1Trainer
from llmga.runtime import DTYPES
from llmga.training.checkpoints import discard_unfinished, newest_checkpoint, what_comes_next
from llmga.training.config import save
from llmga.training.launch import Processes
from llmga.training.stream import without_traceback


def train(config: Stage1Config) -> Stage1Trainer | None:
    """Machine, model, data, trainer, fit, save; goes on from the newest checkpoint if there is one.

    Returns:
        The trainer; None where all was done before.
    """
    config = ready(config)
    checkpoint = newest_checkpoint(config.resume_dir())
    if checkpoint:
        require_usable(checkpoint, complete=True)
    first = Processes.launched().rank == 0
    if checkpoint and is_finished(checkpoint, config):
        if first:
            print(f"already finished: all steps are in {checkpoint}, the model is in {config.output_dir}")
        return None
    if first:
        discard_unfinished(config.output_dir, config.resume_dir())
        save(config, config.output_dir)

    mllm = open_model(config, checkpoint)

    data = mixture(config, mllm, Path(config.output_dir) / LEFT_OUT)
    train_data, eval_data = data.split(config.eval_fraction) if config.eval_fraction else (data, None)
    health = first_look(config, mllm, data)

    trainer = Stage1Trainer(mllm, config, train_data, eval_data)
    trainer.add_callback(StopAtLostLoss())
    say(trainer, "\n".join([f"{summary(mllm, train_data, checkpoint)}, {health[0]}", *health[1:]]))
    fit(trainer, checkpoint)

    trainer.save_finished(config.output_dir)
    say(trainer, f"left out: {data.skipped.counts() or 'nothing'}; model saved in {config.output_dir}")
    return trainer


def mixture(config: Stage1Config, mllm: Mllm, left_out: Path | None = None) -> Mixture:
    """All samples of a run, as its settings say.

    Args:
        left_out: where what cannot be used is listed.
    """
    return Mixture(
        config.sources,
        mllm.encode,
        image_token_id=mllm.image_token_id,
        tokens_per_image=mllm.tokens_per_image,
        max_length=config.max_length,
        seed=config.seed,
        left_out=left_out,
        long=config.long,
    )


def fit(trainer: Stage1Trainer, checkpoint: Path | None) -> None:
    """All steps.

    Raises:
        KeyboardInterrupt: with words, when somebody ended it before.
    """
    run = trainer.run_folder
    stop = StopOnSignal()
    trainer.add_callback(stop)
    with stop:
        try:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"stopped at once; the same command {what_comes_next(run)}") from None
        except UserError as problem:
            raise without_traceback(problem) from None
        finally:
            trainer.close_progress()  # else it is drawn behind what is said
    if stop.asked and trainer.state.global_step < trainer.state.max_steps:
        if not trainer.is_world_process_zero():
            sys.exit(STOPPED)
        raise KeyboardInterrupt(
            f"stopped after step {trainer.state.global_step} of {trainer.state.max_steps}; "
            f"the same command {what_comes_next(run)}"
        )


def open_model(config: Stage1Config, checkpoint: Path | None) -> Mllm:
    """The checkpoint to resume, the model to go on from, or a new one; what learns is free and in single precision.

    Under DeepSpeed everything is in the format of the computation, and DeepSpeed keeps the exact weights.
    """
    from transformers import set_seed

    set_seed(config.seed)
    return prepared(_opened(config, checkpoint), config, checkpoint)


def prepared(mllm: Mllm, config: Stage1Config, checkpoint: Path | None = None) -> Mllm:
    """An opened model as the run trains it: with its matrices beside, what learns free, everything in its format."""
    mllm.taught_turns = config.taught_turns or mllm.taught_turns
    if config.tag_tokens:
        add_prompt_tags(mllm)
    if config.low_rank:
        add_low_rank(mllm, config)
    freeze(mllm, config.tune, config.tune_tower)
    computed = DTYPES[config.precision]
    if config.deepspeed:
        set_formats(mllm.model, frozen=computed, learning=computed)
    else:
        set_formats(mllm.model, frozen=DTYPES[config.frozen_dtype] if config.frozen_dtype else computed)
    if config.low_rank and checkpoint:  # into what learns by now in its own format, so that every bit is taken up
        restore_low_rank(mllm, checkpoint)
    mllm.model.set_attn_implementation(_attention(config))
    return mllm


def _attention(config: Stage1Config) -> str | dict[str, str]:
    """By name, or by name for the towers and the text model."""
    if not (config.pack and config.attention == "sdpa"):
        return config.attention
    packed_attention.register()
    return {"": "sdpa", "vision_config": "sdpa", "text_config": packed_attention.NAME}


def _opened(config: Stage1Config, checkpoint: Path | None) -> Mllm:
    """The weights to start from; a low-rank checkpoint is laid upon its base later."""
    whole = None if config.low_rank else checkpoint
    start = whole or config.mllm
    if start is None:
        return new_mllm(
            *config.new_parts,
            projector_type=config.projector_type,
            select_layer=config.select_layer,
            conv_mode=config.conv_mode,
        )
    computed = DTYPES[config.precision]
    options: dict[str, Any] = {"device": "cpu", "dtype": computed if config.deepspeed else torch.float32}
    if config.bits != 16:
        options = {"device": _own_device(config), "dtype": computed, f"load_{config.bits}bit": True}
    return load_mllm(start, None if whole else config.mllm_base, conv_mode=config.conv_mode, **options)


def _own_device(config: Stage1Config) -> str:
    """Quantised weights are made where they stay."""
    on_cpu = config.device == "cpu" or not torch.cuda.is_available()
    return "cpu" if on_cpu else f"cuda:{os.environ.get('LOCAL_RANK', 0)}"


def summary(mllm: Mllm, data: Mixture, checkpoint: object) -> str:
    """One line on what is about to happen."""
    total, learning = counted(mllm)
    start = f"resuming from {checkpoint}" if checkpoint else "starting"
    return f"{start}: {len(data)} samples, {learning / 1e6:.2f} of {total / 1e6:.2f} M parameters learn"


def say(trainer: Stage1Trainer, text: str) -> None:
    """Print once, whatever the number of processes."""
    if trainer.is_world_process_zero():
        print(text, flush=True)

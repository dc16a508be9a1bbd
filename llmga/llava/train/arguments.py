"""Our settings in the words of transformers' Trainer and of DeepSpeed."""

import sys
from importlib.util import find_spec
from typing import Any

import torch
from transformers import TrainingArguments

from llmga.llava.train.settings import Stage1Config
from llmga.runtime import introduce_alone
from llmga.training.deepspeed import read_settings

COMPILED_FOR_NOTHING = "deepspeed_shm_comm"  # collectives in shared memory: minutes to compile; gloo does as well


def training_arguments(config: Stage1Config) -> TrainingArguments:
    """The Trainer's arguments of settings that `readiness.ready` has seen."""
    on_cpu = config.device == "cpu" or not torch.cuda.is_available()
    return TrainingArguments(
        output_dir=config.resume_dir(),
        per_device_train_batch_size=1 if config.pack else config.batch,
        per_device_eval_batch_size=config.batch,
        gradient_accumulation_steps=config.accumulation,
        learning_rate=config.lr,
        weight_decay=config.weight_decay,
        lr_scheduler_type=config.scheduler,
        num_train_epochs=config.epochs,
        max_steps=config.steps or -1,
        # Below 1 the library reads a fraction; exactly 1 would mean one step.
        warmup_steps=min(config.warmup, 0.999999),
        save_steps=config.save_steps,
        save_total_limit=config.save_total_limit,
        eval_strategy="steps" if config.eval_fraction else "no",
        eval_steps=config.eval_steps,
        prediction_loss_only=True,
        label_names=["labels"],
        logging_steps=config.logging_steps,
        logging_first_step=True,
        logging_nan_inf_filter=False,  # the loss watch has to see it
        dataloader_num_workers=config.workers,
        dataloader_pin_memory=not on_cpu,
        remove_unused_columns=False,
        seed=config.seed,
        bf16=config.precision == "bf16",
        fp16=config.precision == "fp16",
        tf32=True if not on_cpu and torch.cuda.get_device_capability() >= (8, 0) else None,
        use_cpu=on_cpu,
        deepspeed=_deepspeed(config, on_cpu),
        gradient_checkpointing=config.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if config.gradient_checkpointing else None,
        ddp_find_unused_parameters=False,
        disable_tqdm=not sys.stderr.isatty(),  # a log gets lines instead of a bar
        report_to=[name for name in config.report_to if find_spec(name)],
    )


def _deepspeed(config: Stage1Config, on_cpu: bool) -> dict[str, Any] | None:
    """The JSON's content; what DeepSpeed wants of the environment is put there."""
    if config.deepspeed is None:
        return None
    introduce_alone()
    if on_cpu:
        import deepspeed.ops

        deepspeed.ops.__compatible_ops__[COMPILED_FOR_NOTHING] = False
    return read_settings(config.deepspeed)

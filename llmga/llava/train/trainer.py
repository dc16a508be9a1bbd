"""transformers' Trainer, told what is ours: parameter groups, data order, and checkpoints that open as models."""

import copy
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_pt_utils import get_parameter_names

from llmga.errors import UserError
from llmga.llava.datasets.collate import Collate
from llmga.llava.datasets.mixture import Mixture
from llmga.llava.datasets.order import Shuffled
from llmga.llava.loading import Mllm, save_published
from llmga.llava.train.config import TrainConfig
from llmga.runtime import DTYPES

PROJECTOR = "multi_modal_projector"
NOT_DECAYED = (r"bias", r"norm")
FINISHED = "trainer_state.json"  # the Trainer writes it last, so a folder that has it is whole


class StageOneTrainer(Trainer):
    """Trains what `freeze` left free in `mllm.model`; each checkpoint-N is a folder for `load_mllm`."""

    def __init__(self, mllm: Mllm, config: TrainConfig, train_data: Mixture, eval_data: Mixture | None = None):
        self.mllm, self.settings, self.data = mllm, config, train_data
        self.saved_dtype: torch.dtype | None = None  # None keeps every bit, as resuming needs
        padding = mllm.tokenizer.pad_token_id if mllm.tokenizer.pad_token_id is not None else 0
        super().__init__(
            model=mllm.model,
            args=training_arguments(config),
            data_collator=Collate(padding, mllm.pixel_values),
            train_dataset=train_data,
            eval_dataset=eval_data,
        )
        self.order = self._data_order()
        self.add_callback(_EpochTeller(self.order))

    def save_finished(self, folder: str | Path) -> None:
        """Write the model in the configured number format; all processes must call it."""
        self.saved_dtype = DTYPES[self.settings.save_dtype]
        self.save_model(str(folder))

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Two rates (projector, others), each with and without weight decay."""
        if self.optimizer is None:
            kind, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            groups = parameter_groups(self.model, self.settings)
            self.optimizer = kind(groups, **options)
        return self.optimizer

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """The mean over supervised tokens.

        A batch of words alone adds a zero that depends on the projector: otherwise nothing would ask for its
        gradient, and processes that wait for each other's gradients would hang.
        """
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        alone = self.settings.tune == "full" and self.args.world_size == 1
        if model.training and "pixel_values" not in inputs and not alone:
            loss = loss + 0.0 * self._blank_picture().sum()
        return loss

    def _blank_picture(self) -> Tensor:
        side = self.mllm.model.config.vision_config.image_size
        blank = torch.zeros(1, 3, side, side, device=self.args.device)
        return self.mllm.model.get_image_features(blank, return_dict=True).pooler_output[0]

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Samples that were replaced or cut show in every line, so that no loss of data is silent."""
        counts = self.data.tally.counts()
        super().log({**logs, **({"left_out": sum(counts.values())} if counts else {})}, *args, **kwargs)

    def _data_order(self) -> Shuffled:
        at_once = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        lengths = self.data.lengths() if self.settings.group_by_length else None
        return Shuffled(len(self.data), seed=self.settings.seed, lengths=lengths, batch_size=at_once)

    def _get_train_sampler(self, train_dataset: Any = None) -> Shuffled:
        return self.order

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        if self.args.should_save:
            mllm = self.mllm if state_dict is None else _with_weights(self.mllm, state_dict)
            save_published(mllm, output_dir or self.args.output_dir, dtype=self.saved_dtype)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Nothing: the story opened the model from this very checkpoint."""


class _EpochTeller(TrainerCallback):
    """Tells the order its epoch; after resuming with several processes the library's own call gets lost."""

    def __init__(self, order: Shuffled):
        self.order = order

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.order.set_epoch(int((state.epoch or 0) + 1e-6))


def _with_weights(mllm: Mllm, weights: dict[str, Tensor]) -> Mllm:
    """The same model with gathered weights: under ZeRO-3 the model itself holds only fragments."""
    model = copy.copy(mllm.model)
    model.state_dict = lambda *args, **kwargs: weights
    return replace(mllm, model=model)


def freeze(mllm: Mllm, tune: str) -> None:
    """Leave the projector free, or everything but the vision tower."""
    for name, parameter in mllm.model.named_parameters():
        learns = PROJECTOR in name if tune == "projector" else "vision_tower" not in name
        parameter.requires_grad_(learns)


def parameter_groups(model: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """Learning parameters by rate and decay; matrices decay, norms and biases do not."""
    decayed = set(get_parameter_names(model, [nn.LayerNorm], list(NOT_DECAYED)))
    projector_lr = config.lr if config.projector_lr is None else config.projector_lr
    groups = []
    for lr, ours in ((config.lr, False), (projector_lr, True)):
        for decays in (True, False):
            chosen = [
                parameter
                for name, parameter in model.named_parameters()
                if parameter.requires_grad and (PROJECTOR in name) == ours and (name in decayed) == decays
            ]
            groups.append({"params": chosen, "lr": lr, "weight_decay": config.weight_decay * decays})
    return [group for group in groups if group["params"]]


def training_arguments(config: TrainConfig) -> TrainingArguments:
    """Our settings in the library's words.

    Raises: UserError when DeepSpeed is asked for and missing.
    """
    on_cpu = config.device == "cpu" or not torch.cuda.is_available()
    _require_deepspeed(config)
    return TrainingArguments(
        output_dir=config.resume_dir(),
        per_device_train_batch_size=config.batch,
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
        dataloader_num_workers=config.workers,
        dataloader_pin_memory=not on_cpu,
        remove_unused_columns=False,
        seed=config.seed,
        bf16=config.bf16,
        use_cpu=on_cpu,
        deepspeed=config.deepspeed,
        gradient_checkpointing=config.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if config.gradient_checkpointing else None,
        ddp_find_unused_parameters=False,
        disable_tqdm=False,
        report_to=["tensorboard"] if find_spec("tensorboard") else [],
    )


def _require_deepspeed(config: TrainConfig) -> None:
    if config.deepspeed is None:
        return
    if not Path(config.deepspeed).is_file():
        raise UserError(f"--deepspeed file {config.deepspeed!r} does not exist; the repository has scripts/zero3.json.")
    if find_spec("deepspeed") is None:
        raise UserError("--deepspeed needs the package deepspeed; pip install deepspeed, or give --deepspeed none.")


def newest_checkpoint(folder: str | Path) -> Path | None:
    """The complete checkpoint-N with the largest N, or None."""
    whole = [path for path in Path(folder).glob("checkpoint-*") if (path / FINISHED).is_file()]
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)

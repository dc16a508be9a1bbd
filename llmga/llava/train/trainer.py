"""transformers' Trainer with what is ours: parameter groups, data order, and checkpoints that open as models."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Dataset, Sampler
from transformers import Trainer

from llmga.errors import UserError
from llmga.llava.datasets.collate import Collate
from llmga.llava.datasets.mixture import Mixture
from llmga.llava.datasets.order import Shuffled
from llmga.llava.datasets.packing import PackCollate, PackedSamples, Packs
from llmga.llava.loading import Mllm, save_published
from llmga.llava.train.arguments import training_arguments
from llmga.llava.train.callbacks import NoGradientIsZero, OwnIntervals, SetEpoch
from llmga.llava.train.frozen import exact
from llmga.llava.train.low_rank import save_low_rank
from llmga.llava.train.parameters import parameter_groups, vision_config
from llmga.llava.train.resuming import save_data
from llmga.llava.train.samples import SampleWriter
from llmga.llava.train.settings import Stage1Config
from llmga.runtime import DTYPES
from llmga.training.checkpoints import (
    UNFINISHED,
    full_disk_explained,
    publish,
    publish_model,
    require_room,
    what_comes_next,
)
from llmga.training.config import save
from llmga.training.deepspeed import read_settings, zero_stage
from llmga.training.stopping import any_process

FOLDER_FLAG = "--checkpoint-dir"


class Stage1Trainer(Trainer):
    """Trains what `freeze` left free in `mllm.model`, as transformers does; `load_mllm` opens each checkpoint-N."""

    optimizer: torch.optim.Optimizer | None
    order: Shuffled | Packs

    def __init__(self, mllm: Mllm, config: Stage1Config, train_data: Mixture, eval_data: Mixture | None = None):
        self.mllm = mllm
        self.settings = config
        self.data = train_data
        self.saved_dtype: torch.dtype | None = None  # None keeps every bit, as resuming needs
        self.saved_in: Path | None = None  # None is where the arguments say
        self.broken: bool | Tensor = False  # whether a loss was no number, which ruins the weights for good
        arguments = training_arguments(config)
        self.order, dataset = _order_and_dataset(config, train_data, arguments.world_size)
        mllm.model._hf_peft_config_loaded = config.low_rank  # the library's leave to train beside quantised weights
        super().__init__(
            model=mllm.model,
            args=arguments,
            data_collator=_collate(mllm, config),
            train_dataset=dataset,
            eval_dataset=eval_data,
        )
        for callback in (SetEpoch(self.order), NoGradientIsZero(), OwnIntervals()):
            self.add_callback(callback)
        if config.sample_steps:
            self.add_callback(self._sample_writer(eval_data or train_data, config.sample_steps))

    def save_finished(self, folder: str | Path) -> None:
        """Write the model in the configured number format, whole or not at all; all processes must call it."""
        self.saved_dtype = DTYPES[self.settings.save_dtype]
        unfinished = Path(folder) / UNFINISHED
        with full_disk_explained(Path(folder), FOLDER_FLAG):
            self.save_model(str(unfinished))
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                publish_model(unfinished, Path(folder))
        self.accelerator.wait_for_everyone()

    @property
    def run_folder(self) -> Path:
        """Where the checkpoints lie."""
        return Path(self.settings.resume_dir())

    def close_progress(self) -> None:
        """End the progress bar of a training that did not end by itself."""
        for callback in self.callback_handler.callbacks:
            if bar := getattr(callback, "training_bar", None):
                bar.close()

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Two rates (projector, others), each with and without weight decay."""
        if self.optimizer is None:
            kind, options = self.get_optimizer_cls_and_kwargs(self.args, self.mllm.model)
            if self._offloads_to_cpu_beside_a_gpu():
                from deepspeed.ops.adam import DeepSpeedCPUAdam

                kind = DeepSpeedCPUAdam
                options = {key: options[key] for key in ("lr", "betas", "eps") if key in options}
            self.optimizer = kind(parameter_groups(self.mllm.model, self.settings), **options)
        return self.optimizer

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Rates and decay are those of the settings, whatever the checkpoint's were."""
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None or not isinstance(self.lr_scheduler, LambdaLR):  # DeepSpeed's JSON may bring its own
            return
        wanted, optimizer = parameter_groups(self.mllm.model, self.settings), self.create_optimizer()
        scheduler = self.lr_scheduler
        scheduler.base_lrs = [group["lr"] for group in wanted]
        share = [course(scheduler.last_epoch) for course in scheduler.lr_lambdas]
        for group, own, part in zip(optimizer.param_groups, wanted, share, strict=True):
            group.update(initial_lr=own["lr"], lr=own["lr"] * part, weight_decay=own["weight_decay"])
        scheduler._last_lr = [group["lr"] for group in optimizer.param_groups]  # what the log tells

    def _offloads_to_cpu_beside_a_gpu(self) -> bool:
        """Then DeepSpeed's own Adam pays, which is compiled at the first use; without a GPU nothing is offloaded."""
        offload = read_settings(self.settings.deepspeed).get("zero_optimization", {}).get("offload_optimizer", {})
        return offload.get("device") == "cpu" and self.args.device.type != "cpu"

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """The mean over supervised tokens, of all forward passes and processes of a step.

        A batch of words alone is given a picture that nobody sees where something waits for the projector's gradient:
        other processes, DeepSpeed, or a training of nothing else.
        """
        alone = self.settings.tune != "projector" and self.args.world_size == 1 and not self.is_deepspeed_enabled
        if model.training and "pixel_values" not in inputs and not alone:
            side = vision_config(self.mllm.model).image_size
            inputs = {**inputs, "unseen_pixels": torch.zeros(1, 3, side, side, device=self.args.device)}
        return super().compute_loss(model, {**inputs, "use_cache": False}, *args, **kwargs)

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """Nothing where the last step is made: the library would make another one of a run that is started again."""
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(*args, **kwargs)

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """As the library does, and remembers a loss that was no number."""
        loss = super().training_step(*args, **kwargs)
        self.broken = ~torch.isfinite(loss) | self.broken
        return loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Samples that were replaced or cut show in every line, so that no loss of data is silent."""
        counts = self.data.skipped.counts()
        super().log({**logs, **({"left_out": sum(counts.values())} if counts else {})}, *args, **kwargs)

    def _sample_writer(self, data: Mixture, every: int) -> SampleWriter:
        config = self.settings
        stride = max(1, len(data) // config.sample_count)
        shown = [data[index] for index in range(0, len(data), stride)][: config.sample_count]
        return SampleWriter(
            self.mllm, shown, config.resume_dir(), every=every, tokens=config.sample_tokens,
            everywhere=zero_stage(config.deepspeed) == 3,
        )  # fmt: skip

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[Any]:
        return self.order

    def _get_output_dir(self, trial: Any) -> str:
        return str(self.saved_in or super()._get_output_dir(trial))

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Beside its place first; it gets its name, and older ones go, only when all of it is there."""
        run, name = self.run_folder, f"checkpoint-{self.state.global_step}"
        if any_process(self.broken, self.args.device):
            raise UserError(
                f"a loss before step {self.state.global_step} was no number, so the weights are ruined and not saved; "
                f"lower --lr or give --precision fp32: the same command {what_comes_next(run)}."
            )
        with full_disk_explained(run, FOLDER_FLAG):
            self._begin(run)
            self.saved_in = run / UNFINISHED
            try:
                super()._save_checkpoint(model, trial)
            finally:
                self.saved_in = None
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                save(self.settings, run / UNFINISHED / name)
                save_data(run / UNFINISHED / name, self.data.sources, self.data.records)
                publish(run / UNFINISHED / name, run / name, self.settings.save_total_limit)
        self.accelerator.wait_for_everyone()

    def _begin(self, run: Path) -> None:
        if self.args.should_save:
            (run / UNFINISHED).mkdir(parents=True, exist_ok=True)
            require_room(run)
        self.accelerator.wait_for_everyone()

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        if not self.args.should_save:
            return
        folder = output_dir or self.run_folder
        if self.settings.low_rank:
            save_low_rank(self.mllm, folder, state_dict, self.saved_dtype)
        else:
            weights = self.mllm.model.state_dict() if state_dict is None else state_dict
            kind = self.mllm.model.config.projector_type
            frozen = {name for name, weight in self.mllm.model.named_parameters() if not weight.requires_grad}
            weights = {name: _apart(weight) for name, weight in weights.items()}
            weights = {**weights, **exact(weights, frozen & weights.keys(), self.settings, kind)}
            save_published(_with_weights(self.mllm, weights), folder, dtype=self.saved_dtype)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Nothing: the story opened the model from this very checkpoint."""


def _order_and_dataset(config: Stage1Config, data: Mixture, processes: int) -> tuple[Shuffled | Packs, Dataset[Any]]:
    passes = config.accumulation * processes
    if config.pack:
        lengths = data.lengths().clip(max=config.max_length)
        packs = Packs(lengths, seed=config.seed, batch=config.batch, multiple=passes)
        return packs, PackedSamples(data, len(packs))
    alike = data.lengths() if config.group_by_length else None
    return Shuffled(len(data), seed=config.seed, lengths=alike, batch_size=config.batch * passes), data


def _collate(mllm: Mllm, config: Stage1Config) -> Collate | PackCollate:
    padding = mllm.tokenizer.pad_token_id if mllm.tokenizer.pad_token_id is not None else 0
    if config.pack:
        return PackCollate(padding, mllm.pixel_values, one_row=config.attention == "flash_attention_2")
    return Collate(padding, mllm.pixel_values)


def _apart(weight: Tensor) -> Tensor:
    """A weight of its own: of a single process under ZeRO-3 they are parts of one piece, which is not saved as such."""
    return weight if weight.untyped_storage().nbytes() == weight.nbytes else weight.clone()


def _with_weights(mllm: Mllm, weights: dict[str, Tensor]) -> Mllm:
    """The same model with other weights: under ZeRO-3 the model itself holds only fragments, and none are exact."""
    model: Any = copy.copy(mllm.model)
    model.state_dict = lambda *args, **kwargs: weights
    return replace(mllm, model=model)

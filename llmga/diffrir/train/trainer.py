"""One trainer for every stage of DiffRIR."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from safetensors.torch import load_file
from torch import Tensor, nn

from llmga.diffrir.checkpoints import load_model, save_model, start_stage2
from llmga.diffrir.discriminator import Discriminator
from llmga.diffrir.layers import PRIOR_WIDTH
from llmga.diffrir.losses import Losses, Pair, load_perceptual, total
from llmga.diffrir.model import Stage1, Stage2
from llmga.diffrir.train.config import RestorerConfig
from llmga.diffrir.train.dataset import CleanBatch, RestorerDataset, collate
from llmga.diffrir.train.objective import OBJECTIVES, Opponent
from llmga.diffrir.train.pairs import PairMaker
from llmga.diffrir.train.plain_start import start_plain
from llmga.diffrir.train.validation import RestorerValidation
from llmga.errors import UserError
from llmga.runtime import DTYPES, pick_device
from llmga.training import loop
from llmga.training.config import save
from llmga.training.deepspeed import accelerate_plugin
from llmga.training.skipped import SkippedImages
from llmga.training.stream import NOISE, StreamBatchSampler, load_batches, seed_of

POOL_FILE = "pool-{}.safetensors"


def learning_rate(config: RestorerConfig, step: int, base: float) -> float:
    """Rate of the step with this number, counted from 0: a linear rise, then steps down or a half cosine to 0."""
    return loop.learning_rate(config, step, base, config.decay ** sum(step >= at for at in config.decay_steps))


def start_network(config: RestorerConfig) -> Stage1 | Stage2:
    """What learns: new, of the stage before, or the same stage's.

    Raises:
        UserError: the weights do not fit.
    """
    stage = 1 if config.objective == "teacher" else 2
    if config.start is None:
        torch.manual_seed(config.seed)
        new = Stage1(config.network)
        if config.plain_start:
            start_plain(new)
        return new.train()
    network = load_model(config.start, scale=config.scale, stage=1 if stage == 1 else None)
    if isinstance(network, Stage1) and stage == 2:
        torch.manual_seed(config.seed)
        network = start_stage2(network)
    return network.train()


def open_accelerator(config: RestorerConfig) -> Accelerator:
    """The processes and devices of a run.

    Raises:
        UserError: a device or a DeepSpeed configuration cannot be used.
    """
    cpu = pick_device(config.device).type == "cpu"
    if cpu and config.deepspeed:
        raise UserError(f"--deepspeed {config.deepspeed!r} needs a GPU and there is none, or --device is cpu; "
                        "leave it out.")  # fmt: skip
    return Accelerator(
        cpu=cpu,
        mixed_precision="no" if cpu else config.mixed_precision,
        deepspeed_plugin=accelerate_plugin(config.deepspeed, config.batch_size),
        # A judge is asked twice before it steps; its buffers must not be overwritten in between.
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=config.objective != "adversarial")],
    )


class RestorerTrainer(loop.TrainingLoop):
    """Networks, data and the state of one run.

    Raises:
        UserError: weights, pictures or the device are not there or do not fit.
    """

    FREE = {
        *("run", "output", "save_dtype", "device", "deepspeed", "workers", "checkpoint_every", "validate_every"),
        *("keep", "validation", "metrics", "resume"),
    }
    STEADY: ClassVar[str] = "steps"
    EMA_FILE: ClassVar[str] = "averaged.safetensors"

    objective: nn.Module
    optimizer: torch.optim.Optimizer
    opponent: Opponent | None
    judge_optimizer: Any

    def __init__(self, config: RestorerConfig):
        super().__init__(config, open_accelerator(config))
        self.title: str | None = config.objective
        self.dataset: RestorerDataset = RestorerDataset(config)
        self.skipped: SkippedImages = self.dataset.skipped
        self.network: Stage1 | Stage2 = start_network(config)
        matched = self.network.config.matched
        self.pairs: PairMaker = PairMaker(config, self.accelerator.device, matched)
        self.validation: RestorerValidation | None = None
        if config.validation:
            self.validates_every: int | None = config.validate_every
            self.validation = RestorerValidation(config, config.validation, self.accelerator.device, matched)
        self._prepare_network()
        self.opponent, self.judge_optimizer = self._prepared_opponent()
        self._resume()

    def _prepare_network(self) -> None:
        config = self.config
        network: Any = self.network
        network.to(self.accelerator.device, memory_format=torch.channels_last)
        objective = OBJECTIVES[config.objective](network, self._teacher(), composited=config.composited)
        self._keep_averages(dict(network.named_parameters()))
        self.objective, self.optimizer = self.accelerator.prepare(objective, self._adam(objective, config.lr))

    def _teacher(self) -> Stage1 | None:
        config = self.config
        if config.objective == "teacher":
            return None
        teacher = load_model(config.teacher, scale=config.scale, stage=1, device=self.accelerator.device)
        if not isinstance(teacher, Stage1) or teacher.config != self.network.config:
            raise UserError(f"--teacher {config.teacher!r} is a network of another shape than --start "
                            f"{config.start!r}; give the stage 1 that it came from.")  # fmt: skip
        return teacher.requires_grad_(False)

    def _adam(self, module: nn.Module, rate: float) -> torch.optim.Adam:
        learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
        return torch.optim.Adam(learning, lr=rate, betas=(self.config.beta1, self.config.beta2))

    def _prepared_opponent(self) -> tuple[Opponent | None, Any]:
        """The discriminator and its optimiser, where there is one."""
        config, device = self.config, self.accelerator.device
        if config.objective != "adversarial":
            return None, None
        torch.manual_seed(config.seed)
        judge = Discriminator().to(device).train()
        judge, optimizer = self.accelerator.prepare(judge, self._adam(judge, config.judge_lr))
        features = load_perceptual(config.perceptual).to(device) if config.perceptual else None
        return Opponent(judge, features), optimizer

    def _take_up(self, folder: Path) -> None:
        super()._take_up(folder)
        pool = folder / POOL_FILE.format(self.accelerator.process_index)
        if pool.exists():
            self.pairs.restore(load_file(pool))

    def _own_files(self) -> dict[str, dict[str, Tensor]]:
        pool = {POOL_FILE.format(self.accelerator.process_index): self.pairs.state()}
        return {name: tensors for name, tensors in (pool | super()._own_files()).items() if tensors}

    def _batches(self) -> Iterator[CleanBatch]:
        config = self.config
        sampler = StreamBatchSampler(len(self.dataset), config.batch_size, config.seed, **self._position(self.step))
        return load_batches(self.dataset, sampler, collate, config.workers)

    def _optimise(self, batches: Iterator[CleanBatch]) -> dict[str, float]:
        """One step; all randomness comes from its number, the seed and the process."""
        config = self.config
        rank = self.accelerator.process_index
        generator = torch.Generator().manual_seed(seed_of(config.seed, NOISE, self.step, rank))
        pair = self.pairs.make(next(batches), generator)
        noise = torch.randn(len(pair.lq), PRIOR_WIDTH, generator=generator).to(pair.lq.device)
        with self.accelerator.autocast():
            losses, output = self.objective(pair, noise)
            if self.opponent:
                losses |= self.opponent.losses(output, pair)
        rate = learning_rate(config, self.step, config.lr)
        norm = self._stepped(self.optimizer, rate, total(losses), self.objective)
        if self.opponent:
            losses |= self._judge_step(self.opponent, output, pair)
        if self.ema is not None:
            self.ema.step(self.learning)
        return self._record(losses, norm) | {"lr": rate}

    def _stepped(
        self, optimizer: torch.optim.Optimizer, rate: float, loss: Tensor, module: nn.Module
    ) -> Tensor | float | None:
        for group in optimizer.param_groups:
            group["lr"] = rate
        self.accelerator.backward(loss)
        limit = self.config.max_grad_norm or math.inf
        norm = self.accelerator.clip_grad_norm_(module.parameters(), limit)
        optimizer.step()
        optimizer.zero_grad()
        return norm

    def _judge_step(self, opponent: Opponent, output: Tensor, pair: Pair) -> Losses:
        """The judge's step: real and restored pictures one after the other."""
        losses: Losses = {}
        with self.accelerator.autocast():
            for loss, _ in opponent.lessons(output, pair):
                self.accelerator.backward(sum(loss.values()))
                losses |= loss
        self.judge_optimizer.step()
        self.judge_optimizer.zero_grad()
        return losses

    def _record(self, losses: Losses, norm: Tensor | float | None) -> dict[str, float]:
        *values, length = loop.numbers(*losses.values(), norm)
        record = dict(zip(losses, values, strict=True))
        for name, value in record.items():
            if not math.isfinite(value):
                raise UserError(
                    f"the {name} loss is {value} at step {self.step + 1}; lower --lr or check the pictures."
                )
        return record | {"grad_norm": length}

    def _measure(self) -> dict[str, float]:
        """Figures of the weights that would be saved now."""
        if self.validation is None or not self.main:
            return {}
        with self._averaged():
            return self.validation.figures(self.network)

    def save(self) -> Path:
        """Write the finished network, its averaged weights if there are some."""
        output = Path(self.config.output)
        if self.ema is not None:
            self.ema.copy_to(self.learning)
        if self.main:
            dtype = DTYPES[self.config.save_dtype]
            save_model(self.network, output, {k: v.to(dtype) for k, v in self.network.state_dict().items()})
            save(self.config, output)
        self.accelerator.wait_for_everyone()
        return output

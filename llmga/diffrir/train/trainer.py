"""One trainer for every stage of DiffRIR."""

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from llmga.diffrir.checkpoints import load_model, save_model, start_stage2
from llmga.diffrir.discriminator import Discriminator
from llmga.diffrir.layers import PRIOR_WIDTH
from llmga.diffrir.losses import Losses, Pair, load_perceptual, total
from llmga.diffrir.model import Stage1, Stage2
from llmga.diffrir.train.config import TrainConfig
from llmga.diffrir.train.objective import OBJECTIVES, Opponent
from llmga.diffrir.train.pairs import Pairs
from llmga.diffrir.train.pictures import Clean, Pictures, collate
from llmga.diffrir.train.plain_start import start_plain
from llmga.diffrir.train.validation import Validation
from llmga.errors import UserError
from llmga.runtime import DTYPES, pick_device
from llmga.training.checkpoints import averaged, find_resume, load_checkpoint, restore_averaged, save_checkpoint
from llmga.training.config import save
from llmga.training.stream import NOISE, Order, seed_of

EMA_FILE, POOL_FILE = "averaged.safetensors", "pool-{}.safetensors"
# What may differ between the two halves of a run without changing its course.
FREE = {
    *("run", "output", "save_dtype", "device", "deepspeed", "workers", "checkpoint_every", "validate_every", "keep"),
    *("validation", "metrics", "resume"),
}


def learning_rate(config: TrainConfig, step: int, base: float) -> float:
    """Rate of the step with this number, counted from 0: a linear rise, then steps down or a half cosine to 0."""
    if step < config.warmup:
        return base * (step + 1) / config.warmup
    if config.schedule == "steps":
        return base * config.decay ** sum(step >= at for at in config.decay_steps)
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return base * 0.5 * (1 + math.cos(math.pi * done))


def start_network(config: TrainConfig) -> Stage1 | Stage2:
    """What learns: new, of the stage before, or the same stage's.  Raises: UserError when the weights do not fit."""
    stage = 1 if config.objective == "teacher" else 2
    if config.start is None:
        torch.manual_seed(config.seed)
        network = Stage1(config.network)
        if config.plain_start:
            start_plain(network)
        return network.train()
    network = load_model(config.start, scale=config.scale, stage=1 if stage == 1 else None)
    if network.stage < stage:
        torch.manual_seed(config.seed)
        network = start_stage2(network)
    return network.train()


class Trainer:
    """Networks, data and the state of one run.

    Raises: UserError when weights, pictures or the device are not there or do not fit.
    """

    def __init__(self, config: TrainConfig):
        self.config = config
        self.accelerator = self._accelerator()
        self.pictures = Pictures(config)
        self.network = start_network(config)
        matched = self.network.config.matched
        self.pairs = Pairs(config, self.accelerator.device, matched)
        self.validation = Validation(config, self.accelerator.device, matched) if config.validation else None
        self._prepare_network()
        self._prepare_opponent()
        self.step = self._resume()

    def _accelerator(self) -> Accelerator:
        config, cpu = self.config, pick_device(self.config.device).type == "cpu"
        return Accelerator(
            cpu=cpu,
            mixed_precision="no" if cpu else config.mixed_precision,
            deepspeed_plugin=_deepspeed(config, cpu),
            # A judge is asked twice before it steps; its buffers must not be overwritten in between.
            kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=config.objective != "adversarial")],
        )

    def _prepare_network(self) -> None:
        config, device = self.config, self.accelerator.device
        network = self.network.to(device, memory_format=torch.channels_last)
        objective = OBJECTIVES[config.objective](network, self._teacher(), composited=config.composited)
        self.names = [name for name, _ in network.named_parameters()]
        self.ema = EMAModel(network.parameters(), decay=config.ema_decay, foreach=True) if config.ema_decay else None
        self.objective, self.optimizer = self.accelerator.prepare(objective, self._adam(objective, config.lr))

    def _teacher(self) -> Stage1 | None:
        if self.config.objective == "teacher":
            return None
        teacher = load_model(self.config.teacher, scale=self.config.scale, stage=1, device=self.accelerator.device)
        if teacher.config != self.network.config:
            raise UserError(f"--teacher {self.config.teacher!r} is a network of another shape than --start "
                            f"{self.config.start!r}; give the stage 1 that it came from.")  # fmt: skip
        return teacher.requires_grad_(False)

    def _adam(self, module: nn.Module, rate: float) -> torch.optim.Adam:
        learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
        return torch.optim.Adam(learning, lr=rate, betas=(self.config.beta1, self.config.beta2))

    def _prepare_opponent(self) -> None:
        self.opponent, self.judge_optimizer = None, None
        if self.config.objective != "adversarial":
            return
        torch.manual_seed(self.config.seed)
        judge = Discriminator().to(self.accelerator.device).train()
        judge, self.judge_optimizer = self.accelerator.prepare(judge, self._adam(judge, self.config.judge_lr))
        features = (
            load_perceptual(self.config.perceptual).to(self.accelerator.device) if self.config.perceptual else None
        )
        self.opponent = Opponent(judge, features)

    def _resume(self) -> int:
        folder = find_resume(self.config)
        if folder is None:
            return 0
        self.accelerator.print(f"going on from {folder}")
        free = FREE | {"steps"} if self.config.schedule == "steps" else FREE
        step = load_checkpoint(self.accelerator, folder, self.config, free, self.pictures)
        if self.ema is not None:
            restore_averaged(self.ema, self.names, folder / EMA_FILE, step)
        pool = folder / POOL_FILE.format(self.accelerator.process_index)
        if pool.exists():
            self.pairs.restore(load_file(pool))
        return step

    def fit(self) -> None:
        """Run to the last step, with a line in `log.jsonl` for each step, validations and checkpoints."""
        config, main = self.config, self.accelerator.is_main_process
        batches = self._batches()
        Path(config.run).mkdir(parents=True, exist_ok=True)
        bar = tqdm(total=config.steps, initial=self.step, desc=config.objective, disable=None if main else True)
        with bar, (Path(config.run) / "log.jsonl").open("a") as log:
            while self.step < config.steps:
                record = self._optimise(next(batches))
                self.step += 1
                bar.update()
                last = self.step == config.steps
                if self.validation and main and (self.step % config.validate_every == 0 or last):
                    record |= self._validated()
                if main:
                    print(json.dumps({"step": self.step, **record}), file=log, flush=True)
                if self.step % config.checkpoint_every == 0 or last:
                    save_checkpoint(self.accelerator, config, self.step, self._own_files(), self.pictures)
        if main and (summary := self.pictures.passed_over.summary()):
            print(summary, file=sys.stderr)

    def _batches(self) -> Iterator[Clean]:
        config, accelerator = self.config, self.accelerator
        order = Order(
            len(self.pictures), config.batch_size, config.seed, first_pass=self.step,
            rank=accelerator.process_index, processes=accelerator.num_processes,
        )  # fmt: skip
        loader = DataLoader(self.pictures, batch_sampler=order, collate_fn=collate, num_workers=config.workers)
        try:
            yield from loader
        except UserError as problem:  # a worker's comes with its traceback, and its sentence last
            raise UserError(str(problem).strip().splitlines()[-1].rpartition("UserError: ")[2]) from None

    def _own_files(self) -> dict[str, dict[str, Tensor]]:
        """What a checkpoint holds beside accelerate's own files."""
        files = {POOL_FILE.format(self.accelerator.process_index): self.pairs.state()}
        if self.ema is not None and self.accelerator.is_main_process:
            files[EMA_FILE] = averaged(self.ema, self.names)
        return {name: tensors for name, tensors in files.items() if tensors}

    def _optimise(self, clean: Clean) -> dict[str, float]:
        """One step; all chance comes from its number, the seed and the process."""
        config = self.config
        rank = self.accelerator.process_index
        generator = torch.Generator().manual_seed(seed_of(config.seed, NOISE, self.step, rank))
        pair = self.pairs.make(clean, generator)
        noise = torch.randn(len(pair.lq), PRIOR_WIDTH, generator=generator).to(pair.lq.device)
        with self.accelerator.autocast():
            losses, output = self.objective(pair, noise)
            if self.opponent:
                losses |= self.opponent.losses(output, pair)
        rate = learning_rate(config, self.step, config.lr)
        norm = self._stepped(self.optimizer, rate, total(losses), self.objective)
        if self.opponent:
            losses |= self._taught(output, pair)
        if self.ema is not None:
            self.ema.step(self.network.parameters())
        return self._record(losses) | {"grad_norm": norm, "lr": rate}

    def _stepped(self, optimizer: torch.optim.Optimizer, rate: float, loss: Tensor, module: nn.Module) -> float:
        for group in optimizer.param_groups:
            group["lr"] = rate
        self.accelerator.backward(loss)
        limit = self.config.max_grad_norm or math.inf
        norm = self.accelerator.clip_grad_norm_(module.parameters(), limit)
        optimizer.step()
        optimizer.zero_grad()
        return 0.0 if norm is None else float(norm)

    def _taught(self, output: Tensor, pair: Pair) -> Losses:
        """The judge's step: real and restored pictures one after the other."""
        losses: Losses = {}
        with self.accelerator.autocast():
            for loss, _ in self.opponent.lessons(output, pair):
                self.accelerator.backward(sum(loss.values()))
                losses |= loss
        self.judge_optimizer.step()
        self.judge_optimizer.zero_grad()
        return losses

    def _record(self, losses: Losses) -> dict[str, float]:
        record = {name: loss.item() for name, loss in losses.items()}
        for name, value in record.items():
            if not math.isfinite(value):
                raise UserError(
                    f"the {name} loss is {value} at step {self.step + 1}; lower --lr or check the pictures."
                )
        return record

    def _validated(self) -> dict[str, float]:
        """Figures of the weights that would be saved now."""
        parameters = list(self.network.parameters())
        if self.ema is not None:
            self.ema.store(parameters)
            self.ema.copy_to(parameters)
        figures = self.validation.figures(self.network)
        if self.ema is not None:
            self.ema.restore(parameters)
        return figures

    def save(self) -> Path:
        """Write the finished network, its averaged weights if there are some."""
        output = Path(self.config.output)
        if self.ema is not None:
            self.ema.copy_to(self.network.parameters())
        if self.accelerator.is_main_process:
            dtype = DTYPES[self.config.save_dtype]
            save_model(self.network, output, {k: v.to(dtype) for k, v in self.network.state_dict().items()})
            save(self.config, output)
        self.accelerator.wait_for_everyone()
        return output


def _deepspeed(config: TrainConfig, cpu: bool) -> object | None:
    """A plugin for accelerate, with the batch size that a configuration leaves open.  Raises: UserError."""
    if config.deepspeed is None:
        return None
    from accelerate import DeepSpeedPlugin

    if not Path(config.deepspeed).is_file():
        raise UserError(f"--deepspeed {config.deepspeed!r} is no file; give one such as scripts/zero2.json.")
    if cpu:
        raise UserError("--deepspeed needs a GPU and there is none, or --device is cpu; leave it out.")
    plugin = DeepSpeedPlugin(hf_ds_config=config.deepspeed)
    plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = config.batch_size
    return plugin

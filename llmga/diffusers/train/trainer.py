"""One trainer for every family and task."""

import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor
from tqdm import tqdm

from llmga.diffusers.datasets.captioned import Captioned
from llmga.diffusers.datasets.shapes import Shapes, bucketed
from llmga.diffusers.latents import posterior, scaled
from llmga.diffusers.pipelines import PIPELINES
from llmga.diffusers.train.batches import Batch, Examples, loader
from llmga.diffusers.train.config import TrainConfig
from llmga.diffusers.train.diagnosis import cause_of
from llmga.diffusers.train.latent_cache import cached_latents
from llmga.diffusers.train.loading import TOWERS, open_accelerator, open_base, place, unit_of
from llmga.diffusers.train.objective import objective_of
from llmga.diffusers.train.results import save_result
from llmga.diffusers.train.tasks import TASKS
from llmga.diffusers.train.validation import Validation
from llmga.diffusers.train.words import Words, cached_words
from llmga.errors import UserError
from llmga.training.checkpoints import averaged, find_resume, load_checkpoint, restore_averaged, save_checkpoint
from llmga.training.stream import NOISE, BucketOrder, Order, seed_of

EMA_FILE = "unet_ema.safetensors"
# What may differ between the two halves of a run without changing its course.
FREE = {
    *("run", "output", "save_dtype", "device", "gradient_checkpointing", "workers", "checkpoint_every", "keep"),
    *("validation_every", "validation_pictures", "resume"),
}


def learning_rate(config: TrainConfig, step: int) -> float:
    """Rate of the step with this number, counted from 0: a linear rise, then constant or a half cosine to 0."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    if config.schedule == "constant":
        return config.lr
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.lr * 0.5 * (1 + math.cos(math.pi * done))


def open_records(config: TrainConfig) -> Captioned:
    """The captioned pictures of a run; raises UserError when they cannot be read."""
    return Captioned(
        config.data, config.images, Path(config.run) / "data", originals=config.originals, share=config.original_share
    )


class Trainer:
    """A pipeline, its data and the state of one run.

    Raises: UserError when the pipeline, the data or the device is not there or does not fit the task.
    """

    def __init__(self, config: TrainConfig):
        self.config = config
        self.family, self.task = PIPELINES[config.row], TASKS[config.task]
        self.accelerator = open_accelerator(config)
        self.main = self.accelerator.is_main_process
        self.base, self.pipe = open_base(config, self.family, self.task)
        self.objective = objective_of(config, self.pipe.scheduler)
        self.pipe.scheduler.register_to_config(prediction_type=self.objective.prediction)  # what validation samples
        place(self.pipe, config, self.accelerator)
        self._prepare_data()
        self._prepare_unet()
        self.first = self.step = self._resume()

    def _prepare_data(self) -> None:
        """Records, their shapes, and what of them is encoded beforehand; the first process makes what others read."""
        config, run = self.config, Path(self.config.run)
        with self.accelerator.main_process_first():
            self.records = open_records(config)
            self.shapes = self._shapes(run)
            cached = words = None
            if config.cache_latents:
                cached = cached_latents(self.records, self.pipe.vae, self.shapes, run, main=self.main)
            if config.cache_embeddings:
                words = cached_words(self.pipe, self.records, config.layout, run, main=self.main)
        self.examples = Examples(self.records, config, self.shapes, cached, holes=self.task.holes)
        self.words = Words(self.pipe, config.layout, words)
        self.validation = Validation(config, self.pipe, self.base, self.family, self.records, self.shapes)
        if config.validation_every is None:
            self._set_aside(vae=config.cache_latents and not self.task.holes, towers=config.cache_embeddings)

    def _shapes(self, run: Path) -> Shapes:
        side = self.config.resolution
        if not self.config.buckets:
            return Shapes([(side, side)])
        unit = unit_of(self.pipe, levels=len(self.pipe.unet.config.block_out_channels) - 1)
        return bucketed(self.records, side, unit, run, quiet=not self.main)

    def _set_aside(self, *, vae: bool, towers: bool) -> None:
        """Parts whose work is done leave the GPU to the UNet."""
        idle = ["vae"] * vae + list(TOWERS) * towers
        for part in (getattr(self.pipe, name, None) for name in idle):
            if part is not None:
                part.to("cpu")

    def _prepare_unet(self) -> None:
        config, unet = self.config, self.pipe.unet
        learning = {name: tensor for name, tensor in unet.named_parameters() if tensor.requires_grad}
        optimizer = torch.optim.AdamW(
            learning.values(), lr=config.lr, betas=(config.beta1, config.beta2), eps=config.epsilon,
            weight_decay=config.weight_decay,
        )  # fmt: skip
        self.names, self.learning = list(learning), list(learning.values())
        self.ema = EMAModel(self.learning, decay=config.ema_decay, foreach=True) if config.ema_decay else None
        self.unet, self.optimizer = self.accelerator.prepare(unet, optimizer)

    def _resume(self) -> int:
        folder = find_resume(self.config)
        if folder is None:
            return 0
        self.accelerator.print(f"going on from {folder}")
        free = FREE | {"steps"} if self.config.schedule == "constant" else FREE
        step = load_checkpoint(self.accelerator, folder, self.config, free, self.records)
        if self.ema is not None:
            restore_averaged(self.ema, self.names, folder / EMA_FILE, step)
        if step > self.config.steps:
            raise UserError(f"{str(folder)!r} is further than --steps {self.config.steps}; give at least {step}.")
        return step

    def _order(self) -> Order:
        config = self.config
        place = dict(first_pass=self.step * config.accumulation, rank=self.accelerator.process_index,
                     processes=self.accelerator.num_processes)  # fmt: skip
        if self.shapes.of is not None:
            return BucketOrder(self.shapes.of, config.batch_size, config.seed, **place)
        return Order(len(self.records), config.batch_size, config.seed, **place)

    def fit(self) -> None:
        """Run to the last step, with a progress bar, a line in `log.jsonl` for each step, and checkpoints."""
        config, run = self.config, Path(self.config.run)
        batches = loader(self.examples, self._order(), config.workers)
        run.mkdir(parents=True, exist_ok=True)
        bar = tqdm(total=config.steps, initial=self.step, desc="stage 2", disable=not self.main)
        with bar, (run / "log.jsonl").open("a") as log:
            while self.step < config.steps:
                record = self._optimise(batches)
                self.step += 1
                bar.update()
                bar.set_postfix(loss=f"{record['loss']:.4f}")
                if self.main:
                    print(json.dumps({"step": self.step, **record}), file=log, flush=True)
                last = self.step == config.steps
                if self.step % config.checkpoint_every == 0 or last:
                    save_checkpoint(self.accelerator, config, self.step, self._own_files(), self.records)
                if config.validation_every and (self.step % config.validation_every == 0 or last):
                    self._validate()
        if self.main and (summary := self.examples.passed_over.summary()):
            print(summary, file=sys.stderr)

    def _own_files(self) -> dict[str, dict[str, Tensor]]:
        """What a checkpoint holds beside accelerate's own files."""
        if self.ema is None or not self.accelerator.is_main_process:
            return {}
        return {EMA_FILE: averaged(self.ema, self.names)}

    def _optimise(self, batches: Iterator[Batch]) -> dict[str, float]:
        """One optimiser step over `accumulation` forward passes."""
        rate = learning_rate(self.config, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        losses, norm, self.given = [], None, []
        for part in range(self.config.accumulation):
            with self.accelerator.accumulate(self.unet):
                loss = self._loss(next(batches), self.step * self.config.accumulation + part)
                self.accelerator.backward(loss)
                if self.accelerator.sync_gradients:
                    norm = self.accelerator.clip_grad_norm_(self.learning, self.config.max_grad_norm)
                self.optimizer.step()
                self.optimizer.zero_grad()
            losses.append(loss.detach())
        if self.ema is not None:
            self.ema.step(self.learning)
        mean = torch.stack(losses).mean().item()
        if not math.isfinite(mean):
            cause = cause_of(self.given, learnt=self.step > self.first)
            raise UserError(f"the loss is {mean} at step {self.step + 1}, and {cause}.")
        return {"loss": mean, "grad_norm": float(norm or 0), "lr": rate}

    def _loss(self, batch: Batch, number: int) -> Tensor:
        """Loss of the forward pass with this number; all chance comes from it, the seed and the process."""
        generator = torch.Generator().manual_seed(
            seed_of(self.config.seed, NOISE, number, self.accelerator.process_index)
        )
        device = self.accelerator.device
        latents = self._latents(batch, generator)
        noise, times = self.objective.draw(latents.shape, generator)
        beside = self.task.beside(self.pipe.vae, batch, generator)
        embeds, pooled = self.words(batch, device)
        self.given.append({"latents": latents, "embeddings": embeds})
        conditions = self.family.conditions(pooled, batch.time_ids.to(device))

        def predict(noisy: Tensor, at: Tensor) -> Tensor:
            seen = noisy if beside is None else torch.cat([noisy, beside.to(device)], dim=1)
            with self.accelerator.autocast():
                return self.unet(seen, at, embeds, added_cond_kwargs=conditions).sample

        return self.objective.loss(predict, latents, noise.to(device), times.to(device))

    def _latents(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """A draw from the VAE's distribution, (batch, 4, height, width), as the UNet sees it."""
        vae = self.pipe.vae
        mean, std = (batch.mean, batch.std) if batch.mean is not None else posterior(vae, batch.pixels)
        chance = torch.randn(mean.shape, generator=generator).to(mean.device)
        return scaled(vae, mean + std * chance).to(self.accelerator.device)

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The averaged weights for a while, then the ones that learn again."""
        if self.ema is None:
            yield
            return
        self.ema.store(self.learning)
        self.ema.copy_to(self.learning)
        try:
            yield
        finally:
            self.ema.restore(self.learning)

    def _validate(self) -> None:
        with self._averaged():
            if self.main:
                self.pipe.unet.eval()
                self.validation.paint(self.step)
                self.pipe.unet.train()
        self.accelerator.wait_for_everyone()

    def save(self) -> Path:
        """Write what was learnt, averaged if it is: the whole pipeline, or the low-rank weights."""
        learnt = self.learning if self.ema is None else self.ema.shadow_params
        weights = dict(zip(self.names, (tensor.detach().cpu() for tensor in learnt), strict=True))
        if self.main:
            unet = self.accelerator.unwrap_model(self.unet)
            save_result(self.config, self.base, self.family, self.objective, unet, weights)
        self.accelerator.wait_for_everyone()
        return Path(self.config.output)

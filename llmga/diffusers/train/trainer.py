"""One trainer for every family and task."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from llmga.diffusers.datasets.captioned import CaptionedImages
from llmga.diffusers.datasets.shapes import Shapes, bucketed
from llmga.diffusers.families import Family
from llmga.diffusers.latents import posterior, scaled
from llmga.diffusers.pipelines import PIPELINES
from llmga.diffusers.train.batches import Batch, Stage2Dataset, loader
from llmga.diffusers.train.config import Stage2Config
from llmga.diffusers.train.diagnosis import cause_of
from llmga.diffusers.train.latent_cache import cached_latents
from llmga.diffusers.train.loading import TEXT_ENCODERS, open_accelerator, open_base, place_parts, unit_of
from llmga.diffusers.train.objective import DenoisingObjective, objective_of
from llmga.diffusers.train.prompt_embeddings import CaptionEncoder, cached_embeddings
from llmga.diffusers.train.results import save_result
from llmga.diffusers.train.tasks import TASKS, Task
from llmga.diffusers.train.validation import SampleImages
from llmga.errors import UserError
from llmga.training import loop
from llmga.training.skipped import SkippedImages
from llmga.training.stream import NOISE, BucketBatchSampler, StreamBatchSampler, seed_of


def learning_rate(config: Stage2Config, step: int) -> float:
    """Rate of the step with this number, counted from 0: a linear rise, then constant or a half cosine to 0."""
    return loop.learning_rate(config, step, config.lr)


def open_records(config: Stage2Config) -> CaptionedImages:
    """The captioned pictures of a run.

    Raises:
        UserError: they cannot be read.
    """
    return CaptionedImages(
        config.data, config.images, Path(config.run) / "data", originals=config.originals, share=config.original_share,
        prior=config.regularisation,
    )  # fmt: skip


class Stage2Trainer(loop.TrainingLoop):
    """A pipeline, its data and the state of one run.

    Raises:
        UserError: the pipeline, the data or the device is not there or does not fit the task.
    """

    FREE = {
        *("run", "output", "save_dtype", "device", "gradient_checkpointing", "workers", "checkpoint_every", "keep"),
        *("validation_every", "validation_pictures", "resume"),
    }
    STEADY: ClassVar[str] = "constant"
    EMA_FILE: ClassVar[str] = "unet_ema.safetensors"

    base: Path
    pipe: Any
    unet: Any
    optimizer: torch.optim.Optimizer

    def __init__(self, config: Stage2Config):
        super().__init__(config, open_accelerator(config))
        self.validates_every: int | None = config.validation_every
        self.family: Family = PIPELINES[config.row]
        self.task: Task = TASKS[config.task]
        self.base, self.pipe = open_base(config, self.family, self.task)
        self.objective: DenoisingObjective = objective_of(config, self.pipe.scheduler)
        self.pipe.scheduler.register_to_config(prediction_type=self.objective.prediction)  # what validation samples
        place_parts(self.pipe, config, self.accelerator)
        self._prepare_data()
        self._prepare_unet()
        self._resume()
        self.first: int = self.step

    def _prepare_data(self) -> None:
        """Records, their shapes, and what of them is encoded beforehand; the first process makes what others read."""
        config, run = self.config, Path(self.config.run)
        with self.accelerator.main_process_first():
            self.dataset: CaptionedImages = open_records(config)
            self.shapes: Shapes = self._shapes(run)
            cached = embeddings = None
            if config.cache_latents:
                cached = cached_latents(self.dataset, self.pipe.vae, self.shapes, run, main=self.main)
            if config.cache_embeddings:
                embeddings = cached_embeddings(self.pipe, self.dataset, config.layout, run, main=self.main)
        self.examples: Stage2Dataset = Stage2Dataset(self.dataset, config, self.shapes, cached, holes=self.task.holes)
        self.skipped: SkippedImages = self.examples.skipped
        self.caption_encoder: CaptionEncoder = CaptionEncoder(self.pipe, config.layout, embeddings)
        self.validation: SampleImages = SampleImages(
            config, self.pipe, self.base, self.family, self.dataset, self.shapes
        )
        if config.validation_every is None:
            self._set_aside(vae=config.cache_latents and not self.task.holes, text_encoders=config.cache_embeddings)

    def _shapes(self, run: Path) -> Shapes:
        side = self.config.resolution
        if not self.config.buckets:
            return Shapes([(side, side)])
        unit = unit_of(self.pipe, levels=len(self.pipe.unet.config.block_out_channels) - 1)
        return bucketed(self.dataset, side, unit, run, upscale=not self.config.bucket_no_upscale, quiet=not self.main)

    def _set_aside(self, *, vae: bool, text_encoders: bool) -> None:
        """Parts whose work is done leave the GPU to the UNet."""
        idle = ["vae"] * vae + list(TEXT_ENCODERS) * text_encoders
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
        self._keep_averages(learning)
        self.unet, self.optimizer = self.accelerator.prepare(unet, optimizer)

    def _batches(self) -> Iterator[Batch]:
        return loader(self.examples, self._sampler(), self.config.workers)

    def _sampler(self) -> StreamBatchSampler:
        config = self.config
        position = self._position(self.step * config.accumulation)
        if self.shapes.of is not None:
            return BucketBatchSampler(self.shapes.of, config.batch_size, config.seed, **position)
        return StreamBatchSampler(len(self.dataset), config.batch_size, config.seed, **position)

    def _optimise(self, batches: Iterator[Batch]) -> dict[str, float]:
        """One optimiser step over `accumulation` forward passes."""
        rate = learning_rate(self.config, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        losses, norm = [], None
        given: list[dict[str, Tensor]] = []
        for part in range(self.config.accumulation):
            with self.accelerator.accumulate(self.unet):
                loss = self._loss(next(batches), self.step * self.config.accumulation + part, given)
                self.accelerator.backward(loss)
                if self.accelerator.sync_gradients:
                    norm = self.accelerator.clip_grad_norm_(self.learning, self.config.max_grad_norm)
                self.optimizer.step()
                self.optimizer.zero_grad()
            losses.append(loss.detach())
        if self.ema is not None:
            self.ema.step(self.learning)
        mean, length = loop.numbers(torch.stack(losses).mean(), norm)
        if not math.isfinite(mean):
            cause = cause_of(given, learnt=self.step > self.first)
            raise UserError(f"the loss is {mean} at step {self.step + 1}, and {cause}.")
        return {"loss": mean, "grad_norm": length, "lr": rate}

    def _loss(self, batch: Batch, number: int, given: list[dict[str, Tensor]]) -> Tensor:
        """Loss of the forward pass with this number; all randomness comes from it, the seed and the process.

        What the UNet is given is added to `given`.
        """
        generator = torch.Generator().manual_seed(
            seed_of(self.config.seed, NOISE, number, self.accelerator.process_index)
        )
        device = self.accelerator.device
        latents = self._latents(batch, generator)
        noise, times = self.objective.draw(latents.shape, generator)
        conditioning = self.task.conditioning(self.pipe.vae, batch, generator)
        embeds, pooled = self.caption_encoder(batch, device)
        given.append({"latents": latents, "embeddings": embeds})
        assert self.family.conditions is not None  # every family that is trained here has some
        conditions = self.family.conditions(pooled, batch.time_ids.to(device))

        def predict(noisy: Tensor, at: Tensor) -> Tensor:
            seen = noisy if conditioning is None else torch.cat([noisy, conditioning.to(device)], dim=1)
            with self.accelerator.autocast():
                return self.unet(seen, at, embeds, added_cond_kwargs=conditions).sample

        weights = None if batch.weights is None else batch.weights.to(device)
        return self.objective.loss(predict, latents, noise.to(device), times.to(device), weights)

    def _latents(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """A draw from the VAE's distribution, (batch, 4, height, width), as the UNet sees it."""
        vae = self.pipe.vae
        mean, std = batch.cached or posterior(vae, batch.images)
        noise = torch.randn(mean.shape, generator=generator).to(mean.device)
        return scaled(vae, mean + std * noise).to(self.accelerator.device)

    def _validate(self) -> None:
        """Paint the sample images with the averaged weights."""
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

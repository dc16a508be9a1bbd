"""One trainer for every family and task."""

import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from llmga.diffusers.assembly import Assembly
from llmga.diffusers.datasets.captioned import CaptionedImages
from llmga.diffusers.datasets.shapes import Shapes, bucketed
from llmga.diffusers.families import Family
from llmga.diffusers.latents import posterior, scaled
from llmga.diffusers.train.batches import Batch, Stage2Dataset, loader
from llmga.diffusers.train.config import Stage2Config
from llmga.diffusers.train.diagnosis import cause_of
from llmga.diffusers.train.latent_cache import cached_latents
from llmga.diffusers.train.learning import LearningParts
from llmga.diffusers.train.loading import open_accelerator, open_base, place_parts, resolved
from llmga.diffusers.train.networks import NETWORKS, Embed, Network
from llmga.diffusers.train.objective import Objective, objective_of
from llmga.diffusers.train.optimizers import optimizers_of
from llmga.diffusers.train.prompt_embeddings import CaptionEncoder, cached_embeddings, cached_whole
from llmga.diffusers.train.results import save_result
from llmga.diffusers.train.tasks import TASKS, Task
from llmga.diffusers.train.validation import SampleImages
from llmga.errors import UserError
from llmga.images import open_image
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
        *("validation_every", "validation_pictures", "resume", "report_to", "torch_compile"),
    }
    STEADY: ClassVar[str] = "constant"
    EMA_FILE: ClassVar[str] = "unet_ema.safetensors"

    base: Assembly
    pipe: Any
    family: Family
    networks: dict[str, Any]
    optimizers: list[torch.optim.Optimizer]

    def __init__(self, config: Stage2Config):
        config = resolved(config)
        super().__init__(config, open_accelerator(config))
        self.validates_every: int | None = config.validation_every
        self.row: Network = NETWORKS[config.family]
        self.task: Task = TASKS[config.task]
        self.base, self.family, self.pipe = open_base(config, self.task)
        self.objective: Objective = objective_of(config, self.pipe.scheduler)
        self.objective.tell(self.pipe.scheduler)  # what validation samples
        place_parts(self.pipe, config, self.accelerator)
        self._prepare_data()
        self._prepare_networks()
        self._resume()
        self.first: int = self.step
        if self.main and config.report_to:
            said = {name: value for name, value in asdict(config).items() if isinstance(value, (int, float, str))}
            self.accelerator.init_trackers("llmga-stage2", said)

    @property
    def unet(self) -> Any:
        """What learns to paint, as accelerate prepared it: a UNet or a transformer."""
        return self.networks[self.row.part]

    def _prepare_data(self) -> None:
        """Records, their shapes, and what of them is encoded beforehand; the first process makes what others read."""
        config, run = self.config, Path(self.config.run)
        with self.accelerator.main_process_first():
            self.dataset: CaptionedImages = open_records(config)
            self.shapes: Shapes = self._shapes(run)
            cached = None
            if config.cache_latents:
                cached = cached_latents(self.dataset, self.pipe.vae, self.shapes, run, main=self.main)
            self.embeddings: Embed | None = self._cached_embeddings(run) if config.cache_embeddings else None
        self.examples: Stage2Dataset = Stage2Dataset(self.dataset, config, self.shapes, cached, holes=self.task.holes)
        self.skipped: SkippedImages = self.examples.skipped
        self.validation: SampleImages = SampleImages(
            config, self.pipe, self.base.configs, self.family, self.dataset, self.shapes
        )
        if config.validation_every is None:
            self._set_aside(vae=config.cache_latents and not self.task.holes, text_encoders=config.cache_embeddings)

    def _cached_embeddings(self, run: Path) -> Embed:
        if self.row.part == "unet":
            return cached_embeddings(self.pipe, self.dataset, self.config.layout, run, main=self.main)
        towers = [tower for name in self.row.towers if (tower := getattr(self.pipe, name, None)) is not None]
        names = ("tokenizer", "tokenizer_2", "tokenizer_3")
        vocabularies = [each.get_vocab() for name in names if (each := getattr(self.pipe, name, None)) is not None]
        embed = self.row.embed(self.pipe, self.config.layout)
        return cached_whole(embed, towers, vocabularies, self.dataset, run, main=self.main)

    def _shapes(self, run: Path) -> Shapes:
        side = self.config.resolution
        if not self.config.buckets:
            return Shapes([(side, side)])
        unit = self.row.side(self.pipe, True)
        return bucketed(self.dataset, side, unit, run, upscale=not self.config.bucket_no_upscale, quiet=not self.main)

    def _set_aside(self, *, vae: bool, text_encoders: bool) -> None:
        """Parts whose work is done leave the GPU to what learns."""
        idle = ["vae"] * vae + list(self.row.towers) * text_encoders
        for part in (getattr(self.pipe, name, None) for name in idle):
            if part is not None:
                part.to("cpu")

    def _prepare_networks(self) -> None:
        """What learns, what steps it, and how captions are encoded with it."""
        config = self.config
        self.parts: LearningParts = LearningParts(self.pipe, config)
        parts, optimizers = self.parts.parts, optimizers_of(config, self.parts.groups())
        self._keep_averages(self.parts.named())
        prepared = self.accelerator.prepare(*parts.values(), *optimizers)
        self.networks = dict(zip(parts, prepared, strict=False))
        self.optimizers = list(prepared[len(parts) :])
        zeros = bool(self.pipe.config.get("force_zeros_for_empty_prompt", False)) and self.row.part == "unet"
        embed = self.embeddings or self.row.embed(self.parts.encoding(self.networks), config.layout)
        self.caption_encoder: CaptionEncoder = CaptionEncoder(embed, zeros=zeros, learns=config.train_text_encoder)

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
        for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
            group["lr"] = loop.learning_rate(self.config, self.step, group.get("peak", self.config.lr))
        losses, norm = [], None
        given: list[dict[str, Tensor]] = []
        for part in range(self.config.accumulation):
            with self.accelerator.accumulate(*self.networks.values()):
                loss = self._loss(next(batches), self.step * self.config.accumulation + part, given)
                self.accelerator.backward(loss)
                if self.accelerator.sync_gradients:
                    norm = self.accelerator.clip_grad_norm_(self.learning, self.config.max_grad_norm)
                for optimizer in self.optimizers:
                    optimizer.step()
                    optimizer.zero_grad()
            losses.append(loss.detach())
        if self.ema is not None:
            self.ema.step(self.learning)
        mean, length = loop.numbers(torch.stack(losses).mean(), norm)
        if not math.isfinite(mean):
            cause = cause_of(given, learnt=self.step > self.first, part=self.row.part)
            raise UserError(f"the loss is {mean} at step {self.step + 1}, and {cause}.")
        return {"loss": mean, "grad_norm": length, "lr": learning_rate(self.config, self.step)}

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
        with self.accelerator.autocast() if self.config.train_text_encoder else nullcontext():
            embeds, pooled = self.caption_encoder(batch, device)
        given.append({"latents": latents, "embeddings": embeds})
        ids = batch.time_ids.to(device)

        def predict(noisy: Tensor, at: Tensor) -> Tensor:
            seen = noisy if conditioning is None else torch.cat([noisy, conditioning.to(device)], dim=1)
            with self.accelerator.autocast():
                return self.row.answer(self.unet, seen, at, embeds, pooled, ids)

        weights = None if batch.weights is None else batch.weights.to(device)
        return self.objective.loss(predict, latents, noise.to(device), times.to(device), weights)

    def _latents(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """A draw from the VAE's distribution, (batch, channels, height, width), as what learns sees it."""
        vae = self.pipe.vae
        mean, std = batch.cached or posterior(vae, batch.images)
        noise = torch.randn(mean.shape, generator=generator).to(mean.device)
        return scaled(vae, mean + std * noise).to(self.accelerator.device)

    def _validate(self) -> None:
        """Paint the sample images with the averaged weights."""
        with self._averaged():
            if self.main:
                parts = [getattr(self.pipe, name) for name in self.networks]
                for part in parts:
                    part.eval()
                self._show(self.validation.paint(self.step))
                for part in parts:
                    part.train()
        self.accelerator.wait_for_everyone()

    def _show(self, folder: Path) -> None:
        """Pictures painted on the way, where the log goes, too."""
        if self.accelerator.trackers:
            pictures = [np.asarray(open_image(file, working_side=None)) for file in sorted(folder.glob("*.png"))]
            for tracker in self.accelerator.trackers:
                options = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
                for number, picture in enumerate(pictures):
                    tracker.log_images({f"validation/{number:03d}": picture[None]}, step=self.step, **options)

    def save(self) -> Path:
        """Write what was learnt, averaged if it is: the whole pipeline, or the low-rank weights."""
        learnt = self.learning if self.ema is None else self.ema.shadow_params
        weights = self.parts.split(tensor.detach().cpu() for tensor in learnt)
        if self.main:
            networks = {name: self.accelerator.unwrap_model(each) for name, each in self.networks.items()}
            save_result(self.config, self.base, self.family, self.objective, networks, weights)
        self.accelerator.wait_for_everyone()
        return Path(self.config.output)

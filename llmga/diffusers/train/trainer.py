"""One trainer for every family and task."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import Tensor
from tqdm import tqdm

from llmga.checkpointing import averaged, find_resume, load_checkpoint, restore_averaged, save_checkpoint
from llmga.diffusers.checkpoints import DEFAULTS_FILE, find_checkpoint, open_pipeline
from llmga.diffusers.datasets.captioned import Captioned
from llmga.diffusers.generators import GENERATORS
from llmga.diffusers.latents import posterior, scaled
from llmga.diffusers.long_prompt import encode_texts
from llmga.diffusers.train.batches import Batch, Examples, loader
from llmga.diffusers.train.config import TrainConfig
from llmga.diffusers.train.latent_cache import cached_latents
from llmga.diffusers.train.objective import Objective
from llmga.diffusers.train.tasks import TASKS
from llmga.errors import UserError
from llmga.runtime import DTYPES, pick_device
from llmga.stream import NOISE, Order, seed_of

EMA_FILE = "unet_ema.safetensors"
# What may differ between the two halves of a run without changing its course.
FREE = {
    *("run", "output", "save_dtype", "device", "gradient_checkpointing", "workers", "checkpoint_every", "keep"),
    "resume",
}


def learning_rate(config: TrainConfig, step: int) -> float:
    """Rate of the step with this number, counted from 0: a linear rise, then constant or a half cosine to 0."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    if config.schedule == "constant":
        return config.lr
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.lr * 0.5 * (1 + math.cos(math.pi * done))


class Trainer:
    """A pipeline, its data and the state of one run.

    Raises: UserError when the pipeline, the data or the device is not there or does not fit the task.
    """

    def __init__(self, config: TrainConfig):
        self.config = config
        self.family, self.task = GENERATORS[config.family], TASKS[config.task]
        self.accelerator = self._accelerator()
        self.base = find_checkpoint(config.pipeline)
        self.pipeline = open_pipeline(self.base, self.family.load_pipeline_class(), torch.float32)
        self._check_unet()
        self.objective = Objective(
            self.pipeline.scheduler, snr_gamma=config.snr_gamma, noise_offset=config.noise_offset
        )
        self._place_frozen_parts()
        self._prepare_unet()
        self.examples = self._examples()
        self.step = self._resume()

    def _accelerator(self) -> Accelerator:
        cpu = pick_device(self.config.device).type == "cpu"
        return Accelerator(
            cpu=cpu,
            mixed_precision="no" if cpu else self.config.mixed_precision,
            gradient_accumulation_steps=self.config.accumulation,
        )

    def _check_unet(self) -> None:
        channels = self.pipeline.unet.config.in_channels
        expected = self.pipeline.vae.config.latent_channels + self.task.extra_channels
        if channels != expected:
            raise UserError(f"the UNet of {str(self.base)!r} takes {channels} channels, but {self.config.task} needs "
                            f"{expected}; choose another pipeline or task.")  # fmt: skip
        unit = self.pipeline.vae_scale_factor
        if self.config.resolution % unit:
            raise UserError(f"--resolution {self.config.resolution} is not a multiple of {unit}; choose one that is.")

    def _place_frozen_parts(self) -> None:
        """Text towers in the format of the forward pass; the VAE in single precision, which some overflow without."""
        half = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[self.accelerator.mixed_precision]
        self.pipeline.vae.to(self.accelerator.device).requires_grad_(False).eval()
        for name in ("text_encoder", "text_encoder_2"):
            if (tower := getattr(self.pipeline, name, None)) is not None:
                tower.to(self.accelerator.device, half).requires_grad_(False).eval()

    def _prepare_unet(self) -> None:
        config, unet = self.config, self.pipeline.unet
        unet.to(self.accelerator.device).requires_grad_(True).train()
        if config.gradient_checkpointing:
            unet.enable_gradient_checkpointing()
        optimizer = torch.optim.AdamW(
            unet.parameters(), lr=config.lr, betas=(config.beta1, config.beta2), eps=config.epsilon,
            weight_decay=config.weight_decay,
        )  # fmt: skip
        self.names = [name for name, _ in unet.named_parameters()]
        self.ema = EMAModel(unet.parameters(), decay=config.ema_decay, foreach=True) if config.ema_decay else None
        self.unet, self.optimizer = self.accelerator.prepare(unet, optimizer)

    def _examples(self) -> Examples:
        records = Captioned(self.config.data, self.config.images)
        if not self.config.cache_latents:
            return Examples(records, self.config)
        cached = cached_latents(records, self.pipeline.vae, self.config.resolution, Path(self.config.run),
                                main=self.accelerator.is_main_process)  # fmt: skip
        return Examples(records, self.config, cached)

    def _resume(self) -> int:
        folder = find_resume(self.config)
        if folder is None:
            return 0
        self.accelerator.print(f"going on from {folder}")
        free = FREE | {"steps"} if self.config.schedule == "constant" else FREE
        step = load_checkpoint(self.accelerator, folder, self.config, free)
        if self.ema is not None:
            restore_averaged(self.ema, self.names, folder / EMA_FILE, step)
        return step

    def fit(self) -> None:
        """Run to the last step, with a progress bar, a line in `log.jsonl` for each step, and checkpoints."""
        config, main = self.config, self.accelerator.is_main_process
        order = Order(
            len(self.examples.records), config.batch_size, config.seed, first_pass=self.step * config.accumulation,
            rank=self.accelerator.process_index, processes=self.accelerator.num_processes,
        )  # fmt: skip
        batches = loader(self.examples, order, config.workers)
        Path(config.run).mkdir(parents=True, exist_ok=True)
        bar = tqdm(total=config.steps, initial=self.step, desc="stage 2", disable=not main)
        with bar, (Path(config.run) / "log.jsonl").open("a") as log:
            while self.step < config.steps:
                record = self._optimise(batches)
                self.step += 1
                bar.update()
                bar.set_postfix(loss=f"{record['loss']:.4f}")
                if main:
                    print(json.dumps({"step": self.step, **record}), file=log, flush=True)
                if self.step % config.checkpoint_every == 0 or self.step == config.steps:
                    save_checkpoint(self.accelerator, config, self.step, self._own_files())

    def _own_files(self) -> dict[str, dict[str, Tensor]]:
        """What a checkpoint holds beside accelerate's own files."""
        if self.ema is None or not self.accelerator.is_main_process:
            return {}
        return {EMA_FILE: averaged(self.ema, self.names)}

    def _optimise(self, batches: Any) -> dict[str, float]:
        """One optimiser step over `accumulation` forward passes."""
        rate = learning_rate(self.config, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        losses, norm = [], None
        for part in range(self.config.accumulation):
            with self.accelerator.accumulate(self.unet):
                loss = self._loss(next(batches), self.step * self.config.accumulation + part)
                self.accelerator.backward(loss)
                if self.accelerator.sync_gradients:
                    norm = self.accelerator.clip_grad_norm_(self.unet.parameters(), self.config.max_grad_norm)
                self.optimizer.step()
                self.optimizer.zero_grad()
            losses.append(loss.detach())
        if self.ema is not None:
            self.ema.step(self.unet.parameters())
        mean = torch.stack(losses).mean().item()
        if not math.isfinite(mean):
            raise UserError(f"the loss is {mean} at step {self.step + 1}; lower --lr or check the pictures.")
        return {"loss": mean, "grad_norm": float(norm), "lr": rate}

    def _loss(self, batch: Batch, number: int) -> Tensor:
        """Loss of the forward pass with this number; all chance comes from it, the seed and the process."""
        generator = torch.Generator().manual_seed(
            seed_of(self.config.seed, NOISE, number, self.accelerator.process_index)
        )
        device = self.accelerator.device
        latents = self._latents(batch, generator)
        noise, times = self.objective.draw(latents.shape, generator)
        embeds, pooled = self._embeddings(batch)
        conditions = self.family.conditions(pooled, batch.time_ids.to(device))

        def predict(noisy: Tensor, at: Tensor) -> Tensor:
            with self.accelerator.autocast():
                return self.unet(self.task.widen(noisy, batch), at, embeds, added_cond_kwargs=conditions).sample

        return self.objective.loss(predict, latents, noise.to(device), times.to(device))

    def _latents(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """A draw from the VAE's distribution, (batch, 4, height, width), as the UNet sees it."""
        vae = self.pipeline.vae
        mean, std = (batch.mean, batch.std) if batch.pixels is None else posterior(vae, batch.pixels)
        chance = torch.randn(mean.shape, generator=generator).to(mean.device)
        return scaled(vae, mean + std * chance).to(self.accelerator.device)

    @torch.no_grad()
    def _embeddings(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Captions encoded as in sampling; a dropped one becomes what sampling takes for "no negative prompt"."""
        if not self.pipeline.config.get("force_zeros_for_empty_prompt", False):
            captions = ["" if out else text for text, out in zip(batch.captions, batch.dropped, strict=True)]
            return encode_texts(self.pipeline, captions, self.config.layout)
        embeds, pooled = encode_texts(self.pipeline, batch.captions, self.config.layout)
        out = batch.dropped.to(embeds.device)
        return embeds.masked_fill(out[:, None, None], 0), pooled.masked_fill(out[:, None], 0)

    def save(self) -> Path:
        """Write the whole pipeline with the averaged weights; files of others in the folder are left alone."""
        output = Path(self.config.output)
        unet = self.accelerator.unwrap_model(self.unet)
        if self.ema is not None:
            self.ema.copy_to(unet.parameters())
        if self.accelerator.is_main_process:
            partial = output.with_name(output.name + ".partial")
            shutil.rmtree(partial, ignore_errors=True)
            # Opened afresh, because the frozen parts of the run may have been rounded to half precision.
            dtype = DTYPES[self.config.save_dtype]
            whole = open_pipeline(self.base, self.family.load_pipeline_class(), dtype)
            whole.unet.load_state_dict(unet.state_dict())
            whole.save_pretrained(partial, safe_serialization=True)
            if (self.base / DEFAULTS_FILE).is_file():
                shutil.copy(self.base / DEFAULTS_FILE, partial)
            _move_into(partial, output)
        self.accelerator.wait_for_everyone()
        return output


def _move_into(source: Path, target: Path) -> None:
    """Replace each entry of `target` that `source` has."""
    target.mkdir(parents=True, exist_ok=True)
    for entry in source.iterdir():
        place = target / entry.name
        if place.is_dir():
            shutil.rmtree(place)
        entry.replace(place)
    source.rmdir()

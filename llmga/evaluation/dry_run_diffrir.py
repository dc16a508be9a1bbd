"""DiffRIR on a fake GPU: steps of `RestorerTrainer` and a restoration, at the published width."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from llmga.diffrir.checkpoints import save_model
from llmga.diffrir.losses import PERCEPTUAL_LAYERS
from llmga.diffrir.model import Stage1, Stage2
from llmga.diffrir.restorer import open_diffrir
from llmga.diffrir.train.config import RestorerConfig
from llmga.diffrir.train.planning import plan, ways
from llmga.diffrir.train.trainer import RestorerTrainer
from llmga.diffrir.vgg import VGG19, Features
from llmga.evaluation.dry_run_result import Measured, Way, measured
from llmga.evaluation.fake_device import NAME
from llmga.evaluation.fake_gpu import FakeGpu

PAINTED = 1024  # pixels a side


def answering(config: RestorerConfig) -> Any:
    """What decides the figures of a restoration."""
    return config.network


def settings(config: RestorerConfig, folder: Path) -> RestorerConfig:
    """The preset's settings for a run on the fake GPU, the weights that it starts from being random ones."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (config.picture, config.picture), "grey").save(folder / "grey.png")
    (folder / "train.txt").write_text("grey.png\n" * config.batch_size)
    changed: dict[str, Any] = {}
    if config.start:
        stage = Stage1 if config.objective == "prior" else Stage2
        changed["start"] = str(save_model(stage(config.network), folder / "start"))
        changed["teacher"] = str(save_model(Stage1(config.network), folder / "teacher"))
    if config.perceptual:
        changed["perceptual"] = str(folder / "vgg19.pth")
        torch.save(Features(VGG19, PERCEPTUAL_LAYERS).state_dict(), folder / "vgg19.pth")
    return replace(
        config,
        data=str(folder / "train.txt"),
        images=str(folder),
        validation=None,
        run=str(folder / "run"),
        output=str(folder / "output"),
        device=NAME,
        workers=0,
        **changed,
    )


def step(config: RestorerConfig, folder: Path, gpu: FakeGpu) -> Measured:
    """One optimiser step of a preset."""
    trainer = RestorerTrainer(settings(config, folder))
    batches = trainer._batches()
    while trainer.pairs.pool and len(trainer.pairs.pool.kept) < config.pool:
        trainer.pairs.make(next(batches), torch.Generator().manual_seed(0))
    with measured(gpu) as result:
        trainer._optimise(batches)
    result.learning = sum(weight.numel() for weight in trainer.learning)
    planned = plan(config)
    result.planned, result.planned_flops = planned.tensors, planned.flops
    result.size = f"{config.batch_size} patches of {config.patch}x{config.patch}"
    result.ways = [Way(flags, way.tensors) for flags, way in ways(config)]
    return result


def generation(config: RestorerConfig, folder: Path, gpu: FakeGpu) -> Measured:
    """One restoration at the size that SDXL paints, in bfloat16."""
    weights = save_model(Stage2(config.network), folder / "restorer")
    restorer = open_diffrir(weights, device=NAME, dtype="bf16")
    side = PAINTED // config.scale
    picture = Image.new("RGB", (side, side), "grey")
    with measured(gpu) as result:
        restorer(picture, picture, Image.new("L", picture.size, 255))
    result.size = f"a picture of {PAINTED}x{PAINTED}"
    return result

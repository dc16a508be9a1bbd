"""Stage 2 on a fake GPU: steps of `Stage2Trainer` and a painting, at the published sizes."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image
from torch import nn

from llmga.diffusers.families import INPAINTING
from llmga.diffusers.pipelines import load_pipeline
from llmga.diffusers.train.config import Stage2Config
from llmga.diffusers.train.planning import plan, ways
from llmga.diffusers.train.trainer import Stage2Trainer
from llmga.evaluation.dry_run_published import PAINTERS, fake_weights, write_painter
from llmga.evaluation.dry_run_result import Measured, Way, measured
from llmga.evaluation.fake_device import NAME
from llmga.evaluation.fake_gpu import FakeGpu
from llmga.training.footprint import size

TOY = "checkpoints/Inference/llmga-toy-sdxl-base"  # in the shape of the random one that it was made of
TOKENS = 200  # of a caption: three chunks, as the published prompts have


def write_data(folder: Path, side: int, pictures: int) -> Path:
    """Records of grey pictures with long captions."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), "grey").save(folder / "grey.png")
    record = {"image": "grey.png", "caption": "a " * TOKENS}
    (folder / "train.json").write_text(json.dumps([record] * pictures))
    return folder


def answering(config: Stage2Config) -> Any:
    """What decides the figures of a painting."""
    return Path(config.pipeline).name, config.task, config.resolution


def settings(config: Stage2Config, folder: Path) -> Stage2Config:
    """The preset's settings for a run on the fake GPU that reads and writes below a folder."""
    name = Path(config.pipeline).name
    toy = config.pipeline if Path(config.pipeline).is_dir() else TOY
    pipeline = str(write_painter(name, folder / name)) if name in PAINTERS else toy
    data = write_data(folder / "data", config.resolution, config.batch_size)
    return replace(
        config,
        pipeline=pipeline,
        data=(str(data / "train.json"),),
        images=(str(data),),
        originals=None,
        accumulation=min(config.accumulation, 2),  # the passes behind the second are like it
        run=str(folder / "run"),
        output=str(folder / "output"),
        device=NAME,
        workers=0,
    )


def step(config: Stage2Config, folder: Path, gpu: FakeGpu) -> Measured:
    """One optimiser step of a preset."""
    told = settings(config, folder)
    with fake_weights(gpu):
        trainer = Stage2Trainer(told)
    batches = trainer._batches()
    with measured(gpu, passes=told.accumulation, of=config.accumulation) as result:
        trainer._optimise(batches)
    result.learning = sum(weight.numel() for weight in trainer.learning)
    planned = replace(config, pipeline=told.pipeline, device=NAME)
    result.planned, result.planned_flops = plan(planned).tensors, plan(planned).flops
    result.size = f"{config.batch_size} x {config.accumulation} pictures of {config.resolution}x{config.resolution}"
    result.ways = [Way(flags, way.tensors) for flags, way in ways(planned)]
    return result


def generation(config: Stage2Config, folder: Path, gpu: FakeGpu) -> Measured:
    """One painting with what a preset trains, in half precision; the steps behind the third are like it."""
    path = settings(config, folder).pipeline
    with fake_weights(gpu):
        pipeline = load_pipeline(path, device=NAME, dtype="fp16", task=config.task)
    side = config.resolution
    picture, mask = Image.new("RGB", (side, side), "grey"), Image.new("L", (side, side), 255)
    given = {"image": picture, "mask": mask} if config.task == INPAINTING else {"size": (side, side)}
    if config.task == INPAINTING:
        mask.paste(0, (0, 0, side // 2, side // 2))
    with measured(gpu) as result:
        pipeline("a " * TOKENS, seed=0, steps=4, on_step=result.mark, **given)
    result.extend(pipeline.steps)
    parts = [part for part in pipeline.pipe.components.values() if isinstance(part, nn.Module)]
    largest = max(size([part], learning=True) + size([part], learning=False) for part in parts)
    result.size = f"a picture of {side}x{side} in {pipeline.steps} steps"
    result.ways = [Way("--offload model", result.peak - result.resident + largest)]
    return result

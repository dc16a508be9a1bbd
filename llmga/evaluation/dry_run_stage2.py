"""Stage 2 on a fake GPU: steps of `Stage2Trainer` and a painting, at the published sizes."""

import json
from dataclasses import replace
from pathlib import Path

from PIL import Image

from llmga.diffusers.train.config import Stage2Config
from llmga.diffusers.train.trainer import Stage2Trainer
from llmga.evaluation.dry_run_published import PAINTERS, fake_weights, write_painter
from llmga.evaluation.fake_gpu import NAME, FakeGpu

TOKENS = 200  # of a caption: three chunks, as the published prompts have


def write_data(folder: Path, side: int, pictures: int) -> Path:
    """Records of grey pictures with long captions."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), "grey").save(folder / "grey.png")
    record = {"image": "grey.png", "caption": "a " * TOKENS}
    (folder / "train.json").write_text(json.dumps([record] * pictures))
    return folder


def settings(config: Stage2Config, folder: Path) -> Stage2Config:
    """The preset's settings for a run on the fake GPU that reads and writes below a folder."""
    name = Path(config.pipeline).name
    pipeline = str(write_painter(name, folder / name)) if name in PAINTERS else config.pipeline
    data = write_data(folder / "data", config.resolution, config.batch_size)
    return replace(
        config,
        pipeline=pipeline,
        data=(str(data / "train.json"),),
        images=(str(data),),
        originals=None,
        run=str(folder / "run"),
        output=str(folder / "output"),
        device=NAME,
        workers=0,
    )


def open_trainer(config: Stage2Config, gpu: FakeGpu) -> Stage2Trainer:
    """The trainer of such settings."""
    with fake_weights(gpu):
        return Stage2Trainer(config)

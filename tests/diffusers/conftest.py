import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from llmga.diffusers.train.config import PRESETS
from llmga.toyworld.scenes import draw, train_scenes
from tests.toys import toy, toy_pipeline_class  # noqa: F401  fixtures

SIZES = [(64, 64), (64, 64), (64, 64), (64, 64), (96, 64), (64, 96), (128, 60), (100, 64)]  # width, height
BUNDLED = Path(__file__).parents[1] / "fixtures/diffusion"


@pytest.fixture(scope="session")
def goldens():
    return Goldens(BUNDLED)


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """Drawn pictures with captions: `train.json` lists six square ones, `mixed.json` eight of any aspect."""
    root = tmp_path_factory.mktemp("world")
    square, mixed = [], []
    for number, scene in enumerate(train_scenes()[:6000:750]):
        thing = scene.things[0]
        text = f"a {thing.size} {thing.colour} {thing.shape} at the {thing.place}"
        caption = " ".join([text] * (1 + 9 * (number == 3)))
        for name, size, records in (("plain", (64, 64), square), ("any", SIZES[number], mixed)):
            draw(scene, *size).save(root / f"{name}-{number}.png")
            records.append({"image": f"{name}-{number}.png", "caption": caption})
    (root / "train.json").write_text(json.dumps(square[:6]))
    (root / "mixed.json").write_text(json.dumps(mixed))
    return root


@pytest.fixture
def config(goldens, world, tmp_path):
    """Four steps of the toy preset on the smallest SDXL."""
    base = shutil.copytree(goldens.folder("sdxl"), tmp_path / "base")
    (base / "generation_defaults.json").write_text('{"steps": 3}')
    return replace(
        PRESETS["toy_sdxl"], pipeline=str(base), data=(str(world / "train.json"),), images=(str(world),),
        run=str(tmp_path / "run"), output=str(tmp_path / "out"), steps=4, batch_size=2, warmup=2,
        checkpoint_every=2, save_dtype="fp32", lr=1e-3, schedule="constant", ema_decay=0.5,
    )  # fmt: skip


class Goldens:
    """Recorded values: the manifest, the tensor files, and the pipelines they were recorded on."""

    def __init__(self, root):
        self.root = root
        self.manifest = json.loads((root / "manifest.json").read_text(encoding="utf-8"))
        self._pipelines, self._tensors = {}, {}

    def text(self, name):
        return "" if name in (None, "blank") else self.manifest["prompts"][name]["text"]

    def tensors(self, name):
        if name not in self._tensors:
            self._tensors[name] = load_file(self.root / f"{name}.safetensors")
        return self._tensors[name]

    def picture(self, name):
        return Image.open(self.root / name)

    def folder(self, name):
        return self.root / self.manifest["pipelines"][name]["path"]

    def pipeline(self, name):
        if name not in self._pipelines:
            import diffusers

            torch.set_num_threads(1)
            kind = getattr(diffusers, self.manifest["pipelines"][name]["loads_as"])
            self._pipelines[name] = kind.from_pretrained(self.folder(name), local_files_only=True)
            self._pipelines[name].set_progress_bar_config(disable=True)
        return self._pipelines[name]

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(os.environ.get("LLMGA_FIXTURES", Path(__file__).parents[1] / "fixtures")) / "diffusion"


@pytest.fixture(scope="session")
def goldens():
    return Goldens(ROOT)


class Goldens:
    """Recorded values: the manifest, the tensor files, and the pipelines they were recorded on."""

    def __init__(self, root):
        self.root = root
        self.manifest = json.loads((root / "manifest.json").read_text(encoding="utf-8"))
        self._pipelines = {}

    def text(self, name):
        return "" if name in (None, "blank") else self.manifest["prompts"][name]["text"]

    def tensors(self, name):
        return load_file(self.root / f"{name}.safetensors")

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

import json
import os
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

ROOT = Path(os.environ.get("LLMGA_FIXTURES", Path(__file__).parents[1] / "fixtures")) / "diffusion"


def pytest_generate_tests(metafunc):
    """A test that asks for one of these names runs once for every entry that the manifest lists."""
    manifest = json.loads((ROOT / "manifest.json").read_text(encoding="utf-8"))
    listed = {
        "prompt_name": list(manifest["prompts"]),
        "sd15_prompt": list(manifest["embeds_sd15"]["prompts"]),
        "sd15_pair": manifest["embeds_sd15"]["pairs"],
        "sdxl_prompt": list(manifest["embeds_sdxl"]["prompts"]),
        "sdxl_pair": manifest["embeds_sdxl"]["pairs"],
        "t2i_case": manifest["t2i"]["cases"],
        "inpaint_case": manifest["inpaint"]["cases"],
        "edit_case": manifest["edit"]["cases"],
        "train_case": [case | {"name": name} for name, case in manifest["train"].items()],
    }
    for name in listed.keys() & set(metafunc.fixturenames):
        metafunc.parametrize(name, listed[name], ids=_label)


def _label(entry):
    if isinstance(entry, dict):
        return entry.get("name") or f"{entry['prompt']}|{entry['negative']}"
    return "|".join(entry) if isinstance(entry, list) else entry


@pytest.fixture(scope="session")
def goldens():
    return Goldens(ROOT)


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

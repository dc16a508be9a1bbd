"""Folders of the published pipelines whose weights take no room."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from transformers import CLIPTokenizer

from llmga.diffusers import checkpoints
from llmga.diffusers.published import BETAS, CLIP_ROWS, PAINTERS, text_config
from llmga.evaluation.fake_gpu import FakeGpu
from llmga.evaluation.fake_modules import to_fake
from llmga.toyworld.vocabulary import CLIP_END, CLIP_START, END_OF_WORD, byte_alphabet, numbered

NOTHING = save({})  # a whole file of no weights, so that no damage hides what is wrong with the rest


def write_painter(name: str, folder: Path) -> Path:
    """The folder of a published pipeline: everything but the weights, whose files hold none."""
    from diffusers import AutoencoderKL, UNet2DConditionModel, __version__

    row = PAINTERS[name]
    index: dict[str, Any] = {"_class_name": row.pipeline_class, "_diffusers_version": __version__}
    models = (("unet", UNet2DConditionModel, row.unet), ("vae", AutoencoderKL, row.vae))
    with torch.device("meta"):
        for part, kind, settings in models:
            made: Any = kind(**settings)
            made.save_config(folder / part)
            index[part] = ["diffusers", kind.__name__]
            (folder / part / "diffusion_pytorch_model.safetensors").write_bytes(NOTHING)
    for number, settings in enumerate(row.texts):
        suffix = f"_{number + 1}" if number else ""
        _write_tower(folder / f"text_encoder{suffix}", settings)
        clip_tokenizer("!" if number else CLIP_END).save_pretrained(folder / f"tokenizer{suffix}")
        index[f"text_encoder{suffix}"] = ["transformers", "CLIPTextModelWithProjection" if number else "CLIPTextModel"]
        index[f"tokenizer{suffix}"] = ["transformers", "CLIPTokenizer"]
    scheduler, own = row.scheduler
    (folder / "scheduler").mkdir()
    text = json.dumps({"_class_name": scheduler, "prediction_type": "epsilon", **BETAS, **own})
    (folder / "scheduler/scheduler_config.json").write_text(text)
    index["scheduler"] = ["diffusers", scheduler]
    (folder / "model_index.json").write_text(json.dumps(index | {"force_zeros_for_empty_prompt": len(row.texts) > 1}))
    return folder


def _write_tower(folder: Path, settings: dict[str, Any]) -> None:
    text_config(settings).save_pretrained(folder)
    (folder / "model.safetensors").write_bytes(NOTHING)


def clip_tokenizer(pad: str) -> CLIPTokenizer:
    """CLIP's kind of tokenizer, of the published number of rows, knowing only letters."""
    letters = byte_alphabet()
    known = [*letters, *(letter + END_OF_WORD for letter in letters)]
    fillers = (f"<unused{number}>" for number in range(CLIP_ROWS - len(known) - 2))
    vocabulary = numbered(known, fillers, (CLIP_START, CLIP_END))
    return CLIPTokenizer(vocab=vocabulary, merges=[], pad_token=pad, model_max_length=77)


@contextmanager
def fake_weights(gpu: FakeGpu) -> Iterator[None]:
    """Parts of pipelines whose weight files hold none get fake weights; everything else of opening stays as it is."""
    opened = checkpoints.open_part

    def open_part(part: Path, library: str, kind: str, dtype: torch.dtype, **options: Any) -> Any:
        if any(file.stat().st_size > len(NOTHING) for file in part.glob("*.safetensors")):
            return opened(part, library, kind, dtype, **options)
        return to_fake(checkpoints.empty_part(part, library, kind), gpu.fake, dtype).eval()

    checkpoints.open_part = open_part
    try:
        yield
    finally:
        checkpoints.open_part = opened

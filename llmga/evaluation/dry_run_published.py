"""The published models as rows of sizes, and folders of them whose weights take no room.

Sources: `config.json` of each part in the repositories stabilityai/stable-diffusion-xl-base-1.0,
diffusers/stable-diffusion-xl-1.0-inpainting-0.1, runwayml/stable-diffusion-v1-5 and
runwayml/stable-diffusion-inpainting.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn
from transformers import CLIPTextConfig, CLIPTokenizer

from llmga.diffusers import checkpoints
from llmga.evaluation.fake_gpu import FakeGpu, to_fake
from llmga.registry import Registry
from llmga.toyworld.vocabulary import CLIP_END, CLIP_START, END_OF_WORD, byte_alphabet, numbered

CLIP_ROWS = 49408
NOTHING = save({})  # a whole file of no weights, so that no damage hides what is wrong with the rest

UNET_SDXL: dict[str, Any] = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
UNET_SD15: dict[str, Any] = {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}
VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
}
CLIP_L: dict[str, Any] = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
                          "num_attention_heads": 12, "projection_dim": 768, "hidden_act": "quick_gelu"}  # fmt: skip
CLIP_G: dict[str, Any] = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32,
                          "num_attention_heads": 20, "projection_dim": 1280, "hidden_act": "gelu"}  # fmt: skip
BETAS: dict[str, Any] = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}


@dataclass(frozen=True)
class Painter:
    """A published diffusers folder.

    Attributes:
        pipeline_class: as its model_index.json says.
        unet: settings of the UNet beside the defaults.
        vae: of the VAE.
        texts: of the text towers.
        scheduler: class of diffusers, and its settings beside `BETAS`.
        parameters: of the UNet.
    """

    pipeline_class: str
    unet: dict[str, Any]
    vae: dict[str, Any]
    texts: tuple[dict[str, Any], ...]
    scheduler: tuple[str, dict[str, Any]]
    parameters: int


_SDXL_VAE = VAE | {"sample_size": 1024, "scaling_factor": 0.13025, "force_upcast": True}
_SD15_VAE = VAE | {"sample_size": 512, "scaling_factor": 0.18215, "force_upcast": False}
_EULER: tuple[str, dict[str, Any]] = ("EulerDiscreteScheduler", {"timestep_spacing": "leading"})
_PNDM: tuple[str, dict[str, Any]] = ("PNDMScheduler", {"skip_prk_steps": True})
NINE = {"in_channels": 9}
MORE = 5 * 320 * 9  # weights of five more input channels

PAINTERS = Registry(
    "published pipeline",
    {
        "stable-diffusion-xl-base-1.0": Painter(
            "StableDiffusionXLPipeline", UNET_SDXL, _SDXL_VAE, (CLIP_L, CLIP_G), _EULER, 2_567_463_684
        ),
        "stable-diffusion-xl-1.0-inpainting-0.1": Painter(
            "StableDiffusionXLInpaintPipeline", UNET_SDXL | NINE, _SDXL_VAE, (CLIP_L, CLIP_G), _EULER,
            2_567_463_684 + MORE,
        ),
        "stable-diffusion-v1-5": Painter(
            "StableDiffusionPipeline", UNET_SD15, _SD15_VAE, (CLIP_L,), _PNDM, 859_520_964
        ),
        "stable-diffusion-inpainting": Painter(
            "StableDiffusionInpaintPipeline", UNET_SD15 | NINE, _SD15_VAE, (CLIP_L,), _PNDM, 859_520_964 + MORE
        ),
    },
)  # fmt: skip


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
    markers: dict[str, Any] = {"bos_token_id": CLIP_ROWS - 2, "eos_token_id": CLIP_ROWS - 1}
    CLIPTextConfig(vocab_size=CLIP_ROWS, **markers, **settings).save_pretrained(folder)
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

    def open_part(part: Path, library: str, kind: str, dtype: torch.dtype) -> nn.Module:
        if any(file.stat().st_size > len(NOTHING) for file in part.glob("*.safetensors")):
            return opened(part, library, kind, dtype)
        return to_fake(checkpoints.empty_part(part, library, kind), gpu, dtype).eval()

    checkpoints.open_part = open_part
    try:
        yield
    finally:
        checkpoints.open_part = opened

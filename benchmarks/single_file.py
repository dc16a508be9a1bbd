"""A checkpoint in one file against its folder: time and peak memory of opening the same weights.

python benchmarks/single_file.py [--width 192] [--stored fp16] [--dtype fp32] [--rounds 5]

A random SDXL of these widths is written as a folder and as a single file.  Each is opened in turns, in a process of its
own that has imported everything before; time is the processor's.  Memory is what the process's peak rose by.  Every
weight is read once, since some stay on disk until then.  `ratio` is file over folder, of the medians.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from llmga.command_line import quiet_libraries
from llmga.diffusers.pipelines import load_pipeline
from llmga.runtime import DTYPES, peak_memory


def write(root: Path, width: int, stored: str) -> None:
    """The folder `root/folder` and the file `root/file.safetensors` of one pipeline."""
    from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    from llmga.diffusers.published import BETAS, CLIP_ROWS, UNET_SDXL, VAE
    from llmga.diffusers.single_file.vocabulary import find_vocabulary
    from llmga.diffusers.single_file.writing import to_file

    sizes: dict[str, Any] = {"hidden_size": 4 * width, "intermediate_size": 16 * width, "num_hidden_layers": 4,
                             "num_attention_heads": max(1, width // 16), "projection_dim": 4 * width,
                             "vocab_size": CLIP_ROWS, "bos_token_id": CLIP_ROWS - 2,
                             "eos_token_id": CLIP_ROWS - 1}  # fmt: skip
    changed: dict[str, Any] = {
        "block_out_channels": (width, 2 * width, 4 * width), "cross_attention_dim": 8 * width,
        "attention_head_dim": [max(1, level * width // 64) for level in (1, 2, 4)],
        "projection_class_embeddings_input_dim": 4 * width + 6 * 256, "transformer_layers_per_block": (1, 2, 4),
    }  # fmt: skip
    first, second = map(find_vocabulary(root / "x", None, "tokenizer", CLIP_ROWS), ("<|endoftext|>", "!"))
    pipe = StableDiffusionXLPipeline(
        unet=UNet2DConditionModel(**UNET_SDXL | changed),
        vae=AutoencoderKL(**VAE | {"block_out_channels": (width // 2, width, width, width), "norm_num_groups": 16}),
        text_encoder=CLIPTextModel(CLIPTextConfig(**sizes, hidden_act="quick_gelu")),
        text_encoder_2=CLIPTextModelWithProjection(CLIPTextConfig(**sizes, hidden_act="gelu")),
        tokenizer=first, tokenizer_2=second, scheduler=EulerDiscreteScheduler(**BETAS),
    )  # fmt: skip
    pipe.to(DTYPES[stored]).save_pretrained(root / "folder")
    to_file(root / "folder", root / "file.safetensors")


def open_one(place: Path, dtype: str) -> dict[str, float]:
    """Open it and read every weight."""
    import diffusers
    import transformers

    for library, names in ((diffusers, ("StableDiffusionXLPipeline", "UNet2DConditionModel", "AutoencoderKL")),
                           (transformers, ("CLIPTextModelWithProjection", "CLIPTokenizer"))):  # fmt: skip
        for name in names:
            getattr(library, name)  # they import when they are asked for
    from diffusers.loaders import single_file_utils  # noqa: F401

    before, started = peak_memory() or 0, time.process_time()
    pipe = load_pipeline(place, device="cpu", dtype=dtype).pipe
    for name in ("unet", "vae", "text_encoder", "text_encoder_2"):
        for weight in getattr(pipe, name).parameters():
            weight.view(torch.uint8)[..., ::4096].sum() if weight.ndim else None
    seconds = time.process_time() - started
    return {"seconds": seconds, "megabytes": ((peak_memory() or 0) - before) / 1e6}


def main(argv: list[str] | None = None) -> int:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=192, help="channels of the first level, a multiple of 32")
    parser.add_argument("--stored", choices=DTYPES, default="fp16", help="number format of the weights on disk")
    parser.add_argument("--dtype", choices=DTYPES, default="fp32", help="number format in which they are opened")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", type=Path, help=argparse.SUPPRESS)
    argv = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(argv)
    quiet_libraries()
    if args.only:
        print(json.dumps(open_one(args.only, args.dtype)))
        return 0
    found: dict[str, list[dict[str, float]]] = {"folder": [], "file.safetensors": []}
    with tempfile.TemporaryDirectory() as root:
        write(Path(root), args.width, args.stored)
        size = (Path(root) / "file.safetensors").stat().st_size / 1e6
        for _ in range(args.rounds):
            for name, figures in found.items():
                command = [sys.executable, __file__, *argv, "--only", str(Path(root) / name)]
                ended = subprocess.run(command, check=True, capture_output=True, text=True)
                figures.append(json.loads(ended.stdout.splitlines()[-1]))
    told: dict[str, float] = {"megabytes_on_disk": round(size)}
    for what in ("seconds", "megabytes"):
        folder, file = (statistics.median(each[what] for each in figures) for figures in found.values())
        told |= {f"{what}_folder": round(folder, 3), f"{what}_file": round(file, 3),
                 f"{what}_ratio": round(file / folder, 3)}  # fmt: skip
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())

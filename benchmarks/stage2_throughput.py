"""Stage 2 with latents and captions encoded beforehand against encoding in every step: optimiser steps per second.

python benchmarks/stage2_throughput.py [--side 256] [--batch 4] [--steps 8] [--width 64] [--device cuda]

A random model in SDXL's shape is trained both ways in turns in one process, so that what else the machine does falls on
both; time is the processor's on a CPU.  The losses of both ways are compared, too: they are the same training.  On a
GPU `expected` is what the fake one says of the same steps, `needed` what it was.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from llmga.command_line import quiet_libraries
from llmga.diffusers.train.batches import loader
from llmga.diffusers.train.config import PRESETS, Stage2Config
from llmga.diffusers.train.trainer import Stage2Trainer
from llmga.evaluation.expected import device_named, expected
from llmga.runtime import pick_device

TOKENIZERS = Path("checkpoints/Inference/llmga-toy-sdxl-base")
PICTURES = 8
TEXT = "a big red circle in the top left corner of the picture on a plain blue background with smooth edges"


def random_pipeline(width: int) -> StableDiffusionXLPipeline:
    """SDXL in small: a UNet of three levels, the VAE of Stable Diffusion, two text towers, their sizes from `width`."""
    torch.manual_seed(0)
    tokenizers = [
        CLIPTokenizer.from_pretrained(TOKENIZERS / name, trust_remote_code=False)
        for name in ("tokenizer", "tokenizer_2")
    ]
    towers = [
        kind(CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=4 * width, intermediate_size=16 * width, num_hidden_layers=12,
            num_attention_heads=width // 16, projection_dim=4 * width, bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        ))
        for kind, tokenizer in zip((CLIPTextModel, CLIPTextModelWithProjection), tokenizers, strict=True)
    ]  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=32, block_out_channels=(width, 2 * width, 4 * width), layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=8 * width,
        attention_head_dim=[width // 32, width // 16, width // 8], use_linear_projection=True,
        norm_num_groups=16, addition_embed_type="text_time",
        addition_time_embed_dim=32, projection_class_embeddings_input_dim=4 * width + 6 * 32,
    )  # fmt: skip
    channels = (width, width, 2 * width, 2 * width)
    vae = AutoencoderKL(
        block_out_channels=channels, layers_per_block=2, latent_channels=4, norm_num_groups=16, sample_size=256,
        down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
    )  # fmt: skip
    return StableDiffusionXLPipeline(
        vae=vae, text_encoder=towers[0], text_encoder_2=towers[1], tokenizer=tokenizers[0], tokenizer_2=tokenizers[1],
        unet=unet, scheduler=EulerDiscreteScheduler(), add_watermarker=False,
    )  # fmt: skip


def write_data(folder: Path, side: int) -> None:
    """Pictures of noise with captions of about two chunks."""
    chance, records = np.random.default_rng(0), []
    for number in range(PICTURES):
        Image.fromarray(chance.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(folder / f"{number}.png")
        caption = " ".join(chance.choice(TEXT.split(), 110))
        records.append({"image": f"{number}.png", "caption": caption})
    (folder / "train.json").write_text(json.dumps(records))


def stepper(config: Stage2Config) -> Callable[[], float]:
    """One optimiser step, whose loss is returned."""
    trainer = Stage2Trainer(config)
    batches = loader(trainer.examples, trainer._sampler(), workers=0)

    def step() -> float:
        loss = trainer._optimise(batches)["loss"]
        trainer.step += 1
        return loss

    return step


def seconds(work: Callable[[], float], cuda: bool) -> tuple[float, float]:
    """Time taken, and what came out."""
    clock = time.perf_counter if cuda else time.process_time
    started = clock()
    loss = work()
    if cuda:
        torch.cuda.synchronize()
    return clock() - started, loss


def main(argv: list[str] | None = None) -> int:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--device", default="auto")
    argv = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(argv)
    quiet_libraries()
    with device_named(args.device) as needed, tempfile.TemporaryDirectory() as name:
        device = pick_device(args.device).type
        folder = Path(name)
        write_data(folder, args.side)
        random_pipeline(args.width).save_pretrained(folder / "base")
        config = replace(
            PRESETS["toy_sdxl"], pipeline=str(folder / "base"), data=(str(folder / "train.json"),),
            images=(name,), run=str(folder / "run"), output=str(folder / "out"), resolution=args.side,
            batch_size=args.batch, device=args.device, mixed_precision="no", cache_latents=False,
        )  # fmt: skip
        ways = {
            "online": stepper(config),
            "cached": stepper(replace(config, cache_latents=True, cache_embeddings=True)),
        }
        taken: dict[str, list[float]] = {way: [] for way in ways}
        losses: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(args.steps + 1):
            for way in sorted(ways, reverse=bool(number % 2)):
                spent, loss = seconds(ways[way], device == "cuda")
                taken[way].append(spent)
                losses[way].append(loss)
        found = {"needed": needed()}
    if device == "cuda":
        found["expected"] = expected(__file__, argv)
    medians = {way: statistics.median(times[1:]) for way, times in taken.items()}  # the first step warms up
    print(json.dumps({
        "device": device, "side": args.side, "batch": args.batch, "seconds_per_step": medians,
        "steps_ratio": round(medians["online"] / medians["cached"], 3),
        "largest_difference_of_losses": max(abs(a - b) for a, b in zip(*losses.values(), strict=True)), **found,
    }))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())

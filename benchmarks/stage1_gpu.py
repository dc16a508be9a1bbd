"""Stage 1 of a 7B-shaped random model under LoRA and QLoRA: tokens a second, memory, model-flops utilisation.

python benchmarks/stage1_gpu.py [--tune lora] [--bits 16 4] [--rows 4] [--length 1024] [--steps 5] [--peak 989]

Needs a CUDA GPU, and says so where there is none.  Nothing is loaded: the weights are random, in the shape of
Vicuna-7B.  `--peak` is what the GPU can do in bf16 without sparsity, in TFLOP/s (H100 SXM 989, A100 312).  Utilisation
counts 2 operations per weight and token forward and 2 backward, since no gradient of frozen weights is computed;
recomputed activations are not counted.  `expected_gigabytes` is what the doctor's plan says, which the dry run
(`llmga.evaluation.dry_run`) holds against its trace: where the measured figure is another, something is wrong.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPVisionConfig, LlamaConfig

from llmga.llava.checkpoints import published_weights
from llmga.llava.mllm import Mllm
from llmga.llava.modeling import LlmgaForConditionalGeneration
from llmga.llava.placement import placement
from llmga.llava.published import make_config
from llmga.llava.towers import KNOWN_TOWERS
from llmga.llava.train.config import PRESETS
from llmga.llava.train.low_rank import add_low_rank
from llmga.llava.train.memory import Method, Sizes, tensors
from llmga.llava.train.parameters import freeze, set_formats
from llmga.llava.weights import load_weights

VICUNA_7B = {"hidden_size": 4096, "intermediate_size": 11008, "num_attention_heads": 32,
             "num_hidden_layers": 32, "vocab_size": 32000}  # fmt: skip


def random_model(shape: dict[str, int], bits: int, device: torch.device) -> LlmgaForConditionalGeneration:
    """In bf16, the language model's layers quantised where 8 or 4 bits are wanted."""
    tower = CLIPVisionConfig(**KNOWN_TOWERS["openai/clip-vit-large-patch14-336"])
    config = make_config(LlamaConfig(**shape), tower, projector_type="mlp2x_gelu", select_layer=-2)
    torch.set_default_dtype(torch.bfloat16)
    try:
        with device if bits == 16 else torch.device("cpu"):
            model = LlmgaForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(torch.float32)
    if bits == 16:
        return model
    where = placement(device=str(device), dtype=torch.bfloat16, load_8bit=bits == 8, load_4bit=bits == 4)
    return load_weights(Path(), config, where, given=published_weights(model.state_dict(), config, None))


def measured(args: argparse.Namespace, bits: int, device: torch.device) -> dict[str, Any]:
    shape = VICUNA_7B | {"num_hidden_layers": args.layers}
    config = replace(PRESETS["llmga_7b_s1"], tune=args.tune, bits=bits)
    mllm = Mllm(random_model(shape, bits, device), None, None, conv_mode="v1", context_length=args.length)
    add_low_rank(mllm, config)
    freeze(mllm, config.tune)
    set_formats(mllm.model, torch.bfloat16)
    mllm.model.to(device).train().gradient_checkpointing_enable({"use_reentrant": False})
    learning = [weight for weight in mllm.model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(learning, lr=1e-4, fused=True)
    ids = torch.randint(0, shape["vocab_size"], (args.rows, args.length), device=device)
    torch.cuda.reset_peak_memory_stats()
    times = [step(mllm.model, optimiser, ids) for _ in range(args.steps + 2)][2:]  # the first two warm up
    speed = ids.numel() * len(times) / sum(times)
    method = Method(args.tune, 1, args.rows, args.length, bits=bits, rank=config.lora_rank)
    return {
        "expected_gigabytes": round(tensors(Sizes.of(mllm.model), method) / 1e9, 1),
        "tokens_per_second": round(speed),
        "gigabytes": round(torch.cuda.max_memory_allocated() / 1e9, 1),
        "flops_utilisation": round(4 * weights_of(shape) * speed / (args.peak * 1e12), 3),
        "learning": sum(weight.numel() for weight in learning),
    }


def weights_of(shape: dict[str, int]) -> int:
    """Weights that every token is multiplied with."""
    width, inner, layers = shape["hidden_size"], shape["intermediate_size"], shape["num_hidden_layers"]
    return layers * (4 * width * width + 3 * width * inner) + shape["vocab_size"] * width


def step(model: LlmgaForConditionalGeneration, optimiser: torch.optim.Optimizer, ids: torch.Tensor) -> float:
    started = time.perf_counter()
    with torch.autocast(ids.device.type, torch.bfloat16):
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
    loss.backward()
    optimiser.step()
    optimiser.zero_grad()
    if ids.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started


def main(argv: list[str] | None = None) -> int:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tune", choices=("lora", "dora"), default="lora")
    parser.add_argument("--bits", type=int, nargs="+", choices=(16, 8, 4), default=[16, 4])
    for name, value in {"rows": 4, "length": 1024, "steps": 5, "layers": 32}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--peak", type=float, default=989.0, help="TFLOP/s of the GPU in bf16")
    args = parser.parse_args(argv)
    if not torch.cuda.is_available():
        print(json.dumps({"skipped": "a 7B model under LoRA needs a CUDA GPU, and this machine has none"}))
        return 0
    found: dict[str, Any] = {"device": torch.cuda.get_device_name(), "layers": args.layers}
    for bits in args.bits:
        found[f"{args.tune}_{bits}_bits"] = measured(args, bits, torch.device("cuda"))
        torch.cuda.empty_cache()
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())

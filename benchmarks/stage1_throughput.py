"""Stage-1 training: useful tokens a second, packed, against random batches padded to the longest as the original does.

python benchmarks/stage1_throughput.py [--samples 48] [--batch 4] [--width 256] [--layers 1] [--turns 3] [--device cuda]

A device takes 4 samples at once, as in the published runs.  The lengths follow the published mixture (MIX): pictures of
576 positions with conversations or captions, prompts to be refined, and conversations of words that reach the limit of
2048.  Both ways show the same samples, forward and backward, in turns in one process; time is the processor's on a
CPU, and the least of a few turns, since what others do on the machine only ever adds to it.  On a GPU `expected` is
what the fake one says of the same passes, `needed` what it was.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from llmga.evaluation.expected import device_named, expected
from llmga.llava import packed_attention
from llmga.llava.datasets.collate import Collate
from llmga.llava.datasets.mixture import Sample
from llmga.llava.datasets.packing import PackCollate, Packs
from llmga.runtime import pick_device

PICTURE, LIMIT, WORDS = 576, 2048, 2000
# share of the samples; least and most words around the picture, log-uniform; positions of the picture
MIX = {
    "visual conversation": (0.4, 40, 900, PICTURE),
    "captioned picture": (0.4, 60, 250, PICTURE),
    "prompt refinement": (0.1, 60, 250, 0),
    "text conversation": (0.1, 100, LIMIT, 0),
}


def lengths(count: int, rng: np.random.Generator) -> np.ndarray:
    """Tokens of each sample."""
    kinds = list(MIX.values())
    drawn = rng.choice(len(kinds), count, p=[share for share, *_ in kinds])
    words = [np.exp(rng.uniform(np.log(kinds[kind][1]), np.log(kinds[kind][2]))) for kind in drawn]
    return np.array([min(LIMIT, int(said) + kinds[kind][3]) for said, kind in zip(words, drawn, strict=True)])


def samples(sizes: np.ndarray, rng: np.random.Generator) -> list[Sample]:
    """Random words, all supervised: the speed does not depend on what they say."""
    said = [rng.integers(1, WORDS, size).tolist() for size in sizes]
    return [Sample(ids, ids, ()) for ids in said]


def padded(data: list[Sample], batch: int, rng: np.random.Generator) -> Iterator[dict[str, Tensor]]:
    """The original's batches: random samples, filled up to the longest."""
    order, collate = rng.permutation(len(data)), Collate(0, torch.stack)
    for start in range(0, len(order), batch):
        yield collate([data[index] for index in order[start : start + batch]])


def packed(data: list[Sample], batch: int, seed: int) -> Iterator[dict[str, Any]]:
    """Ours, as `--pack true` makes them."""
    sizes = np.array([len(sample.input_ids) for sample in data])
    collate = PackCollate(0, torch.stack)
    for keys in Packs(sizes, seed=seed, batch=batch):
        yield collate([[data[key] for key in keys]])


def seconds(model: LlamaForCausalLM, batch: dict[str, Any], attention: str) -> float:
    """Forward and backward of one batch."""
    model.set_attn_implementation(attention)
    on_gpu = model.device.type == "cuda"
    batch = {name: part.to(model.device) if isinstance(part, Tensor) else part for name, part in batch.items()}
    clock = time.perf_counter if on_gpu else time.process_time
    started = clock()
    model(**batch, use_cache=False).loss.backward()
    if on_gpu:
        torch.cuda.synchronize()
    model.zero_grad()
    return clock() - started


def padding(batches: list[dict[str, Any]], useful: int) -> float:
    return 1 - useful / sum(batch["input_ids"].numel() for batch in batches)


def compared(args: argparse.Namespace) -> dict[str, Any]:
    """Both ways to show the samples."""
    rng = np.random.default_rng(args.seed)
    sizes = lengths(args.samples, rng)
    data, useful = samples(sizes, rng), int(sizes.sum())
    config = LlamaConfig(
        vocab_size=WORDS, hidden_size=args.width, intermediate_size=3 * args.width, num_hidden_layers=args.layers,
        num_attention_heads=max(1, args.width // 64), num_key_value_heads=max(1, args.width // 64),
    )  # fmt: skip
    device = pick_device(args.device)
    model = LlamaForCausalLM(config).to(device)
    ways = {"padded": list(padded(data, args.batch, rng)), "packed": list(packed(data, args.batch, args.seed))}
    attention = {"padded": "sdpa", "packed": packed_attention.NAME}
    packed_attention.register()
    seconds(model, ways["padded"][0], "sdpa")  # warms up
    least = {name: [np.inf] * len(batches) for name, batches in ways.items()}
    for _ in range(args.turns):
        for name, batches in ways.items():
            times = [seconds(model, batch, attention[name]) for batch in batches]
            least[name] = list(map(min, least[name], times))
    taken = {name: sum(times) for name, times in least.items()}
    return {
        "device": str(device), "samples": len(data), "useful_tokens": useful,
        "mean_length": round(useful / len(data), 1),
        "padding": {name: round(padding(batches, useful), 4) for name, batches in ways.items()},
        "useful_tokens_per_second": {name: round(useful / time_) for name, time_ in taken.items()},
        "speedup": round(taken["padded"] / taken["packed"], 3),
    }  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in {"samples": 48, "batch": 4, "width": 256, "layers": 1, "seed": 0, "turns": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--device", default="auto")
    argv = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(argv)
    with device_named(args.device) as needed:
        found = compared(args)
        found["needed"] = needed()
    if found["device"].startswith("cuda"):
        found["expected"] = expected(__file__, argv)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Our pipeline against the stock pipeline called by hand: time and peak memory of the same pictures.

python benchmarks/generation.py [--sdmodel_id FOLDER] [--device cuda] [--steps 20] [--rounds 5]

Both paint in turns in one process, so that what else the machine does falls on both; time is the processor's on a CPU.
Memory is each one's peak, in a process of its own; on a GPU `expected` is what the fake one says of the same pictures.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from llmga.command_line import quiet_libraries
from llmga.diffusers.pipeline import Pipeline
from llmga.diffusers.pipelines import load_pipeline
from llmga.evaluation.expected import device_named, expected
from llmga.runtime import peak_memory

BUNDLED = "checkpoints/Inference/llmga-toy-sdxl-t2i"
PROMPT = "The picture shows a big red circle on the left of a small green square, on a blue background."


def pipelines(pipeline: Pipeline, steps: int) -> dict[str, Callable[[int], object]]:
    """`ours` and `stock`, each painting the picture of a seed."""
    pipe = pipeline.pipe

    def stock(seed: int) -> object:
        chance = torch.Generator("cpu").manual_seed(seed)
        return pipe(PROMPT, num_inference_steps=steps, guidance_scale=5.0, generator=chance).images[0]

    def ours(seed: int) -> object:
        pipeline.encoder.forget()  # the stock pipeline encodes every time, too
        return pipeline(PROMPT, seed=seed, steps=steps, guidance_scale=5.0)

    return {"ours": ours, "stock": stock}


def seconds(work: Callable[[], object], device: torch.device) -> float:
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    started = clock()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - started


def needed(args: argparse.Namespace, name: str) -> dict[str, Any]:
    """What a fresh process needs that paints one picture this way, in MB."""
    command = [sys.executable, __file__, *args.given, "--only", name]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(run.stdout.splitlines()[-1])["needed"]


def paint_one(args: argparse.Namespace) -> int:
    """Paint with one of both and print what it needed."""
    with device_named(args.device) as on_device:
        pipeline = load_pipeline(args.sdmodel_id, device=args.device)
        pipelines(pipeline, args.steps)[args.only](0)
        print(json.dumps({"needed": on_device() or {"megabytes": peak_memory() / 1e6}}))
    return 0


def main(argv: list[str] | None = None) -> int:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sdmodel_id", default=BUNDLED)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=("ours", "stock"), help=argparse.SUPPRESS)
    argv = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(argv)
    args.given = argv
    quiet_libraries()
    if args.only:
        return paint_one(args)
    pipeline = load_pipeline(args.sdmodel_id, device=args.device)
    device, ways = pipeline.denoiser.device, pipelines(pipeline, args.steps)
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for seed in range(args.rounds + 1):
        for name in sorted(ways, reverse=bool(seed % 2)):
            taken[name].append(seconds(lambda way=ways[name], seed=seed: way(seed), device))
    medians = {name: statistics.median(times[1:]) for name, times in taken.items()}  # the first round warms up
    memory = {name: needed(args, name)["megabytes"] for name in ways}
    on_gpu = [*argv, "--only", "ours"] if device.type == "cuda" else None
    calls: list[int] = []
    pipeline.encoder.forget()
    handle = pipeline.pipe.text_encoder.register_forward_hook(lambda *_: calls.append(1))
    for _ in range(2):
        pipeline(PROMPT, steps=1)
    handle.remove()
    print(json.dumps({
        "device": str(device), "steps": args.steps, "seconds": medians, "megabytes": memory,
        "time_ratio": round(medians["ours"] / medians["stock"], 3),
        "memory_ratio": round(memory["ours"] / memory["stock"], 3),
        "encodings_of_a_prompt_painted_twice": len(calls),
        **({"expected": expected(__file__, on_gpu)} if on_gpu else {}),
    }))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())

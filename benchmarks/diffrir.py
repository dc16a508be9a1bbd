"""What restoring costs at the published size, with random weights: `python benchmarks/diffrir.py`.

Printed, for the picture's side in output pixels that is asked for:

* `seconds_per_megapixel` and `peak_megabytes`, whole and tiled, each measured in a process of its own,
* `forward`: time of our forward pass over that of a plain transcription of the paper's formulas, with the same weights
  and in turns with it in one process.  Bar: at most 0.8.
* `memory`: peak of a picture of twice the side over that of the picture itself, both tiled.  Bar: at most 1.3.

With a CUDA GPU our pass is also compiled, half precision is taken where it pays, and `expected` is what the fake GPU
says of the whole picture.
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
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from llmga.diffrir.layers import PRIOR_WIDTH, Attention, Block, FeedForward, Norm
from llmga.diffrir.model import DiffRIRConfig, ImageNetwork, Stage2
from llmga.diffrir.restorer import DiffRIR
from llmga.evaluation.expected import device_named, expected
from llmga.evaluation.fake_device import NAME
from llmga.runtime import peak_memory


def build(options: argparse.Namespace) -> Stage2:
    """The published network with random weights."""
    torch.manual_seed(0)
    changes = {} if options.dim == 64 else {"dim": options.dim, "num_blocks": (2, 1, 1, 1), "num_refinement_blocks": 2}
    model = Stage2(DiffRIRConfig(scale=options.scale, **changes)).eval().requires_grad_(False)
    dtype = torch.bfloat16 if options.dtype == "bf16" else torch.float32
    return model.to(options.device, dtype, memory_format=torch.channels_last)


# The transcription: channels first, every step as the paper writes it, nothing folded into anything else.


def plain_norm(norm: Norm, x: Tensor) -> Tensor:
    x = x.permute(0, 2, 3, 1)
    deviation = torch.sqrt(x.var(-1, keepdim=True, unbiased=False) + 1e-5)
    return (x / deviation * norm.body.weight).permute(0, 3, 1, 2)


def plain_steering(kernel: nn.Module, x: Tensor, prior: Tensor) -> Tensor:
    scale, shift = kernel(prior)[:, :, None, None].chunk(2, dim=1)
    return x * scale + shift


def plain_attention(attention: Attention, x: Tensor, prior: Tensor) -> Tensor:
    batch, width, height, columns = x.shape
    qkv = attention.qkv_dwconv(attention.qkv(plain_steering(attention.kernel, x, prior)))
    query, key, value = (part.reshape(batch, attention.heads, -1, height * columns) for part in qkv.chunk(3, dim=1))
    query, key = F.normalize(query, dim=-1), F.normalize(key, dim=-1)
    weights = (query @ key.transpose(-2, -1) * attention.temperature).softmax(dim=-1)
    return attention.project_out((weights @ value).reshape(batch, width, height, columns))


def plain_feed_forward(ffn: FeedForward, x: Tensor, prior: Tensor) -> Tensor:
    gate, value = ffn.dwconv(ffn.project_in(plain_steering(ffn.kernel, x, prior))).chunk(2, dim=1)
    return ffn.project_out(F.gelu(gate) * value)


def plain_level(level: nn.ModuleList, x: Tensor, prior: Tensor) -> Tensor:
    block: Block
    for block in level:
        x = x + plain_attention(block.attn, plain_norm(block.norm1, x), prior)
        x = x + plain_feed_forward(block.ffn, plain_norm(block.norm2, x), prior)
    return x


def plain_network(network: ImageNetwork, net_input: Tensor, prior: Tensor) -> Tensor:
    """The image network, (B, 3 + 3 s s, H, W), (B, 256) -> (B, 3, H s, W s)."""

    def down(part: nn.Module, x: Tensor) -> Tensor:
        return F.pixel_unshuffle(part.body[0](x), 2)

    def up(part: nn.Module, x: Tensor) -> Tensor:
        return F.pixel_shuffle(part.body[0](x), 2)

    x = network.patch_embed.proj(F.pixel_unshuffle(net_input, network.config.unit))
    level1 = plain_level(network.encoder_level1, x, prior)
    level2 = plain_level(network.encoder_level2, down(network.down1_2, level1), prior)
    level3 = plain_level(network.encoder_level3, down(network.down2_3, level2), prior)
    x = up(network.up4_3, plain_level(network.latent, down(network.down3_4, level3), prior))
    x = plain_level(network.decoder_level3, network.reduce_chan_level3(torch.cat([x, level3], 1)), prior)
    x = torch.cat([up(network.up3_2, x), level2], 1)
    x = plain_level(network.decoder_level2, network.reduce_chan_level2(x), prior)
    x = plain_level(network.decoder_level1, torch.cat([up(network.up2_1, x), level1], 1), prior)
    x = plain_level(network.refinement, x, prior)
    return network.tail(x) + F.interpolate(net_input[:, :3], scale_factor=network.config.scale)


def plain_pass(model: Stage2, net_input: Tensor, noise: Tensor) -> Tensor:
    """From start to end, as `Stage2.forward`."""
    condition = model.condition
    features = condition.E(F.pixel_unshuffle(net_input, model.config.unit))
    prior = model.prior(condition.mlp(features.mean((2, 3))), noise)
    return plain_network(model.G, net_input, prior)


def clocked(work: Callable[[], object], device: str) -> float:
    """Seconds: of this thread where one thread works, so that other programs do not count; else of the clock."""
    clock = time.thread_time if device == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    if device == "cuda":
        torch.cuda.synchronize()
    began = clock()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - began


@torch.inference_mode()
def compare(options: argparse.Namespace) -> dict[str, float]:
    """Times of our pass and the plain one, taken in turns, and their ratio."""
    side = options.side // options.scale
    exact = build(argparse.Namespace(**{**vars(options), "dtype": "fp32"}))
    plain = build(argparse.Namespace(**{**vars(options), "dtype": "fp32"})).to(memory_format=torch.contiguous_format)
    ours = {"ours": exact}
    if options.dtype == "bf16":
        ours["ours_bf16"] = build(options)
    if options.device == "cuda":
        ours["ours_compiled"] = torch.compile(ours.get("ours_bf16", exact))
    net_input = torch.rand(1, 3 + 3 * options.scale**2, side, side, device=options.device)
    noise = torch.zeros(1, PRIOR_WIDTH, device=options.device)

    def run(name: str) -> Tensor:
        if name == "plain":
            return plain_pass(plain, net_input, noise)
        model = ours[name]
        return model(net_input, noise.to(next(model.parameters()).dtype))

    torch.testing.assert_close(run("ours"), run("plain"), atol=1e-3, rtol=1e-3)
    names = ["plain", *ours]
    times = {name: [] for name in names}
    for name in names:
        run(name)
    for _ in range(options.repeats):
        for name in names:
            times[name].append(clocked(lambda name=name: run(name), options.device))
    seconds = {name: statistics.median(values) for name, values in times.items()}
    ratios = {f"forward_{name}": seconds[name] / seconds["plain"] for name in ours}
    return {f"{name}_seconds": value for name, value in seconds.items()} | ratios | {"forward": min(ratios.values())}


def measure(options: argparse.Namespace, side: int, tile: int) -> dict[str, Any]:
    """One picture in this process: seconds, peak memory, and on a GPU what was needed there."""
    with device_named(options.device) as needed:
        seconds = restore(options, side, tile)
        on_device = needed()
    peak = on_device["megabytes"] if on_device else peak_memory() / 1e6
    return {"seconds_per_megapixel": seconds / (side * side / 1e6), "peak_megabytes": peak, "needed": on_device}


def restore(options: argparse.Namespace, side: int, tile: int) -> float:
    """Seconds that one picture takes."""
    restorer, small = DiffRIR(build(options), tile=tile, overlap=options.overlap), side // options.scale
    image, reference = (Image.effect_mandelbrot((n, n), (-2, -1.5, 1, 1.5), 60).convert("RGB") for n in (small, side))
    mask = Image.new("L", (side, side))
    mask.paste(255, (side // 4, side // 4, side // 2, side // 2))
    return clocked(lambda: restorer(image, reference, mask), options.device)


def measured_apart(argv: list[str], side: int, tile: int) -> dict[str, float]:
    """`measure` in a fresh process, since a process's peak never falls."""
    command = [sys.executable, __file__, *argv, "--measure", f"{side},{tile}"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


def footprints(options: argparse.Namespace, argv: list[str]) -> dict[str, float]:
    """Time and memory of whole and tiled pictures, and how memory grows with the picture."""
    cases = {
        "whole": (options.side, 0),
        "tiled": (options.side, options.tile),
        "twice": (2 * options.side, options.tile),
    }
    found = {
        f"{case}_{figure}": value
        for case, (side, tile) in cases.items()
        for figure, value in measured_apart(argv, side, tile).items()
        if figure != "needed"
    }
    return found | {"memory": found["twice_peak_megabytes"] / found["tiled_peak_megabytes"]}


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--side", type=int, default=512, help="of the output, a multiple of 32 (default: 512)")
    parser.add_argument("--scale", type=int, choices=(1, 2, 4), default=1)
    parser.add_argument("--tile", type=int, default=256)
    parser.add_argument("--overlap", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dim", type=int, default=64, help="64 is published; another one makes a smaller network")
    parser.add_argument(
        "--device", choices=("cpu", "cuda", NAME), default="cuda" if torch.cuda.is_available() else "cpu"
    )
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="bf16" if torch.cuda.is_available() else "fp32")
    parser.add_argument("--only", choices=("forward", "memory"), help="one half of it")
    parser.add_argument("--measure", metavar="SIDE,TILE", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Print everything as JSON."""
    argv = sys.argv[1:] if argv is None else argv
    options = parse(argv)
    if options.measure:
        print(json.dumps(measure(options, *map(int, options.measure.split(",")))))
        return 0
    found = compare(options) if options.only != "memory" else {}
    if options.only != "forward":
        found |= footprints(options, argv)
    found = {name: round(value, 4) for name, value in found.items()}
    if options.device == "cuda":
        found["expected"] = expected(__file__, [*argv, "--dtype", options.dtype, "--measure", f"{options.side},0"])
    print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())

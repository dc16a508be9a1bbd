"""The page of computed performance, made of the records of a dry run.

`python -m llmga.evaluation.dry_run_page RECORDS docs/performance.md`, RECORDS being what `dry_run --json` wrote.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmga.command_line import Parser
from llmga.errors import command_line
from llmga.registry import Registry
from llmga.training.checkpoints import GIB
from llmga.training.footprint import CONTEXT

TERA = 1e12
UTILISATION = 0.4
HALVES = ("bfloat16", "float16")


@dataclass(frozen=True)
class Device:
    """A GPU by its data sheet.

    Attributes:
        memory: GiB that a program can have.
        half: TFLOP/s of matrix products in bfloat16 with sums in single precision, without sparsity.
        single: in TF32.
    """

    memory: float
    half: float
    single: float


# NVIDIA's data sheets and architecture papers (A100, Hopper, Ada, Ampere GA102).
DEVICES = Registry(
    "device",
    {
        "A100-80G": Device(79.1, 312, 156),
        "H100": Device(79.1, 989, 494),
        "H200": Device(139.8, 989, 494),
        "RTX 4090": Device(23.5, 165, 82.6),
        "RTX 3060-12G": Device(11.7, 25.5, 12.7),
    },
)

HEAD = """# Performance, computed

**Nothing on this page was measured.** The figures are computed: every preset runs one optimiser step and one generation
through its own trainer and pipeline on a GPU that is not there, at its published size, and what it would have done is
counted. Where a GPU is, the programs in `benchmarks/` measure. Presets that are not listed were not in the run.

```sh
python -m llmga.evaluation.dry_run --all --json outputs/dry_run.jsonl
python -m llmga.evaluation.dry_run_page outputs/dry_run.jsonl docs/performance.md
```

* **TFLOP**: floating-point operations of a whole step or generation as torch's `FlopCounterMode` counts them, all
  accumulated passes and recomputed activations included. A step is the share of one of the preset's devices. A painting
  has its family's steps, an answer 200 tokens.
* **GiB**: tensors that live at once, and 1.5 GiB for CUDA and fragments, on one device without DeepSpeed.
  **Shared out**: what the preset's DeepSpeed file leaves on each of 8 devices, by the doctor's plan, not by the run.
* **Seconds** at 40 % of the device's arithmetic by its data sheet. An answer waits for memory rather than arithmetic
  and takes longer.
* **—** does not fit; the last column has the flags with which it would, by the doctors' plans: the same step in smaller
  passes first, DeepSpeed's offloading to main memory next, low-rank training of fewer weights last. DiffRIR's trainer
  does not accumulate: a smaller batch is another training.
* Names with **+** are presets with one flag changed.

"""


def seconds(flops: dict[str, float], device: Device) -> float:
    """Time of such operations at `UTILISATION`."""
    half = sum(count for name, count in flops.items() if name in HALVES)
    return (half / device.half + (sum(flops.values()) - half) / device.single) / TERA / UTILISATION


def need(tensors: float) -> float:
    """GiB on one device of a run whose tensors take so many bytes."""
    return (tensors + CONTEXT) / GIB


def told(value: float) -> str:
    """Three digits."""
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def advice(record: dict[str, Any]) -> str:
    """For each device on which it does not fit, the first flags with which it does, as far as the plan knows."""
    found: dict[str, list[str]] = {}
    for name, device in DEVICES.items():
        if need(record["peak"]) > device.memory:
            fits = (flags for flags, tensors in record["ways"].items() if need(1.05 * tensors) <= device.memory)
            found.setdefault(next(fits, "—"), []).append(name)
    return "; ".join(f"{', '.join(names)}: {flags if flags == '—' else f'`{flags}`'}" for flags, names in found.items())


def rows(records: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The lines of the table."""
    names = list(DEVICES)
    yield f"| preset | what | TFLOP | GiB | shared out | {' | '.join(names)} | where it does not fit |"
    yield "|" + "---|" * (len(names) + 6)
    for record in records:
        needed, flops = need(record["peak"]), record["flops"]
        cells = [told(seconds(flops, device)) if needed <= device.memory else "—" for device in DEVICES.values()]
        shared = f"{need(record['sharded']):.1f}" if record["sharded"] else ""
        named = [record["preset"], record["part"], told(sum(flops.values()) / TERA), f"{needed:.1f}", shared]
        yield f"| {' | '.join([*named, *cells, advice(record)])} |"


def page(records: Sequence[dict[str, Any]]) -> str:
    """The whole page."""
    return HEAD + "\n".join(rows(records)) + "\n"


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """Write the page."""
    parser = Parser(prog="python -m llmga.evaluation.dry_run_page", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("records", type=Path, help="what `dry_run --json` wrote")
    parser.add_argument("page", type=Path, help="the page to write")
    args = parser.parse_args(argv)
    records = [json.loads(line) for line in args.records.read_text(encoding="utf-8").splitlines()]
    args.page.write_text(page(records), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

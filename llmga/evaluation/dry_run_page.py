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
from llmga.errors import UserError, command_line, reason, system_reason
from llmga.registry import Registry
from llmga.training.checkpoints import GIB
from llmga.training.memory import on_device

TERA = 1e12
UTILISATION = 0.4
HALVES = ("bfloat16", "float16")
FIELDS = {"preset", "stage", "part", "flops", "peak", "size", "devices", "sharded", "read", "ways"}


@dataclass(frozen=True)
class Device:
    """A GPU by its data sheet.

    Attributes:
        memory: GiB that a program can have.
        half: TFLOP/s of matrix products in bfloat16 with sums in single precision, without sparsity.
        tf32: in TF32.
        single: in single precision.
        bandwidth: TB/s of its memory.
    """

    memory: float
    half: float
    tf32: float
    single: float
    bandwidth: float


# NVIDIA's data sheets and architecture papers (A100, Hopper, Ada, Ampere GA102).
DEVICES = Registry(
    "device",
    {
        "A100-80G": Device(79.1, 312, 156, 19.5, 2.039),
        "H100": Device(79.1, 989, 494, 67, 3.35),
        "H200": Device(139.8, 989, 494, 67, 4.8),
        "RTX 4090": Device(23.5, 165, 82.6, 82.6, 1.008),
        "RTX 3060-12G": Device(11.7, 25.5, 12.7, 12.7, 0.360),
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

* **GPUs**: for how many the preset is written. All other figures are of each of them.
* **TFLOP**: floating-point operations of a whole step or generation as torch's `FlopCounterMode` counts them, all
  accumulated passes and recomputed activations included.
* **GiB**: tensors that live at once, 5 % more for fragments, and 1.5 GiB for CUDA. Of several GPUs it is what the
  preset's DeepSpeed file leaves on each by the doctor's plan; **alone** is the same share of the step on a single one
  without it, as it was run.
* **Seconds** at 40 % of the device's arithmetic by its data sheet; single precision counts as TF32 where it is the
  VAE's convolutions, which torch lets cuDNN compute so, and in full in DiffRIR. An answer takes at least the time in
  which the memory gives all weights for each token. What GPUs tell each other, and what is read from disks, is not
  counted.
* **—** does not fit; the last column has the flags with which the same step would, on as many GPUs, by the doctors'
  plans, and the main memory that they take: smaller passes first, DeepSpeed's offloading next, low-rank training of
  fewer weights last. Offloaded steps take longer than any figure here. DiffRIR's trainer does not accumulate: a
  smaller batch is another training.
* Names with **+** are presets with one flag changed; the toy presets are left out.

"""


def seconds(record: dict[str, Any], device: Device) -> float:
    """Time of its operations at `UTILISATION`, or of reading the weights."""
    flops = record["flops"]
    half = sum(count for name, count in flops.items() if name in HALVES)
    single = device.single if record["stage"] == "DiffRIR" else device.tf32
    arithmetic = (half / device.half + (sum(flops.values()) - half) / single) / TERA / UTILISATION
    return max(arithmetic, record["read"] / device.bandwidth / TERA)


def need(record: dict[str, Any]) -> float:
    """GiB on each device for which a preset is written."""
    return on_device(record["sharded"] or record["peak"]) / GIB


def told(value: float) -> str:
    """Three digits."""
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def advice(record: dict[str, Any]) -> str:
    """For each device on which it does not fit, the first flags with which it does, as far as the plan knows."""
    found: dict[str, list[str]] = {}
    for name, device in DEVICES.items():
        if need(record) > device.memory:
            fits = (way for way in record["ways"] if on_device(way["tensors"]) / GIB <= device.memory)
            found.setdefault(next(map(_way, fits), "—"), []).append(name)
    return "; ".join(f"{', '.join(names)}: {way}" for way, names in found.items())


def _way(way: dict[str, Any]) -> str:
    host = f" and {way['host'] / GIB:.0f} GiB of main memory" if way["host"] else ""
    return f"`{way['flags']}`{host}"


def rows(records: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The lines of the table."""
    names = list(DEVICES)
    yield f"| preset | what | GPUs | TFLOP | GiB | alone | {' | '.join(names)} | where it does not fit |"
    yield "|" + "---|" * (len(names) + 7)
    for record in records:
        yield f"| {' | '.join(_cells(record))} |"


def _cells(record: dict[str, Any]) -> list[str]:
    needed = need(record)
    alone = f"{on_device(record['peak']) / GIB:.1f}" if record["sharded"] else ""
    times = [told(seconds(record, device)) if needed <= device.memory else "—" for device in DEVICES.values()]
    what = f"{record['part']}: {record['size']}"
    flops = told(sum(record["flops"].values()) / TERA)
    return [record["preset"], what, str(record["devices"]), flops, f"{needed:.1f}", alone, *times, advice(record)]


def page(records: Sequence[dict[str, Any]]) -> str:
    """The whole page."""
    return HEAD + "\n".join(rows(records)) + "\n"


def read(file: Path) -> list[dict[str, Any]]:
    """The records of a file but those of the toy presets.

    Raises:
        UserError: it is not there, or no such file.
    """
    try:
        records = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        whole = [one for one in records if set(one) >= FIELDS]
    except (OSError, ValueError, TypeError) as problem:
        raise UserError(f"{str(file)!r} is no file of records ({reason(problem)}); "
                        "give what dry_run --json wrote.") from problem  # fmt: skip
    if not records or len(whole) < len(records):
        raise UserError(f"{str(file)!r} has {len(whole)} whole record(s) in {len(records)} line(s); "
                        "give what dry_run --json wrote.")  # fmt: skip
    return [one for one in whole if not one["preset"].startswith("toy")]


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """Write the page."""
    parser = Parser(prog="python -m llmga.evaluation.dry_run_page", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("records", type=Path, help="what `dry_run --json` wrote")
    parser.add_argument("page", type=Path, help="the page to write")
    args = parser.parse_args(argv)
    records = read(args.records)
    try:
        args.page.write_text(page(records), encoding="utf-8")
    except OSError as problem:
        raise UserError(f"cannot write {str(args.page)!r} ({system_reason(problem)}); give another file.") from problem
    return 0


if __name__ == "__main__":
    sys.exit(main())

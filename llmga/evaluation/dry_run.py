"""Every preset on a GPU that is not there: `python -m llmga.evaluation.dry_run --preset sdxl`.

One whole optimiser step and one whole generation, through the trainers and pipelines themselves, at their published
sizes and without memory: FLOPs, peak memory, waits for the device, and what is on the wrong device or in the wrong
number format.  Quantised weights (4 and 8 bits) are left out, whose kernels are no operations of torch's; DeepSpeed's
sharding is left to the doctor's plan.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from llmga.command_line import Parser, quiet_libraries
from llmga.errors import UserError, command_line, system_reason
from llmga.registry import Registry

FREE = frozenset((
    *("mllm", "text_model", "pipeline", "start", "teacher"),  # of the models; their sizes count
    *("data", "images", "originals", "output_dir", "checkpoint_dir", "output", "run", "save_steps", "save_total_limit"),
    *("conv_mode", "epochs", "steps", "decay", "decay_steps", "gain", "lr", "warmup", "save_dtype"),
))  # settings that change no shape  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """Presets that one trainer runs.

    Attributes:
        module: what runs them, with `step`, `generation` and `answering`, what decides the figures of the latter.
        presets: the module of the table.
    """

    module: str
    presets: str


STAGES = {
    "stage 1": Stage("llmga.evaluation.dry_run_stage1", "llmga.llava.train.config"),
    "stage 2": Stage("llmga.evaluation.dry_run_stage2", "llmga.diffusers.train.config"),
    "DiffRIR": Stage("llmga.evaluation.dry_run_diffrir", "llmga.diffrir.train.config"),
}


UNKNOWN = ("sd3",)  # families whose published sizes are not among the rows that a folder is written from
# Ways to train that no preset takes: preset, and what is changed.  Low-rank training of 7B is one device's.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "llmga_7b_s1+lora": ("llmga_7b_s1", {"tune": "lora", "deepspeed": None}),
    "llmga_7b_s1+pack": ("llmga_7b_s1", {"pack": True}),
    "sd15+lora": ("sd15", {"tune": "lora"}),
    "sdxl+lora": ("sdxl", {"tune": "lora"}),
    "x1-s2-joint+bf16": ("x1-s2-joint", {"mixed_precision": "bf16"}),
}


def presets() -> dict[str, tuple[str, Any]]:
    """Preset, or variant of one, -> its stage and its settings."""
    from importlib import import_module

    own = {
        name: (stage, config)
        for stage, row in STAGES.items()
        for name, config in import_module(row.presets).PRESETS.items()
        if getattr(config, "family", None) not in UNKNOWN
    }
    return own | {name: (own[base][0], replace(own[base][1], **changes)) for name, (base, changes) in VARIANTS.items()}


def module_of(stage: str) -> Any:
    """What runs the presets of a stage."""
    from importlib import import_module

    return import_module(STAGES[stage].module)


def run(name: str, part: str) -> dict[str, Any]:
    """The record of one part (`step` or `generation`) of a preset."""
    from accelerate.state import AcceleratorState

    from llmga.evaluation.fake_gpu import fake_gpu

    stage, config = presets()[name]
    AcceleratorState._reset_state(reset_partial_state=True)
    with tempfile.TemporaryDirectory() as folder, fake_gpu() as gpu:
        work: Callable[..., Any] = getattr(module_of(stage), part)
        return {"preset": name, "stage": stage, "part": part, **work(config, Path(folder), gpu).record()}


def shape(config: Any, stage: str, part: str) -> str:
    """What decides the figures of a part of a preset; two of one shape are one run."""
    answering = module_of(stage).answering(config)
    if part == "generation":
        return repr((stage, part, answering))
    kept = [(one.name, getattr(config, one.name)) for one in fields(config) if one.name not in FREE]
    return repr((stage, part, kept, answering))


def records(names: Sequence[str], parts: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The records of presets, as soon as they are known."""
    known: dict[str, dict[str, Any]] = {}
    for name in names:
        stage, config = presets()[name]
        for part in parts if name not in VARIANTS else [one for one in parts if one == "step"]:
            key = shape(config, stage, part)
            if key not in known:
                known[key] = run(name, part)
            yield {**known[key], "preset": name}


HEAD = f"{'preset':28}{'part':12}{'TFLOP':>10}{'planned':>10}{'GiB':>8}{'planned':>8}{'waits':>7}{'took (s)':>10}"


def line(record: dict[str, Any]) -> str:
    """A row of the table: FLOPs and tensors on one device, what the program waited for, and what is wrong."""
    plan = [record["planned_flops"] and record["planned_flops"] / 1e12, record["planned"] and record["planned"] / 2**30]
    flops, memory = (f"{one:.4g}" if one else "-" for one in plan)
    row = (
        f"{record['preset']:28}{record['part']:12}{sum(record['flops'].values()) / 1e12:10.4g}{flops:>10}"
        f"{record['peak'] / 2**30:8.1f}{memory:>8}{sum(record['waits'].values()):7}{record['seconds']:10.1f}"
    )
    if record["sharded"]:
        each = f"{record['sharded'] / 2**30:.1f} GiB on each of {record['devices']} devices"
        row += f"\n    by the plan, with its DeepSpeed file: {each}"
    waits = [f"    waits: {place} x{count}" for place, count in record["waits"].items()]
    return "\n".join([row, *waits, *(f"    WRONG: {one}" for one in record["wrong"])])


def _emptied(file: Path) -> None:
    """A place for the figures, before any is computed.

    Raises:
        UserError: nothing can be written there.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    except OSError as problem:
        raise UserError(f"cannot write {str(file)!r} ({system_reason(problem)}); give another file.") from problem


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 1 when something is wrong."""
    parser = Parser(prog="python -m llmga.evaluation.dry_run", description=(__doc__ or "").partition("\n")[0])
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--preset", nargs="+", default=[], metavar="NAME", help="of any of the three trainings")
    which.add_argument("--all", action="store_true", help="every preset, and low-rank, packed and bf16 training")
    parser.add_argument("--part", nargs="+", choices=("step", "generation"), default=["step", "generation"])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, a line each")
    args = parser.parse_args(argv)
    known = Registry("preset", presets())
    names = list(known) if args.all else args.preset
    for name in names:
        known[name]  # an unknown one is told before anything is run
    if args.json:
        _emptied(args.json)
    quiet_libraries()
    print(HEAD, flush=True)
    wrong = False
    for record in records(names, args.part):
        print(line(record), flush=True)
        wrong |= bool(record["wrong"])
        if args.json:
            with args.json.open("a") as file:
                print(json.dumps(record), file=file)
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())

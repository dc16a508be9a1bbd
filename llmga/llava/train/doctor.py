"""Before a run: `python -m llmga.llava.train.doctor --preset llmga_7b_s1`.

Looks at the records, the pictures, what would be learnt of them, the disk and the memory, without loading weights, and
exits with 1 when something is lost or the run cannot learn.  The first seconds of every training look at the same
things in fewer records.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import psutil
import torch

from llmga.command_line import quiet_libraries
from llmga.errors import UserError, command_line
from llmga.llava.datasets.mixture import Mixture, held_out_of, samples_in
from llmga.llava.datasets.pictures import check_picture_folders
from llmga.llava.datasets.records import Records, open_records
from llmga.llava.datasets.sources import DataSource
from llmga.llava.empty import empty_model, load_empty_mllm, new_empty_mllm
from llmga.llava.inspection.findings import CHECKS
from llmga.llava.inspection.inspection import inspect
from llmga.llava.mllm import Mllm
from llmga.llava.sizes import shape_named, shape_of
from llmga.llava.train import outlook, planning
from llmga.llava.train.config import PRESETS
from llmga.llava.train.memory import GIB, Sizes, learning
from llmga.llava.train.planning import Machine
from llmga.llava.train.preflight import deepspeed_settings
from llmga.llava.train.report import Report, labels, table
from llmga.llava.train.settings import TrainConfig
from llmga.registry import Registry
from llmga.training import config
from llmga.training.config import setting

USUAL_DEVICES, USUAL_MEMORY = 8, 80.0  # the machine for which the presets are written: 8 A100 of 80 GiB
WITHOUT_PICTURES = ("text", "t2i")  # kinds that show none, whatever their records hold
AT_START = 64  # records that a training looks at before its first step
T = TypeVar("T")


@dataclass(frozen=True)
class DoctorConfig(TrainConfig):
    """The settings of the run, and how closely to look."""

    sample: int = setting(1000, help="records of each source that are looked at closely; 0 takes all", minimum=0)
    devices: int | None = setting(None, help="devices that will train (default: those here)", minimum=1)
    device_memory: float | None = setting(None, help="GiB of each (default: of those here)", minimum=0)
    billions: float | None = setting(None, help="parameters of a language model that is not at hand", minimum=0)


def examine(config: DoctorConfig) -> Report:
    """Everything, whatever fails on the way."""
    report = Report()
    mllm = _tried(report, "model", config.mllm or str(config.text_model), lambda: described(config))
    parts = [
        (source, records)
        for source in config.data
        if (records := _tried(report, "data", source.file, _opening(source)))
    ]
    inspection = inspect(parts, mllm, config.max_length, sample=config.sample, seed=config.seed)
    report.findings.merge(inspection.findings)
    if parts and blind(config, parts):
        report.findings.add("blind", "--tune projector", "give records with pictures, or let more learn")
    if config.eval_fraction and len(parts) == len(config.data):
        _tried(report, "held-out", "--eval-fraction", lambda: _held_out(config, parts))
    machine, total = machine_of(config), step_size(config)
    report.add("data", table(inspection))
    report.add("labels", labels(config, inspection))
    if parts:
        report.add("a step", _tried(report, "data", "--data", lambda: outlook.steps(config, inspection, total)) or [])
    sizes = _sizes(config, mllm)
    if sizes is None:
        report.add("memory and disk", ["unknown without the language model; give --billions, or the folder"])
    else:
        _plan(report, config, sizes, machine, total)
    return report


def _opening(source: DataSource) -> Callable[[], Records]:
    def opened() -> Records:
        check_picture_folders(source.image_folder)
        return open_records(source, strict=False)

    return opened


def _held_out(config: TrainConfig, parts: Sequence[tuple[DataSource, Records]]) -> int:
    return held_out_of(samples_in([records for _, records in parts], config.data), config.eval_fraction)


def _tried(report: Report, check: str, place: str, act: Callable[[], T]) -> T | None:
    try:
        return act()
    except UserError as problem:
        report.findings.add(check, place, str(problem))
        return None


def described(config: TrainConfig) -> Mllm:
    """The model of a run without its weights.  Raises: UserError when its folders are not at hand."""
    if config.mllm:
        return load_empty_mllm(config.mllm, config.mllm_base, conv_mode=config.conv_mode)
    return new_empty_mllm(
        config.text_model,
        config.vision_tower,
        projector_type=config.projector_type,
        select_layer=config.select_layer,
        conv_mode=config.conv_mode,
    )


def blind(config: TrainConfig, parts: Sequence[tuple[DataSource, Records]]) -> bool:
    """Whether nothing that learns would ever be used."""
    return config.tune == "projector" and not any(
        source.kind not in WITHOUT_PICTURES and records.pictures().any() for source, records in parts
    )


def _sizes(config: DoctorConfig, mllm: Mllm | None) -> Sizes | None:
    """Counted in the model, or in one of the size that was stated or that the folders' names tell."""
    if mllm is not None:
        return Sizes.of(mllm.model)
    shape = (
        shape_of(config.billions) if config.billions else shape_named(config.mllm, config.text_model, config.mllm_base)
    )
    return Sizes.of(empty_model(shape.with_tower())) if shape else None


def machine_of(config: DoctorConfig) -> Machine:
    """The devices here, or the usual ones when DeepSpeed is asked for and no GPU is here."""
    gpus = 0 if config.device == "cpu" else torch.cuda.device_count()
    host = psutil.virtual_memory().total
    usual = USUAL_DEVICES if config.deepspeed else 1
    devices = config.devices or gpus or usual
    if gpus:
        memory, said = torch.cuda.get_device_properties(0).total_memory, "as here"
    elif config.deepspeed or config.device_memory:
        memory, said = USUAL_MEMORY * GIB, "no GPU is here; --devices and --device-memory tell of others"
        host = float("inf")
    else:
        memory, said = host / devices, "the main memory of this machine"
    return Machine(devices, (config.device_memory or 0) * GIB or memory, host, said)


def step_size(config: DoctorConfig) -> int:
    """Samples of an optimiser step; presets with DeepSpeed are written for the usual devices."""
    if config.global_batch:
        return config.global_batch
    return config.batch * config.accumulation * (USUAL_DEVICES if config.deepspeed else config.devices or 1)


def _plan(report: Report, config: DoctorConfig, sizes: Sizes, machine: Machine, total: int) -> None:
    zero: dict[str, Any] = _tried(report, "model", "--deepspeed", lambda: deepspeed_settings(config)) or {}
    found = planning.plan(config, sizes, machine, total, zero.get("zero_optimization", {}))
    space = outlook.disk(config, sizes.text + sizes.projector + sizes.tower, learning(sizes, found.asked[0]))
    report.add("memory (estimated)", planning.lines(found))
    report.add("disk", [space.line()])
    if not space.enough:
        report.findings.add("disk", space.line())
    if total % machine.devices:
        report.findings.add("batch", f"{total} samples a step do not divide by {machine.devices} devices")
    elif not found.fits:
        told = f"try {found.flags()}" if found.best else "no way to train it fits; take more devices"
        report.findings.add("memory", f"{found.asked[1].device / GIB:.1f} GiB a device", told)


def first_look(config: TrainConfig, mllm: Mllm, data: Mixture) -> list[str]:
    """The same within seconds, at the start of a training: what is to be told.

    Raises: UserError when the run cannot learn, or its first checkpoint would fill the disk.
    """
    parts = list(zip(data.sources, data.records, strict=True))
    few = max(4, AT_START // len(parts))
    inspection = inspect(parts, mllm, config.max_length, sample=few, seed=config.seed)
    if blind(config, parts):
        inspection.findings.add("blind", "--tune projector")
    findings, stops = inspection.findings, inspection.findings.of("stop")
    if stops:
        raise UserError(f"this run cannot learn: {CHECKS[stops[0]].said} ({findings.places[stops[0]][0]}).")
    space = outlook.disk(config, *counted(mllm))
    if space.first > space.free:
        raise UserError(
            f"a checkpoint and the model take {space.first / GIB:.1f} GiB, but {space.free / GIB:.1f} GiB are free in "
            f"{space.folder!r}: make room or choose another --checkpoint-dir."
        )
    supervised = sum(lesson.supervised for looked in inspection.sources for lesson in looked.lessons)
    tokens = sum(sum(looked.lengths()) for looked in inspection.sources)
    told = [f"{supervised / tokens:.0%} of the tokens are supervised"]
    told += [] if space.enough else [f"the disk may get full: {space.line()}"]
    lost = findings.lines("loss")
    return told + ([*lost, "the doctor tells more: python -m llmga.llava.train.doctor"] if lost else [])


def counted(mllm: Mllm) -> tuple[int, int]:
    """Parameters of a model, and how many of them learn."""
    sizes = [(weight.numel(), weight.requires_grad) for weight in mllm.model.parameters()]
    return sum(size for size, _ in sizes), sum(size for size, learns in sizes if learns)


PATIENTS = Registry(
    "preset",
    {
        name: DoctorConfig(**{one.name: getattr(preset, one.name) for one in fields(preset)})
        for name, preset in PRESETS.items()
    },
)


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0, 1 when something is lost or stops the run, 2 for a user's mistake."""
    quiet_libraries()
    report = examine(config.parse_arguments(PATIENTS, argv))
    print(report.text())
    return 0 if report.healthy else 1


if __name__ == "__main__":
    sys.exit(main())

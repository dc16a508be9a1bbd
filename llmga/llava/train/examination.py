"""What a run would learn, need and lose, looked at without loading weights: the records, the pictures, disk and memory.

The first seconds of every training look at the same things in fewer records.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from llmga.errors import UserError
from llmga.llava.datasets.mixture import Mixture, held_out_of, samples_in
from llmga.llava.datasets.pictures import check_picture_folders
from llmga.llava.datasets.records import Records, open_records
from llmga.llava.datasets.sources import DataSource
from llmga.llava.empty import empty_model, load_empty_mllm, new_empty_mllm
from llmga.llava.inspection.findings import CHECKS, Findings, Grade
from llmga.llava.inspection.inspection import Inspection, inspect
from llmga.llava.mllm import Mllm
from llmga.llava.sizes import shape_named, shape_of
from llmga.llava.train import outlook, planning
from llmga.llava.train.memory import Sizes, learning
from llmga.llava.train.planning import Machine, machine_of, step_size
from llmga.llava.train.settings import DoctorConfig, Stage1Config
from llmga.training.checkpoints import GIB
from llmga.training.deepspeed import read_settings

WITHOUT_PICTURES = ("text", "t2i")  # kinds that show none, whatever their records hold
AT_START = 64  # records that a training looks at before its first step
HEADINGS: dict[Grade, str] = {"stop": "stops the run", "loss": "lost or wrong", "odd": "odd"}
T = TypeVar("T")


@dataclass
class Report:
    """What the doctor says, lines by heading, and whether the run may start."""

    findings: Findings = field(default_factory=Findings)
    parts: list[tuple[str, list[str]]] = field(default_factory=list)

    def add(self, heading: str, lines: list[str]) -> None:
        """Add lines, if there are any."""
        if lines:
            self.parts.append((heading, lines))

    @property
    def healthy(self) -> bool:
        """Nothing stops the run, and no record is lost."""
        return not self.findings.of("stop") and not self.findings.of("loss")

    def text(self) -> str:
        """The whole report, with what was found at its end."""
        parts = [*self.parts, *((heading, self.findings.lines(grade)) for grade, heading in HEADINGS.items())]
        body = "\n".join(f"{heading}\n" + "\n".join(f"  {line}" for line in lines) for heading, lines in parts if lines)
        return f"{body}\n{'nothing is lost' if self.healthy else 'look at what is lost or stops the run'}"


def examine(config: DoctorConfig) -> Report:
    """Everything, whatever fails on the way."""
    report = Report()
    mllm = _tried(report, "model", config.mllm or str(config.text_model), lambda: described(config))
    parts = [
        (source, records)
        for source in config.sources
        if (records := _tried(report, "data", source.file, _opening(source)))
    ]
    inspection = inspect(parts, mllm, config.max_length, sample=config.sample, seed=config.seed, long=config.long)
    report.findings.merge(inspection.findings)
    if parts and blind(config, parts):
        report.findings.add("blind", "--tune projector", "give records with pictures, or let more learn")
    if config.eval_fraction and len(parts) == len(config.sources):
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


def table(inspection: Inspection) -> list[str]:
    """One line per source."""
    rows = []
    for looked in inspection.sources:
        lengths = sorted(looked.lengths())
        tokens = f"{lengths[len(lengths) // 2]} / {lengths[-1]} tokens (median / most)" if lengths else "tokens unknown"
        rows.append(
            f"{looked.source.kind} {looked.source.file}: {looked.records} records, {looked.looked_at} looked at, "
            f"{looked.lost} lost, {tokens}"
        )
    return rows


def labels(config: Stage1Config, inspection: Inspection) -> list[str]:
    """Which share of the tokens is supervised under the run's template, and what its length limit takes of them."""
    known = [looked for looked in inspection.sources if looked.lessons]
    lines = [f"{looked.coverage:.0%} of {looked.source.kind} {looked.source.file} under template {config.conv_mode}"
             for looked in known]  # fmt: skip
    return lines + [
        f"beyond --max-length {config.max_length} in {looked.source.file}: {looked.beyond}"
        for looked in known
        if looked.beyond.tokens
    ]


def _opening(source: DataSource) -> Callable[[], Records]:
    def opened() -> Records:
        check_picture_folders(source.image_folder)
        return open_records(source, strict=False)

    return opened


def _held_out(config: Stage1Config, parts: Sequence[tuple[DataSource, Records]]) -> int:
    return held_out_of(samples_in([records for _, records in parts], config.sources), config.eval_fraction)


def _tried(report: Report, check: str, place: str, act: Callable[[], T]) -> T | None:
    try:
        return act()
    except UserError as problem:
        report.findings.add(check, place, str(problem))
        return None


def described(config: Stage1Config) -> Mllm:
    """The model of a run without its weights.

    Raises:
        UserError: its folders are not at hand.
    """
    if config.mllm:
        return load_empty_mllm(config.mllm, config.mllm_base, conv_mode=config.conv_mode)
    return new_empty_mllm(
        *config.new_parts,
        projector_type=config.projector_type,
        select_layer=config.select_layer,
        conv_mode=config.conv_mode,
    )


def blind(config: Stage1Config, parts: Sequence[tuple[DataSource, Records]]) -> bool:
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


def _plan(report: Report, config: DoctorConfig, sizes: Sizes, machine: Machine, total: int) -> None:
    zero: dict[str, Any] = _tried(report, "model", "--deepspeed", lambda: read_settings(config.deepspeed)) or {}
    found = planning.plan(config, sizes, machine, total, zero.get("zero_optimization", {}))
    space = outlook.disk(config, sizes.text + sizes.projector + sizes.tower, learning(sizes, found.asked[0]))
    report.add("memory (estimated)", planning.lines(found))
    report.add("disk", [space.line()])
    if not space.enough:
        report.findings.add("disk", space.line())
    if total % machine.devices:
        report.findings.add("batch", f"{total} samples a step do not divide by {machine.devices} devices")
    elif not found.fits:
        remedy = f"try {found.flags()}" if found.best else "no way to train it fits; take more devices"
        report.findings.add("memory", f"{found.asked[1].device / GIB:.1f} GiB a device", remedy)


def inspect_few(config: Stage1Config, mllm: Mllm, parts: Sequence[tuple[DataSource, Records]]) -> Inspection:
    """What is found in a few records of each source.

    Raises:
        UserError: the run cannot learn.
    """
    inspection = inspect(
        parts, mllm, config.max_length, sample=max(4, AT_START // len(parts)), seed=config.seed, long=config.long
    )
    if blind(config, parts):
        inspection.findings.add("blind", "--tune projector")
    if stops := inspection.findings.of("stop"):
        place = inspection.findings.places[stops[0]][0]
        raise UserError(f"this run cannot learn: {CHECKS[stops[0]].said} ({place}).")
    return inspection


def first_look(config: Stage1Config, mllm: Mllm, data: Mixture) -> list[str]:
    """The same within seconds, at the start of a training: lines to print.

    Raises:
        UserError: the run cannot learn, or its first checkpoint would fill the disk.
    """
    inspection = inspect_few(config, mllm, list(zip(data.sources, data.records, strict=True)))
    findings = inspection.findings
    space = outlook.disk(config, *counted(mllm))
    if space.first > space.free:
        raise UserError(
            f"a checkpoint and the model take {space.first / GIB:.1f} GiB, but {space.free / GIB:.1f} GiB are free in "
            f"{space.folder!r}: make room or choose another --checkpoint-dir."
        )
    supervised = sum(lesson.supervised for looked in inspection.sources for lesson in looked.lessons)
    tokens = sum(sum(looked.lengths()) for looked in inspection.sources)
    lines = [f"{supervised / tokens:.0%} of the tokens are supervised"]
    lines += [] if space.enough else [f"the disk may get full: {space.line()}"]
    if config.eval_steps != Stage1Config.eval_steps and not config.eval_fraction:
        lines.append(f"--eval-steps {config.eval_steps} measures nothing without --eval-fraction")
    lines += outlook.late_checkpoints(config, outlook.length(config, len(data)))
    lost = findings.lines("loss")
    return lines + ([*lost, "the doctor tells more: python -m llmga.llava.train.doctor"] if lost else [])


def counted(mllm: Mllm) -> tuple[int, int]:
    """Parameters of a model, and how many of them learn."""
    sizes = [(weight.numel(), weight.requires_grad) for weight in mllm.model.parameters()]
    return sum(size for size, _ in sizes), sum(size for size, learns in sizes if learns)

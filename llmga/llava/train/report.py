"""What the doctor says, and whether the run may start."""

from dataclasses import dataclass, field

from llmga.llava.inspection.findings import Findings
from llmga.llava.inspection.inspection import Inspection
from llmga.llava.train.settings import TrainConfig


@dataclass
class Report:
    """Lines by heading, and whether the run may start."""

    findings: Findings = field(default_factory=Findings)
    parts: list[tuple[str, list[str]]] = field(default_factory=list)

    def add(self, heading: str, lines: list[str]) -> None:
        if lines:
            self.parts.append((heading, lines))

    @property
    def healthy(self) -> bool:
        return not self.findings.of("stop") and not self.findings.of("loss")

    def text(self) -> str:
        found = [("stops the run", "stop"), ("lost or wrong", "loss"), ("odd", "odd")]
        parts = [*self.parts, *((heading, self.findings.lines(grade)) for heading, grade in found)]
        body = "\n".join(f"{heading}\n" + "\n".join(f"  {line}" for line in lines) for heading, lines in parts if lines)
        return f"{body}\n{'nothing is lost' if self.healthy else 'look at what is lost or stops the run'}"


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


def labels(config: TrainConfig, inspection: Inspection) -> list[str]:
    """Which share of the tokens is supervised under the run's template, and what its length limit takes of them."""
    known = [looked for looked in inspection.sources if looked.lessons]
    told = [f"{looked.coverage:.0%} of {looked.source.kind} under template {config.conv_mode}" for looked in known]
    return told + [
        f"beyond --max-length {config.max_length} in {looked.source.file}: {looked.beyond}"
        for looked in known
        if looked.beyond.tokens
    ]

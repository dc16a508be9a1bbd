"""Before a run: `python -m llmga.llava.train.doctor --preset llmga_7b_s1`.

Looks at the records, the pictures, what would be learnt of them, the disk and the memory, without loading weights, and
exits with 1 when something is lost or the run cannot learn.
"""

import sys
from collections.abc import Sequence
from dataclasses import fields

from llmga.command_line import quiet_libraries
from llmga.errors import command_line
from llmga.llava.train.config import PRESETS
from llmga.llava.train.foreign_flags import FLAGS
from llmga.llava.train.settings import DoctorConfig
from llmga.registry import Registry
from llmga.training.config import parse_arguments

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
    config = parse_arguments(PATIENTS, argv, FLAGS)
    quiet_libraries()
    from llmga.llava.train.examination import examine

    report = examine(config)
    print(report.text())
    return 0 if report.healthy else 1


if __name__ == "__main__":
    sys.exit(main())

"""Whether DiffRIR's training fits a device: `python -m llmga.diffrir.train.doctor --preset x1-s1`, with its flags.

Tells FLOPs and memory of a step on one device, without loading weights.
"""

import sys
from collections.abc import Sequence

from llmga.diffrir.train.config import PRESETS, RestorerConfig
from llmga.training.config import run
from llmga.training.foreign_flags import COMMON, ForeignFlags


def told(config: RestorerConfig) -> None:
    """Print what the run needs, and ways that need less."""
    from llmga.diffrir.train.planning import ways
    from llmga.training.footprint import lines

    print("\n".join(lines(ways(config))))


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0, or 2 for a user's mistake."""
    return run(told, PRESETS, argv, ForeignFlags(rows=COMMON))


if __name__ == "__main__":
    sys.exit(main())

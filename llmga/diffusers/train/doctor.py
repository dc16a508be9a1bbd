"""Whether stage 2 fits a device: `python -m llmga.diffusers.train.doctor --preset sdxl`, with the training's flags.

Tells FLOPs and memory of a step on one device, without loading weights and without DeepSpeed, which shares them out.
"""

import sys
from collections.abc import Sequence

from llmga.diffusers.train.config import PRESETS, Stage2Config
from llmga.diffusers.train.foreign_flags import FLAGS
from llmga.training.config import run


def told(config: Stage2Config) -> None:
    """Print what the run needs, and ways that need less."""
    from llmga.diffusers.train.planning import ways
    from llmga.training.footprint import lines

    print("\n".join(lines(ways(config))))


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0, or 2 for a user's mistake."""
    return run(told, PRESETS, argv, FLAGS)


if __name__ == "__main__":
    sys.exit(main())

"""Stage 1: `python -m llmga.llava.train.train --preset NAME [--field value …]`."""

import sys
from collections.abc import Sequence

from llmga.llava.train.config import PRESETS
from llmga.llava.train.foreign_flags import FLAGS
from llmga.llava.train.settings import Stage1Config
from llmga.training.config import run


def train(config: Stage1Config) -> object:
    """Train by a configuration; returns the trainer, see `stage1.train`."""
    from llmga.llava.train import stage1

    return stage1.train(config)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0, or 2 for a user's mistake."""
    return run(train, PRESETS, argv, FLAGS)


if __name__ == "__main__":
    sys.exit(main())

"""Training of DiffRIR: `python -m llmga.diffrir.train.train --preset x1-s1 [--field value …]`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from llmga.diffrir.train.config import PRESETS, RestorerConfig
from llmga.training.config import run, save
from llmga.training.foreign_flags import COMMON, ForeignFlags


def train(config: RestorerConfig) -> Path:
    """Train by a configuration; returns the folder of the finished network.

    Raises:
        UserError: something is missing or does not fit.
        KeyboardInterrupt: somebody ended it before.
    """
    from llmga.diffrir.checkpoints import find
    from llmga.diffrir.train.dataset import read_list
    from llmga.diffrir.train.trainer import RestorerTrainer
    from llmga.training.checkpoints import check_writable

    for weights in filter(None, (config.start, config.teacher)):  # before any folder is made
        find(weights)
    read_list(config.data)
    check_writable(config.output)
    save(config, config.run)
    trainer = RestorerTrainer(config)
    trainer.fit()
    output = trainer.save()
    trainer.accelerator.print(f"the finished network is in {output}")
    return output


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0, or 2 for a user's mistake."""
    return run(train, PRESETS, argv, ForeignFlags(rows=COMMON))


if __name__ == "__main__":
    sys.exit(main())

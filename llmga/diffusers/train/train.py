"""Stage 2: `python -m llmga.diffusers.train.train --preset NAME [--field value …]`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from llmga.diffusers.train.config import PRESETS, Stage2Config
from llmga.diffusers.train.foreign_flags import FLAGS
from llmga.training.config import run, save


def train(config: Stage2Config) -> Path:
    """Train by a configuration; returns the folder of the finished pipeline.

    Raises:
        UserError: something is missing or does not fit.
        KeyboardInterrupt: somebody ended it before.
    """
    from llmga.diffusers.datasets.sources import check_sources
    from llmga.diffusers.pipelines import read_scheduler
    from llmga.diffusers.train.loading import base_of, resolved
    from llmga.diffusers.train.objective import objective_of
    from llmga.diffusers.train.trainer import Stage2Trainer
    from llmga.training.checkpoints import check_writable

    base = base_of(config)  # before any folder is made
    config = resolved(config)
    with base.named():
        objective_of(config, read_scheduler(base.configs))
    check_sources([*config.data, *config.regularisation])
    check_writable(config.output)
    save(config, config.run)
    trainer = Stage2Trainer(config)
    trainer.fit()
    output = trainer.save()
    result = "finished pipeline is" if config.tune == "full" else "low-rank weights are"
    trainer.accelerator.print(f"the {result} in {output}")
    trainer.accelerator.end_training()
    return output


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0, or 2 for a user's mistake."""
    return run(train, PRESETS, argv, FLAGS)


if __name__ == "__main__":
    sys.exit(main())

"""Stage 2: `python -m llmga.diffusers.train.train --preset NAME [--field value …]`."""

import sys
from pathlib import Path

from llmga.command_line import quiet_libraries
from llmga.diffusers.checkpoints import find_checkpoint
from llmga.diffusers.datasets.sources import check_sources
from llmga.diffusers.train.config import PRESETS, TrainConfig
from llmga.training.checkpoints import check_writable
from llmga.training.config import run, save


def train(config: TrainConfig) -> Path:
    """Train by a configuration; returns the folder of the finished pipeline.

    Raises: UserError.
    """
    from llmga.diffusers.pipelines import read_scheduler
    from llmga.diffusers.train.objective import objective_of
    from llmga.diffusers.train.trainer import Trainer

    objective_of(config, read_scheduler(find_checkpoint(config.pipeline)))  # before any folder is made
    check_sources(config.data)
    check_writable(config.output)
    save(config, config.run)
    trainer = Trainer(config)
    trainer.fit()
    output = trainer.save()
    trainer.accelerator.print(f"the finished pipeline is in {output}")
    return output


if __name__ == "__main__":
    quiet_libraries()
    sys.exit(run(train, PRESETS))

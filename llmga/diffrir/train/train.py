"""Training of DiffRIR: `python -m llmga.diffrir.train.train --preset x1-s1 [--field value …]`."""

import sys
from pathlib import Path

from llmga.command_line import quiet_libraries
from llmga.diffrir.checkpoints import find
from llmga.diffrir.train.config import PRESETS, TrainConfig
from llmga.diffrir.train.pictures import read_list
from llmga.training.checkpoints import check_writable
from llmga.training.config import run, save


def train(config: TrainConfig) -> Path:
    """Train by a configuration; returns the folder of the finished network.

    Raises: UserError.
    """
    from llmga.diffrir.train.trainer import Trainer

    for weights in filter(None, (config.start, config.teacher)):  # before any folder is made
        find(weights)
    read_list(config.data)
    check_writable(config.output)
    save(config, config.run)
    trainer = Trainer(config)
    trainer.fit()
    output = trainer.save()
    trainer.accelerator.print(f"the finished network is in {output}")
    return output


if __name__ == "__main__":
    quiet_libraries()
    sys.exit(run(train, PRESETS))

"""Whether a run could start: `python -m llmga.llava.train.preflight --preset NAME …`, with the flags of the training.

PROCESSES in the environment says for how many processes.
"""

import sys
from collections.abc import Sequence

from llmga.llava.train.config import PRESETS
from llmga.llava.train.foreign_flags import FLAGS
from llmga.llava.train.settings import Stage1Config
from llmga.training.config import run


def check(config: Stage1Config) -> None:
    """See that nothing is missing, see `readiness.ready`, and say how long the run is."""
    from llmga.llava.datasets.mixture import open_sources, samples_in
    from llmga.llava.train import outlook
    from llmga.llava.train.readiness import ready

    known = ready(config)
    steps = outlook.length(known, samples_in(open_sources(config.data), config.data))
    print(f"ready to train: {steps} steps of {known.global_batch} samples")
    for line in outlook.late_checkpoints(known, steps):
        print(line)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0 when a run could start, 2 for a user's mistake."""
    return run(check, PRESETS, argv, FLAGS)


if __name__ == "__main__":
    sys.exit(main())

"""Whether a run could start: `python -m llmga.llava.train.preflight --preset NAME …`, with the flags of the training.

PROCESSES in the environment says for how many processes.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from llmga.llava.train.config import PRESETS
from llmga.llava.train.foreign_flags import FLAGS
from llmga.llava.train.settings import Stage1Config
from llmga.training.config import run


def check(config: Stage1Config) -> None:
    """See that nothing is missing, that it can be written and learnt from, and say how long the run is."""
    from llmga.llava.datasets.mixture import open_sources
    from llmga.llava.empty import load_empty_mllm
    from llmga.llava.train import outlook
    from llmga.llava.train.examination import described, inspect_few
    from llmga.llava.train.readiness import ready
    from llmga.llava.train.stage1 import mixture
    from llmga.training.checkpoints import newest_checkpoint

    known, records = ready(config), open_sources(config.sources)
    for folder, flag in ((config.output_dir, "--output-dir"), (config.resume_dir(), "--checkpoint-dir")):
        _check_writable(Path(folder), flag)
    whole = None if config.low_rank else newest_checkpoint(config.resume_dir())
    mllm = load_empty_mllm(whole, conv_mode=config.conv_mode) if whole else described(config)
    inspect_few(config, mllm, list(zip(config.sources, records, strict=True)))
    data = mixture(known, mllm)
    steps = outlook.length(known, len(data))
    print(f"ready to train: {steps} steps of {known.global_batch} samples")
    for line in outlook.late_checkpoints(known, steps):
        print(line)


def _check_writable(folder: Path, flag: str) -> None:
    """As `check_writable`, and leave nothing behind."""
    from llmga.training.checkpoints import check_writable

    made = [path for path in (folder, *folder.parents) if not path.exists()]
    check_writable(str(folder), flag)
    for path in made:
        path.rmdir()


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0 when a run could start, 2 for a user's mistake."""
    return run(check, PRESETS, argv, FLAGS)


if __name__ == "__main__":
    sys.exit(main())

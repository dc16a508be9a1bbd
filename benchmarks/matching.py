"""What the default restorer costs beside OpenCV's Poisson blending: `python benchmarks/matching.py --side 1024`.

A photograph with drifting colours, half of each side in the middle painted.  Printed, on one thread:

* `…_seconds_per_megapixel` of the hole's surroundings.  Bar for `match` and `match+blend`: at most 1.
* `ratio`: time of `match+blend` over that of `seamlessClone`, in turns within one process.  It finds a tone and a
  drift, too, and keeps the hole's colours, which Poisson blending bends.
* `peak_megabytes`: by which the process grows for one picture.

opencv-python-headless and scikit-image are needed, as for the tests.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from llmga.diffrir.matching import surroundings
from llmga.diffrir.restorers import RESTORERS
from llmga.evaluation.restoration_scores import drift, photographs, seamless_clone
from llmga.runtime import peak_memory


def clocked(work: Callable[[], object]) -> float:
    """Seconds of this thread, so that other programs do not count."""
    began = time.thread_time()
    work()
    return time.thread_time() - began


def main(argv: list[str] | None = None) -> int:
    """Print everything as JSON."""
    import cv2

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    side = options.side
    truth = next(picture for _, picture in photographs()).resize((side, side), Image.Resampling.BICUBIC)
    painted, mask = drift(truth, np.random.default_rng(0)), Image.new("L", (side, side))
    mask.paste(255, (side // 4, side // 4, 3 * side // 4, 3 * side // 4))
    before = peak_memory()
    RESTORERS["match+blend"](painted, truth, mask)
    grown = peak_memory() - before
    methods = {"match": RESTORERS["match"], "match+blend": RESTORERS["match+blend"], "seamlessClone": seamless_clone}
    rounds = [
        {name: clocked(lambda method=method: method(painted, truth, mask)) for name, method in methods.items()}
        for _ in range(options.repeats)
    ]
    seconds = {name: statistics.median(each[name] for each in rounds) for name in methods}
    near = np.asarray(mask)[surroundings(np.asarray(mask) > 0)].size / 1e6
    found = {f"{name}_seconds_per_megapixel": value / near for name, value in seconds.items()}
    found |= {"ratio": seconds["match+blend"] / seconds["seamlessClone"], "peak_megabytes": grown / 1e6}
    print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())

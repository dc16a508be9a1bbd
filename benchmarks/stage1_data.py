"""What stage 1's data costs: `python benchmarks/stage1_data.py`.

Printed:

* `samples_per_second_per_core`: encoded samples with their pictures and masks, ready for the model, that one process on
  one core makes of the five kinds in equal parts; `inpainting_samples_per_second_per_core` the same of that kind alone.
* `memory`: resident memory of a process that has read every record of the large file in a scattered order, over that of
  one that did so with the small file, each in a process of its own.  Bar: at most 1.2, some 80 bytes a record, where
  holding the records would take some 650.
* `worker_memory`: the same for a worker process of a data loader.
* `conversion_memory`: peak resident memory while the large JSON file is read for the first time, over the small one's;
  `conversion_seconds` is the CPU time that it takes.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
from PIL import Image
from torch.utils.data import DataLoader

from llmga.llava.conversation import Conversation
from llmga.llava.datasets.mixture import DataSource, Mixture
from llmga.llava.tokenization import IGNORED, Encoded
from llmga.llava.towers import KNOWN_TOWERS, image_processor
from llmga.runtime import peak_memory

PICTURE_TOKEN, POSITIONS = -1, 576
WORDS = "a tall red lighthouse on rocky coast under grey clouds while small boats pass by in evening light"
PICTURES = 64
MEGABYTE = 1 << 20


def spell(conversation: Conversation) -> Encoded:
    """A stand-in for a tokenizer: a token per word."""
    ids, labels = [], []
    for message in conversation.messages:
        said = [PICTURE_TOKEN] * POSITIONS * len(message.images) + [len(word) for word in message.text.split()]
        ids += said
        labels += said if message.role == "assistant" else [IGNORED] * len(said)
    return Encoded(ids, labels)


def mixture(*sources: DataSource) -> Mixture:
    return Mixture(sources, spell, image_token_id=PICTURE_TOKEN, tokens_per_image=POSITIONS, max_length=2048)


def caption(rng: np.random.Generator, words: int) -> str:
    return " ".join(rng.choice(WORDS.split(), words))


def write_pictures(folder: Path, rng: np.random.Generator) -> list[str]:
    """JPEGs of the size that COCO's have, with noise, which is slow to decode."""
    names = []
    for number in range(PICTURES):
        pixels = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
        name = f"{number:012d}.jpg"
        Image.fromarray(pixels).resize((640, 480), Image.Resampling.BICUBIC).save(folder / name, quality=90)
        names.append(name)
    return names


def write_kinds(folder: Path, count: int) -> list[DataSource]:
    """`count` records of each of the five kinds."""
    rng = np.random.default_rng(0)
    names = write_pictures(folder, rng)

    def talk() -> list[dict]:
        question = {"from": "human", "value": f"<image>\n{caption(rng, 8)}?"}
        return [question, {"from": "gpt", "value": caption(rng, 60)}]

    makers: dict[str, Callable[[str], dict]] = {
        "vqa": lambda name: {"image": name, "conversations": talk()},
        "inpainting": lambda name: {"image": name, "caption": caption(rng, 80)},
        "sg": lambda name: {"image": name, "caption": caption(rng, 80)},
        "edit": lambda name: {"image": name, "instruction": caption(rng, 8), "new_caption": caption(rng, 80)},
        "t2i": lambda name: {"ori_caption": caption(rng, 8), "caption": caption(rng, 80)},
    }
    for kind, make in makers.items():
        records = [make(names[number % PICTURES]) for number in range(count)]
        (folder / f"{kind}.json").write_text(json.dumps(records))
    return [DataSource(kind, str(folder / f"{kind}.json"), str(folder)) for kind in makers]


def samples_per_second(data: Mixture, samples: int) -> float:
    """In CPU time of this process, so that a busy machine does not show."""
    processor = image_processor(None, tower())
    order = np.random.default_rng(1).integers(0, len(data), samples)
    data[int(order[0])]
    before = time.process_time()
    for index in order:
        sample = data[int(index)]
        if sample.images:
            processor([image.resize((336, 336)) for image in sample.images], return_tensors="pt")
    return samples / (time.process_time() - before)


def tower() -> object:
    from transformers import CLIPVisionConfig

    return CLIPVisionConfig(**KNOWN_TOWERS["openai/clip-vit-large-patch14-336"])


def write_many(file: Path, count: int) -> None:
    """Records of some hundred characters, one JSON list."""
    rng = np.random.default_rng(0)
    stock = [caption(rng, 60) for _ in range(1000)]
    with file.open("w") as out:
        out.write("[")
        for number in range(count):
            record = {"ori_caption": f"request {number}", "caption": stock[number % len(stock)]}
            out.write(("," if number else "") + json.dumps(record))
        out.write("]")


def measured(file: Path, count: int, phase: str) -> dict[str, float]:
    """Figures of a fresh process."""
    command = [sys.executable, __file__, "--phase", phase, "--file", str(file), "--records", str(count)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def read_all(file: Path, count: int) -> dict[str, float]:
    """Touch every record in a scattered order, then let a worker touch some thousand."""
    data = mixture(DataSource("t2i", str(file)))
    data.lengths()
    step = next(step for step in range(7919, count + 7920) if math.gcd(step, count) == 1)
    for number in range(count):  # far from each other, and each once, without a list of them
        data[number * step % count]
    (worker,) = DataLoader(_Memory(data, count), batch_size=None, num_workers=1, sampler=[0])
    return {"resident": psutil.Process().memory_info().rss, "worker": float(worker)}


class _Memory:
    """A data set whose one item is what a worker takes after reading as many records as there are, at most 100,000."""

    def __init__(self, data: Mixture, count: int):
        self.data, self.count = data, count

    def __len__(self) -> int:
        return 1

    def __getitem__(self, _: int) -> int:
        for index in np.random.default_rng(3).integers(0, self.count, min(self.count, 100_000)):
            self.data[int(index)]
        return psutil.Process().memory_info().rss


def convert(file: Path, count: int) -> dict[str, float]:
    begin = time.process_time()
    mixture(DataSource("t2i", str(file)))
    return {"peak": peak_memory(), "seconds": time.process_time() - begin}


PHASES = {"read": read_all, "convert": convert}


def compare(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Each figure of the large file over the small one's."""
    found = {}
    for count in (options.small, options.records):
        file = folder / f"{count}.json"
        write_many(file, count)
        found[count] = measured(file, count, "convert") | measured(file, count, "read")
    small, large = found[options.small], found[options.records]
    return {
        "memory": large["resident"] / small["resident"],
        "worker_memory": large["worker"] / small["worker"],
        "conversion_memory": large["peak"] / small["peak"],
        "resident_megabytes": large["resident"] / MEGABYTE,
        "conversion_seconds": large["seconds"],
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000, help="of the large file")
    parser.add_argument("--small", type=int, default=10_000, help="records of the small file")
    parser.add_argument("--samples", type=int, default=1000, help="that are timed")
    parser.add_argument("--phase", choices=PHASES, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.phase:
        print(json.dumps(PHASES[options.phase](options.file, options.records)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HF_DATASETS_CACHE"] = f"{folder}/cache"  # of the processes that are started
        sources = write_kinds(Path(folder), 100)
        figures = {
            "samples_per_second_per_core": samples_per_second(mixture(*sources), options.samples),
            "inpainting_samples_per_second_per_core": samples_per_second(mixture(sources[1]), options.samples),
            **compare(Path(folder), options),
        }
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())

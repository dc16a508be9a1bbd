"""Files as strangers could send them, by the ten thousands: `python tests/fuzz/strangers.py --cases 100000`.

Each case is a whole file that was altered: bits of it, or values of the JSON inside.  What reads it may return or raise
`UserError`; anything else is a finding, printed with the seed that makes the same file again.  Prints one JSON object.
"""

import argparse
import copy
import io
import json
import random
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from llmga.assistant.image_files import FORMATS, encoded, read
from llmga.assistant.record import ModelMark, Record
from llmga.assistant.session import Exchange, GeneratedImage, Region, Session, Settings, Turn
from llmga.assistant.session_file import load_session, save_session
from llmga.command_line import quiet_libraries
from llmga.diffrir import jobs, runner
from llmga.diffusers.adapters import add_loras
from llmga.diffusers.datasets.sources import read_list
from llmga.diffusers.pipelines import load_pipeline
from llmga.errors import UserError
from llmga.images import open_image
from llmga.llava.conversation import Conversation
from llmga.llava.datasets.base import UnusableRecord
from llmga.llava.datasets.json_stream import pairs
from llmga.llava.datasets.kinds import KINDS
from llmga.llava.datasets.layouts import LAYOUTS
from llmga.llava.datasets.mixture import conversation_of
from llmga.llava.datasets.record_index import index_entry
from llmga.llava.datasets.sources import DataSource
from llmga.runtime import peak_memory
from llmga.seams import Seam
from llmga.serve import batch
from llmga.serve.story import BookPage, Character, Story

ROOT = Path(__file__).resolve().parents[2]
PAINTER = ROOT / "checkpoints/Inference/llmga-toy-sdxl-t2i"
MEMORY = Path("/dev/shm")  # where files are no work for a disk
SHOWN = 5  # findings that are told
DEEP = 3000  # brackets
# Values that nobody expects where they stand.
ODD = (
    None, True, False, 0, -1, 1, 0.5, -0.0, 2**31, 2**32, 2**63, 2**64, 10**400, 1e308, float("nan"), float("inf"),
    "", "x", "x" * 1000, "\ud800", "\udfff\ud800", "\0", "..", "../../x", "/etc/passwd", "https://a.b/c", "画", "😀",
    [], [[]], [None], [0, 0], [[], {}], {}, {"": None}, {"role": []}, "NaN", "0", "a" * 64, "f" * 63, "user",
)  # fmt: skip

SCRAPS = (
    "[" * DEEP, '{"a":' * DEEP, "[" * DEEP + "]" * DEEP, "NaN", "1e999", "9" * 5000, "\\", '"', ",", ":", "\ufeff",
    "\0", "//", r"\ud83d", "{}", "[]",
)  # fmt: skip

Alter = Callable[[random.Random], bytes]


@dataclass(frozen=True)
class Target:
    """Attributes:
    share: of all cases.
    alter: one file.
    read: what reads it, given a place for it.
    """

    share: float
    alter: Alter
    read: Callable[[Path], Any]


# How a file is altered.


def bits(content: bytes) -> Alter:
    """Some bytes become others, go, come twice, or the file breaks off."""

    def alter(chance: random.Random) -> bytes:
        found = bytearray(content)
        for _ in range(chance.choice((1, 1, 2, 3, 8, 30))):
            start = chance.randrange(chance.choice((16, 64, len(found))) % len(found) + 1) if found else 0
            size = chance.choice((1, 1, 2, 4, 32))
            put = chance.choice((b"", b"\0", b"\xff", bytes([chance.randrange(256)]), bytes(found[:size]), b'[{"\\ud8'))
            found[start : start + chance.choice((0, 1, size))] = put
        return bytes(found[: chance.randrange(len(found) + 1)] if found and chance.random() < 0.1 else found)

    return alter


def values(content: Any, text: Callable[[Any], str] = json.dumps) -> Callable[[random.Random], str]:
    """JSON of which some values are others, gone, or in other places; or whose text is altered."""

    plain = json.dumps(content)

    def alter(chance: random.Random) -> str:
        whole = [json.loads(plain)]
        for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
            places = list(_places(whole))
            holder, key = chance.choice(places)
            kind = chance.random()
            if kind < 0.6:
                holder[key] = copy.deepcopy(chance.choice(ODD))
            elif kind < 0.75:
                other, name = chance.choice(places)
                holder[key] = copy.deepcopy(other[name])
            elif kind < 0.9 and len(holder):
                del holder[key]
            elif isinstance(holder[key], str):
                holder[key] += chance.choice(("\ud800", "\0", "<image>", "</gen_image>", "x" * 5000))
            elif isinstance(holder[key], list):
                holder[key] *= chance.choice((2, 50))
            if not whole:
                break
        told = text(whole[0] if whole else None)
        if chance.random() < 0.1:
            at = chance.randrange(len(told) + 1)
            put = chance.choice(SCRAPS)
            told = told[:at] + put + told[at + chance.choice((0, 1, 5)) :]
        return told

    return alter


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(what holds it, under which key) of every value inside."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def in_utf8(alter: Callable[[random.Random], str]) -> Alter:
    return lambda chance: alter(chance).encode(errors="surrogatepass")


def either(*ways: Alter) -> Alter:
    return lambda chance: chance.choice(ways)(chance)


# What is read: whole files to begin with, and their readers.


def noise(mode: str, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 12, 4), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def record(**told: Any) -> Record:
    given = {
        "prompt": "a red circle",
        "request": "画一个圆",
        "seed": 7,
        "steps": 4,
        "guidance_scale": 3.5,
        "size": (12, 8),
    }
    setup = {"family": "sdxl", "sampler": "euler", "dtype": "float32", "device": "cpu", "weighted": False,
             "added": [{"kind": "lora", "name": "x", "sha256": "ab", "weight": 0.5, "picture": None}]}  # fmt: skip
    models = (ModelMark("language", "mllm", None), ModelMark("painter", "llmga-toy-sdxl-t2i", "ab"))
    seam = Seam(1.5, -0.5)
    return Record(**given | told, words={"temperature": 0.2, "seed": 3}, painter=setup, models=models, seam_before=seam)


def state() -> Session:
    """A session with a picture from words, a filled and a grown one, and one that was changed by words."""
    picture, mask, grown = noise("RGB"), Image.new("L", (12, 8)), noise("RGBA", 1)
    mask.paste(255, (2, 2, 6, 6))
    regions = (
        None,
        Region(picture, mask, {"strength": 0.5, "area": "mask", "soft": False}, picture),
        Region(grown, mask, {}, noise("CMYK"), "left=50%", "edge"),
        Region(picture, None, {"skip": 0.4, "ratio": 1.0, "source_prompt": "a circle"}, picture),
    )
    conversation, exchanges = Conversation(system="Talk."), ()
    for number, region in enumerate(regions):
        start = 2 * number
        turn = Turn("draw it", () if region is None else (region.parent,), region and region.mask)
        conversation = conversation.say("user", "<image>\ndraw it", turn.images)
        conversation = conversation.say("assistant", "Sure. <gen_image> a red circle </gen_image>")
        made = GeneratedImage(
            noise("RGB", number), record(task="inpainting", parent="ab", changes={"soft": True}), region, 0
        )
        exchanges = (*exchanges, Exchange(turn, start, start + 2, region, (made,)))
    return Session(5, 4, 4, conversation, exchanges, Settings(steps=4, size=(64, 48), repaint={"area": "mask"}))


def packed(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return buffer.getvalue()


def sessions(folder: Path) -> tuple[Alter, Alter]:
    """Zips, and indexes of a session that lies in a folder."""
    place = save_session(folder / "session", state(), record().models)
    files = {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*.*") if path.is_file()}
    index = in_utf8(values(json.loads(files["session.json"])))
    pictures = [name for name in files if name != "session.json"]

    def other_picture(chance: random.Random) -> bytes:
        name = chance.choice(pictures)
        return packed(files | {name: bits(files[name])(chance)})

    def other_index(chance: random.Random) -> bytes:
        return packed(files | {"session.json": index(chance)})

    def other_names(chance: random.Random) -> bytes:
        names = dict(zip(files, chance.sample(list(files), len(files)), strict=True))
        return packed({names.get(name, name): content for name, content in files.items()})

    zips = (packed(files), packed(files, zipfile.ZIP_DEFLATED))
    return either(other_index, other_index, other_picture, *map(bits, zips), other_names), index


def in_folder(folder: Path) -> Callable[[Path], Any]:
    def read_index(place: Path) -> Any:
        place.replace(folder / "session" / "session.json")
        return load_session(folder / "session")

    return read_index


def data_records(place: Path) -> None:
    """All that is done to records of the first stage before a token is made of them."""
    chance = np.random.default_rng(0)
    for name, kind in KINDS.items():
        for item in LAYOUTS["2024"].items(place, kind, "question=query"):
            index_entry(item.text, item.value, kind, item.problem)
            with suppress(UnusableRecord):
                conversation_of(DataSource(name, str(place)), item.value, lambda name: noise("RGB"), chance)


def data_pairs(place: Path) -> None:
    for _ in pairs(place):
        pass


RECORDS = [
    {"id": "1", "image": "a.jpg", "conversations": [
        {"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A circle."},
        {"from": "human", "value": "Draw it."}, {"from": "gpt", "value": "<gen_image> a circle </gen_image>"},
    ]},
    {"image": "a.jpg", "caption": "a red circle", "ori_caption": "a circle", "question": "q", "answer": "a"},
    {"image": ["a.jpg", "b.jpg"], "instruction": "edit it", "output": "done", "mask": "m.png", "caption": "c"},
]  # fmt: skip
# The same in the forms of others.
FORMED = [
    {"messages": [
        {"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            {"type": "text", "text": "What?"}]},
        {"role": "assistant", "content": "A circle."}], "images": ["a.jpg"]},
    {"query": "And?", "response": "Two.", "history": [["What?", "A circle."]], "system": "Rhyme."},
    {"instruction": "q", "input": "more", "output": "a"}, {"prompt": "q", "chosen": "a", "rejected": "b"},
    {"images": ["a.jpg"], "texts": [{"user": "q", "assistant": "a", "source": "x"}]},
    {"image": "a.jpg", "question": "q", "choices": ["red", "blue"], "answer": 1, "A": "red", "B": "blue"},
    {"image": {"<image_00>": "a.jpg"}, "conversations": [{"role": "user", "content": "<image_00> What?"},
     {"role": "assistant", "content": "A circle."}]},
    {"question": "q", "answers": [{"answer": "a"}, {"answer": "b"}], "image": {"file": "a.tar", "start": 0, "size": 9}},
    {"__key__": "1", "jpg": "a.jpg", "json": "[{'from': 'human', 'value': '<img>a.jpg</img>'}]", "txt": "a circle"},
    {"conversations": "[]", "data": ["q", "a"], "objects": {"bbox": [1]}, "kto_tag": True, "label": True},
]  # fmt: skip
JOB = {"text": ["fill it", "now in green"], "image": "a.png", "mask": "m.png", "steps": 20, "seed": 7, "fill": "edge"}


def lines(content: Any) -> str:
    return "\n".join(json.dumps(each) for each in content) if isinstance(content, list) else json.dumps(content)


def low_rank(folder: Path) -> tuple[Alter, Callable[[Path], Any]]:
    """A LoRA whose head is altered, and the bundled painter that is to take it."""
    import torch
    from safetensors.torch import save

    generator = load_pipeline(PAINTER, device="cpu")
    layer = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    width = generator.pipe.unet.get_submodule(layer.removeprefix("unet.")).in_features
    named = {"lora_A": torch.ones(2, width), "lora_B": torch.ones(width, 2)}
    kohya = {"lora_down": named["lora_A"], "lora_up": named["lora_B"]}
    flat = "lora_unet_" + layer.removeprefix("unet.").replace(".", "_")
    whole = [
        save({f"{layer}.{name}.weight": each for name, each in named.items()}, {"format": "pt"}),
        save({f"{flat}.{name}.weight": each for name, each in kohya.items()} | {f"{flat}.alpha": torch.tensor(1.0)},
             {"ss_network_module": "networks.lora", "ss_network_args": "{}"}),
    ]  # fmt: skip
    heads = []
    for content in whole:
        size = int.from_bytes(content[:8], "little")
        head, tensors = values(json.loads(content[8 : 8 + size])), content[8 + size :]

        def altered(chance: random.Random, head: Callable = head, tensors: bytes = tensors) -> bytes:
            told = head(chance).encode(errors="surrogatepass")
            size = chance.choice((len(told),) * 9 + (0, 2**40, 2**63))
            return size.to_bytes(8, "little") + told + tensors

        heads.append(altered)

    def load(place: Path) -> None:
        file = place.replace(folder / "low.safetensors")
        try:
            add_loras(generator, [str(file)])
        finally:
            generator.pipe.unload_lora_weights()
            generator.added.clear()

    return either(*heads, *map(bits, whole)), load


def targets(folder: Path) -> dict[str, Target]:
    """The table of all that is read from strangers."""
    zips, index = sessions(folder)
    carried = [encoded(noise("RGB"), record(), kind) for kind in FORMATS]
    story = Story(
        "Mia", "a book", 7, "soft", "same", (Character("Mia", "small"),), (BookPage("a", "b", "page-01.png"),)
    )
    story.save(folder / "story.json")
    told = json.loads((folder / "story.json").read_text())
    done = {"jobs": {"1-ab": {"line": 1, "text": ["a"], "status": "done", "pictures": ["000.png"], "replies": ["b"]}}}
    restored = {"settings": {}, "pictures": {"a": {"status": "done", "inputs": "ab", "output": "a.png"}}}
    pictures = []
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "ICO", "TGA", "QOI", "DDS", "PCX", "PPM", "SGI"):
        buffer, exif = io.BytesIO(), Image.Exif()
        exif[0x0112] = 6
        noise("RGB").save(buffer, kind, **({"exif": exif} if kind in ("PNG", "JPEG", "WEBP", "TIFF") else {}))
        pictures.append(buffer.getvalue())
    head, load = low_rank(folder)
    two, carries = {"a": {"caption": "c"}, "b": "d"}, record().to_json()
    plain = either(in_utf8(values(json.loads(carries))), in_utf8(values(json.loads(carries))), bits(carries.encode()))
    pair = either(in_utf8(values(two)), bits(json.dumps(two).encode()))
    many = either(in_utf8(values(RECORDS)), bits(json.dumps(RECORDS).encode()))
    formed = either(in_utf8(values(FORMED)), in_utf8(values(FORMED, lines)), bits(json.dumps(FORMED).encode()))
    return {
        "session zips": Target(0.07, zips, load_session),
        "session folders": Target(0.03, index, in_folder(folder)),
        "records": Target(0.385, plain, lambda place: _told(Record.from_json, place.read_bytes())),
        "pictures with records": Target(0.12, either(*map(bits, carried)), read),
        "pictures": Target(0.12, either(*map(bits, pictures)), open_image),
        "stories": Target(0.08, in_utf8(values(told)), Story.load),
        "batches": Target(0.07, in_utf8(values([JOB, JOB], lines)), batch.read_jobs),
        "manifests": Target(0.05, in_utf8(values(done)), batch.open_manifest),
        "manifests of restoring": Target(0.02, in_utf8(values(restored)), lambda place: _manifest(folder, place)),
        "data lists": Target(0.015, many, data_records),
        "data lines": Target(0.01, in_utf8(values(RECORDS, lines)), data_records),
        "data forms": Target(0.01, formed, data_records),
        "data objects": Target(0.01, pair, data_pairs),
        "training lists": Target(0.002, many, lambda place: read_list(place, folder)),
        "low-rank weights": Target(0.008, head, load),
    }


def _told(reader: Callable[[bytes], Any], content: bytes) -> Any:
    """A record's reader states other errors."""
    try:
        return reader(content)
    except (ValueError, TypeError) as problem:
        raise UserError(str(problem)) from None


def _manifest(folder: Path, place: Path) -> Any:
    (folder / "out").mkdir(exist_ok=True)
    place.replace(folder / "out" / runner.MANIFEST)
    found = runner.open_manifest(folder / "out", {})
    job = jobs.RestoreJob("a", Path("a.png"), None, None, folder / "out" / "a.png", guided=False)
    return runner.is_done(found, job, "ab")


def run(cases: int, seed: int, only: str | None = None) -> dict[str, Any]:
    """Read that many files; what was found, the seconds of one core that it took, the bytes that the process grew."""
    told: dict[str, Any] = {"cases": 0, "refused": 0, "findings": [], "seconds": {}}
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        known = targets(Path(name))
        for each in known.values():  # what is opened once is no growth
            _one(each, random.Random(0), Path(name) / "case")
        before, begun = peak_memory(), time.process_time()
        for name_of, target in known.items():
            if only in (None, name_of):
                started = time.process_time()
                for number in range(round(cases * target.share)):
                    told["cases"] += 1
                    problem = _one(target, random.Random(f"{seed}/{name_of}/{number}"), Path(name) / "case")
                    told["refused"] += problem == ""
                    if problem and len(told["findings"]) < SHOWN:
                        told["findings"].append(f"{name_of}, case {number} of seed {seed}: {problem}")
                told["seconds"][name_of] = round(time.process_time() - started, 1)
        return told | {"grown": (peak_memory() or 0) - (before or 0), "whole": round(time.process_time() - begun, 1)}


def _one(target: Target, chance: random.Random, place: Path) -> str | None:
    """None when it was read, "" when it was refused with words, else what happened."""
    place.write_bytes(target.alter(chance))
    try:
        target.read(place)
    except UserError as problem:
        return f"several lines: {problem}" if "\n" in str(problem) or len(str(problem)) > 5000 else ""
    except BaseException:
        if isinstance(sys.exception(), KeyboardInterrupt):
            raise
        return traceback.format_exc(limit=-4)
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="one target")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    quiet_libraries()
    told = run(args.cases, args.seed, args.only)
    print(json.dumps(told, indent=1))
    return 1 if told["findings"] else 0


if __name__ == "__main__":
    sys.exit(main())

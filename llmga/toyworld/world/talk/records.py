"""Stage 1's records of the larger world: `python -m llmga.toyworld.world records --output FOLDER --count 1000`.

`talk.json` holds conversations with pictures (kind `vqa`); `sg.json`, `inpainting.json`, `edit.json` and `t2i.json`
the kinds of these names.

A record of `talk.json`: `{"id": "talk-0", "image": ["3f….png"], "conversations": [
{"from": "human", "value": "<image>\\nwhat is this?"}, {"from": "gpt", "value": "A large red star …"}]}`.
"""

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from llmga.toyworld.world.captions import canonical
from llmga.toyworld.world.drawing import draw
from llmga.toyworld.world.sampling import random_scene
from llmga.toyworld.world.scene import Scene
from llmga.toyworld.world.talk.answers import prompt
from llmga.toyworld.world.talk.changes import change
from llmga.toyworld.world.talk.dialogues import PLAN, Plan, conversation, speaker
from llmga.toyworld.world.talk.gallery import Gallery
from llmga.toyworld.world.talk.holes import with_hole
from llmga.toyworld.world.talk.shown_pictures import CHANGEABLE
from llmga.toyworld.world.talk.turns import Turn
from llmga.toyworld.world.wordings import short

MARKER = "<image>\n"
PHOTOS = 0.5  # share of the pictures that are JPEGs of another size and aspect
PHOTO_SIDES, PHOTO_ASPECT, PHOTO_QUALITY = (72, 200), 1.5, (60, 95)


class Album:
    """Pictures of scenes in a folder, drawn when they are first asked for.

    Half of them are "photos": JPEGs of another size and aspect, so that no planner learns the pixels by heart.
    """

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder: Path = folder

    def name(self, scene: Scene, rng: random.Random, hidden: int | None = None) -> str:
        """The file of a picture of a scene, of which one thing may be hidden."""
        photo = hidden is None and rng.random() < PHOTOS
        seed = rng.randrange(1 << 16) if photo or hidden is not None else 0
        digest = hashlib.sha256(f"{canonical(scene)} {hidden} {seed} {photo}".encode()).hexdigest()[:20]
        file = self.folder / f"{digest}.{'jpg' if photo else 'png'}"
        if not file.exists():
            own = random.Random(seed)
            if hidden is not None:
                with_hole(scene, hidden, own).save(file)
            elif photo:
                self._photo(scene, own, file)
            else:
                draw(scene).save(file)
        return file.name

    def _photo(self, scene: Scene, rng: random.Random, file: Path) -> None:
        shorter, aspect = rng.randint(*PHOTO_SIDES), rng.uniform(1, PHOTO_ASPECT)
        size = (shorter, round(shorter * aspect))
        width, height = size if rng.random() < 0.5 else size[::-1]
        draw(scene, width, height).save(file, quality=rng.randint(*PHOTO_QUALITY))


def record(turns: Sequence[Turn], album: Album, rng: random.Random, number: int) -> dict[str, Any]:
    """LLaVA's record of a conversation; a turn shows as many pictures as it has markers."""
    said: list[dict[str, str]] = []
    images: list[str] = []
    for turn in turns:
        images += [album.name(scene, rng, turn.hidden) for scene in turn.shown]
        said.append({"from": "human", "value": MARKER * len(turn.shown) + turn.person})
        said.append({"from": "gpt", "value": turn.answer})
    shown = {"image": images} if images else {}
    return {"id": f"talk-{number}", **shown, "conversations": said}


def talks(album: Album, count: int, seed: int, plan: Plan = PLAN) -> Iterator[dict[str, Any]]:
    """Conversations, one after the other; the same seed gives the same."""
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        yield record(conversation(speaker(rng, plan), plan), album, rng, number)


def _captioned(album: Album, rng: random.Random, plan: Plan) -> dict[str, Any]:
    scene = random_scene(rng)
    return {"image": album.name(scene, rng), "caption": canonical(scene)}


def _edited(album: Album, rng: random.Random, plan: Plan) -> dict[str, Any]:
    scene, voice = random_scene(rng), speaker(rng, plan)
    made = None
    while made is None:
        made = change(Gallery(now=scene), voice, rng.choice(CHANGEABLE))
    return {"image": album.name(scene, rng), "instruction": made.text, "new_caption": canonical(made.scene)}


def _refined(album: Album, rng: random.Random, plan: Plan) -> dict[str, Any]:
    scene = random_scene(rng)
    return {"ori_caption": short(scene, rng, dropped=0.0), "caption": prompt(scene, rng, rng.random() < plan.long)}


# File and kind -> (records for each conversation, how one is made).
OTHERS: dict[str, tuple[float, Callable[[Album, random.Random, Plan], dict[str, Any]]]] = {
    "sg": (0.1, _captioned),
    "inpainting": (0.05, _captioned),
    "edit": (0.1, _edited),
    "t2i": (0.1, _refined),
}


def write(folder: Path, count: int, *, seed: int = 0, plan: Plan = PLAN) -> None:
    """Write all files and their pictures below a folder; the same seed writes the same."""
    album = Album(folder / "images")
    _write(folder / "talk.json", talks(album, count, seed, plan))
    for name, (share, make) in OTHERS.items():
        rng = random.Random(f"{seed} {name}")
        _write(folder / f"{name}.json", (make(album, rng, plan) for _ in range(round(share * count))))


def _write(file: Path, records: Iterable[dict[str, Any]]) -> None:
    """A JSON list, a record a line, without holding it in memory."""
    part = file.with_suffix(".part")
    with part.open("w", encoding="utf-8") as opened:
        opened.write("[")
        for number, each in enumerate(records):
            opened.write((",\n" if number else "\n") + json.dumps(each, ensure_ascii=False))
        opened.write("\n]\n")
    part.replace(file)

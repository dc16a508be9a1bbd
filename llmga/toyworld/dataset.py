"""The toy world written out as the files LLMGA trains on: pictures and the JSON kinds of both stages.

Stage 1: `text.json`, `vqa.json` and `holes.json` (conversations), `sg.json`, `inpainting.json` ({image, caption}),
`edit.json` ({image, instruction, new_caption}), `t2i.json` ({ori_caption, caption}).
Pipeline: `short.json` for its base and `stage2.json` for stage 2, both {image, caption}.
No picture and no caption shows a held-out scene.
"""

import json
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from llmga.llava.instructions import INSTRUCTIONS
from llmga.toyworld import dialogues, requests
from llmga.toyworld.captions import detailed, short
from llmga.toyworld.masked import without_its_thing
from llmga.toyworld.scenes import Scene, draw, random_scene, train_scenes

HOLES = 2  # seed of what is hidden


@dataclass(frozen=True)
class Amounts:
    """Records of each kind; captions are counted per scene."""

    text: int = 70_000
    vqa: int = 15_000
    holes: int = 8_000
    sg: int = 4_000
    edit: int = 4_000
    inpainting: int = 1_000
    t2i: int = 4_000
    short_captions: int = 4
    detailed_captions: int = 4


class Album:
    """Pictures of the training scenes on disk: a plain one, a "photo" (another size and aspect, JPEG) of each, and one
    in which what stands there is hidden, as a language model sees it, half of the time with another thing beside it."""

    def __init__(self, folder: Path, scenes: tuple[Scene, ...], rng: random.Random):
        self.folder = folder
        self.rng = rng
        self.holes: random.Random = random.Random(HOLES)
        self.names: dict[Scene, str] = {scene: f"{number:05d}" for number, scene in enumerate(scenes)}

    def write(self) -> None:
        """Draw and save all pictures."""
        (self.folder / "plain").mkdir(parents=True, exist_ok=True)
        (self.folder / "photo").mkdir(exist_ok=True)
        (self.folder / "hole").mkdir(exist_ok=True)
        for scene in tqdm(self.names, desc="pictures"):
            draw(scene).save(self.folder / self.plain(scene))
            shorter, aspect = self.rng.randint(64, 160), self.rng.uniform(1, 1.5)
            size = (shorter, round(shorter * aspect))
            width, height = size if self.rng.random() < 0.5 else size[::-1]
            draw(scene, width, height).save(self.folder / self.photo(scene), quality=self.rng.randint(60, 95))
            hidden = without_its_thing(scene, self.holes, company=self.holes.random() < 0.5)
            hidden.blackened.save(self.folder / self.hole(scene))

    def plain(self, scene: Scene) -> str:
        """The file of the plain picture."""
        return f"plain/{self.names[scene]}.png"

    def photo(self, scene: Scene) -> str:
        """The file of the "photo"."""
        return f"photo/{self.names[scene]}.jpg"

    def hole(self, scene: Scene) -> str:
        """The file of the picture whose thing is hidden."""
        return f"hole/{self.names[scene]}.png"

    def any(self, scene: Scene) -> str:
        """The file of the plain picture, or more often of the "photo"."""
        return self.plain(scene) if self.rng.random() < 0.4 else self.photo(scene)


def write(
    folder: Path, amounts: Amounts = Amounts(), *, scenes: tuple[Scene, ...] | None = None, seed: int = 0
) -> None:
    """Write everything below `folder`; the same seed writes the same files.

    Args:
        scenes: what is shown, default all training scenes.
    """
    rng = random.Random(seed)
    album = Album(folder / "images", scenes or train_scenes(), random.Random(seed + 1))
    album.write()
    shown = tuple(album.names)
    marked = [scene for scene in shown if scene.background != "black"]  # on black nobody sees where something is hidden
    english = INSTRUCTIONS["en"]

    def talk_about_picture() -> dict:
        scene = rng.choice(shown)
        said = dialogues.about_picture(scene, rng, english.describe, english.regenerate)
        return dialogues.as_record(said, image=album.any(scene))

    def talk_about_hole() -> dict:
        scene = rng.choice(marked)
        return dialogues.as_record(dialogues.about_hole(scene, rng), image=album.hole(scene))

    def captioned() -> dict:
        scene = rng.choice(shown)
        return {"image": album.any(scene), "caption": detailed(scene, rng)}

    def edited() -> dict:
        scene = rng.choice(shown)
        change = dialogues.trainable(lambda: requests.follow_up(scene, rng))
        return {"image": album.any(scene), "instruction": change.text, "new_caption": detailed(change.scene, rng)}

    def refined() -> dict:
        scene = random_scene(rng)
        return {"ori_caption": short(scene, rng), "caption": detailed(scene, rng)}

    def captions(voice: Callable[[Scene, random.Random], str], each: int) -> Iterable[dict]:
        return ({"image": album.plain(s), "caption": voice(s, rng)} for s in shown for _ in range(each))

    files: dict[str, Iterable[dict]] = {
        "text": (dialogues.as_record(dialogues.from_words(rng)) for _ in range(amounts.text)),
        "vqa": (talk_about_picture() for _ in range(amounts.vqa)),
        "sg": (captioned() for _ in range(amounts.sg)),
        "edit": (edited() for _ in range(amounts.edit)),
        "inpainting": (captioned() for _ in range(amounts.inpainting)),
        "t2i": (refined() for _ in range(amounts.t2i)),
        "short": captions(short, amounts.short_captions),
        "stage2": captions(detailed, amounts.detailed_captions),
        "holes": (talk_about_hole() for _ in range(amounts.holes)),
    }
    for name, records in files.items():
        _write_json(folder / f"{name}.json", records)


def _write_json(file: Path, records: Iterable[dict]) -> None:
    file.write_text("[\n" + ",\n".join(json.dumps(record) for record in records) + "\n]\n")

"""What the planner answers when it paints: a short sentence in the person's language, and prompts in English."""

import random
from collections.abc import Sequence

from llmga.toyworld.world.captions import canonical
from llmga.toyworld.world.scene import Scene
from llmga.toyworld.world.talk.lexicon import GROUNDS, WHERE, WORDS
from llmga.toyworld.world.talk.nouns import described
from llmga.toyworld.world.talk.voice import Row, Voice, row
from llmga.toyworld.world.wordings import detailed

# An answer has no split: these are taught, never asked.
LEADS = row(
    ("Here it is.", "With pleasure.", "Of course.", "Gladly.", "Here you are."),
    ("画好了。", "好的。", "没问题。", "这就来。", "给你画好了。"),
)
CHANGED = row(
    ("Changed.", "Here is the new version.", "As you like.", "Done."),
    ("改好了。", "这是新的一版。", "照你说的改了。", "好了。"),
)
SEVERAL = row(
    ("Here they are.", "With pleasure, one after the other.", "Here are your pictures."),
    ("都画好了。", "好的，一张一张来。", "这是你要的几张图。"),
)
SIMILAR = row(("Here is one like it.", "Another of that kind."), ("再来一张相似的。", "这是一张类似的。"))
BACK = row(("Here it is again.", "Back to that one."), ("又是这一张。", "回到那一张了。"))


def wrapped(prompt: str) -> str:
    """The form in which a picture is asked for."""
    return f"<gen_image> {prompt} </gen_image>"


def spoken(lead: Row, voice: Voice) -> str:
    """A sentence before a picture."""
    said = lead[voice.language]
    return voice.rng.choice((*said.train, *said.test))


def painted(scenes: Sequence[Scene], lead: Row, voice: Voice, long: bool = False) -> str:
    """A sentence, and the prompt of every scene, canonical or in all detail."""
    prompts = [wrapped(prompt(scene, voice.rng, long)) for scene in scenes]
    return " ".join([spoken(lead, voice), *prompts])


def prompt(scene: Scene, rng: random.Random, long: bool = False) -> str:
    """A scene in the painter's words; only the long form exceeds 77 tokens."""
    return detailed(scene, rng) if long else canonical(scene)


def description(scene: Scene, language: str) -> str:
    """A scene in the words of a language, always the same: the canonical form, or its Chinese counterpart."""
    return canonical(scene) if language == "en" else _chinese(scene)


def _chinese(scene: Scene) -> str:
    said, things = [], list(scene.things)
    where = WHERE["zh"]
    if scene.bond:
        host, guest = things[:2]
        side = "里面" if scene.bond == "inside" else "前面"
        said.append(f"{where[host.place][0]}有{described(host, 'zh')}，它的{side}有{described(guest, 'zh')}。")
        things = things[2:]
    for look in dict.fromkeys(thing.look for thing in things):
        alike = [thing for thing in things if thing.look == look]
        places = "、".join(where[thing.place][0] for thing in alike)
        said.append(f"{places}有{described(alike[0], 'zh', len(alike))}。")
    said.append(f"背景是{GROUNDS['zh'][scene.ground][0]}。风格是{WORDS['zh'][scene.style][0]}。")
    return "".join(said)

"""Turns in which a person shows pictures: one to be described, made again, changed or asked about, or two."""

from collections.abc import Callable
from dataclasses import replace

from llmga.toyworld.world.judging import Wish
from llmga.toyworld.world.sampling import random_scene
from llmga.toyworld.world.scene import Scene
from llmga.toyworld.world.talk import lexicon, nouns
from llmga.toyworld.world.talk.answers import CHANGED, SIMILAR, description, painted
from llmga.toyworld.world.talk.asking import Asked
from llmga.toyworld.world.talk.changes import CHANGES, change
from llmga.toyworld.world.talk.fitting_scenes import changed, good
from llmga.toyworld.world.talk.gallery import Gallery
from llmga.toyworld.world.talk.questions import describe, question
from llmga.toyworld.world.talk.sentences import articles
from llmga.toyworld.world.talk.slips import typed
from llmga.toyworld.world.talk.turns import Step, Turn, answered, showing
from llmga.toyworld.world.talk.voice import Voice, row

LIKE_THIS = row(
    ("generate a similar image", "make one like this", "another one like this", "draw this again",
     "a similar picture please", "paint something like this", "copy it", "one more of these",
     "create an image similar to this one"),
    ("生成一张类似的图", "画一张这样的", "再来一张这样的", "照着画一张", "请画一张相似的", "画点类似的", "复制一张",
     "仿照这张画一张"),
)  # fmt: skip
DESCRIBE_BOTH = row(
    ("describe both", "what do the two pictures show?", "what do you see in these two?", "tell me about both pictures"),
    ("描述这两张图", "两张图里各有什么？", "这两张画了什么？", "说说这两张图"),
)
WHICH = row(
    ("which of them shows {x}?", "in which picture is {x}?", "which one has {x}?",
     "where do you see {x}, first or second?"),
    ("哪一张有{x}？", "{x}在哪张图里？", "哪张画了{x}？", "第一张还是第二张有{x}？"),
)  # fmt: skip
SAME_GROUND = row(
    ("do they have the same background?", "are the two backgrounds alike?", "is the background of both the same?",
     "do the backgrounds match?"),
    ("它们的背景一样吗？", "两张的背景相同吗？", "背景是同一种吗？", "两个背景是不是一样？"),
)  # fmt: skip
TOGETHER = row(
    ("put the first one on the background of the second", "paint the first before the background of the second",
     "the things of the first with the second one's background", "the first picture, but where the second is"),
    ("把第一张放到第二张的背景上", "用第二张的背景画第一张", "第一张的内容，第二张的背景", "第一张换成第二张的背景"),
)  # fmt: skip
NUMBERED = {"en": ("The first one.", "The second one."), "zh": ("第一张。", "第二张。")}
ONE_COLOUR = 0.35
CHANGEABLE = tuple(name for name in CHANGES if name not in ("back", "first", "again"))


def one(gallery: Gallery, voice: Voice) -> Step:
    """A picture of any kind, and something said about it."""
    scene = of_one_colour(random_scene(voice.rng), voice)
    after = gallery.with_shown(scene)
    luck = voice.rng.random()
    if luck < 0.3:
        return showing(answered(describe(scene, voice), after, voice), scene)
    if luck < 0.6:
        return showing(answered(question(scene, voice), after, voice), scene)
    if luck < 0.75:
        return showing(similar(scene, after, voice), scene)
    return showing(edited(scene, after, voice), scene)


def of_one_colour(scene: Scene, voice: Voice) -> Scene:
    """Now and then two things of one colour, which chance alone would make rare."""
    if len(scene.things) < 2 or scene.bond or not voice.chance(ONE_COLOUR):
        return scene
    return changed(scene, 1, colour=scene.things[0].colour) or scene


def similar(scene: Scene, gallery: Gallery, voice: Voice) -> Step:
    """A shown picture is made again."""
    turn = Turn(typed(voice.pick(LIKE_THIS), voice), painted([scene], SIMILAR, voice), "shown similar", voice.language,
                painted=(scene,), asked=(Asked.of(scene),), before=scene)  # fmt: skip
    return turn, gallery.with_painted(scene)


def edited(scene: Scene, gallery: Gallery, voice: Voice) -> Step:
    """A shown picture is changed."""
    while True:
        made = change(gallery, voice, voice.rng.choice(CHANGEABLE))
        if made is not None:
            break
    turn = Turn(made.text, painted([made.scene], CHANGED, voice), f"shown {made.kind}", voice.language,
                painted=(made.scene,), asked=(made.asked,), before=scene)  # fmt: skip
    return turn, gallery.with_painted(made.scene)


def two(gallery: Gallery, voice: Voice) -> Step:
    """Two pictures, and something said about both."""
    while True:
        scenes = random_scene(voice.rng), random_scene(voice.rng)
        if voice.chance(0.3):
            same = good(replace(scenes[1], ground=scenes[0].ground))
            scenes = (scenes[0], same or scenes[1])
        found = voice.rng.choice(list(TWO.values()))(scenes, gallery.with_shown(*scenes), voice)
        if found is not None:
            return showing(found, *scenes)


Pair = tuple[Scene, Scene]


def _describe_both(scenes: Pair, gallery: Gallery, voice: Voice) -> Step:
    names = ("First: ", " Second: ") if voice.is_english else ("第一张：", "第二张：")
    answer = "".join(f"{name}{description(scene, voice.language)}" for name, scene in zip(names, scenes, strict=True))
    said = typed(voice.pick(DESCRIBE_BOTH), voice)
    return Turn(said, answer, "two describe", voice.language, truth=answer), gallery


def _which(scenes: Pair, gallery: Gallery, voice: Voice) -> Step | None:
    number = voice.rng.randrange(2)
    only = sorted(set(scenes[number].counts()) - set(scenes[1 - number].counts()))
    if not only:
        return None
    thing = nouns.wished({"kind": voice.rng.choice(only)}, voice)
    truth, other = NUMBERED[voice.language][number], NUMBERED[voice.language][1 - number]
    return Turn(typed(articles(voice.pick(WHICH, x=thing)), voice), truth, "two which", voice.language, truth=truth,
                others=(other,)), gallery  # fmt: skip


def _same_ground(scenes: Pair, gallery: Gallery, voice: Voice) -> Step | None:
    first, second = (lexicon.GROUNDS[voice.language][scene.ground][0] for scene in scenes)
    same = scenes[0].ground == scenes[1].ground
    if not same and voice.chance(0.6):
        return None
    if voice.is_english:
        answer = (
            f"Yes, it is {first} in both." if same else f"No, it is {first} in the first and {second} in the second."
        )
    else:
        answer = f"是的，都是{first}。" if same else f"不是，第一张是{first}，第二张是{second}。"
    return Turn(typed(voice.pick(SAME_GROUND), voice), answer, "two same ground", voice.language,
                truth="yes" if same else "no"), gallery  # fmt: skip


def _together(scenes: Pair, gallery: Gallery, voice: Voice) -> Step | None:
    first, second = scenes
    new = good(replace(first, ground=second.ground)) if first.ground != second.ground else None
    if new is None:
        return None
    turn = Turn(typed(voice.pick(TOGETHER), voice), painted([new], CHANGED, voice), "two together", voice.language,
                painted=(new,), asked=(Asked(Wish.of(new)),), before=first)  # fmt: skip
    return turn, gallery.with_painted(new)


TWO: dict[str, Callable[[Pair, Gallery, Voice], Step | None]] = {
    "describe": _describe_both,
    "which": _which,
    "same ground": _same_ground,
    "together": _together,
}

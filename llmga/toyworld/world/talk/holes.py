"""A picture in which the place of one thing is hidden, and what is to stand there."""

import random
from dataclasses import replace

from PIL import Image, ImageDraw

from llmga.toyworld.world.drawing import draw
from llmga.toyworld.world.judging import Wish
from llmga.toyworld.world.layout import SIDE, boxes
from llmga.toyworld.world.sampling import random_scene, random_thing
from llmga.toyworld.world.scene import Scene
from llmga.toyworld.world.talk import fitting_scenes, nouns
from llmga.toyworld.world.talk.answers import LEADS, painted
from llmga.toyworld.world.talk.asking import Asked
from llmga.toyworld.world.talk.gallery import Gallery
from llmga.toyworld.world.talk.slips import typed
from llmga.toyworld.world.talk.turns import Step, Turn
from llmga.toyworld.world.talk.voice import Voice, row

MARGIN = (2, 8)  # pixels around a hidden thing, at least and at most
FILL = row(
    ("{x}", "{x} here", "{x} there", "put {x} there", "paint {x} here", "fill it with {x}", "i want {x} there",
     "there should be {x}", "fill the hole with {x}", "make it {x}", "in the marked part {x}", "{x} in this spot"),
    ("{x}", "这里画{x}", "那里放{x}", "在这里画{x}", "用{x}填上", "我想在那里要{x}", "那里应该有{x}",
     "把空白处画成{x}", "填上{x}", "标出的地方画{x}", "这个位置放{x}"),
)  # fmt: skip


def filled(gallery: Gallery, voice: Voice) -> Step:
    """A wish for a hidden place: words tell the thing, and the picture where it stands and what is around it."""
    while True:
        scene = random_scene(voice.rng)
        if scene.bond:
            continue
        index = voice.rng.randrange(len(scene.things))
        old = scene.things[index]
        thing = replace(random_thing(voice.rng, scene.ground), place=old.place)
        named = {name: value for name, value in thing.attributes.items() if name in ("kind", "colour", "pattern")}
        named.pop("pattern") if thing.pattern == "plain" else None
        if voice.chance(0.4):
            named["size"] = thing.size
        else:
            thing = replace(thing, size=old.size)
        new = fitting_scenes.changed(scene, index, kind=thing.kind, colour=thing.colour, size=thing.size,
                                     pattern=thing.pattern)  # fmt: skip
        if new is not None:
            break
    others = [each.attributes for number, each in enumerate(scene.things) if number != index]
    wish = Wish((*others, {**named, "place": old.place}), (), scene.ground, scene.style)
    text = typed(voice.pick(FILL, x=nouns.wished(named, voice)), voice)
    turn = Turn(text, painted([new], LEADS, voice), "shown hole", voice.language, shown=(scene,), painted=(new,),
                asked=(Asked(wish),), before=scene, hidden=index)  # fmt: skip
    return turn, gallery.with_painted(new)


def with_hole(scene: Scene, index: int, rng: random.Random, side: int = SIDE) -> Image.Image:
    """A picture as the planner sees it when the place of one thing is marked: black where it is to be painted."""
    picture = draw(scene, side, side)
    margin, scale = rng.uniform(*MARGIN), side / SIDE
    left, top, right, bottom = boxes(scene)[index]
    box = ((left - margin) * scale, (top - margin) * scale, (right + margin) * scale, (bottom + margin) * scale)
    ImageDraw.Draw(picture).rectangle(box, fill=(0, 0, 0))
    return picture

"""Scenes that come of others: what may be drawn, and how things are put in, moved and taken away."""

from dataclasses import replace

from llmga.toyworld.world.kinds import HOSTS
from llmga.toyworld.world.layout import INSIDE, RADII, centres, is_clear
from llmga.toyworld.world.relations import SIDES, holds
from llmga.toyworld.world.sampling import carries, is_distinct, is_held_out, is_visible
from llmga.toyworld.world.scene import MOST_THINGS, PLACES, Scene, Thing
from llmga.toyworld.world.talk.habits import HABITS, ORDER


def is_good(scene: Scene) -> bool:
    """Whether everything in a scene can be seen and told apart, and training may see it."""
    if scene.bond and not _bond_is_good(scene):
        return False
    seen = all(is_visible(thing.colour, scene.ground) and carries(thing.kind, thing.size, thing.pattern)
               for thing in scene.things)  # fmt: skip
    return seen and is_clear(scene) and not is_held_out(scene)


def _bond_is_good(scene: Scene) -> bool:
    host, guest = scene.things[:2]
    if host.kind == guest.kind or host.pattern != "plain" or not is_distinct(guest.colour, host.colour):
        return False
    if scene.bond == INSIDE:
        return host.kind in HOSTS and (host.size, guest.size) == ("large", "small")
    return RADII[guest.size] < RADII[host.size]


def good(scene: Scene | None) -> Scene | None:
    """The scene if it is good."""
    return scene if scene is not None and is_good(scene) else None


def changed(scene: Scene, index: int, **values: str) -> Scene | None:
    """A scene with other attributes of one thing; a host takes its guest along."""
    things = list(scene.things)
    things[index] = replace(things[index], **values)
    if scene.bond and index == 0 and "place" in values:
        things[1] = replace(things[1], place=values["place"])
    return made(scene, things)


def made(scene: Scene, things: list[Thing], bond: str | None = None) -> Scene | None:
    """The same ground and style with other things; None when that is no good scene."""
    try:
        return good(replace(scene, things=tuple(things), bond=scene.bond if bond is None else bond))
    except ValueError:
        return None


def without(scene: Scene, index: int) -> Scene | None:
    """A scene without one of its things."""
    things = [thing for number, thing in enumerate(scene.things) if number != index]
    return made(scene, things, "" if scene.bond and index < 2 else scene.bond)


def moved_beside(scene: Scene, index: int, relation: str, other: int) -> Scene | None:
    """One thing moved to the nearest place at which it is left of (right of, above, below) another."""
    return _nearest(scene, scene.things[index], index, relation, other)


def added(scene: Scene, thing: Thing, relation: str = "", other: int = -1) -> Scene | None:
    """One thing more, where it is expected; beside another, or bound to it, if that is said."""
    if len(scene.things) >= MOST_THINGS:
        return None
    if relation and relation not in SIDES:
        if scene.bond or len(scene.things) > 2:
            return None
        host, rest = scene.things[other], [each for number, each in enumerate(scene.things) if number != other]
        return made(scene, [host, replace(thing, place=host.place), *rest], relation)
    return _nearest(scene, thing, None, relation, other)


def _nearest(scene: Scene, thing: Thing, index: int | None, relation: str, other: int) -> Scene | None:
    """The thing, instead of the one with a number or added, at the first place that fits."""
    target = PLACES.index(scene.things[other].place) if relation else 0

    def crooked(place: str) -> bool:
        row, column = divmod(PLACES.index(place), 3)
        return bool(relation) and ((row != target // 3) if relation in SIDES[:2] else (column != target % 3))

    for place in sorted(ORDER[HABITS[thing.kind].level], key=crooked):
        new = replace(thing, place=place)
        things = [*scene.things, new]
        if index is not None:
            things = [new if number == index else each for number, each in enumerate(scene.things)]
        found = made(scene, things)
        if found and (not relation or stands(found, new, relation, scene.things[other])):
            return found
    return None


def stands(scene: Scene, one: Thing, relation: str, other: Thing) -> bool:
    """Whether a relation holds between two things of a scene."""
    return holds(scene.bond, centres(scene), scene.things.index(one), relation, scene.things.index(other))

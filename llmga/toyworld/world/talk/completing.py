"""From what was named to a whole scene: what was left open is chosen as people expect it, and can be seen."""

import random
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product

from llmga.toyworld.world.colours import COLOURS
from llmga.toyworld.world.grounds import GROUNDS
from llmga.toyworld.world.judging import Wish
from llmga.toyworld.world.kinds import HOSTS, KINDS
from llmga.toyworld.world.layout import INSIDE, RADII, centres, is_clear
from llmga.toyworld.world.relations import SIDES, holds
from llmga.toyworld.world.sampling import carries, is_chosen, is_distinct, is_held_out, is_visible
from llmga.toyworld.world.scene import BONDS, PLACES, SIZES, Scene, Thing
from llmga.toyworld.world.talk.habits import ALONE, HABITS, ORDER

Never = tuple[tuple[int, str, str], ...]  # (thing, attribute, value) that must not be; thing -1 is the whole scene
Bound = tuple[str, int, int]  # bond, host, guest; ("", -1, -1) for none
CROOKED = 3  # how much worse it is when what is beside something stands in another row


def complete(wish: Wish, never: Never = (), *, seed: int = 0, held_out: bool = False) -> Scene | None:
    """The scene that people expect; the same wish and seed give the same scene.

    Args:
        never: what was asked not to be.
        held_out: whether pairs of attributes may occur that training never sees.

    Returns:
        None when no scene holds all that was named.
    """
    bound = _bound(wish)
    kinds = _kinds(wish, bound, never, random.Random(f"{seed} {wish} {never}"))
    for ground in _grounds(wish, kinds, never):
        looks = _looks(wish, kinds, ground, bound, never, held_out)
        if not looks:
            continue
        for sizes in _sizes(wish, kinds, looks, bound, never):
            places = _places(sizes, tuple(thing.get("place", "") for thing in wish.things),
                             tuple(HABITS[kind].level for kind in kinds), wish.relations, bound, never)  # fmt: skip
            if places is None:
                continue
            things = [
                Thing(kind, colour, size, pattern, place)
                for kind, (colour, pattern), size, place in zip(kinds, looks, sizes, places, strict=True)
            ]
            scene = _scene(ground, _style(wish, never), things, bound)
            if held_out or not is_held_out(scene):
                return scene
    return None


def _bound(wish: Wish) -> Bound:
    return next(((word, other, one) for one, word, other in wish.relations if word in BONDS), ("", -1, -1))


def _is_never(never: Never, thing: int, name: str, value: str) -> bool:
    return (thing, name, value) in never


def _kinds(wish: Wish, bound: Bound, never: Never, rng: random.Random) -> tuple[str, ...]:
    """Of every thing; where none was named, one that goes with the colour."""
    found = []
    for number, named in enumerate(wish.things):
        usual = [kind for kind, habit in HABITS.items() if named.get("colour", habit.colours[0]) in habit.colours
                 and not _is_never(never, number, "kind", kind)]  # fmt: skip
        if bound[0] == INSIDE and bound[1] == number:
            usual = [kind for kind in HOSTS if not _is_never(never, number, "kind", kind)]
        found.append(named.get("kind") or rng.choice(usual or list(KINDS)))
    return tuple(found)


def _grounds(wish: Wish, kinds: Sequence[str], never: Never) -> Iterator[str]:
    usual = [ground for kind in kinds for ground in HABITS[kind].grounds]
    for ground in [wish.ground] if wish.ground else dict.fromkeys((*usual, "white", "gray", *GROUNDS)):
        if not _is_never(never, -1, "ground", ground):
            yield ground


def _style(wish: Wish, never: Never) -> str:
    unwanted = _is_never(never, -1, "style", "flat")
    return wish.style or ("outlined" if unwanted else "flat")


def _looks(
    wish: Wish, kinds: Sequence[str], ground: str, bound: Bound, never: Never, held_out: bool
) -> list[tuple[str, str]] | None:
    """(colour, pattern) of every thing; None when something cannot be seen there."""
    looks: list[tuple[str, str]] = []
    for number, (named, kind) in enumerate(zip(wish.things, kinds, strict=True)):
        host = ""
        if bound[0] and number in bound[1:]:
            other = bound[1] if number == bound[2] else bound[2]
            host = looks[other][0] if other < number else wish.things[other].get("colour", "")
        usual = [named["colour"]] if "colour" in named else [*HABITS[kind].colours, *COLOURS]
        fit = [
            colour for colour in usual
            if is_visible(colour, ground) and not _is_never(never, number, "colour", colour)
            and (not host or is_distinct(colour, host)) and (held_out or not is_chosen(kind, colour))
        ]  # fmt: skip
        if not fit:
            return None
        striped = _is_never(never, number, "pattern", "plain")
        looks.append((fit[0], named.get("pattern") or ("striped" if striped else "plain")))
    return looks


def _sizes(
    wish: Wish, kinds: Sequence[str], looks: Sequence[tuple[str, str]], bound: Bound, never: Never
) -> Iterator[tuple[str, ...]]:
    """Sizes of all things, the expected ones first."""
    options = []
    for number, (named, kind, look) in enumerate(zip(wish.things, kinds, looks, strict=True)):
        usual: tuple[str, ...] = ("medium", "large", "small") if len(kinds) < 3 else ("small", "medium", "large")
        usual = ("large", "medium") if number == bound[1] else ("small", "medium") if number == bound[2] else usual
        options.append([size for size in ([named["size"]] if "size" in named else usual)
                        if carries(kind, size, look[1]) and not _is_never(never, number, "size", size)])  # fmt: skip
    for sizes in product(*options):
        if _bond_fits(sizes, looks, kinds, bound) and _alike_fit(wish, sizes):
            yield sizes


def _bond_fits(
    sizes: Sequence[str], looks: Sequence[tuple[str, str]], kinds: Sequence[str], bound: Bound
) -> bool:  # fmt: skip
    bond, host, guest = bound
    if not bond:
        return True
    if kinds[host] == kinds[guest] or looks[host][1] != "plain" or RADII[sizes[guest]] >= RADII[sizes[host]]:
        return False
    return bond != INSIDE or (kinds[host] in HOSTS and (sizes[host], sizes[guest]) == (SIZES[2], SIZES[0]))


def _alike_fit(wish: Wish, sizes: Sequence[str]) -> bool:
    """Things of which the same was said have the same size."""
    said = [tuple(sorted((name, value) for name, value in named.items() if name != "place")) for named in wish.things]
    return all(sizes[said.index(words)] == size for words, size in zip(said, sizes, strict=True))


@cache
def _places(
    sizes: tuple[str, ...], named: tuple[str, ...], levels: tuple[str, ...],
    relations: tuple[tuple[int, str, int], ...], bound: Bound, never: Never,
) -> tuple[str, ...] | None:  # fmt: skip
    """The places of all things, the expected ones first."""
    alone = len(sizes) == 1 or (len(sizes) == 2 and bound[0] != "")
    orders: list[Sequence[str]] = [
        [place] if place else ALONE if alone or number in bound[1:] else ORDER[level]
        for number, (place, level) in enumerate(zip(named, levels, strict=True))
    ]
    ranked = sorted(product(*map(enumerate, orders)), key=lambda ranks: _cost(ranks, relations))
    for ranks in ranked:
        places = tuple(place for _, place in ranks)
        if any(_is_never(never, number, "place", place) for number, place in enumerate(places)):
            continue
        if _fits(sizes, places, relations, bound):
            return places
    return None


def _cost(ranks: Sequence[tuple[int, str]], relations: Sequence[tuple[int, str, int]]) -> int:
    crooked = 0
    for one, relation, other in relations:
        if relation in SIDES:
            (row, column), (row2, column2) = (divmod(PLACES.index(ranks[n][1]), 3) for n in (one, other))
            crooked += (row != row2) if relation in SIDES[:2] else (column != column2)
    return sum(rank for rank, _ in ranks) + CROOKED * crooked


def _fits(sizes: Sequence[str], places: Sequence[str], relations: Sequence[tuple[int, str, int]], bound: Bound) -> bool:
    """Whether things of these sizes stand apart at these places, and as was said."""
    # Any kinds do: only sizes and places matter here.
    things = [Thing(kind, "red", size, "plain", place)
              for kind, size, place in zip(KINDS, sizes, places, strict=False)]  # fmt: skip
    try:
        scene = _scene("white", "flat", things, bound)
    except ValueError:
        return False
    order = [scene.things.index(thing) for thing in things]
    middles = centres(scene)
    return is_clear(scene) and all(
        holds(scene.bond, middles, order[one], relation, order[other]) for one, relation, other in relations
    )


def _scene(ground: str, style: str, things: Sequence[Thing], bound: Bound) -> Scene:
    bond, host, guest = bound
    if bond:
        rest = [thing for number, thing in enumerate(things) if number not in (host, guest)]
        things = [things[host], things[guest], *rest]
    return Scene(ground, style, tuple(things), bond)

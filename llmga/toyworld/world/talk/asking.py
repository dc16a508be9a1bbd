"""What a person asks for as data, and whether a picture, or the scene of a prompt, holds it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llmga.toyworld.world.judging import Wish, judge
from llmga.toyworld.world.layout import centres
from llmga.toyworld.world.oracle import Reading
from llmga.toyworld.world.placing import Seen
from llmga.toyworld.world.scene import Scene, Thing
from llmga.toyworld.world.talk.completing import Never

Allowed = Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Asked:
    """What one picture has to hold.

    Attributes:
        wish: what was named.
        never: what was asked not to be.
        allowed: of a vague wish, by attribute (`kind`, `ground` …), what fulfils it; of things one is enough.
    """

    wish: Wish = Wish((), only=False)
    never: Never = ()
    allowed: Allowed = field(default_factory=dict)

    @classmethod
    def of(cls, scene: Scene) -> "Asked":
        """Everything that a scene shows."""
        return cls(Wish.of(scene))

    def as_json(self) -> dict[str, Any]:
        """Plain values, for a file of cases."""
        return {
            "things": [dict(thing) for thing in self.wish.things],
            "relations": [list(relation) for relation in self.wish.relations],
            "ground": self.wish.ground,
            "style": self.wish.style,
            "only": self.wish.only,
            "never": [list(each) for each in self.never],
            "allowed": {name: sorted(values) for name, values in self.allowed.items()},
        }

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> "Asked":
        """What `as_json` gave."""
        wish = Wish(tuple(said["things"]), tuple(map(tuple, said["relations"])), said["ground"], said["style"],
                    said["only"])  # fmt: skip
        allowed = {name: frozenset(values) for name, values in said["allowed"].items()}
        return cls(wish, tuple(map(tuple, said["never"])), allowed)


def verdict(reading: Reading, asked: Asked) -> dict[str, bool]:
    """Every claim and whether a picture holds it: those of `judging.judge`, `never …` and `allowed …`."""
    found = judge(reading, asked.wish)
    things = [seen.thing for seen in reading.things]
    for number, name, value in asked.never:
        frame = {"ground": reading.ground, "style": reading.style}
        values = [frame.get(name, "")] if number < 0 else [getattr(thing, name) for thing in things]
        found[f"never {value}"] = value not in values
    for name, allowed in asked.allowed.items():
        found[f"allowed {name}"] = _has(reading, things, name, allowed)
    return found


def _has(reading: Reading, things: list[Thing], name: str, allowed: frozenset[str]) -> bool:
    if name in ("ground", "style"):
        return getattr(reading, name) in allowed
    return any(getattr(thing, name) in allowed for thing in things)


def as_reading(scene: Scene) -> Reading:
    """What the oracle would read in a faultless picture of a scene."""
    seen = tuple(Seen(thing, x, y) for thing, (x, y) in zip(scene.things, centres(scene), strict=True))
    return Reading(scene.ground, scene.style, seen, scene.bond, 0.0)


def holds_all(scene: Scene, asked: Asked) -> bool:
    """Whether a faultless picture of a scene would hold everything."""
    return all(verdict(as_reading(scene), asked).values())

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from llmga.toyworld.world.colours import COLOURS
from llmga.toyworld.world.grounds import GRADIENTS, GROUNDS, PLAIN, SETTINGS
from llmga.toyworld.world.scene import ATTRIBUTES, BONDS, STYLES, Scene, Thing


def test_the_world_is_as_large_as_promised():
    least = {"kind": 20, "colour": 10, "size": 3, "pattern": 3, "place": 9}
    assert {name: len(values) >= least[name] for name, values in ATTRIBUTES.items()} == dict.fromkeys(least, True)
    assert len(STYLES) == 3
    assert len(PLAIN) >= 6 and len(GRADIENTS) >= 3 and len(SETTINGS) == 6
    assert len(set(GROUNDS)) == len(GROUNDS)


def test_colours_are_well_apart():
    assert min(np.linalg.norm(np.subtract(a, b)) for a, b in combinations(COLOURS.values(), 2)) > 75


def test_things_are_kept_in_reading_order():
    star, boat = Thing("star", "red", place="top left"), Thing("boat", "blue", place="bottom")
    assert Scene("sea", "flat", (boat, star)) == Scene("sea", "flat", (star, boat))
    assert hash(Scene("sea", "flat", (boat, star))) == hash(Scene("sea", "flat", (star, boat)))
    assert Scene("sea", "flat", (boat, star)).things == (star, boat)


def test_a_bond_puts_the_host_first_and_the_free_thing_last():
    ring, fish = Thing("ring", "red", "large", place="right"), Thing("fish", "blue", "small", place="right")
    cloud = Thing("cloud", "white", "small", place="top left")
    assert Scene("sea", "flat", (ring, fish, cloud), "inside").things == (ring, fish, cloud)


@pytest.mark.parametrize(("make", "said"), [
    (lambda: Thing("cat", "red"), "unknown kind 'cat'; the world knows circle"),
    (lambda: Thing("star", "mauve"), "unknown colour 'mauve'; the world knows red"),
    (lambda: Scene("forest"), "unknown ground 'forest'; the world knows white"),
    (lambda: Scene("sea", "flat", (Thing("star", "red"),) * 2), "two things at one place"),
    (lambda: Scene("sea", "flat", tuple(Thing("star", "red", place=p) for p in ("top", "left", "right", "bottom"))),
     "4 things are too many"),
    (lambda: Scene("sea", "flat", (Thing("ring", "red"), Thing("star", "red", place="top")), "inside"),
     "'inside' needs two things at the same place"),
])  # fmt: skip
def test_what_cannot_be_is_refused_with_its_reason(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_a_change_leaves_the_rest():
    scene = Scene("sea", "flat", (Thing("star", "red", "large", "striped", "top left"),))
    assert scene.with_thing(0, colour="blue").things[0] == Thing("star", "blue", "large", "striped", "top left")
    assert Scene("snow", "flat", (Thing("star", "red", place="top"), Thing("star", "blue"))).counts() == {"star": 2}


def test_the_page_lists_every_word_of_the_world():
    page = (Path(__file__).parents[3] / "docs/train/toyworld.md").read_text("utf-8")
    rows = {cell.strip() for line in page.splitlines() if line.startswith("|") for cell in line.split("|")}
    words = {word for row in rows for part in row.split(";") for word in (w.strip() for w in part.split(","))}
    for name in (*ATTRIBUTES["kind"], *ATTRIBUTES["colour"], *ATTRIBUTES["size"], *ATTRIBUTES["pattern"], *STYLES):
        assert name in words, name
    assert set(GROUNDS) <= words and set(BONDS) <= words

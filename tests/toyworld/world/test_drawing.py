from itertools import combinations

import numpy as np
import pytest

from llmga.toyworld.world import grounds
from llmga.toyworld.world.colours import COLOURS
from llmga.toyworld.world.drawing import draw, render
from llmga.toyworld.world.grounds import GROUNDS
from llmga.toyworld.world.kinds import KINDS
from llmga.toyworld.world.layout import MARGIN, RADII, SIDE, centre, centres
from llmga.toyworld.world.scene import PATTERNS, PLACES, SIZES, STYLES, Scene, Thing
from llmga.toyworld.world.templates import DOTS, STRIPES, template

LATENT = 4  # pixels of a side that one latent stands for


def one(kind="square", colour="red", size="large", pattern="plain", place="center", ground="white", style="flat"):
    return Scene(ground, style, (Thing(kind, colour, size, pattern, place),))


def test_a_picture_shows_the_colours_of_thing_and_ground():
    pixels = np.asarray(draw(one(place="top left")))
    x, y = centre("top left", "large")
    assert pixels.shape == (SIDE, SIDE, 3)
    assert tuple(pixels[y, x]) == COLOURS["red"]
    assert tuple(pixels[90, 90]) == grounds.PLAIN["white"]


def test_edges_are_anti_aliased():
    assert len(np.unique(np.asarray(draw(one("circle"))).reshape(-1, 3), axis=0)) > 10


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("place", PLACES)
def test_things_stay_within_the_picture(size, place):
    x, y = centre(place, size)
    assert all(RADII[size] + MARGIN <= at <= SIDE - RADII[size] - MARGIN for at in (x, y))


@pytest.mark.parametrize("size", [(192, 192), (160, 120), (64, 96)])
def test_things_keep_their_shape_at_any_size_and_aspect(size):
    width, height = size
    wide = np.asarray(draw(one(place="bottom right", ground="white"), width, height), int)
    rows, columns = np.nonzero(np.abs(wide - grounds.PLAIN["white"]).sum(-1) > 100)
    unit = min(size) / SIDE
    assert np.ptp(rows) == pytest.approx(2 * 0.81 * RADII["large"] * unit, abs=2)
    assert np.ptp(columns) == pytest.approx(np.ptp(rows), abs=2)
    assert width - columns.max() >= MARGIN * unit


def test_a_picture_twice_as_large_is_the_same_picture():
    scene = one("fish", "orange", pattern="striped", ground="sea", style="outlined")
    large = render(scene, 2 * SIDE, 2 * SIDE).reshape(SIDE, 2, SIDE, 2, 3).mean((1, 3))
    assert np.abs(large - render(scene)).mean() < 1.5


@pytest.mark.parametrize("size", SIZES)
def test_no_two_kinds_look_alike(size):
    shown = {kind: template(kind, RADII[size], "plain", "flat") for kind in KINDS}
    for a, b in combinations(KINDS, 2):
        different = np.abs(shown[a] - shown[b]).sum() / 2
        assert different > 0.1 * min(shown[a].sum(), shown[b].sum()), (a, b)


@pytest.mark.parametrize("kind", KINDS)
def test_patterns_and_styles_change_the_look_of_every_kind(kind):
    def look(pattern, style):
        return render(one(kind, "blue", "medium", pattern, style=style))

    for a, b in combinations(PATTERNS, 2):
        assert np.abs(look(a, "flat") - look(b, "flat")).max() > 60
    for a, b in combinations(STYLES, 2):
        assert np.abs(look("plain", a) - look("plain", b)).max() > 60


def test_patterns_have_periods_that_latents_can_hold():
    assert STRIPES[0] >= 2 * LATENT and DOTS[0] >= 2 * LATENT


def test_covers_are_shares_of_a_pixel():
    for style in STYLES:
        covers = template("house", RADII["small"], "dotted", style)
        assert covers.min() >= 0 and covers.sum(0).max() <= 1 + 1e-5


@pytest.mark.parametrize("ground", GROUNDS)
def test_grounds_fill_pictures_of_any_size(ground):
    pixels = grounds.paint(ground, 50, 30)
    assert pixels.shape == (30, 50, 3)
    assert pixels.min() >= 0 and pixels.max() <= 255


def test_grounds_are_told_apart():
    painted = {name: grounds.paint(name, SIDE, SIDE) for name in GROUNDS}
    assert min(np.abs(painted[a] - painted[b]).mean() for a, b in combinations(GROUNDS, 2)) > 5


def test_a_thing_in_front_covers_a_part_of_its_host_on_the_same_foot():
    host, guest = Thing("house", "red", "large", place="left"), Thing("tree", "green", "small", place="left")
    scene = Scene("white", "flat", (host, guest), "in front of")
    (x, y), (guest_x, guest_y) = centres(scene)
    assert x < guest_x < x + RADII["large"]
    assert guest_y + RADII["small"] == y + RADII["large"]
    inside = Scene("white", "flat", (host, guest), "inside")
    assert len(set(centres(inside))) == 1

"""Sizes by their aspect."""

import pytest

from llmga.diffusers.aspects import ASPECTS, aspect_of, sized


@pytest.mark.parametrize(
    ("aspect", "size"),
    [("1:1", (1024, 1024)), ("4:3", (1152, 896)), ("3:4", (896, 1152)), ("16:9", (1344, 768)), ("9:16", (768, 1344))],
)
def test_sizes_of_sdxl_are_among_those_that_it_was_trained_on(aspect, size):
    assert sized(aspect, (1024, 1024)) == size


@pytest.mark.parametrize("side", [64, 512, 768, 1024])
@pytest.mark.parametrize("aspect", ASPECTS)
def test_every_size_keeps_its_area_and_about_its_aspect(aspect, side):
    width, height = sized(aspect, (side, side))
    assert width % 8 == height % 8 == 0
    assert abs(width * height / side**2 - 1) < 0.1 and abs(width / height / float(ASPECTS[aspect]) - 1) < 0.1
    assert aspect_of((width, height), (side, side)) == aspect


def test_another_size_has_no_aspect():
    assert aspect_of((64, 8), (64, 64)) is None

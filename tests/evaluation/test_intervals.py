"""Wilson's interval against figures that others printed."""

import pytest

from llmga.evaluation.intervals import wilson


@pytest.mark.parametrize(
    ("right", "of", "low", "high"),
    [  # Newcombe, Statistics in Medicine 17 (1998), table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_published_figures(right, of, low, high):
    assert wilson(right, of) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_right_and_wrong_mirror_each_other():
    low, high = wilson(3, 11)
    assert wilson(8, 11) == (pytest.approx(1 - high), pytest.approx(1 - low))


def test_more_cases_and_less_confidence_are_narrower():
    def width(interval):
        return interval[1] - interval[0]

    assert width(wilson(90, 100)) > width(wilson(900, 1000)) > width(wilson(900, 1000, confidence=0.5)) > 0


def test_ends_are_exact_and_never_without_width():
    assert wilson(0, 7)[0] == 0.0 < wilson(0, 7)[1] < 1 and wilson(7, 7)[1] == 1.0 > wilson(7, 7)[0] > 0
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("case", [(-1, 5), (6, 5), (0, -1), (1, 2, 0.0), (1, 2, 1.0)])
def test_what_is_out_of_range_is_refused(case):
    with pytest.raises(ValueError, match="right <= of"):
        wilson(*case)

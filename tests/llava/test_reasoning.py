"""Thoughts are cut out of a reply, however it is cut into pieces."""

import pytest

from llmga.llava.reasoning import without_reasoning


@pytest.mark.parametrize("size", [1, 2, 5, 99])
@pytest.mark.parametrize(
    ("reply", "spoken"),
    [
        ("<think>hm, a <gen_image> b </gen_image></think>\n\nHello <think>.", "Hello <think>."),
        ("\n <think></think>Hello", "Hello"),
        ("  Hello", "  Hello"),
        ("<thin ice", "<thin ice"),
        ("<thin", "<thin"),
        ("<think>never ends", ""),
        ("<think>a</think> ", ""),
        (" ", " "),
        ("", ""),
    ],
)
def test_only_the_thought_that_opens_a_reply_is_left_out(reply, spoken, size):
    pieces = (reply[start : start + size] for start in range(0, len(reply), size))
    assert "".join(without_reasoning(pieces)) == spoken


def test_words_pass_at_once():
    given = []

    def pieces():
        for piece in ("Hel", "lo", " you"):
            given.append(piece)
            yield piece

    assert next(without_reasoning(pieces())) == "Hel"
    assert given == ["Hel"]

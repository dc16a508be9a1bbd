"""The same reply gives the same events, however it is cut."""

from itertools import combinations

import pytest

from llmga.llava.generation_prompt import GenerationPrompt, PromptStarted, Spoken, parse

CLOSED = {
    "No picture here.": [Spoken("No picture here.")],
    "": [],
    "<gen_image> a fox </gen_image>": [PromptStarted(), GenerationPrompt("a fox", True)],
    "Hi <gen_image>a</gen_image> and <gen_image>  b  </gen_image>!": [
        Spoken("Hi "),
        PromptStarted(),
        GenerationPrompt("a", True),
        Spoken(" and "),
        PromptStarted(),
        GenerationPrompt(" b ", True),
        Spoken("!"),
    ],
    "<gen_image> a fox": [PromptStarted(), GenerationPrompt("a fox", False)],
    "<gen_image> a fox </gen_im": [PromptStarted(), GenerationPrompt("a fox", False)],
    "only </gen_image> the end": [Spoken("only </gen_image> the end")],
    "<gen_image> a <gen_image>b </gen_image>": [PromptStarted(), GenerationPrompt("a b", True)],
    "<gen_image> </gen_image>x<gen_image></gen_image>": [Spoken("x")],
    "<gen_image>  ": [],
    "1 < 2 <gen_ <gen_imag": [Spoken("1 < 2 <gen_ <gen_imag")],
    "<<gen_image>é 日</gen_image>": [Spoken("<"), PromptStarted(), GenerationPrompt("é 日", True)],
}


def merged(events):
    """Spoken text in one piece: where it is cut is the model's rhythm, not its meaning."""
    out = []
    for event in events:
        if isinstance(event, Spoken) and out and isinstance(out[-1], Spoken):
            event = Spoken(out.pop().text + event.text)
        out.append(event)
    return out


@pytest.mark.parametrize("reply", CLOSED)
def test_every_cut_gives_the_same_events(reply):
    inner = range(1, len(reply))
    for cuts in [(), *((cut,) for cut in inner), *combinations(inner, 2), tuple(inner)]:
        edges = [0, *cuts, len(reply)]
        chunks = [reply[start:end] for start, end in zip(edges, edges[1:], strict=False)]
        assert merged(parse(chunks)) == CLOSED[reply], chunks


def test_words_are_spoken_as_soon_as_they_come():
    events = parse(iter(["Hel", "lo <", "3 you"]))
    assert list(events) == [Spoken("Hel"), Spoken("lo "), Spoken("<3 you")]


def test_a_prompt_is_announced_before_it_is_complete():
    def chunks():
        yield "<gen_image> a"
        raise AssertionError("asked for more before the announcement")

    assert next(parse(chunks())) == PromptStarted()

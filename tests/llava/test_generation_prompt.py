"""The same reply gives the same events, however it is cut."""

from itertools import combinations

import pytest

from llmga.errors import UserError
from llmga.llava.generation_prompt import (
    GenerationPrompt,
    GenerationPromptParser,
    PromptStarted,
    Spoken,
    canonical,
    parse,
    with_prompt,
)

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
    "only </gen_image> the end": [Spoken("only  the end")],
    "<gen_image> a <gen_image>b </gen_image>": [
        PromptStarted(),
        GenerationPrompt("a", True),
        PromptStarted(),
        GenerationPrompt("b", True),
    ],
    "<gen_image> <gen_image> a </gen_image>": [PromptStarted(), GenerationPrompt("a", True)],
    "<gen_image> a <gen_image>": [PromptStarted(), GenerationPrompt("a", True)],
    "<gen_image> a </gen_image></gen_image>": [PromptStarted(), GenerationPrompt("a", True)],
    "<gen_image>\ufffd\n</gen_image>": [],
    "<Gen-Image> 1 < 2 [/ gen images ]": [PromptStarted(), GenerationPrompt("1 < 2", True)],
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


STARTS = ["<gen_img>", "<Gen_Image>", "< gen_image >", "<gen-image>", "<genimage>", "<gen image>", "[gen_image]"]
STARTS += ["<gen__image>", "<gen_images>", "<gen\\_image>", "<GEN_IMAGE>", "<gen_imge>"]
ENDS = [
    "</gen_img>",
    "</ gen_image>",
    "< / gen_image>",
    "<\\gen_image>",
    "<//gen_image>",
    "</Gen-Images>",
    "[/gen_image]",
]
ENDS += ["<gen_image/>", "<gen_image />"]


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("end", ENDS)
def test_a_misspelt_tag_is_a_tag(start, end):
    reply = f"Hi {start} a fox {end} ok"
    expected = [Spoken("Hi "), PromptStarted(), GenerationPrompt("a fox", True), Spoken(" ok")]
    assert merged(parse([reply])) == merged(parse(reply)) == expected
    assert canonical(reply) == "Hi <gen_image> a fox </gen_image> ok"


PROSE = ["a < b and b > c", "<b>bold</b>", "x <gen> y", "<image>", "[image]", "[generated image]", "gen_image", "<3"]
PROSE += ["<gen_imagination>", "</gen>", "<generation image>", "vector<gen>", "a <gen_image", "<gen_\nimage>"]


@pytest.mark.parametrize("text", PROSE)
def test_prose_is_not_a_tag(text):
    assert merged(parse(text)) == [Spoken(text)]
    assert canonical(text) == text


@pytest.mark.parametrize(
    ("reply", "written"),
    [
        ("<gen_image>a</gen_image>", "<gen_image> a </gen_image>"),
        ("Ok <gen_image> </gen_image>", "Ok "),
        ("Ok <gen_image> a fox", "Ok <gen_image> a fox"),
        ("Ok <gen_image> a fox </gen_im", "Ok <gen_image> a fox"),
        ("Ok </gen_image>", "Ok "),
        ("<gen_<gen_image> </gen_image>image> a", "<gen_image> a"),
    ],
)
def test_history_has_the_tags_of_the_training(reply, written):
    assert canonical(reply) == written
    assert canonical(reply, closed=True) == written + " </gen_image>" * (written.count("gen_image") == 1)


def test_one_prompt_of_a_reply_is_replaced():
    reply = "First <GEN_IMAGE> a cat </gen_image> then <gen_image> a dog"
    assert with_prompt(reply, 0, " a bird ") == "First <gen_image> a bird </gen_image> then <gen_image> a dog"
    assert (
        with_prompt(reply, 1, "a bird") == "First <gen_image> a cat </gen_image> then <gen_image> a bird </gen_image>"
    )
    for number, prompt in ((2, "a bird"), (-1, "a bird"), (0, " "), (0, "a </gen_image> b")):
        with pytest.raises(UserError, match="does not exist|is no prompt"):
            with_prompt(reply, number, prompt)


def test_a_parser_that_has_read_the_beginning_goes_on():
    parser = GenerationPromptParser()
    assert list(parser.feed("Here <gen_image> a red")) == [Spoken("Here "), PromptStarted()]
    assert list(parse([" fox </gen_", "image>"], parser)) == [GenerationPrompt("a red fox", closed=True)]

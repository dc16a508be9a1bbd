"""What holds for every conversation and every way of cutting a reply."""

from collections.abc import Iterable

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as some

from llmga.llava.conversation import Conversation, Message
from llmga.llava.generation_prompt import (
    END,
    LONGEST_TAG,
    START,
    TAG,
    Event,
    GenerationPrompt,
    GenerationPromptParser,
    PromptStarted,
    Spoken,
    canonical,
    parse,
    visible,
)
from llmga.llava.templates import TEMPLATES
from llmga.llava.tokenization import IGNORED, encode

MARKERS = ["USER: ", " ASSISTANT: ", "</s>", "[/INST] ", "<|im_end|>", "<|im_start|>", "###", "<end_of_turn>", "\n", ""]
WORDS = some.lists(some.sampled_from(MARKERS) | some.text(max_size=6), max_size=5).map("".join)
PARTS = ["<[", " ", "/\\", " ", ("gen", "GEN"), "_- \\", ("image", "Img"), ("", "s"), " ", "/\\", " ", ">]"]
OFTEN = [1, 2, 2, 2, 1, 3, 1, 1, 2, 1, 2, 1]  # how many of each part a tag may have; one at least of the longer ones
TAGS = some.tuples(
    *(
        some.lists(some.sampled_from(part), min_size=1 if many == 1 and part != "/\\" else 0, max_size=many).map(
            "".join
        )
        for part, many in zip(PARTS, OFTEN, strict=True)
    )
).map("".join)
PIECES = some.sampled_from([START, END, "<gen_", "image>", " ", "</", "<", "\ufffd"]) | TAGS | some.text(max_size=5)
REPLIES = some.lists(PIECES, max_size=8).map("".join)
TALKS = some.lists(some.builds(Message, some.sampled_from(["user", "assistant"]), WORDS), max_size=5).map(
    lambda turns: Conversation(tuple(turns))
)
QUICK = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def joined(events: Iterable[Event]) -> list[Event]:
    """Neighbouring words as one: only these may depend on the chunks."""
    whole: list[Event] = []
    for event in events:
        if isinstance(event, Spoken) and whole and isinstance(whole[-1], Spoken):
            whole[-1] = Spoken(whole[-1].text + event.text)
        else:
            whole.append(event)
    return whole


@QUICK
@given(reply=REPLIES, cuts=some.lists(some.integers(0, 60), max_size=8))
def test_events_do_not_depend_on_the_chunks(reply, cuts):
    edges = sorted({min(cut, len(reply)) for cut in cuts} | {0, len(reply)})
    chunks = [reply[start:end] for start, end in zip(edges, edges[1:], strict=False)]
    assert joined(parse(chunks)) == joined(parse([reply])) == joined(parse(reply))


@QUICK
@given(tag=TAGS)
def test_a_tag_in_any_spelling_is_short(tag):
    assert TAG.fullmatch(tag)
    assert len(tag) <= LONGEST_TAG
    assert not list(parse([tag]))


@QUICK
@given(reply=REPLIES)
def test_less_than_a_tag_is_held_back(reply):
    parser = GenerationPromptParser()
    spoken = ""
    for length, character in enumerate(reply, 1):
        spoken += "".join(event.text for event in parser.feed(character) if isinstance(event, Spoken))
        assert len(parser.held) < LONGEST_TAG
        if not TAG.search(reply[:length]):
            assert spoken + parser.held == reply[:length]


@QUICK
@given(reply=REPLIES)
def test_events_keep_their_order_and_lose_no_words(reply):
    events = list(parse([reply]))
    started = [index for index, event in enumerate(events) if isinstance(event, PromptStarted)]
    prompts = [index for index, event in enumerate(events) if isinstance(event, GenerationPrompt)]
    assert [index + 1 for index in started] == prompts
    assert all(event.text for event in events if isinstance(event, Spoken))
    assert all(visible(events[index].text) for index in prompts)
    assert all(events[index].closed for index in prompts[:-1])
    if not TAG.search(reply):
        assert "".join(event.text for event in events) == reply
    assert not any(TAG.search(event.text) for event in events if not isinstance(event, PromptStarted))


@QUICK
@given(reply=REPLIES)
@example(reply="<gen_image><gen_<gen_")  # each reading drops one more tag that was begun
def test_a_canonical_reply_says_and_paints_the_same(reply):
    written = canonical(reply)
    assert canonical(written) == written
    assert canonical(written, closed=True) == canonical(canonical(reply, closed=True))
    assert {found.group() for found in TAG.finditer(written)} <= {START, END}
    if written == "".join(map(written_out, parse([reply]))):  # nothing that was dropped parted a tag
        assert joined(parse([written])) == joined(parse([reply]))


def written_out(event):
    match event:
        case GenerationPrompt(text, closed):
            return f"{START} {text}" + f" {END}" * closed
        case Spoken(text):
            return text
    return ""


@QUICK
@given(talk=TALKS, name=some.sampled_from(sorted(TEMPLATES)), open_turn=some.booleans())
def test_spans_hold_exactly_the_replies(talk, name, open_turn):
    template = TEMPLATES[name]
    rendered = template.render(talk, open_turn)
    replies = [turn.text for turn in talk.messages if turn.role == "assistant"]
    said = [rendered.text[start:end] for start, end in rendered.assistant_spans]
    assert said == [template.reply_head + reply + template.reply_tail for reply in replies]
    edges = [edge for span in rendered.assistant_spans for edge in span]
    assert edges == sorted(edges)
    assert rendered.text.endswith(template.assistant_head if open_turn else "")


@QUICK
@given(talk=TALKS, name=some.sampled_from(sorted(TEMPLATES)))
def test_labels_are_exactly_the_replies(bytes_as_tokens, talk, name):
    rendered = TEMPLATES[name].render(talk)
    encoded = encode(rendered, bytes_as_tokens, -200, 3)
    supervised = [label for label in encoded.labels if label != IGNORED]
    spans = "".join(rendered.text[start:end] for start, end in rendered.assistant_spans)
    assert supervised == list(encode_words(bytes_as_tokens, rendered))
    assert bytes_as_tokens.decode(supervised, clean_up_tokenization_spaces=False) == spans
    assert all(label in (IGNORED, token) for token, label in zip(encoded.input_ids, encoded.labels, strict=True))


def encode_words(tokenizer, rendered):
    """The ids of the spans alone: one token is one byte or one marker, so they do not depend on what is around."""
    for start, end in rendered.assistant_spans:
        yield from tokenizer(rendered.text[start:end])["input_ids"]


@QUICK
@given(talk=TALKS, pictures=some.integers(0, 3))
def test_every_picture_has_its_positions(bytes_as_tokens, talk, pictures):
    seen = Conversation((Message("user", "look", (None,) * pictures), *talk.messages))
    encoded = encode(TEMPLATES["qwen_2"].render(seen), bytes_as_tokens, -200, 3)
    assert encoded.input_ids.count(-200) == 3 * pictures
    assert all(
        label == IGNORED for token, label in zip(encoded.input_ids, encoded.labels, strict=True) if token == -200
    )

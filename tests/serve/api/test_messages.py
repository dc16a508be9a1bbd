"""Messages as a conversation."""

import pytest
from PIL import Image

from llmga.llava.conversation import Conversation, Message
from llmga.serve.api.chat_schemas import MessageIn
from llmga.serve.api.messages import latest, to_conversation

PICTURES = {name: Image.new("RGB", (1, 1)) for name in "ab"}


def conversation(*messages):
    told = [
        MessageIn.model_validate(dict(zip(("role", "content", "images"), message, strict=False)))
        for message in messages
    ]
    return to_conversation(told, lambda url: PICTURES[url.rpartition("/")[2]])


def picture(name):
    return {"type": "image_url", "image_url": {"url": f"https://example.com/{name}"}}


def text(words):
    return {"type": "text", "text": words}


def test_turns_of_one_speaker_are_one_and_systems_are_the_system():
    made = conversation(
        ("system", "S"), ("user", "a"), ("user", "b"), ("assistant", "c"), ("developer", "D"), ("user", "d")
    )
    assert made == Conversation((Message("user", "a\nb"), Message("assistant", "c"), Message("user", "d")), "S\n\nD")


def test_pictures_beside_one_text_go_in_front_as_in_training():
    made = conversation(("user", [text("which?"), picture("a"), picture("b")]))
    assert made.messages[0].marked_text() == "<image>\n<image>\nwhich?"
    assert made.images() == (PICTURES["a"], PICTURES["b"])


def test_pictures_among_texts_stay_where_they_are():
    made = conversation(("user", [text("is"), picture("a"), text("like <image>"), picture("b")]))
    assert made.messages[0].marked_text() == "is\n<image>\nlike <image >\n<image>"


def test_prompts_of_earlier_pictures_return_to_their_places():
    images = [
        {"revised_prompt": "a cat", "offset": 6},
        {"revised_prompt": "a dog", "offset": 11},
        {"revised_prompt": "", "offset": 3},
    ]
    made = conversation(("user", "go"), ("assistant", "First then done", images), ("user", "on"))
    wrote = "First <gen_image> a cat </gen_image>then <gen_image> a dog </gen_image>done"
    assert made.messages[1].text == wrote


@pytest.mark.parametrize(
    ("roles", "turns", "system"),
    [
        (["assistant"], ["assistant: x", "user: Please go on."], None),
        (["user", "assistant"], ["user: x", "assistant: x", "user: Please go on."], None),
        (["assistant", "user"], ["assistant: x", "user: x"], None),
        (["system", "developer", "user", "assistant"], ["user: x", "assistant: x", "user: Please go on."], "x\n\nx"),
        (["system"], ["user: x"], None),
        (["developer", "developer"], ["user: x\n\nx"], None),
    ],
)
def test_whoever_begins_and_ends_there_is_something_to_answer(roles, turns, system):
    made = conversation(*((role, "x") for role in roles))
    assert [f"{message.role}: {message.text}" for message in made.messages] == turns and made.system == system
    assert latest(made, 1000) == made


def test_what_no_model_would_read_is_left_out_from_the_front():
    turns = [Message("user" if number % 2 == 0 else "assistant", "x" * 10) for number in range(7)]
    assert latest(Conversation(tuple(turns)), 35).messages == tuple(turns[4:])
    assert latest(Conversation(tuple(turns)), 45).messages == tuple(turns[4:])
    assert latest(Conversation(tuple(turns)), 1).messages == tuple(turns[6:])
    assert latest(Conversation(tuple(turns)), 1000).messages == tuple(turns)


def test_a_refusal_in_a_persons_message_stands_for_no_picture():
    refusal = {"type": "refusal", "refusal": "no"}
    assert conversation(("user", [refusal, text("hello")])).messages == (Message("user", "hello"),)


@pytest.mark.parametrize("said", ["", " \n", "\x00", None, []])
def test_who_says_nothing_asks_to_go_on(said):
    assert conversation(("assistant", "once"), ("user", said)).messages[-1] == Message("user", "Please go on.")
    assert conversation(("system", said)).messages == (Message("user", "Please go on."),)

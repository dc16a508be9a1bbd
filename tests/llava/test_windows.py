"""Which turns a model is shown of a conversation that is longer than it can read or was taught to read."""

import pytest
from PIL import Image

from llmga.errors import UserError
from llmga.llava.conversation import Conversation
from llmga.llava.windows import fitting, windows

PICTURE = Image.new("RGB", (8, 8))


def talk(*exchanges: str) -> Conversation:
    """One exchange a letter: "p" answers with a prompt, "s" asks with a picture, "t" only talks; and a question."""
    conversation = Conversation()
    for number, letter in enumerate(exchanges):
        shown = (PICTURE,) if letter == "s" else ()
        prompt = f" <gen_image> scene {number} </gen_image>" if letter == "p" else ""
        conversation = conversation.say("user", f"q{number}", shown).say("assistant", f"a{number}{prompt}")
    return conversation.say("user", "now")


def shown(window: Conversation) -> str:
    """The numbers of the exchanges that are left."""
    assert window.messages[-1].text == "now"
    assert all(answer.text.startswith("a" + ask.text[1:]) for ask, answer in zip(*pairs(window), strict=True))
    return "".join(ask.text[1:] for ask in pairs(window)[0])


def pairs(window: Conversation):
    return window.messages[:-1:2], window.messages[1:-1:2]


def test_what_no_picture_hangs_on_goes_first_and_the_last_prompt_last():
    left = [shown(window) for window in windows(talk(*"tptpstptt"))]
    assert left == ["012345678", "12345678", "1345678", "134678", "13468", "1346", "346", "46", "6", ""]


def test_a_conversation_without_pictures_loses_its_oldest_turns():
    assert [shown(window) for window in windows(talk(*"ttt"))] == ["012", "12", "2", ""]


@pytest.mark.parametrize(("turns", "first"), [(None, "0123456"), (8, "0123456"), (7, "123456"), (4, "146"), (1, "")])
def test_a_model_sees_as_many_turns_as_it_was_taught(turns, first):
    assert shown(next(windows(talk(*"tpttptp"), turns))) == first


def test_the_question_alone_is_the_shortest_window():
    assert [shown(window) for window in windows(talk())] == [""]


def test_the_longest_window_that_leaves_room_is_taken():
    def letters(window: Conversation) -> str:
        return "".join(message.text for message in window.messages)

    window, prompt = fitting(talk(*"ttt"), letters, 19, 5)
    assert shown(window) == "12"
    assert len(prompt) <= 14
    with pytest.raises(UserError, match="takes 3 tokens, the model reads at most 3"):
        fitting(talk(*"t"), letters, 3, 5)

"""What a person can do beside saying something: take back, ask again, reword, paint again, repair."""

from dataclasses import replace

import pytest
from PIL import Image

from llmga.assistant.events import Failed, PictureReady, PromptFound, TextDelta
from llmga.assistant.session import Turn
from llmga.errors import UserError

ONE = "Here it is. <gen_image> a red circle </gen_image> Do you like it?"
TWO = "First <gen_image> a cat </gen_image> then <gen_image> a dog </gen_image> done"


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


def answer(assistant, text="go", **turn):
    return list(assistant.stream(Turn(text, **turn)))


def said(assistant):
    return [message.text for message in assistant.session.conversation.messages]


def test_an_undone_turn_leaves_no_trace_but_its_seeds_are_spent(toy):
    assistant = toy(ONE, ONE, ONE, seed=10)
    answer(assistant, "first"), answer(assistant, "second")
    assert assistant.undo() == Turn("second")
    assert said(assistant) == ["first", ONE] and len(assistant.exchanges) == 1
    assert of(PictureReady, answer(assistant, "third"))[0].record.seed == 12
    assert [sampling.seed for sampling in assistant.planner.samplings] == [10, 11, 12]


def test_there_is_nothing_to_undo_at_first(toy):
    with pytest.raises(UserError, match="say something first"):
        toy().undo()
    assert of(Failed, toy().retry()) and of(Failed, toy().repaint())


def test_undo_takes_back_the_picture_at_work(toy):
    picture, mask = Image.new("RGB", (16, 8)), Image.new("L", (16, 8))
    mask.paste(255, (0, 0, 8, 8))
    assistant = toy(ONE, ONE, ONE)
    answer(assistant)
    answer(assistant, images=(picture,), mask=mask)
    assistant.undo()
    answer(assistant)
    assert assistant.pipeline.calls[-1].mask is None


def test_a_retry_answers_the_same_turn_with_another_seed(toy):
    assistant = toy(ONE, "No.", ONE, seed=1)
    answer(assistant, "first"), answer(assistant, "second")
    events = list(assistant.retry())
    assert said(assistant) == ["first", ONE, "second", ONE]
    assert of(PictureReady, events)[0].record.seed == 2
    assert [sampling.seed for sampling in assistant.planner.samplings] == [1, 2, 3]


def test_an_edited_turn_forgets_what_followed(toy):
    assistant = toy(ONE, "b", "c", "d")
    answer(assistant, "one"), answer(assistant, "two"), answer(assistant, "three")
    list(assistant.edit(1, "deux"))
    assert said(assistant) == ["one", ONE, "deux", "d"]
    assert [exchange.turn.text for exchange in assistant.exchanges] == ["one", "deux"]


def test_an_edit_that_fails_before_its_first_word_changes_nothing(toy):
    assistant = toy(ONE, "b")
    answer(assistant, "one"), answer(assistant, "two")
    before = assistant.session
    events = list(assistant.edit(0, " "))
    assert of(Failed, events) and assistant.exchanges == before.exchanges
    assert said(assistant) == ["one", ONE, "two", "b"]


def test_a_picture_is_painted_again_without_a_word(toy):
    assistant = toy(ONE, seed=5)
    answer(assistant)
    events = list(assistant.repaint())
    assert not of(TextDelta, events)
    (ready,) = of(PictureReady, events)
    assert (ready.record.prompt, ready.record.seed) == ("a red circle", 6)
    assert [painting.record.seed for painting in assistant.exchanges[0].paintings] == [5, 6]
    assert len(assistant.planner.samplings) == 1


def test_an_edited_prompt_is_painted_and_stands_in_the_conversation(toy):
    assistant = toy(TWO, "ok")
    answer(assistant), answer(assistant)
    events = list(assistant.repaint(0, 1, prompt="a blue bird", seed=99))
    assert of(PromptFound, events)[0].prompt == "a blue bird"
    assert of(PictureReady, events)[0].record.seed == 99
    assert said(assistant)[1] == TWO.replace("a dog", "a blue bird") and said(assistant)[-1] == "ok"


def test_a_picture_that_was_seen_belongs_to_its_turn_even_if_nobody_listens_on(toy):
    assistant = toy(ONE)
    answer(assistant)
    events = assistant.repaint(prompt="a dog")
    next(event for event in events if isinstance(event, PictureReady))
    events.close()
    assert len(assistant.exchanges[0].paintings) == 2 and "a dog" in said(assistant)[1]


@pytest.mark.parametrize("prompt", ["", "  ", "a <gen_image> b"])
def test_a_prompt_that_is_none_is_refused(toy, prompt):
    assistant = toy(ONE)
    answer(assistant)
    assert "is no prompt" in of(Failed, assistant.repaint(prompt=prompt))[0].message
    assert said(assistant)[1] == ONE and len(assistant.pipeline.calls) == 1


def test_a_repaint_is_into_the_same_part_of_the_same_picture(toy):
    picture, mask = Image.new("RGB", (16, 8)), Image.new("L", (16, 8))
    mask.paste(255, (0, 0, 8, 8))
    assistant = toy(ONE, "b")
    answer(assistant, images=(picture,), mask=mask), answer(assistant, images=(Image.new("RGB", (4, 4)),))
    list(assistant.repaint(0))
    first, second = assistant.pipeline.calls
    assert second.image is first.image and second.mask is first.mask


def test_a_repaired_answer_is_gone_on_with(toy):
    assistant = toy("Sure: <gen_image> a red", seed=3)

    assistant.planner.repairs = True
    assistant.planner.repair = lambda conversation, sampling, cancelled: (piece for piece in [" circle </gen_image>"])
    answer(assistant)
    events = list(assistant.repair())
    assert said(assistant)[-1] == "Sure: <gen_image> a red circle </gen_image>"
    assert [type(event).__name__ for event in events if not isinstance(event, TextDelta)][0] == "PromptFound"
    assert of(PromptFound, events)[0].prompt == "a red circle"
    assert len(assistant.exchanges[0].paintings) == 2


def test_an_answer_that_asks_for_a_picture_needs_no_repair(toy):
    assistant = toy(ONE)
    assistant.planner.repairs = True
    answer(assistant)
    assert "nothing to repair" in of(Failed, assistant.repair())[0].message


def test_only_our_models_repair(toy):
    assistant = toy("no")
    answer(assistant)
    assert "one of our own models" in of(Failed, assistant.repair())[0].message


@pytest.mark.parametrize("text", ["", " \n", "<image>", " <image> <image>", "\x07\x1b"])
def test_a_message_that_says_nothing_is_refused(toy, text):
    assistant = toy(ONE)
    assert "says nothing" in of(Failed, answer(assistant, text))[0].message
    assert assistant.exchanges == ()


def test_control_characters_do_not_reach_the_model(toy):
    assistant = toy("ok")
    answer(assistant, "a\x00 red\x1b[2J\n\tcircle \ud800")
    assert said(assistant)[0] == "a red[2J\n\tcircle ?"


def test_a_prompt_waits_for_its_painting_and_may_be_changed_first(toy):
    assistant = toy(TWO, paint=False)
    events = answer(assistant)
    assert [event.prompt for event in of(PromptFound, events)] == ["a cat", "a dog"] and not of(PictureReady, events)
    assistant.settings = replace(assistant.settings, paint=True)
    (ready,) = of(PictureReady, list(assistant.paint(0, 1, "a horse")))
    assert ready.record.prompt == "a horse" and ready.record.request == "go"
    assert said(assistant)[-1] == TWO.replace("a dog", "a horse")
    assert [painting.number for painting in assistant.exchanges[0].paintings] == [1]
    assert of(Failed, list(assistant.paint(0, 2))) and of(Failed, list(assistant.paint(1, 0)))


def test_a_region_that_was_left_is_not_painted_into(toy):
    assistant = toy(ONE, ONE, ONE)
    mask = Image.new("L", (16, 8))
    mask.paste(255, (0, 0, 8, 8))
    answer(assistant, images=(Image.new("RGB", (16, 8)),), mask=mask)
    assert assistant.region is not None
    assistant.leave_region()
    answer(assistant)
    list(assistant.retry())
    assert [call.mask is None for call in assistant.pipeline.calls] == [False, True, True]

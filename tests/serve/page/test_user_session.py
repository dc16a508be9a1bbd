"""One person's session, without a browser."""

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llmga.assistant.bounds import Bounds
from llmga.assistant.image_files import read
from llmga.assistant.session import Settings
from llmga.assistant.session_file import load_session
from llmga.errors import UserError
from llmga.serve.page.controls import Chosen
from llmga.serve.page.mask_editor import EditorValue
from llmga.serve.page.transcript import Notice
from llmga.serve.page.user_session import MessageSubject

ONE = "Here. <gen_image> a red circle </gen_image> Good?"
TWO = "First <gen_image> a cat </gen_image> then <gen_image> a dog </gen_image> done"


def half(size):
    mask = Image.new("L", size)
    mask.paste(255, (0, 0, size[0] // 2, size[1]))
    return mask


def test_an_answer_grows_step_by_step_and_ends_as_the_session_has_it(session, talk):
    here, seen = session(ONE), []
    for _ in here.say("go", (), Chosen(Settings()), EditorValue()):
        (entry,) = here.entries()
        seen.append((entry.reply, len(entry.all_pictures()), here.in_progress.progress is not None))
    assert seen[0] == ("", 0, False)
    assert all(longer.startswith(shorter) for (shorter, _, _), (longer, _, _) in zip(seen, seen[1:], strict=False))
    assert any(painting for _, _, painting in seen) and seen[-1][1] == 1
    (entry,) = here.entries()
    assert here.in_progress is None and entry.reply == ONE and len(entry.pictures[0]) == 1


def test_several_pictures_of_an_answer_belong_to_their_prompts(session, talk):
    (entry,) = talk(session(TWO))
    assert [picture.number for picture in entry.all_pictures()] == [0, 1]
    assert set(entry.pictures) == {0, 1}


def test_the_file_of_a_picture_says_how_it_was_made(session, talk):
    here = session(ONE)
    talk(here, "paint me one")
    (file,) = here.folder.glob("*.png")
    assert read(file).request == "paint me one" and read(file).seed == 5


def test_a_picture_that_goes_with_a_message_keeps_its_number(session, talk):
    here = session(ONE, "It is red.")
    talk(here)
    here.select("look", 0)
    first, second = talk(here, "what is it?")
    assert [picture.number for picture in second.attached] == [0] and second.attached[0].again
    assert here.assistant.session.conversation.messages[2].images == (here.picture(0),)


def test_a_marked_part_is_repainted_and_the_rest_kept(session, talk, photo):
    here = session("Nice.", ONE)
    talk(here, "look", (photo,))
    here.select("mark", 0)
    _, entry = talk(here, "a circle", marks=EditorValue(0, half(photo.size)))
    painted = np.asarray(here.picture(entry.pictures[0][0].number))
    assert (painted[:, 8:] == np.asarray(photo)[:, 8:]).all()
    assert (painted[:, :8] != np.asarray(photo)[:, :8]).any()
    assert here.subject() == MessageSubject("region")


def test_the_region_of_an_earlier_message_can_be_left(session, talk, photo):
    here = session("Nice.", ONE, ONE)
    talk(here, "look", (photo,))
    here.select("mark", 0)
    talk(here, "a circle", marks=EditorValue(0, half(photo.size)))
    here.deselect()
    assert here.subject() == MessageSubject()
    entry = talk(here, "a circle")[-1]
    assert entry.pictures[0][0].size == (16, 8) and here.assistant.exchanges[-1].region is None


def test_an_answer_that_left_the_region_is_given_anew_without_it(session, talk, photo):
    here = session("Nice.", ONE, ONE, ONE)
    talk(here, "look", (photo,))
    here.select("mark", 0)
    talk(here, "a circle", marks=EditorValue(0, half(photo.size)))
    here.deselect()
    talk(here, "a circle")
    list(here.retry(Chosen(Settings())))
    assert here.assistant.exchanges[-1].region is None and here.assistant.exchanges[-2].region is not None


def test_a_picture_grows(session, talk, photo):
    here = session("Nice.", ONE)
    talk(here, "look", (photo,))
    here.select("mark", 0)
    _, entry = talk(here, "more of it", marks=EditorValue(0, None, "right=50%"))
    assert entry.pictures[0][0].size == (24, 8)


def test_a_change_asks_for_a_description_first_and_shows_only_the_person_s_words(session, talk, photo):
    here = session("Nice.", "<gen_image> a teal wall </gen_image>", ONE)
    talk(here, "look", (photo,))
    here.select("change", 0)
    _, entry = talk(here, "paint it red", chosen=Chosen(Settings(edit={"skip": 0.25})))
    assert entry.asked == "paint it red" and entry.reply == ONE
    assert here.assistant.pipeline.pipeline.calls[-1].source_prompt == "a teal wall"
    assert here.subject() == MessageSubject()


def test_a_change_by_a_painter_that_takes_instructions_is_done_as_it_is_said(session, talk, photo):
    here = session("Nice.", ONE, ONE)
    here.assistant.pipeline.edits_by = "instruction"
    painter = here.assistant.pipeline.pipeline
    talk(here, "look", (photo,))
    here.select("change", 0)
    changing = Chosen(Settings(edit={"skip": 0.25}))
    talk(here, "paint it red", chosen=changing)
    list(here.paint("1.0", None, changing))
    list(here.retry(changing))
    assert [call.prompt for call in painter.calls] == ["paint it red"] * 3
    assert all(call.image is not None and call.image.size == photo.size for call in painter.calls)
    assert here.assistant.exchanges[-1].paintings[0].record.changed is not None


def test_only_a_change_changes(session, talk, photo):
    here = session(ONE)
    talk(here, "another like this", (photo,), chosen=Chosen(Settings(edit={"skip": 0.25})))
    assert here.assistant.pipeline.pipeline.calls[-1].image is None


def test_a_similar_picture_is_asked_for(session, talk):
    here = session(ONE, ONE)
    talk(here)
    list(here.similar(0, Chosen(Settings(edit={"skip": 0.25}))))
    assert here.assistant.session.conversation.messages[2].text == "Generate a similar image."


def test_a_prompt_waits_to_be_seen_and_is_painted_as_it_was_changed(session, talk):
    here = session(TWO)
    (entry,) = talk(here, chosen=Chosen(Settings(paint=False)))
    assert entry.all_pictures() == [] and here.assistant.pipeline.pipeline.calls == []
    list(here.paint("0.1", "a horse", Chosen(Settings(paint=False))))
    (entry,) = here.entries()
    assert list(entry.pictures) == [1] and "a horse" in entry.reply and "a cat" in entry.reply
    assert here.assistant.pipeline.pipeline.calls[-1].prompt == "a horse"


def test_painting_again_keeps_the_first_version(session, talk):
    here = session(TWO)
    talk(here)
    list(here.paint("0.1", None, Chosen(Settings())))
    (entry,) = here.entries()
    assert {prompt: len(versions) for prompt, versions in entry.pictures.items()} == {0: 1, 1: 2}


@pytest.mark.parametrize("address", ["", "0", "x.y", "1.0", "-1.0", "0.7", "0.-1", "²." + "0"])
def test_what_cannot_be_painted_changes_nothing(session, talk, address):
    here = session(ONE)
    before = talk(here)
    try:
        list(here.paint(address, None, Chosen(Settings())))
    except UserError as problem:
        assert "picture" in str(problem)
    assert here.entries()[0].pictures == before[0].pictures


def test_an_answer_is_taken_back_with_its_words_returned(session, talk):
    here = session(ONE, ONE)
    talk(here, "one")
    talk(here, "two")
    assert here.undo() == "two"
    assert [entry.asked for entry in here.entries()] == ["one"]


def test_what_was_taken_back_is_there_again_and_no_picture_painted_twice(session, talk):
    here = session(ONE, ONE, ONE)
    talk(here, "one")
    talk(here, "two")
    here.undo()
    here.undo()
    here.bring_back()
    here.bring_back()
    assert [entry.asked for entry in here.entries()] == ["one", "two"] and not here.conversation.taken_back.key
    seeds = [each.record.seed for exchange in here.assistant.exchanges for each in exchange.paintings]
    talk(here, "three")
    assert here.assistant.exchanges[-1].paintings[0].record.seed not in seeds


def test_what_was_taken_back_is_gone_when_something_else_is_said(session, talk):
    here = session("One.", "Two.")
    talk(here, "one")
    here.undo()
    talk(here, "two")
    with pytest.raises(UserError, match="nothing to take back"):
        here.bring_back()


@pytest.mark.parametrize(("number", "text"), [(0, "  "), (1, "x"), (-1, "x"), (0, "x" * 20_001)])
def test_an_edit_that_cannot_be_changes_nothing(session, talk, number, text):
    here = session("One.")
    talk(here, "one")
    with pytest.raises(UserError):
        list(here.edit(number, text, Chosen(Settings())))
    assert [entry.asked for entry in here.entries()] == ["one"] and not here.conversation.taken_back.key


def test_the_picture_before_is_there_to_compare(session, talk, photo):
    here = session("Nice.", ONE, ONE)
    talk(here, "look", (photo,))
    here.select("mark", 0)
    masked = talk(here, "a circle", marks=EditorValue(0, half(photo.size)))[-1]
    here.select("mark", 0)
    grown = talk(here, "more of it", marks=EditorValue(0, None, "right=50%"))[-1]
    (changed,), (larger,) = masked.pictures[0], grown.pictures[0]
    assert changed.before == here.images.url(0)
    assert Image.open(here.folder / Path(larger.before).name).size == larger.size == (24, 8)
    assert ("seed", "5") in changed.made and ("request", "a circle") in changed.made


def test_an_answer_is_given_anew(session, talk):
    here = session("No.", "Yes.")
    talk(here)
    list(here.retry(Chosen(Settings())))
    assert [entry.reply for entry in here.entries()] == ["Yes."]


def test_a_stopped_answer_says_so_and_the_next_one_comes(session, talk):
    here = session(ONE, "Hello.")
    for step, _ in enumerate(here.say("go", (), Chosen(Settings()), EditorValue())):
        if step == 1:
            here.stop()
    assert here.entries()[0].troubles == (Notice("stopped"),)
    assert talk(here)[1].reply == "Hello."


def test_an_answer_waits_for_its_turn_and_says_so(session):
    first, second = session("Hello."), session("Hi.")
    second.conversation.slots = first.conversation.slots
    answer = second.say("go", (), Chosen(Settings()), EditorValue())
    with first.conversation.slots.line() as reached:
        assert reached(0)
        for _ in range(2):
            next(answer)
            assert second.entries()[0].troubles == (Notice("queued"),)
    list(answer)
    (entry,) = second.entries()
    assert entry.reply == "Hi." and entry.troubles == ()


@pytest.mark.parametrize("taken", [True, False])
def test_an_answer_can_be_stopped_before_it_begins(session, talk, taken):
    here = session("Hi.", "Good morning.")
    with here.conversation.slots.line() if taken else nullcontext():
        answer = here.say("go", (), Chosen(Settings()), EditorValue())
        next(answer)
        here.stop()
        list(answer)
    assert here.entries()[0].troubles == (Notice("stopped"),) and here.assistant.planner.given == 0
    assert talk(here)[0].reply == "Hi."


def test_who_leaves_while_waiting_leaves_the_line(session):
    here = session("Hi.")
    with here.conversation.slots.line():
        answer = here.say("go", (), Chosen(Settings()), EditorValue())
        next(answer)
        answer.close()
        assert here.conversation.slots.waiting == 1  # who holds it


def test_who_leaves_in_the_middle_leaves_nothing_running(session):
    here = session(ONE)
    answer = here.say("go", (), Chosen(Settings()), EditorValue())
    for _ in range(5):
        next(answer)
    answer.close()
    assert here.in_progress is None or here.in_progress.progress is None
    assert here.undo() == "go"


def test_what_a_painter_refuses_stands_in_the_conversation(session, talk):
    (entry,) = talk(session("<gen_image> forbidden </gen_image>"))
    assert entry.troubles == ("this prompt is forbidden; ask for another.",)


def test_one_thing_at_a_time(session, tmp_path):
    here = session(ONE)
    answer = here.say("go", (), Chosen(Settings()), EditorValue())
    next(answer)
    more = lambda: list(here.say("more", (), Chosen(Settings()), EditorValue()))  # noqa: E731
    for attempt in (here.undo, lambda: here.save(tmp_path), more):
        with pytest.raises(UserError, match="stop it or wait"):
            attempt()
    list(answer)
    assert here.undo() == "go"


@pytest.mark.parametrize(
    ("text", "about", "told"),
    [
        ("  ", MessageSubject(), "say something"),
        ("x" * 20_001, MessageSubject(), "20001"),
        ("x", MessageSubject("mark", 0), "Nothing is marked"),
    ],
)
def test_a_message_that_cannot_be_answered_is_refused_before_anything_happens(session, talk, text, about, told):
    here = session(ONE)
    talk(here)
    here.selected = about
    with pytest.raises(UserError, match=told):
        list(here.say(text, (), Chosen(Settings()), EditorValue()))
    assert len(here.entries()) == 1 and here.selected == about


@pytest.mark.parametrize("number", [-1, 1, 99])
def test_a_picture_that_is_not_there_cannot_be_taken_up(session, talk, number):
    here = session(ONE)
    talk(here)
    with pytest.raises(UserError, match="no such picture"):
        here.select("look", number)


def test_a_saved_session_goes_on_elsewhere_with_the_same_next_picture(session, talk, tmp_path):
    here, there = session(ONE, TWO), session(TWO)
    talk(here)
    there.load(load_session(here.save(tmp_path)))
    assert [entry.asked for entry in there.entries()] == ["go"]
    talk(here), talk(there)
    assert there.picture(2).tobytes() == here.picture(2).tobytes()


def test_sessions_share_nothing_and_remove_their_files(session, talk):
    here, there = session(ONE), session(TWO)
    talk(here), talk(there)
    assert here.folder != there.folder and len(here.folder.name) > 32
    assert len(list(here.folder.iterdir())) == 1 and len(list(there.folder.iterdir())) == 2
    here.close()
    assert not here.folder.exists() and there.folder.exists()


def test_a_visitor_meets_the_bounds_of_the_host_also_after_loading_a_session(session, talk, tmp_path):
    before, here = session("Nice.", ONE), session(ONE)
    talk(before, "x" * 400)
    here.assistant.bounds = Bounds(message=10, steps=5)
    with pytest.raises(UserError, match="11"):
        talk(here, "x" * 11)
    with pytest.raises(UserError, match="320 characters"):
        here.load(load_session(before.save(tmp_path)))
    (entry,) = talk(here, "go", chosen=Chosen(Settings(steps=6)))
    assert "6 steps are too many" in entry.troubles[0]

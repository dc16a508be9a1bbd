"""One conversation on disk."""

import multiprocessing
import os
import signal
import time
from random import Random

import numpy as np
import pytest
from PIL import Image

from llmga.assistant.library.library import Library
from llmga.assistant.session import Turn
from llmga.errors import UserError

OWNER = "ann"
ONE = "Here. <gen_image> a red circle </gen_image> Good?"
TWO = "First <gen_image> a cat </gen_image> then <gen_image> a dog </gen_image> done"


def pixels(session):
    return [np.asarray(each.image).tobytes() for exchange in session.exchanges for each in exchange.paintings]


def half(size):
    mask = Image.new("L", size)
    mask.paste(255, (0, 0, size[0] // 2, size[1]))
    return mask


def reopened(library, conversation):
    return library.open(OWNER, conversation.key).load()


def test_a_conversation_comes_back_and_goes_on_as_if_it_had_never_been_closed(library, toy, kept):
    here, there = toy(ONE, TWO, ONE, seed=5, steps=7), toy(ONE)
    conversation = library.begin(OWNER)
    photo = Image.effect_noise((16, 8), 90).convert("RGB")
    here.say("look", photo, half(photo.size))
    conversation.save(kept(here))
    here.say("go")
    conversation.save(kept(here))
    there.session = reopened(library, conversation).session
    assert there.session.conversation == here.session.conversation and there.settings == here.settings
    assert pixels(there.session) == pixels(here.session) and len(pixels(there.session)) == 3
    assert there.region.mask.tobytes() == here.region.mask.tobytes()
    there.leave_region(), here.leave_region()
    assert there.say("more").images[0].tobytes() == here.say("more").images[0].tobytes()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK", "1", "I;16", "YCbCr"])
def test_a_picture_of_any_kind_comes_back_to_the_pixel(library, toy, kept, mode):
    picture = Image.effect_noise((9, 5), 90).convert("I" if mode == "I;16" else mode)
    picture = picture.convert(mode)
    here, conversation = toy("Nice."), library.begin(OWNER)
    here.say("look", picture)
    conversation.save(kept(here))
    conversation.pictures.given(picture)  # for a browser
    (exchange,) = reopened(library, conversation).session.exchanges
    assert conversation.pictures.hashed(exchange.turn.images[0]) == conversation.pictures.hashed(picture)


def test_only_what_is_new_is_written(library, toy, kept, monkeypatch):
    here, conversation = toy(ONE, ONE, ONE), library.begin(OWNER)
    rows = []
    row = type(conversation)._row
    monkeypatch.setattr(type(conversation), "_row", lambda *given: rows.append(given[-1]) or row(*given))
    for _ in range(3):
        here.say("go")
        conversation.save(kept(here))
    assert rows == [0, 1, 2]
    files = {file.name: file.stat().st_mtime_ns for file in conversation.pictures.path.iterdir()}
    conversation.save(kept(here))
    assert {file.name: file.stat().st_mtime_ns for file in conversation.pictures.path.iterdir()} == files
    assert rows == [0, 1, 2] and len([name for name in files if name.endswith(".png")]) == 3


def test_what_was_taken_back_is_gone(library, toy, kept):
    here, conversation = toy(ONE, TWO, "No."), library.begin(OWNER)
    here.say("one"), here.say("two")
    conversation.save(kept(here))
    list(here.edit(0, "other"))
    conversation.save(kept(here))
    again = reopened(library, conversation).session
    assert [each.turn.text for each in again.exchanges] == ["other"] and pixels(again) == []
    assert len(again.conversation.messages) == 2 and again.painted == 3


def test_a_turn_that_was_not_answered_yet_is_kept_with_its_pictures(library, toy, kept):
    here, conversation = toy(), library.begin(OWNER)
    photo = Image.effect_noise((16, 8), 90)
    turn = Turn("paint it", (photo,), half(photo.size))
    conversation.save(kept(here, asked=turn, extra={"index": 0}))
    again = reopened(library, conversation)
    assert again.asked.text == "paint it" and again.asked.images[0].tobytes() == photo.tobytes()
    assert again.asked.mask.tobytes() == turn.mask.tobytes() and again.extra == {"index": 0}
    assert library.listed(OWNER).listed[0].title == "paint it"


def test_an_answer_is_kept_with_every_event(library, toy, kept):
    here, conversation = toy(TWO), library.begin(OWNER)
    seen = []
    for _ in here.stream("go"):
        conversation.save(kept(here))
        again = reopened(library, conversation).session
        seen.append((again.reply(0), len(pixels(again))))
        assert again.conversation == here.session.conversation
    assert seen[0][0].startswith("First") and seen[-1][1] == 2 and len(set(seen)) >= 4
    assert all(after[0].startswith(before[0].rstrip(" >")[:5]) for before, after in zip(seen, seen[1:], strict=False))


def test_two_that_write_the_same_conversation_are_told(library, toy, kept, talked):
    here, there = talked(OWNER, "a fox"), None
    there = library.open(OWNER, here.key)
    assistant = toy(ONE)
    assistant.session = there.load().session
    assistant.say("more")
    there.save(kept(assistant))
    with pytest.raises(UserError, match="gone on with by another server"):
        here.save(kept(toy()))
    assert len(library.open(OWNER, here.key).load().session.exchanges) == 2


def test_what_is_damaged_is_one_sentence(library, talked):
    conversation = talked(OWNER, "a fox")
    for file in conversation.pictures.path.glob("*.png"):
        file.write_bytes(b"no picture")
    with pytest.raises(UserError):
        reopened(library, conversation)


def test_a_picture_says_how_it_was_made(library, talked):
    from llmga.assistant.image_files import read

    conversation = talked(OWNER, "paint me a fox")
    (file,) = conversation.pictures.path.glob("*.png")
    assert read(file).request == "paint me a fox"


def talk_until_killed(folder, key, make, saved):
    """Go on with a conversation."""
    library = Library(folder)
    conversation = library.open(OWNER, key)
    assistant = make(*[TWO] * 50, seed=1)
    assistant.session = conversation.load().session
    for number in range(50):
        for _ in assistant.stream(f"message {number}"):
            conversation.save(_kept(assistant))
            saved.value += 1


def _kept(assistant):
    from llmga.assistant.library.kept import Kept

    return Kept(assistant.session, assistant.models)


def test_a_process_that_is_killed_loses_nothing_and_keeps_nothing_twice(library, toy, talked, tmp_path):
    key = talked(OWNER, "a fox").key
    library.close()  # a connection is not for two processes
    fork, random = multiprocessing.get_context("fork"), Random(4)
    before = 1
    for _ in range(20):
        saved, enough = fork.Value("i", 0), random.randrange(1, 20)
        child = fork.Process(target=talk_until_killed, args=(library.folder, key, toy, saved))
        child.start()
        while saved.value < enough and child.is_alive():
            time.sleep(0.001)
        time.sleep(random.random() / 500)
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        again = Library(library.folder)
        (one,) = again.listed(OWNER).listed
        session = again.open(OWNER, one.id).load().session
        again.close()
        assert len(session.exchanges) >= before
        before = len(session.exchanges)
        for exchange in session.exchanges[1:-1]:  # the last one of a life may lack its end
            assert len({painting.number for painting in exchange.paintings}) == len(exchange.paintings)
        ends = [exchange.end for exchange in session.exchanges]
        assert ends == [2 * number for number in range(1, len(ends) + 1)]
        assert session.painted >= len(pixels(session))
    assert before > 10

"""A session is saved whole, loaded anywhere, and gone on with as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import llmga
from llmga import deep
from llmga.errors import UserError
from llmga.serve.flow import PictureReady, Turn
from llmga.serve.metadata import png_bytes
from llmga.serve.portable import differences, load_session, save_session
from llmga.serve.provenance import ModelMark, picture_hash

ONE = "Here. <gen_image> a red circle </gen_image>"
PLACES = ["session", "session.zip"]
MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I;16", "I", "F"]
ROOT = Path(llmga.__file__).resolve().parent.parent


def noise(mode, size=(32, 24)):
    pixels = np.random.default_rng(len(mode)).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    if mode in ("I;16", "I", "F"):
        return Image.fromarray(pixels[..., 0].astype({"I;16": "uint16", "I": "int32", "F": "float32"}[mode]) * 257)
    if mode == "P":
        return Image.fromarray(pixels[..., :3]).quantize(16)
    if mode in ("YCbCr", "HSV", "CMYK", "RGBA"):
        return Image.frombytes(mode, size, pixels[..., : len(Image.new(mode, (1, 1)).getbands())].tobytes())
    return Image.fromarray(pixels).convert(mode)


def hole(size=(32, 24)):
    mask = Image.new("L", size)
    mask.paste(255, (8, 4, 24, 20))
    return mask


def pictures(events):
    return [event for event in events if isinstance(event, PictureReady)]


def talked(toy, picture, **settings):
    assistant = toy(ONE, ONE, ONE, "later", seed=5, size=(16, 16), repaint={"strength": 0.5}, **settings)
    list(assistant.respond(Turn("from words")))
    list(assistant.respond(Turn("fill it", (picture,), hole(picture.size))))
    list(assistant.respond(Turn("wider", (picture,), outpaint="left=50%")))
    return assistant


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("mode", MODES)
def test_what_is_loaded_is_what_was_saved(toy, tmp_path, place, mode):
    assistant = talked(toy, noise(mode))
    marks = (ModelMark("painter", "toy", "ab"),)
    saved = load_session(save_session(tmp_path / place, assistant.state(), marks))
    assert saved.models == marks
    before, after = assistant.state(), saved.state
    assert (after.seed, after.turns, after.painted, after.settings) == (5, 3, 3, before.settings)
    texts = [[(message.role, message.text) for message in state.conversation.messages] for state in (before, after)]
    assert texts[0] == texts[1]
    for old, new in zip(before.exchanges, after.exchanges, strict=True):
        assert (new.turn.text, new.turn.outpaint, new.start, new.end) == (
            old.turn.text, old.turn.outpaint, old.start, old.end,
        )  # fmt: skip
        assert [painting.record for painting in new.paintings] == [painting.record for painting in old.paintings]
        for left, right in zip(old.paintings, new.paintings, strict=True):
            assert picture_hash(left.image) == picture_hash(right.image)
    assert picture_hash(after.region.parent) == picture_hash(before.region.parent)


@pytest.mark.parametrize("place", PLACES)
def test_a_loaded_session_goes_on_as_the_unbroken_one(toy, tmp_path, place):
    unbroken = talked(toy, noise("RGB"))
    save_session(tmp_path / place, unbroken.state())
    loaded = toy(ONE)
    loaded.resume(load_session(tmp_path / place).state)
    unbroken.chat.replies = [ONE]
    files = [pictures(assistant.respond(Turn("more")))[0] for assistant in (unbroken, loaded)]
    assert files[0].record == files[1].record and files[0].image.tobytes() == files[1].image.tobytes()
    assert unbroken.chat.samplings[-1] == loaded.chat.samplings[-1]


def test_a_loaded_session_can_be_undone(toy, tmp_path):
    save_session(tmp_path / "s", talked(toy, noise("RGB")).state())
    loaded = toy(ONE)
    loaded.resume(load_session(tmp_path / "s").state)
    assert loaded.undo().text == "wider" and loaded.undo().text == "fill it"
    assert len(loaded.chat.conversation.messages) == 2


def test_every_painted_picture_knows_its_parent(toy, tmp_path):
    picture = noise("RGB")
    save_session(tmp_path / "s", talked(toy, picture).state())
    graph = json.loads((tmp_path / "s" / "session.json").read_text())["pictures"]
    painted = [entry for entry in graph.values() if entry["kind"] == "painted"]
    assert [entry["task"] for entry in painted] == ["text-to-image", "inpainting", "outpainting"]
    assert [entry["parent"] for entry in painted] == [None, picture_hash(picture), picture_hash(picture)]
    assert graph[painted[1]["mask"]]["kind"] == "mask"
    assert all((tmp_path / "s" / entry["file"]).is_file() for entry in graph.values())


def test_the_same_session_gives_the_same_zip(toy, tmp_path):
    state = talked(toy, noise("RGB")).state()
    assert len({save_session(tmp_path / name, state).read_bytes() for name in ("a.zip", "b.zip")}) == 1


def test_a_session_of_other_models_says_so():
    saved = (ModelMark("painter", "big", "ab"), ModelMark("language", "x", "cd"))
    told = differences(saved, (ModelMark("painter", "small", "ef"), ModelMark("language", "x", "cd")))
    assert len(told) == 1 and "'big'" in told[0] and "'small'" in told[0]


BROKEN = {
    "nothing": lambda folder: (folder / "session.json").unlink(),
    "truncated": lambda folder: (folder / "session.json").write_text('{"format": "llmga-se'),
    "another format": lambda folder: (folder / "session.json").write_text('{"format": "other", "version": 1}'),
    "a later version": lambda folder: (folder / "session.json").write_text('{"format": "llmga-session", "version": 9}'),
    "a list": lambda folder: (folder / "session.json").write_text("[]"),
    "no picture": lambda folder: next((folder / "pictures").iterdir()).unlink(),
    "a torn picture": lambda folder: next((folder / "pictures").iterdir()).write_bytes(b"\x89PNG"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_session_is_one_sentence(toy, tmp_path, name):
    save_session(tmp_path / "s", talked(toy, noise("RGB")).state())
    BROKEN[name](tmp_path / "s")
    with pytest.raises(UserError) as told:
        load_session(tmp_path / "s")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", ["../../../etc/passwd", "A" * 64, "0" * 63, 7])
def test_a_name_that_is_no_hash_is_not_opened(toy, tmp_path, name):
    save_session(tmp_path / "s", talked(toy, noise("RGB")).state())
    index = tmp_path / "s" / "session.json"
    told = json.loads(index.read_text())
    told["exchanges"][1]["turn"]["images"] = [name]
    index.write_text(json.dumps(told))
    with pytest.raises(UserError, match="damaged or none"):
        load_session(tmp_path / "s")


def test_pictures_that_are_too_large_together_are_refused(toy, tmp_path):
    save_session(tmp_path / "s", talked(toy, noise("RGB")).state())
    with pytest.raises(UserError, match="too large together"):
        load_session(tmp_path / "s", most_pixels=1000)


def test_half_a_character_does_not_cost_the_session(toy, tmp_path):
    assistant = toy(ONE, "ok", negative_prompt="\ud800")
    (ready,) = pictures(assistant.respond(Turn("a \udfff")))
    assert "?" in png_bytes(ready.image, ready.record).decode("latin-1")
    assert load_session(save_session(tmp_path / "s", assistant.state())).state.exchanges[0].turn.text == "a ?"


@pytest.mark.parametrize("place", ["missing", "missing.zip", "text.zip", "text"])
def test_what_is_no_session_is_refused(tmp_path, place):
    if place.startswith("text"):
        (tmp_path / place).write_text("not a session")
    with pytest.raises(UserError, match="is no session"):
        load_session(tmp_path / place)


def test_a_place_that_cannot_be_written_is_refused(toy, tmp_path):
    (tmp_path / "file").write_text("in the way")
    for place in (tmp_path / "file", tmp_path / "file" / "a.zip", ""):
        with pytest.raises(UserError, match="session"):
            save_session(place, toy().state())


SAVING = """
import sys
from PIL import Image
from llmga.llava.conversation import Conversation
from llmga.serve.history import State
from llmga.serve.metadata import png_bytes
from llmga.serve.portable import save_session
conversation = Conversation()
for number in range(10**6):
    image = Image.effect_noise((256, 256), 64 + number % 64).convert("RGB")
    conversation = conversation.say("user", str(number), (image,))
    save_session(sys.argv[1], State(seed=number, conversation=conversation))
    print(number, flush=True)
"""


@pytest.mark.parametrize("place", PLACES)
def test_a_process_killed_while_it_saves_leaves_a_whole_session(tmp_path, place):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for delay in (0.0, 0.006, 0.02):
        target = tmp_path / str(delay) / place
        command = [sys.executable, "-c", SAVING, str(target)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            done = [int(process.stdout.readline()) for _ in range(3)]
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
            done += [int(line) for line in process.stdout.read().split()]
        state = load_session(target).state
        assert state.seed in (done[-1], done[-1] + 1)
        assert len(state.conversation.messages) == state.seed + 1


WRONG = {
    "a text as temperature": (("settings", "temperature"), "warm"),
    "a number as changes": (("settings", "repaint"), 1.5),
    "a side alone as size": (("settings", "size"), [64]),
    "a truth as seed": (("settings", "seed"), True),
    "a number as system text": (("conversation", "system"), 7),
    "no picture where one was painted": (("exchanges", 0, "paintings", 0, "picture"), None),
    "no words in a record": (("exchanges", 0, "paintings", 0, "record", "words"), None),
    "messages that are not there": (("exchanges", 0, "end"), 99),
    "an answer before its question": (("exchanges", 0, "start"), 2),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_session_with_values_of_wrong_types_is_damaged(toy, tmp_path, wrong):
    assistant = toy(ONE)
    list(assistant.respond(Turn("a circle")))
    save_session(tmp_path / "s", assistant.state())
    (*path, last), value = wrong
    content = place = json.loads((tmp_path / "s" / "session.json").read_text("utf-8"))
    for step in path:
        place = place[step]
    place[last] = value
    (tmp_path / "s" / "session.json").write_text(json.dumps(content), "utf-8")
    with pytest.raises(UserError, match="damaged"):
        load_session(tmp_path / "s")


def test_a_picture_that_is_not_the_one_that_was_saved_is_damage(toy, tmp_path):
    assistant = toy(ONE)
    list(assistant.respond(Turn("a circle")))
    save_session(tmp_path / "s", assistant.state())
    (picture,) = (tmp_path / "s" / "pictures").iterdir()
    for other in (png_bytes(Image.new("RGB", (3, 3)), assistant.exchanges[0].paintings[0].record), b"no picture"):
        picture.write_bytes(other)
        with pytest.raises(UserError, match="/s' is damaged"):
            load_session(tmp_path / "s")


@pytest.mark.skipif(sys.platform == "win32", reason="pipes are of POSIX")
@pytest.mark.parametrize("place", ["s.zip", "s/session.json"])
def test_a_pipe_is_no_session(tmp_path, place):
    (tmp_path / "s").mkdir()
    os.mkfifo(tmp_path / place)
    with pytest.raises(UserError, match="is no session"):
        load_session(tmp_path / place.partition("/")[0])


def test_a_picture_of_16_bits_is_stored_with_all_of_them(toy, tmp_path):
    values = np.random.default_rng(0).integers(0, 65_536, (24, 32, 3), dtype=np.uint16)
    session = load_session(save_session(tmp_path / "s.zip", talked(toy, deep.of_levels(values)).state()))
    stored = [fine for picture in session.pictures.values() if (fine := deep.levels(picture)) is not None]
    assert any(np.array_equal(fine, values) for fine in stored) and len(stored) > 1  # what was made of it, too

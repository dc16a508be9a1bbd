"""A session is saved whole, loaded anywhere, and gone on with as if nothing had happened."""

import io
import json
import os
import signal
import struct
import subprocess
import sys
import time
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import llmga
from llmga import deep
from llmga.assistant.events import PictureReady
from llmga.assistant.image_files import png_bytes
from llmga.assistant.record import ModelMark, picture_hash
from llmga.assistant.session import Turn
from llmga.assistant.session_file import differences, load_pictures, load_session, save_session
from llmga.errors import UserError

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
    list(assistant.stream(Turn("from words")))
    list(assistant.stream(Turn("fill it", (picture,), hole(picture.size))))
    list(assistant.stream(Turn("wider", (picture,), outpaint="left=50%")))
    return assistant


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("mode", MODES)
def test_what_is_loaded_is_what_was_saved(toy, tmp_path, place, mode):
    assistant = talked(toy, noise(mode))
    marks = (ModelMark("painter", "toy", "ab"),)
    saved = load_session(save_session(tmp_path / place, assistant.session, marks))
    assert saved.models == marks
    before, after = assistant.session, saved.session
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
    save_session(tmp_path / place, unbroken.session)
    loaded = toy(ONE)
    loaded.session = load_session(tmp_path / place).session
    unbroken.planner.replies = [ONE]
    files = [pictures(assistant.stream(Turn("more")))[0] for assistant in (unbroken, loaded)]
    assert files[0].record == files[1].record and files[0].image.tobytes() == files[1].image.tobytes()
    assert unbroken.planner.samplings[-1] == loaded.planner.samplings[-1]


def test_a_loaded_session_can_be_undone(toy, tmp_path):
    save_session(tmp_path / "s", talked(toy, noise("RGB")).session)
    loaded = toy(ONE)
    loaded.session = load_session(tmp_path / "s").session
    assert loaded.undo().text == "wider" and loaded.undo().text == "fill it"
    assert len(loaded.session.conversation.messages) == 2


def test_every_painted_picture_knows_its_parent(toy, tmp_path):
    picture = noise("RGB")
    save_session(tmp_path / "s", talked(toy, picture).session)
    graph = json.loads((tmp_path / "s" / "session.json").read_text())["pictures"]
    painted = [entry for entry in graph.values() if entry["kind"] == "painted"]
    assert [entry["task"] for entry in painted] == ["text-to-image", "inpainting", "outpainting"]
    assert [entry["parent"] for entry in painted] == [None, picture_hash(picture), picture_hash(picture)]
    assert graph[painted[1]["mask"]]["kind"] == "mask"
    assert all((tmp_path / "s" / entry["file"]).is_file() for entry in graph.values())


def test_the_same_session_gives_the_same_zip(toy, tmp_path):
    state = talked(toy, noise("RGB")).session
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
    save_session(tmp_path / "s", talked(toy, noise("RGB")).session)
    BROKEN[name](tmp_path / "s")
    with pytest.raises(UserError) as told:
        load_session(tmp_path / "s")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", ["../../../etc/passwd", "A" * 64, "0" * 63, 7])
def test_a_name_that_is_no_hash_is_not_opened(toy, tmp_path, name):
    save_session(tmp_path / "s", talked(toy, noise("RGB")).session)
    index = tmp_path / "s" / "session.json"
    told = json.loads(index.read_text())
    told["exchanges"][1]["turn"]["images"] = [name]
    index.write_text(json.dumps(told))
    with pytest.raises(UserError, match="damaged or none"):
        load_session(tmp_path / "s")


def test_pictures_that_are_too_large_together_are_refused(toy, tmp_path):
    save_session(tmp_path / "s", talked(toy, noise("RGB")).session)
    with pytest.raises(UserError, match="too large together"):
        load_session(tmp_path / "s", most_pixels=1000)


def test_half_a_character_does_not_cost_the_session(toy, tmp_path):
    assistant = toy(ONE, "ok", negative_prompt="\ud800")
    (ready,) = pictures(assistant.stream(Turn("a \udfff")))
    assert "?" in png_bytes(ready.image, ready.record).decode("latin-1")
    assert load_session(save_session(tmp_path / "s", assistant.session)).session.exchanges[0].turn.text == "a ?"


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
            save_session(place, toy().session)


SAVING = """
import sys
from PIL import Image
from llmga.llava.conversation import Conversation
from llmga.assistant.session import Session
from llmga.assistant.image_files import png_bytes
from llmga.assistant.session_file import save_session
conversation = Conversation()
for number in range(10**6):
    image = Image.effect_noise((256, 256), 64 + number % 64).convert("RGB")
    conversation = conversation.say("user", str(number), (image,))
    save_session(sys.argv[1], Session(seed=number, conversation=conversation))
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
        state = load_session(target).session
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
    "a list as role of a model": (("models",), [{"role": [], "name": "x", "sha256": None}]),
    "a number as name of a model": (("models",), [{"role": "painter", "name": 1, "sha256": None}]),
    "another speaker": (("conversation", "messages", 0, "role"), "system"),
    "a list of speakers": (("conversation", "messages", 0, "role"), ["user"]),
    "half a character": (("conversation", "messages", 1, "text"), "\ud800"),
    "no number": (("settings", "temperature"), float("nan")),
    "an infinite number": (("settings", "guidance_scale"), float("inf")),
    "a number that is too large for one": (("settings", "guidance_scale"), 10**400),
    "too many steps": (("settings", "steps"), 10**9),
    "a negative seed": (("seed",), -1),
    "a seed that is too large": (("seed",), 2**64),
    "many versions": (("settings", "versions"), 1000),
    "a size that nobody paints": (("settings", "size"), [100_000, 100_000]),
    "an unknown sampler": (("settings", "sampler"), "../x"),
    "an unknown restorer": (("settings", "restorer"), "x"),
    "an unknown area": (("settings", "repaint"), {"area": "all"}),
    "an unknown fill": (("exchanges", 0, "turn", "fill"), "x"),
    "a prompt of a megabyte": (("exchanges", 0, "paintings", 0, "record", "prompt"), "x" * 1_000_000),
    "a long prompt": (("exchanges", 0, "paintings", 0, "record", "prompt"), "x" * 200_000),
    "steps of a record": (("exchanges", 0, "paintings", 0, "record", "steps"), 10**6),
    "a version that is none": (("version",), "1"),
    "version 0": (("version",), 0),
    "a list of pictures": (("pictures",), []),
    "a picture without a file": (("pictures", "0" * 64), {}),
    "nothing": ((), None),
    "deep nesting": (("models",), json.loads("[" * 900 + "]" * 900)),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_session_with_values_of_wrong_types_is_damaged(toy, tmp_path, wrong):
    assistant = toy(ONE)
    list(assistant.stream(Turn("a circle")))
    save_session(tmp_path / "s", assistant.session)
    path, value = wrong
    content = place = json.loads((tmp_path / "s" / "session.json").read_text("utf-8"))
    for step in path[:-1]:
        place = place[step]
    if path:
        place[path[-1]] = value
    content = content if path else value
    (tmp_path / "s" / "session.json").write_text(json.dumps(content), "utf-8")
    with pytest.raises(UserError, match="damaged"):
        load_session(tmp_path / "s")


def test_a_picture_that_is_not_the_one_that_was_saved_is_damage(toy, tmp_path):
    assistant = toy(ONE)
    list(assistant.stream(Turn("a circle")))
    save_session(tmp_path / "s", assistant.session)
    (picture,) = (tmp_path / "s" / "pictures").iterdir()
    for other in (png_bytes(Image.new("RGB", (3, 3)), assistant.exchanges[0].paintings[0].record), b"no picture"):
        picture.write_bytes(other)
        with pytest.raises(UserError, match="/s' is damaged"):
            load_session(tmp_path / "s")


def test_a_region_whose_mask_does_not_fit_is_damage(toy, tmp_path):
    save_session(tmp_path / "s", talked(toy, noise("RGB")).session)
    index = tmp_path / "s" / "session.json"
    told = json.loads(index.read_text("utf-8"))
    painted = told["exchanges"][1]["region"]
    for changed in ({"mask": painted["parent"]}, {"mask": None}, {"changes": {"source_prompt": "x"}}):
        index.write_text(json.dumps(told | {"exchanges": [told["exchanges"][1] | {"region": painted | changed}]}))
        with pytest.raises(UserError, match="a mask does not fit its picture"):
            load_session(tmp_path / "s")


def head_of_a_png(width, height):
    """A file whose head promises that many pixels, and that holds none."""
    fields = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", fields), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    whole = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + whole


@pytest.fixture
def zipped(toy, tmp_path):
    """`zipped(change)` packs a session whose files `change` may alter, by name; where the zip lies."""
    assistant = toy(ONE)
    list(assistant.stream(Turn("a circle")))
    save_session(tmp_path / "whole", assistant.session)
    files = {
        path.relative_to(tmp_path / "whole").as_posix(): path.read_bytes()
        for path in (tmp_path / "whole").rglob("*.*")
        if path.is_file()
    }

    def pack(change=lambda files: None, method=zipfile.ZIP_DEFLATED):
        altered = dict(files)
        change(altered)
        with zipfile.ZipFile(tmp_path / "s.zip", "w", method) as archive:
            for name, content in altered.items():
                archive.writestr(name, content)
        return tmp_path / "s.zip"

    return pack


def with_pictures(contents):
    """A change of a session's files: it shows these pictures, under names that are nobody's hash."""

    def change(files):
        told = json.loads(files["session.json"])
        names = [f"{number:064x}" for number in range(len(contents))]
        told["conversation"]["messages"][0]["images"] = names
        told["pictures"] |= {name: {"file": f"pictures/{name}.png", "kind": "given", "mode": "RGB"} for name in names}
        files["session.json"] = json.dumps(told)
        files |= {f"pictures/{name}.png": content for name, content in zip(names, contents, strict=True)}

    return change


def test_a_zip_that_was_packed_by_another_program_is_read(zipped):
    assert len(load_session(zipped()).session.exchanges) == 1
    assert len(load_session(zipped(method=zipfile.ZIP_STORED)).session.exchanges) == 1
    assert len(load_session(zipped(lambda files: files.update({"__MACOSX/x": b"", "/etc/x": b""}))).pictures) == 1


def test_pictures_that_promise_too_much_are_not_decoded(zipped):
    with pytest.raises(UserError, match="too large together, they may have 200 million pixels"):
        load_session(zipped(with_pictures([head_of_a_png(8000, 8000)] * 4)))
    with pytest.raises(UserError, match="cannot be read"):
        load_session(zipped(with_pictures([head_of_a_png(50_000, 50_000)])))


def test_files_that_grow_when_they_are_unpacked_are_refused(zipped):
    with pytest.raises(UserError, match="more than 16000000 bytes"):
        load_session(zipped(lambda files: files.update({"session.json": b" " * 17_000_000})))
    with pytest.raises(UserError, match="more than 500000 values"):
        load_session(zipped(lambda files: files.update({"session.json": b"[" + b"[]," * 600_000 + b"0]"})))


@pytest.mark.parametrize("kind", ["JPEG", "GIF", "BMP", "EPS", "zip", "pcx"])
def test_only_png_and_tiff_are_opened(zipped, kind):
    content = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(content, "w") as archive:
            archive.writestr("session.json", b"{}")
    else:
        Image.new("RGB", (4, 4)).save(content, kind)
    with pytest.raises(UserError, match="damaged or none .the picture 0+ cannot be read"):
        load_session(zipped(with_pictures([content.getvalue()])))


def test_a_zip_of_too_many_members_is_no_session(zipped):
    place = zipped(lambda files: files.update({f"{number:0100d}": b"" for number in range(8000)}))
    with pytest.raises(UserError, match="is no session"):
        load_session(place)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_no_session_needs_are_refused(zipped, method):
    with pytest.raises(UserError, match="is no session"):
        load_session(zipped(method=method))


def test_a_name_that_stands_twice_is_refused(zipped):
    place = zipped()
    with zipfile.ZipFile(place, "a") as archive, warnings.catch_warnings(action="ignore"):
        archive.writestr("session.json", b"{}")
    with pytest.raises(UserError, match="is no session"):
        load_session(place)


def test_an_encrypted_or_a_torn_member_is_one_sentence(zipped):
    place = zipped(method=zipfile.ZIP_STORED)
    content = place.read_bytes()
    locked = content.replace(b"PK\x01\x02\x14\x03\x14\0\0\0", b"PK\x01\x02\x14\x03\x14\0\1\0")
    torn = content.replace(b"llmga-session", b"llmga-sessiom", 1)
    for broken in (locked, torn, content[:-30], content[100:]):
        assert broken != content
        place.write_bytes(broken)
        with pytest.raises(UserError, match="is no session"):
            load_session(place)


@pytest.mark.parametrize("name", ["session.json", "picture"])
def test_a_link_that_leads_out_of_the_folder_is_not_followed(toy, tmp_path, name):
    assistant = toy(ONE)
    list(assistant.stream(Turn("a circle")))
    save_session(tmp_path / "s", assistant.session)
    file = tmp_path / "s" / name if name == "session.json" else next((tmp_path / "s" / "pictures").iterdir())
    inside = file.rename(tmp_path / "s" / "inside")
    file.symlink_to(inside)
    assert len(load_session(tmp_path / "s").pictures) == 1
    outside = inside.rename(tmp_path / "outside")
    file.unlink()
    file.symlink_to(outside)
    with pytest.raises(UserError, match="is no session|lacks pictures"):
        load_session(tmp_path / "s")


def test_some_pictures_are_loaded_alone(toy, tmp_path):
    picture = noise("RGB")
    save_session(tmp_path / "s", talked(toy, picture).session)
    name = picture_hash(picture)
    assert list(load_pictures(tmp_path / "s", [name, "0" * 64, "../x"])) == [name]


@pytest.mark.skipif(sys.platform == "win32", reason="pipes are of POSIX")
@pytest.mark.parametrize("place", ["s.zip", "s/session.json"])
def test_a_pipe_is_no_session(tmp_path, place):
    (tmp_path / "s").mkdir()
    os.mkfifo(tmp_path / place)
    with pytest.raises(UserError, match="is no session"):
        load_session(tmp_path / place.partition("/")[0])


def test_a_picture_of_16_bits_is_stored_with_all_of_them(toy, tmp_path):
    values = np.random.default_rng(0).integers(0, 65_536, (24, 32, 3), dtype=np.uint16)
    session = load_session(save_session(tmp_path / "s.zip", talked(toy, deep.of_levels(values)).session))
    stored = [fine for picture in session.pictures.values() if (fine := deep.levels(picture)) is not None]
    assert any(np.array_equal(fine, values) for fine in stored) and len(stored) > 1  # what was made of it, too

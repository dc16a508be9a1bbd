"""Conversations made of what other places have."""

import json
import zipfile

import pytest
from PIL import Image

from llmga.assistant.image_files import png_bytes
from llmga.assistant.library.imports import MOST, session_of
from llmga.assistant.session import Settings
from llmga.assistant.session_file import save_session
from llmga.errors import UserError


@pytest.fixture
def pictures(tmp_path, toy):
    """A folder with a photo and a picture that was painted here."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.new("RGB", (6, 4), "teal").save(folder / "a wall.jpg")
    reply = toy("<gen_image> a red circle </gen_image>", seed=3).say("paint one")
    (folder / "b.png").write_bytes(png_bytes(reply.images[0], reply.records[0]))
    (folder / "notes.txt").write_text("no picture")
    return folder


def zipped(folder, path, below=""):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f"{below}{file.name}")
    return path


def check(session):
    first, second = session.exchanges
    assert first.turn.text == "a wall" and first.turn.images[0].size == (6, 4) and first.paintings == ()
    assert second.turn.text == "paint one" and second.paintings[0].record.seed == 3
    assert session.reply(1) == "<gen_image> a red circle </gen_image>" and session.settings.steps == 9
    assert all(message.images == () for message in session.conversation.messages)  # the model is not shown all at once


def test_pictures_become_a_conversation(pictures, toy):
    files = [pictures / "a wall.jpg", pictures / "b.png"]
    session = session_of(files, Settings(steps=9)).session
    check(session)
    here = toy("Yes.")
    here.session = session
    assert here.say("and now?").text == "Yes."


def test_a_folder_and_a_zip_of_pictures_are_the_same(pictures, tmp_path):
    check(session_of([pictures], Settings(steps=9)).session)
    check(session_of([zipped(pictures, tmp_path / "x.zip", "deep/er/")], Settings(steps=9)).session)


def test_the_pictures_of_a_canvas_project_are_taken(pictures, tmp_path):
    """As InvokeAI documents its archives: manifest, states, and the pictures below images/."""
    project = zipped(pictures, tmp_path / "canvas.invk", "images/")
    with zipfile.ZipFile(project, "a") as archive:
        archive.writestr("manifest.json", json.dumps({"version": 1, "appVersion": "6.12.0", "name": "My canvas"}))
        for name in ("canvas_state.json", "params.json", "ref_images.json", "loras.json"):
            archive.writestr(name, "{}")
    check(session_of([project], Settings(steps=9)).session)


def test_a_saved_session_is_one(tmp_path, toy):
    here = toy("<gen_image> a red circle </gen_image>", seed=3)
    here.say("paint one")
    for place in (tmp_path / "a.zip", tmp_path / "folder"):
        again = session_of([save_session(place, here)], Settings()).session
        assert again.seed == 3 and again.conversation == here.session.conversation


@pytest.mark.parametrize("content", [b"PK nonsense", b""])
def test_what_is_none_is_one_sentence(tmp_path, content):
    (tmp_path / "x.zip").write_bytes(content)
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(UserError, match="no session"):
        session_of([tmp_path / "x.zip"], Settings())
    with pytest.raises(UserError, match="picture"):
        session_of([tmp_path / "x.png"], Settings())
    with pytest.raises(UserError, match="no picture was found"):
        session_of([], Settings())


def test_more_than_one_conversation_holds_is_refused(tmp_path):
    Image.new("L", (1, 1)).save(tmp_path / "x.png")
    with pytest.raises(UserError, match=f"over {MOST} pictures"):
        session_of([tmp_path / "x.png"] * (MOST + 1), Settings())

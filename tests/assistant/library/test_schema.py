"""Libraries of other versions."""

import json
import sqlite3

import pytest
from PIL import Image

from llmga.assistant.library.library import FILE, PICTURES, Library
from llmga.assistant.library.schema import MIGRATIONS, VERSION
from llmga.assistant.record import picture_hash
from llmga.errors import UserError

KEY = "0123456789abcdef" * 2
# As version 1 wrote it, by hand: later code must not change what stands here.
VERSION_1 = """
CREATE TABLE conversations (
    id VARCHAR(32) NOT NULL PRIMARY KEY, owner VARCHAR NOT NULL, title VARCHAR NOT NULL, named INTEGER NOT NULL,
    created FLOAT NOT NULL, updated FLOAT NOT NULL, deleted FLOAT, thumbnail VARCHAR, revision INTEGER NOT NULL,
    head TEXT NOT NULL, extra TEXT NOT NULL
);
CREATE INDEX of_owner ON conversations (owner, deleted, updated);
CREATE TABLE exchanges (
    conversation VARCHAR(32) NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    position INTEGER NOT NULL, content TEXT NOT NULL, PRIMARY KEY (conversation, position)
);
PRAGMA user_version = 1;
"""
HEAD = {
    "format": "llmga-session",
    "version": 1,
    "models": [],
    "seed": 11,
    "turns": 1,
    "painted": 0,
    "settings": {"temperature": 0.5},
    "system": None,
    "messages": [],
    "asked": None,
    "pictures": {},
}


@pytest.fixture
def old(tmp_path):
    """A library of version 1: somebody showed a picture and asked what it is."""
    photo = Image.new("RGB", (4, 3), "teal")
    name = picture_hash(photo)
    (tmp_path / PICTURES / KEY).mkdir(parents=True)
    photo.save(tmp_path / PICTURES / KEY / f"{name}.png")
    turn = {"text": "Was ist DAS?", "images": [name], "mask": None, "outpaint": None, "fill": "edge"}
    content = {
        "exchange": {"turn": turn, "start": 0, "end": 2, "region": None, "paintings": []},
        "messages": [
            {"role": "user", "text": "Was ist DAS?", "images": [name]},
            {"role": "assistant", "text": "A Wall.", "images": []},
        ],
        "pictures": {name: {"file": f"pictures/{name}.png", "kind": "given", "mode": "RGB"}},
    }
    with sqlite3.connect(tmp_path / FILE) as raw:
        raw.executescript(VERSION_1)
        row = (KEY, "ann", "Was ist DAS?", 0, 5.0, 6.0, None, None, 1, json.dumps(HEAD), "{}")
        raw.execute(f"INSERT INTO conversations VALUES ({', '.join('?' * len(row))})", row)
        raw.execute("INSERT INTO exchanges VALUES (?, 0, ?)", (KEY, json.dumps(content)))
    raw.close()
    return tmp_path


def test_a_library_of_version_1_is_gone_on_with(old, toy, kept):
    library = Library(old)
    (one,) = library.listed("ann", "das wall").listed  # what version 1 could not find
    conversation = library.open("ann", one.id)
    here = toy("Yes.")
    here.session = conversation.load().session
    assert here.session.seed == 11 and here.session.reply(0) == "A Wall."
    assert here.exchanges[0].turn.images[0].getpixel((0, 0)) == (0, 128, 128)
    here.say("more")
    conversation.save(kept(here))
    library.close()
    again = Library(old)
    assert len(again.open("ann", KEY).load().session.exchanges) == 2
    again.close()


def test_the_version_stands_in_the_file(old):
    Library(old).close()
    with sqlite3.connect(old / FILE) as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (VERSION,)
    assert len(MIGRATIONS) == VERSION - 1


def test_a_migration_that_fails_leaves_the_old_one(old, monkeypatch):
    def broken(connection):
        MIGRATIONS[0](connection)
        raise RuntimeError("a defect")

    monkeypatch.setattr("llmga.assistant.library.schema.MIGRATIONS", (broken,))
    with pytest.raises(RuntimeError):
        Library(old)
    with sqlite3.connect(old / FILE) as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (1,)
        assert "words" not in str(raw.execute("SELECT sql FROM sqlite_master").fetchall())


def test_a_later_version_is_left_alone(old):
    with sqlite3.connect(old / FILE) as raw:
        raw.execute(f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(UserError, match=f"of version {VERSION + 1}, known is up to {VERSION}"):
        Library(old)

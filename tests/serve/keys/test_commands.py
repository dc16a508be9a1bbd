"""`llmga keys add|list|revoke`."""

import pytest

from llmga.__main__ import main
from llmga.serve.keys.limits import LIMITS
from llmga.serve.keys.store import KeyStore


@pytest.fixture
def llmga(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["llmga"])

    def call(*words):
        code = main(["keys", *words])
        return code, *capsys.readouterr()

    return call


def test_a_key_is_made_listed_and_revoked(llmga):
    code, secret, told = llmga("add", "ann", "--pictures-a-day", "20", "--at_once", "2", "--admin")
    secret = secret.strip()
    store = KeyStore("llmga-keys.db")
    key = store.find(secret)
    assert code == 0 and key.limits == {"pictures-a-day": 20, "at-once": 2} and key.admin
    assert secret not in told and key.id in told
    code, listed, _ = llmga("list")
    head, row = listed.splitlines()
    assert code == 0 and head.startswith("id ") and row.split()[:2] == [key.id, "ann"]
    assert "pictures-a-day 20, at-once 2" in row or "at-once 2, pictures-a-day 20" in row
    assert secret not in listed and secret[15:] not in listed
    assert llmga("revoke", "ann")[:2] == (0, f"key {key.id} of ann is revoked\n") and store.find(secret) is None
    assert " revoked " in llmga("list")[1]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["add", "ann", "--pictures-a-day", "-1"], "is out of range"),
        (["add", "two\nlines"], "a name has 1 to 64 letters of one line"),
        (["list", "--keys", "nowhere.db"], "'nowhere.db' is not there; make a key with"),
        (["revoke", "bob"], "'llmga-keys.db' is not there"),
    ],
)
def test_a_mistake_is_one_sentence(llmga, words, told):
    code, out, err = llmga(*words)
    assert code == 2 and out == "" and told in err and err.count("\n") == 1


def test_every_limit_is_a_flag(llmga):
    code, secret, _ = llmga("add", "ann", *[word for name in LIMITS for word in (f"--{name}", "7")])
    assert code == 0 and KeyStore("llmga-keys.db").find(secret.strip()).limits == dict.fromkeys(LIMITS, 7)

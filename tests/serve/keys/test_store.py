"""Keys and what they use, in a file."""

import hmac
import sqlite3
import stat
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from llmga.errors import UserError
from llmga.serve.keys.limits import DAY, LIMITS, MINUTE
from llmga.serve.keys.store import Exceeded, KeyStore

NOON = 20_000 * DAY + DAY // 2  # of a day, in seconds of Unix time


@pytest.fixture
def store(tmp_path):
    return KeyStore(tmp_path / "keys.db", create=True)


def test_a_key_is_found_by_its_secret_and_by_nothing_else(store):
    secret, key = store.add("ann", {"at-once": 3}, admin=True)
    other, _ = store.add("bob")
    assert store.find(secret) == key and key.admin and key.limits == {"at-once": 3}
    assert store.find(other).name == "bob"
    swapped = secret[:15] + other[15:]  # the id of one and the secret of the other
    assert not [wrong for wrong in (swapped, secret[:-1], secret + "x", "", "llmga-", key.id) if store.find(wrong)]


def test_the_file_holds_no_secret_and_is_its_owners(store):
    secret, key = store.add("ann")
    store.close()
    content = b"".join(path.read_bytes() for path in store.path.parent.iterdir())
    assert secret.encode() not in content and secret[15:].encode() not in content and key.id.encode() in content
    if sys.platform != "win32":
        assert stat.S_IMODE(store.path.stat().st_mode) == 0o600


def test_digests_are_compared_in_constant_time_whether_the_id_is_known_or_not(store, monkeypatch):
    compared, real = [], hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append((a, b)) or real(a, b))
    secret, _ = store.add("ann")
    for given in (secret, "llmga-00000000-" + secret[15:], "nothing like it"):
        store.find(given)
    assert len(compared) == 3 and {len(side) for pair in compared for side in pair} == {32}


def test_a_revoked_key_opens_nothing_at_once_even_through_another_connection(store):
    secret, _ = store.add("ann")
    KeyStore(store.path).revoke("ann")
    assert store.find(secret) is None
    with pytest.raises(UserError, match="no key 'ann' in use"):
        store.revoke("ann")
    again, key = store.add("ann")  # the name is free again
    store.revoke(key.id)
    assert store.find(again) is None and [each.revoked is not None for each in store.listed()] == [True, True]


def test_two_keys_in_use_have_two_names(store):
    store.add("ann")
    with pytest.raises(UserError, match="named 'ann' already"):
        store.add("ann")


def test_an_unknown_limit_is_refused_and_leaves_no_key(store):
    with pytest.raises(UserError, match="unknown limit"):
        store.add("ann", {"pictures": 3})
    assert store.listed() == []


@pytest.mark.parametrize("name", [name for name, row in LIMITS.items() if row.seconds])
def test_a_quota_is_used_up_to_the_last_one_and_begins_anew_with_its_period(store, name):
    row = LIMITS[name]
    _, key = store.add("ann", {name: 5})
    store.charge(key, {row.unit: 3}, NOON)
    with pytest.raises(Exceeded) as told:
        store.charge(key, {row.unit: 3}, NOON + 1)
    assert (told.value.limit, told.value.most, told.value.used) == (name, 5, 3)
    assert told.value.seconds == row.period(NOON) + row.seconds - (NOON + 1)
    store.charge(key, {row.unit: 2}, NOON + 2)
    later = NOON + 1 + told.value.seconds
    with pytest.raises(Exceeded):
        store.charge(key, {row.unit: 1}, later - 1)
    store.charge(key, {row.unit: 5}, later)


def test_what_is_refused_is_not_counted_in_part(store):
    _, key = store.add("ann", {"pictures-a-day": 10, "pixels-a-day": 100})
    with pytest.raises(Exceeded, match="pixels-a-day"):
        store.charge(key, {"pictures": 1, "pixels": 101}, NOON)
    assert store.used(key, NOON) == {"requests": 0, "pictures": 0, "pixels": 0}


def test_what_was_not_used_is_given_back_to_the_day_it_was_taken_from(store):
    _, key = store.add("ann", {"pictures-a-day": 4})
    store.charge(key, {"pictures": 4}, NOON)
    store.correct(key, {"pictures": -3}, NOON)
    assert store.used(key, NOON)["pictures"] == 1 and store.used(key, NOON + DAY)["pictures"] == 0
    store.charge(key, {"pictures": 3}, NOON)


def test_many_at_once_get_no_more_than_there_is(store):
    _, key = store.add("ann", {"requests-a-day": 20})
    stores = [store, KeyStore(store.path)]

    def charge(number):
        try:
            stores[number % 2].charge(key, {"requests": 1}, NOON)
        except Exceeded:
            return 0
        return 1

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(charge, range(60))) == 20
    assert store.used(key, NOON)["requests"] == 20


def test_old_sums_are_forgotten(store):
    _, key = store.add("ann", {"requests-a-minute": 9})
    store.charge(key, {"requests": 1}, NOON)
    store.charge(key, {"requests": 1}, NOON + 2 * DAY)
    rows = sqlite3.connect(store.path).execute("SELECT seconds, start FROM used ORDER BY start, seconds").fetchall()
    assert [seconds for seconds, _ in rows] == [DAY, DAY, MINUTE] or [s for s, _ in rows] == [DAY, MINUTE, DAY]
    assert (MINUTE, NOON) not in rows
    store.charge(key, {"requests": 1}, NOON + 500 * DAY)
    assert sqlite3.connect(store.path).execute("SELECT count(*) FROM used").fetchone() == (2,)


def test_a_file_that_is_not_there_or_holds_something_else_is_a_mistake(tmp_path):
    with pytest.raises(UserError, match="is not there; make a key with llmga keys add"):
        KeyStore(tmp_path / "keys.db")
    (tmp_path / "words").write_text("no database, whatever it is called " * 40)
    for create in (False, True):
        with pytest.raises(UserError, match="holds no keys"):
            KeyStore(tmp_path / "words", create=create)
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE books (title)")
    with pytest.raises(UserError, match="holds no keys"):
        KeyStore(tmp_path / "other.db", create=True)
    with pytest.raises(UserError, match="cannot be used"):
        KeyStore(tmp_path / "no" / "folder" / "keys.db", create=True)

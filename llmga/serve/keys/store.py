"""Keys, their limits and what they have used, in a SQLite file that several processes may share.

Only SHA-256 digests of keys are kept.  A key has 256 random bits, so that a slow hash, as for passwords, would add
nothing.  A key holds its own public id, by which it is found; then digests are compared in constant time.
"""

import hashlib
import hmac
import os
import re
import secrets
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from llmga.errors import UserError, system_reason
from llmga.serve.keys.limits import DAY, LIMITS, UNITS

VERSION = 1  # of the tables
PATIENCE = 5.0  # seconds that another process may hold the file
KEPT_DAYS = 400
FORM = re.compile(r"llmga-([0-9a-f]{8})-[\w-]{43}", re.ASCII)
NOBODY = bytes(32)  # a digest that no key has
TABLES = """
CREATE TABLE keys (id TEXT PRIMARY KEY, name TEXT NOT NULL, digest BLOB NOT NULL, admin INTEGER NOT NULL,
                   created REAL NOT NULL, revoked REAL) STRICT;
CREATE TABLE limits (key TEXT NOT NULL REFERENCES keys (id), name TEXT NOT NULL, most INTEGER NOT NULL,
                     PRIMARY KEY (key, name)) STRICT, WITHOUT ROWID;
CREATE TABLE used (key TEXT NOT NULL REFERENCES keys (id), unit TEXT NOT NULL, seconds INTEGER NOT NULL,
                   start INTEGER NOT NULL, amount INTEGER NOT NULL,
                   PRIMARY KEY (key, unit, seconds, start)) STRICT, WITHOUT ROWID;
"""


@dataclass(frozen=True)
class StoredKey:
    """A key without its secret.

    Attributes:
        id: Eight hex digits, which logs may hold.
        name: For people, such as whose it is.
        admin: It opens /v1/admin, too.
        limits: The most of rows of `LIMITS`; of the others there is no end.
        created: Seconds of Unix time, like `revoked`.
    """

    id: str
    name: str
    admin: bool
    limits: Mapping[str, int]
    created: float
    revoked: float | None = None


class Exceeded(Exception):
    """More is asked for than a key has left.

    Attributes:
        limit: The row's name.
        most: What the key may use in a period.
        used: What it has used of it.
        seconds: Until the next period.
        asked: How much was asked for.
    """

    def __init__(self, limit: str, most: int, used: int, seconds: int, asked: int = 1):
        super().__init__(f"{limit} of this key are {most:,}, and {used:,} are used")
        self.limit, self.most, self.used, self.seconds, self.asked = limit, most, used, seconds, asked


class KeyStore:
    """The keys of a file; it may be used from any thread.

    Args:
        path: Of the file.
        create: It is made where it is not there, for its owner's eyes only.

    Raises:
        UserError: It is not there, cannot be opened, or holds something else.
    """

    def __init__(self, path: str | Path, *, create: bool = False):
        self.path = Path(path)
        self._lock, self._swept = Lock(), 0.0
        if not self.path.is_file() and not create:
            raise UserError(f"--keys {str(path)!r} is not there; make a key with llmga keys add NAME --keys {path}.")
        try:
            if create:
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            self._open()
        except OSError as problem:
            raise UserError(f"--keys {str(path)!r} cannot be used ({system_reason(problem)}); give another.") from None
        except sqlite3.Error as problem:
            raise UserError(f"--keys {str(path)!r} holds no keys ({problem}); give a file of llmga keys.") from None

    def _open(self) -> None:
        self._sql = sqlite3.connect(self.path, PATIENCE, isolation_level=None, check_same_thread=False)
        self._sql.execute("PRAGMA journal_mode = WAL")  # who reads never waits for who writes
        self._sql.execute("PRAGMA synchronous = NORMAL")
        self._sql.execute("PRAGMA foreign_keys = ON")
        version, tables = self._one("PRAGMA user_version"), self._one("SELECT count(*) FROM sqlite_schema")
        if not version and not tables:
            self._sql.executescript(f"BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = {VERSION}; COMMIT;")
        elif version != VERSION:
            raise sqlite3.DatabaseError(f"version {version} of its tables, {VERSION} is known")

    def _one(self, question: str, *values: object) -> int:
        return int((self._sql.execute(question, values).fetchone() or (0,))[0])

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._sql.close()

    # Keys.

    def add(self, name: str, limits: Mapping[str, int] | None = None, *, admin: bool = False) -> tuple[str, StoredKey]:
        """Make a key.

        Args:
            name: For people; two keys that are in use have two names.
            limits: By name of a row of `LIMITS`, each 0 or more.

        Returns:
            The secret, which is told here and never again, and the rest.

        Raises:
            UserError: The name is taken.
        """
        identity, now = secrets.token_hex(4), time.time()
        secret = f"llmga-{identity}-{secrets.token_urlsafe(32)}"
        with self._writing():
            if self._one("SELECT count(*) FROM keys WHERE name = ? AND revoked IS NULL", name):
                raise UserError(f"there is a key named {name!r} already; revoke it, or choose another name.")
            row = (identity, name, _digest(secret), int(admin), now)
            self._sql.execute("INSERT INTO keys VALUES (?, ?, ?, ?, ?, NULL)", row)
            rows = [(identity, LIMITS[limit] and limit, most) for limit, most in (limits or {}).items()]
            self._sql.executemany("INSERT INTO limits VALUES (?, ?, ?)", rows)
        return secret, StoredKey(identity, name, admin, dict(limits or {}), now)

    def listed(self) -> list[StoredKey]:
        """All of them, revoked ones too, the oldest first."""
        with self._lock:
            return [self._key(row) for row in self._sql.execute("SELECT * FROM keys ORDER BY created, id").fetchall()]

    def revoke(self, name: str) -> StoredKey:
        """Let a key open nothing from now on.

        Args:
            name: Its name or its id.

        Raises:
            UserError: There is no such key in use.
        """
        with self._writing():
            asked = "SELECT * FROM keys WHERE revoked IS NULL AND (id = ? OR name = ?) ORDER BY id = ? DESC"
            row = self._sql.execute(asked, (name, name, name)).fetchone()
            if row is None:
                raise UserError(f"there is no key {name!r} in use; llmga keys list shows those there are.")
            self._sql.execute("UPDATE keys SET revoked = ? WHERE id = ?", (time.time(), row[0]))
            return self._key(row)

    def find(self, secret: str) -> StoredKey | None:
        """The key that a secret is of; None for a revoked one, too.

        Raises:
            sqlite3.Error: The file cannot be read.
        """
        given = FORM.fullmatch(secret)
        with self._lock:
            asked = "SELECT * FROM keys WHERE id = ? AND revoked IS NULL"
            row = self._sql.execute(asked, (given[1] if given else "",)).fetchone()
            fits = hmac.compare_digest(_digest(secret), NOBODY if row is None else row[2])
            return self._key(row) if fits and row is not None else None

    def _key(self, row: tuple[str, str, bytes, int, float, float | None]) -> StoredKey:
        identity, name, _, admin, created, revoked = row
        limits = dict(self._sql.execute("SELECT name, most FROM limits WHERE key = ?", (identity,)).fetchall())
        return StoredKey(identity, name, bool(admin), limits, created, revoked)

    # What they use.

    def charge(self, key: StoredKey, amounts: Mapping[str, int], now: float) -> None:
        """Count what a key is about to use; all of it, or nothing.

        Args:
            amounts: By unit, 0 or more.
            now: Seconds of Unix time.

        Raises:
            Exceeded: It has not so much left.
            sqlite3.Error: The file cannot be written.
        """
        with self._writing():
            self._sweep(now)
            for name, row in LIMITS.items():
                amount = amounts.get(row.unit, 0)
                if row.seconds is None or name not in key.limits or not amount:
                    continue
                start, most = row.period(now), key.limits[name]
                used = self._used(key.id, row.unit, row.seconds, start)
                if used + amount > most:
                    raise Exceeded(name, most, used, start + row.seconds - int(now), amount)
            self._count(key, amounts, now)

    def correct(self, key: StoredKey, amounts: Mapping[str, int], then: float) -> None:
        """Count what was used more, or less, than was charged for.

        Args:
            amounts: By unit, of either sign.
            then: When it was charged.

        Raises:
            sqlite3.Error: The file cannot be written.
        """
        with self._writing():
            self._count(key, amounts, then)

    def used(self, key: StoredKey, now: float) -> dict[str, int]:
        """What a key has used today, by unit."""
        day = LIMITS["requests-a-day"]
        with self._lock:
            return {unit: self._used(key.id, unit, DAY, day.period(now)) for unit in UNITS}

    def _used(self, identity: str, unit: str, seconds: int, start: int) -> int:
        asked = "SELECT amount FROM used WHERE key = ? AND unit = ? AND seconds = ? AND start = ?"
        return self._one(asked, identity, unit, seconds, start)

    def _count(self, key: StoredKey, amounts: Mapping[str, int], now: float) -> None:
        """A day's sums for every key, others for those that are limited by them."""
        periods = {(row.unit, row.seconds, row.period(now)) for name, row in LIMITS.items()
                   if row.seconds == DAY or (row.seconds is not None and name in key.limits)}  # fmt: skip
        rows = [(key.id, unit, seconds, start, amounts[unit])
                for unit, seconds, start in periods if amounts.get(unit)]  # fmt: skip
        self._sql.executemany(
            "INSERT INTO used VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET amount = amount + excluded.amount", rows
        )

    def _sweep(self, now: float) -> None:
        """Once a day, forget what nobody asks for any more."""
        if now - self._swept > DAY:
            self._swept = now
            old = (now - KEPT_DAYS * DAY, DAY, now - DAY)
            self._sql.execute("DELETE FROM used WHERE start < ? OR (seconds < ? AND start < ?)", old)

    def _writing(self) -> "_Transaction":
        return _Transaction(self._sql, self._lock)


class _Transaction:
    """A change of the file that is whole or undone, by one thread and one process at a time."""

    def __init__(self, sql: sqlite3.Connection, lock: Lock):
        self._sql, self._lock = sql, lock

    def __enter__(self) -> None:
        self._lock.acquire()
        try:
            self._sql.execute("BEGIN IMMEDIATE")
        except BaseException:
            self._lock.release()
            raise

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._sql.execute("COMMIT" if kind is None else "ROLLBACK")
        finally:
            self._lock.release()


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()

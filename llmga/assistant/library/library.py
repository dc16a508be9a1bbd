"""The library: whose conversations there are, found, named, deleted, and opened to be gone on with."""

import secrets
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, exists, func, select, update
from sqlalchemy.exc import DBAPIError

from llmga.assistant.credentials import Signer
from llmga.assistant.library import schema
from llmga.assistant.library.kept import KeptConversation
from llmga.assistant.library.schema import conversations, exchanges
from llmga.errors import UserError, system_reason

FILE, PICTURES = "library.sqlite3", "pictures"
KEPT_DELETED = 7 * 24 * 3600  # seconds for which a deleted conversation can be had back
LONGEST_TITLE = 120  # characters


@dataclass(frozen=True)
class Listed:
    """A conversation as a list shows it.

    Attributes:
        id: 32 hexadecimal digits, which nobody can guess.
        title: its first words, or what a person called it; "" of one that began with a picture.
        updated: when something was last said or painted in it, in seconds since 1970.
        thumbnail: the file of a small picture; None without one.
    """

    id: str
    title: str
    updated: float
    thumbnail: Path | None


@dataclass(frozen=True)
class Page:
    """A part of the list.

    Attributes:
        more: whether others follow.
    """

    listed: tuple[Listed, ...]
    more: bool


class Library:
    """Conversations in a folder, each of which belongs to somebody.

        library.sqlite3      what was said
        pictures/<id>/…      the pictures of a conversation, see `PictureFolder`

    Any thread and several processes may use it at once.

    Args:
        folder: made where it is not there.

    Raises:
        UserError: it cannot be used, or is of a later version.
    """

    def __init__(self, folder: str | Path):
        self.folder: Path = Path(folder).resolve()
        try:
            (self.folder / PICTURES).mkdir(mode=0o700, parents=True, exist_ok=True)
            self._engine = schema.opened(self.folder / FILE)
        except (OSError, DBAPIError) as problem:
            raise self._unusable("used", problem) from None
        self.forget_deleted(time.time() - KEPT_DELETED)

    @property
    def pictures(self) -> Path:
        """Below it lie all pictures, and nothing else."""
        return self.folder / PICTURES

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    # What a person can do.

    def listed(self, owner: str, wanted: str = "", skip: int = 0, most: int = 30) -> Page:
        """Somebody's conversations, the latest first.

        Args:
            wanted: words that all have to stand in the title or in what was said.
        """
        table = conversations.c
        found = [_said(table.title, word) | _spoken(word) for word in wanted.casefold().split()]
        query = (
            select(table.id, table.title, table.updated, table.thumbnail)
            .where(table.owner == owner, table.deleted.is_(None), *found)
            .order_by(table.updated.desc(), table.id)
            .offset(skip)
            .limit(most + 1)
        )
        with self.reading() as connection:
            rows = connection.execute(query).all()
        return Page(tuple(self._listed(row) for row in rows[:most]), len(rows) > most)

    def latest(self, owner: str) -> str | None:
        """The conversation in which somebody last said something; None without one."""
        page = self.listed(owner, most=1)
        return page.listed[0].id if page.listed else None

    def title(self, owner: str, key: str) -> str:
        """What a conversation is called.

        Raises:
            UserError: there is none.
        """
        with self.reading() as connection:
            self._check(connection, owner, key)
            named = select(conversations.c.title).where(conversations.c.id == key)
            return str(connection.execute(named).scalar_one())

    def rename(self, owner: str, key: str, title: str) -> None:
        """Give a conversation another title.

        Raises:
            UserError: there is none, or the title is empty.
        """
        title = " ".join(title.split())[:LONGEST_TITLE]
        if not title:
            raise UserError("the title is empty; give one, such as what the conversation is about.")
        self._change(owner, key, title=title, named=1)

    def delete(self, owner: str, key: str) -> None:
        """Take a conversation away; for a week it can be had back.

        Raises:
            UserError: there is none.
        """
        self._change(owner, key, deleted=time.time())

    def restore(self, owner: str, key: str) -> None:
        """Have a deleted conversation back.

        Raises:
            UserError: there is none.
        """
        self._change(owner, key, deleted=None)

    def forget_deleted(self, before: float) -> None:
        """Remove what was deleted before a time, with its pictures."""
        deleted = conversations.c.deleted < before
        with self.writing() as connection:
            keys = connection.execute(select(conversations.c.id).where(deleted)).scalars().all()
            connection.execute(delete(conversations).where(deleted))
        for key in keys:
            shutil.rmtree(self.pictures / key, ignore_errors=True)

    def begin(self, owner: str, signer: Signer | None = None) -> KeptConversation:
        """A new conversation, which is listed once something is kept of it.

        Raises:
            UserError: the disk does not take it.
        """
        return KeptConversation(self, owner, secrets.token_hex(16), signer)

    def open(self, owner: str, key: str, signer: Signer | None = None) -> KeptConversation:
        """A conversation that is there.

        Raises:
            UserError: it is nobody's, or somebody else's.
        """
        with self.reading() as connection:
            self._check(connection, owner, key)
        return KeptConversation(self, owner, key, signer)

    # For those that keep.

    @contextmanager
    def reading(self) -> Any:
        """A view of the database that does not change.

        Raises:
            UserError: it cannot be read.
        """
        try:
            with self._engine.begin() as connection:
                connection.exec_driver_sql("BEGIN")
                yield connection
        except DBAPIError as problem:
            raise self._unusable("read", problem) from None

    @contextmanager
    def writing(self) -> Any:
        """A change of the database: whole, or not at all.

        Raises:
            UserError: the disk does not take it.
        """
        try:
            with self._engine.begin() as connection:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                yield connection
        except (OSError, DBAPIError) as problem:
            raise self._unusable("written", problem) from None

    def _change(self, owner: str, key: str, **values: Any) -> None:
        with self.writing() as connection:
            self._check(connection, owner, key)
            connection.execute(update(conversations).where(conversations.c.id == key).values(**values))

    def _check(self, connection: Connection, owner: str, key: str) -> None:
        """Raises: UserError where a conversation is not there, or of another owner."""
        there = select(conversations.c.id).where(conversations.c.id == key, conversations.c.owner == owner)
        if connection.execute(there).first() is None:
            raise UserError("there is no such conversation here; it may have been deleted.")

    def _listed(self, row: Any) -> Listed:
        thumbnail = None if row.thumbnail is None else self.pictures / row.id / row.thumbnail
        return Listed(row.id, row.title, row.updated, thumbnail)

    def _unusable(self, how: str, problem: Exception) -> UserError:
        cause = getattr(problem, "orig", None) or problem
        reason = system_reason(cause) if isinstance(cause, OSError) else str(cause)
        return UserError(
            f"--library {str(self.folder)!r} cannot be {how} ({reason}); make room, or give another place."
        )


def _said(column: Any, word: str) -> Any:
    return func.casefold(column).contains(word, autoescape=True)


def _spoken(word: str) -> Any:
    own = exchanges.c.conversation == conversations.c.id
    return exists().where(own, exchanges.c.words.contains(word, autoescape=True))

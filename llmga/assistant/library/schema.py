"""The tables of a library, and how those of an older version become them.

The version stands in the file itself (`PRAGMA user_version`).  A change of the tables is a version more: a row of
`MIGRATIONS` that leads to it from the one before, each of which is done whole or not at all.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    text,
)

from llmga.errors import UserError

VERSION = 2
PATIENCE = 30_000  # milliseconds that one who writes waits for another
TABLES = MetaData()

conversations = Table(
    "conversations",
    TABLES,
    Column("id", String(32), primary_key=True),
    Column("owner", String, nullable=False),
    Column("title", String, nullable=False),
    Column("named", Integer, nullable=False),  # 1: a person gave the title
    Column("created", Float, nullable=False),  # seconds since 1970, as all times here
    Column("updated", Float, nullable=False),
    Column("deleted", Float),  # NULL: it is not
    Column("thumbnail", String),  # file beside the pictures
    Column("revision", Integer, nullable=False),  # counts how often it was written
    Column("head", Text, nullable=False),  # JSON: the session without its exchanges
    Column("extra", Text, nullable=False),  # JSON: what a front end keeps beside it
    Index("of_owner", "owner", "deleted", "updated"),
)
exchanges = Table(
    "exchanges",
    TABLES,
    Column("conversation", ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("content", Text, nullable=False),  # JSON: the exchange, its messages and what is told of its pictures
    Column("words", Text, nullable=False),  # what both sides said, casefolded, to be found
)


def opened(path: Path) -> Engine:
    """The database, made or brought to the version of this program.

    Raises:
        UserError: it is of a later version, or none.
        OSError: it cannot be written.
    """
    engine = create_engine(f"sqlite:///{path}")
    event.listen(engine, "connect", _set_up)
    with engine.begin() as connection:
        connection.execute(text("BEGIN IMMEDIATE"))  # of two that start at once, one migrates
        version = connection.execute(text("PRAGMA user_version")).scalar_one()
        if version > VERSION:
            raise UserError(f"library {str(path.parent)!r} is of version {version}, known is up to {VERSION}; update "
                            "this program, or give another --library.")  # fmt: skip
        if version == 0:
            TABLES.create_all(connection)
        else:
            for migrate in MIGRATIONS[version - 1 :]:
                migrate(connection)
        if version < VERSION:
            connection.execute(text(f"PRAGMA user_version = {VERSION}"))
    return engine


def words_of(content: dict[str, Any]) -> str:
    """What was said in an exchange as a row has it, to be found."""
    said = [content["exchange"]["turn"]["text"], *(message["text"] for message in content["messages"])]
    return "\n".join(dict.fromkeys(said)).casefold()


def _set_up(connection: Any, _: Any) -> None:
    """Readers and one who writes do not wait for each other, and a process that is killed loses nothing."""
    connection.isolation_level = None  # transactions begin where we say so, and hold changes of tables, too
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON", f"busy_timeout = {PATIENCE}"):
        connection.execute(f"PRAGMA {pragma}")
    connection.create_function("casefold", 1, lambda said: said.casefold(), deterministic=True)


def _to_2(connection: Connection) -> None:
    """What was said can be found."""
    connection.execute(text("ALTER TABLE exchanges ADD COLUMN words TEXT NOT NULL DEFAULT ''"))
    for key, place, content in connection.execute(text("SELECT conversation, position, content FROM exchanges")).all():
        connection.execute(
            text("UPDATE exchanges SET words = :words WHERE conversation = :key AND position = :place"),
            {"words": words_of(json.loads(content)), "key": key, "place": place},
        )


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (_to_2,)  # the first leads from version 1 to 2

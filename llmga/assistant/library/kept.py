"""One conversation of a library: written as it grows, each exchange a row of its own, and read again."""

from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from PIL import Image
from sqlalchemy import Connection, delete, select, update
from sqlalchemy.dialects.sqlite import insert

from llmga.assistant.credentials import Signer
from llmga.assistant.library.pictures import PictureFolder
from llmga.assistant.library.schema import conversations, exchanges, words_of
from llmga.assistant.record import ModelMark
from llmga.assistant.session import Exchange, Session, Turn
from llmga.assistant.session_file import INDEX, SessionReader, SessionWriter
from llmga.errors import UserError
from llmga.typed import typed

if TYPE_CHECKING:
    from llmga.assistant.library.library import Library

TITLE = 60  # characters of the first words that are a title
JSON = dict[str, Any]


@dataclass(frozen=True)
class Kept:
    """What is kept of a conversation.

    Attributes:
        session: as far as it had come.
        models: which ones took part.
        asked: the turn that was being answered, or that came to nothing.
        extra: what the front end wanted to be kept: plain values.
    """

    session: Session
    models: tuple[ModelMark, ...] = ()
    asked: Turn | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


class KeptConversation:
    """A conversation on disk.

    Args:
        library: where it lies.
        owner: whose it is.
        key: what the library knows it by.
        signer: what signs the pictures that are painted.

    Attributes:
        key: 32 hexadecimal digits.
        pictures: where its pictures lie.
    """

    def __init__(self, library: Library, owner: str, key: str, signer: Signer | None = None):
        self.library, self.owner, self.key = library, owner, key
        self.pictures: PictureFolder = PictureFolder(library.pictures / key, signer)
        self._revision = 0
        self._written: list[Exchange] = []

    def load(self) -> Kept:
        """What is kept.

        Raises:
            UserError: it is damaged.
        """
        with self.library.reading() as connection:
            row = connection.execute(select(conversations).where(conversations.c.id == self.key)).one()
            place = exchanges.c.position
            rows = select(exchanges.c.content).where(exchanges.c.conversation == self.key).order_by(place)
            parts = [json.loads(content) for content in connection.execute(rows).scalars()]
        head = json.loads(row.head)
        reader = SessionReader(self.pictures.path, _opener(_whole(head, parts), self.pictures), math.inf, math.inf)
        try:
            saved = reader.saved()
            asked = None if head["asked"] is None else _turn(head["asked"], reader)
        except (KeyError, TypeError, ValueError) as problem:
            raise UserError(f"conversation {row.title!r} is damaged ({problem}); choose another one.") from None
        self._revision, self._written = row.revision, list(saved.session.exchanges)
        return Kept(saved.session, saved.models, asked, json.loads(row.extra))

    def models(self) -> dict[str, str]:
        """The names of the models that took part, by their roles."""
        with self.library.reading() as connection:
            head = connection.execute(select(conversations.c.head).where(conversations.c.id == self.key)).scalar_one()
        return {mark["role"]: mark["name"] for mark in json.loads(head)["models"]}

    def save(self, kept: Kept) -> None:
        """Keep a conversation as it is now: all of it or, should the process be killed, what was kept before.

        Raises:
            UserError: the disk does not take it, or another process went on with it meanwhile.
        """
        new = [place for place, each in enumerate(kept.session.exchanges) if not self._has(place, each)]
        rows = [self._row(kept.session, place) for place in new]
        values = {
            "head": self._head(kept),
            "extra": json.dumps(dict(kept.extra), ensure_ascii=False),
            "thumbnail": self._thumbnail(kept),
        }
        with self.library.writing() as connection:
            self._write_head(connection, _title(kept), values, went_on=bool(new) or kept.asked is not None)
            beyond = exchanges.c.position >= len(kept.session.exchanges)
            connection.execute(delete(exchanges).where(exchanges.c.conversation == self.key, beyond))
            for row in rows:
                one = insert(exchanges).values(conversation=self.key, **row)
                connection.execute(one.on_conflict_do_update(index_elements=["conversation", "position"], set_=row))
        self._revision, self._written = self._revision + 1, list(kept.session.exchanges)

    def _has(self, place: int, exchange: Exchange) -> bool:
        return place < len(self._written) and self._written[place] is exchange

    def _write_head(self, connection: Connection, title: str, values: dict[str, Any], went_on: bool) -> None:
        now, values = time.time(), {**values, "revision": self._revision + 1}
        if not self._revision:
            own = {"id": self.key, "owner": self.owner, "title": title, "named": 0, "created": now, "updated": now}
            connection.execute(insert(conversations).values(**own, **values))
            return
        if went_on:
            values["updated"] = now
        table = conversations.c
        done = connection.execute(
            update(conversations).where(table.id == self.key, table.revision == self._revision).values(**values)
        )
        if not done.rowcount:
            raise UserError("this conversation was gone on with by another server; open it again from the list.")
        unnamed = table.named == 0
        connection.execute(update(conversations).where(table.id == self.key, unnamed).values(title=title))

    def _row(self, session: Session, place: int) -> JSON:
        """An exchange with the messages since the one before, its pictures being on disk."""
        writer, exchange = SessionWriter(self.pictures.hashed), session.exchanges[place]
        start = session.exchanges[place - 1].end if place else 0
        for painting in exchange.paintings:
            parent = None if painting.region is None else painting.region.parent
            self.pictures.painted(painting.image, painting.record, parent)
        content = {
            "exchange": writer.exchange(exchange),
            "messages": writer.messages(session.conversation.messages[start : exchange.end]),
            "pictures": writer.graph,
        }
        self._write_pictures(writer)
        return {"position": place, "content": json.dumps(content, ensure_ascii=False), "words": words_of(content)}

    def _head(self, kept: Kept) -> str:
        writer, session = SessionWriter(self.pictures.hashed), kept.session
        end = session.exchanges[-1].end if session.exchanges else 0
        content = {
            **writer.head(session, kept.models),
            "system": session.conversation.system,
            "messages": writer.messages(session.conversation.messages[end:]),
            "asked": None if kept.asked is None else writer.turn(kept.asked),
            "pictures": writer.graph,
        }
        self._write_pictures(writer)
        return json.dumps(content, ensure_ascii=False)

    def _write_pictures(self, writer: SessionWriter) -> None:
        for file, make in writer.files.items():
            if not self.pictures.holds(name := Path(file).name):
                self.pictures.write(name, make())

    def _thumbnail(self, kept: Kept) -> str | None:
        asked = kept.asked.images[0] if kept.asked is not None and kept.asked.images else None
        latest = kept.session.latest_picture or asked
        return None if latest is None else self.pictures.thumbnail(latest)


def _opener(content: JSON, pictures: PictureFolder) -> Callable[[str], IO[bytes]]:
    """What opens the files of the session that a conversation is, for `SessionReader`."""

    def opened(name: str) -> IO[bytes]:
        if name == INDEX:
            return io.BytesIO(json.dumps(content, ensure_ascii=False).encode(errors="replace"))
        return pictures.found(Path(name).name).open("rb")

    return opened


def _whole(head: JSON, parts: list[JSON]) -> JSON:
    """The session as a file of one has it."""
    messages = [message for part in (*parts, head) for message in part["messages"]]
    pictures: JSON = {}
    for part in (*parts, head):
        for name, told in part["pictures"].items():
            if told["kind"] == "painted" or name not in pictures:
                pictures[name] = told
    return {
        **head,
        "exchanges": [part["exchange"] for part in parts],
        "conversation": {"system": head["system"], "messages": messages},
        "pictures": pictures,
    }


def _turn(said: JSON, reader: SessionReader) -> Turn:
    names: list[str] = []
    typed(Turn, said, {Image.Image: names.append})
    pictures = reader.some(names)
    return typed(Turn, said, {Image.Image: pictures.__getitem__})


def _title(kept: Kept) -> str:
    """The first words that a person said."""
    turns = [each.turn for each in kept.session.exchanges] + ([kept.asked] if kept.asked else [])
    said = next((" ".join(turn.text.split()) for turn in turns if turn.text.strip()), "")
    if len(said) <= TITLE:
        return said
    short = said[:TITLE].rsplit(" ", 1)[0]
    return f"{short if len(short) > TITLE // 2 else said[:TITLE]}…"

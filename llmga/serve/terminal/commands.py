"""What a person types in a conversation that is not said: `/image photo.jpg`, `/undo`, `/save`."""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image

from llmga.assistant.assistant import Assistant
from llmga.assistant.events import AssistantEvent
from llmga.assistant.session import Session, Turn
from llmga.assistant.session_file import differences, load_session, save_session
from llmga.diffusers.canvas import Canvas
from llmga.diffusers.control import OFF, parse_words
from llmga.errors import UserError
from llmga.images import open_image
from llmga.limits import LARGEST_SEED, MOST_PIXELS
from llmga.plain_text import plain
from llmga.registry import Registry
from llmga.serve import parsed_args
from llmga.serve.terminal import completing, looking
from llmga.serve.terminal.completing import Candidate
from llmga.serve.terminal.drawing import Terminal, ctrl_c
from llmga.serve.terminal.settings_command import (
    DEFAULT,
    SETTABLE,
    change,
    describe,
    described,
    offer,
    set_controls,
)

HELP_WIDTH = 32


@dataclass
class TerminalChat:
    """A conversation in a terminal: what its lines, be they messages or commands, are done to.

    Attributes:
        pending: what goes with the next message; its text is not used.
        session: where the session is saved after every answer; None saves it on request only.
        kept: where it is saved then, so that it is not lost with the terminal; None keeps nothing.
        fill: under what is outpainted, a row of `FILLS`.
        most_pixels: of a session that is loaded.
        over: the person has had enough.
        undone: the sessions before and after each message that was taken back, the latest last.
    """

    assistant: Assistant
    terminal: Terminal
    pending: Turn = Turn("")
    session: Path | None = None
    fill: str = "edge"
    most_pixels: int = MOST_PIXELS
    over: bool = False
    kept: Path | None = None
    undone: list[tuple[Session, Session]] = field(default_factory=list)

    def handle(self, line: str) -> None:
        """Answer a message or do what a command says; what goes wrong is printed, and never ends the conversation."""
        try:
            if line.startswith("/") and not line.startswith("//"):
                name, *rest = line.removeprefix("/").split(maxsplit=1) or ["help"]
                with ctrl_c(_interrupt):
                    COMMANDS[f"/{name}"].run(self, "".join(rest).strip())
            else:
                self.say(line.removeprefix("/") if line.startswith("//") else line)
        except UserError as problem:
            self.terminal.error(str(problem))
        except KeyboardInterrupt:  # of a command; answers end by themselves, or are left
            self.terminal.info("stopped")
        except Exception as defect:
            self.terminal.exception(defect)
        self.over |= self.terminal.leaving

    def say(self, text: str) -> None:
        """Answer a message; what was pending stays so where no answer came."""
        pending, before = self.pending, self.assistant.exchanges
        self.pending = Turn("")
        self.play(self.assistant.stream(replace(pending, text=text)))
        if self.assistant.exchanges is before:
            self.pending = pending

    def play(self, events: Iterator[AssistantEvent], **options: str) -> None:
        """Draw what the assistant does, and save the session where that is asked for."""
        try:
            self.terminal.play(self.assistant, events, **options)
        finally:
            self.autosave()

    def autosave(self) -> None:
        """Save the session where that was asked for, else where it is kept."""
        if self.session is not None:
            self.save(self.session)
        elif self.kept is not None:
            with suppress(UserError):  # nobody asked for it
                self.save(self.kept)

    def save(self, path: Path) -> None:
        """Save the session; Ctrl-C, perhaps meant for the answer before, does not interrupt it.

        Raises:
            UserError: the disk does not take it.
        """
        with ctrl_c(lambda: None):
            save_session(path, self.assistant.session, self.assistant.models)

    def picture(self) -> Image.Image:
        """What a mask or an outpainting is about: the pending picture, else the latest one.

        Raises:
            UserError: there is neither.
        """
        if self.pending.images:
            return self.pending.images[0]
        if (latest := self.assistant.session.latest_picture) is not None:
            return latest
        raise UserError("there is no picture yet; ask for one, or give one with /image FILE.")


@dataclass(frozen=True)
class SlashCommand:
    """A row of the table of commands.

    Attributes:
        takes: what follows the name, in the words of the help.
        help: what it does, in the help.
        run: (conversation, what was typed behind the name); raises a `UserError` for what cannot be done.
        completes: what the tab key offers behind the name, of the same.
    """

    takes: str
    help: str
    run: Callable[[TerminalChat, str], None]
    completes: Callable[[TerminalChat, str], Iterable[Candidate]] = completing.nothing


def _image(chat: TerminalChat, file: str) -> None:
    picture = open_image(_named(file, "/image", "a picture"), exact=True)
    chat.pending = Turn("", (picture,))
    chat.terminal.info(f"{picture.width}x{picture.height}; it goes with your next message.")


def _mask(chat: TerminalChat, file: str) -> None:
    picture, soft = chat.picture(), chat.assistant.settings.repaint.get("soft", False)
    mask = parsed_args.open_mask(_named(file, "/mask", "a picture"), picture.size, soft=soft)
    chat.pending = Turn("", (picture,), mask)
    chat.terminal.info("say what is to be there; later messages repaint the same part.")


def _outpaint(chat: TerminalChat, text: str) -> None:
    picture = chat.picture()
    size = Canvas.parse(text, picture.size).size
    chat.pending = Turn("", (picture,), outpaint=text, fill=chat.fill)
    chat.terminal.info(f"{picture.width}x{picture.height} grows to {size[0]}x{size[1]}; say what is to be there.")


def _seed(chat: TerminalChat, text: str) -> None:
    if text:
        chat.assistant.reseed(int(_number(text, 0, LARGEST_SEED, "seed")))
    chat.terminal.info(f"the next picture has seed {chat.assistant.session.next_seed}.")


def _set(chat: TerminalChat, text: str) -> None:
    name, _, value = text.partition(" ")
    name, value = name.lower().replace("_", "-"), value.strip()
    if not name:
        chat.terminal.rows([*describe(chat.assistant), ("fill", chat.fill)])
        return
    row = SETTABLE[name]
    if name == "fill":
        chat.fill = row.checked(value) if value else chat.fill
    elif value:
        change(chat.assistant, name, value)
    now = chat.fill if name == "fill" else described(chat.assistant, row)
    chat.terminal.info(f"{name} is {now}." if value else f"{name} is {now}: {offer(row)}.")


def _control(chat: TerminalChat, text: str) -> None:
    if text in (OFF, DEFAULT):
        set_controls(chat.assistant, () if text == OFF else None)
    elif text:
        control, file = parse_words(text)
        image = open_image(_named(file, "/control", "a picture"), exact=True) if file else chat.picture()
        others = [each for each in chat.assistant.settings.controls or () if each.name != control.name]
        set_controls(chat.assistant, (*others, replace(control, image=image)))
    chat.terminal.info(f"guided by: {chat.assistant.settings.control or DEFAULT}.")


def _undo(chat: TerminalChat, text: str) -> None:
    before = chat.assistant.session
    turn = chat.assistant.undo()
    chat.undone.append((before, chat.assistant.session))
    chat.autosave()
    chat.terminal.info(f"taken back: {plain(turn.text)} (/redo brings it back)")


def _redo(chat: TerminalChat, text: str) -> None:
    now = chat.assistant.session
    before, after = chat.undone[-1] if chat.undone else (None, None)
    if before is None or after is None or after.exchanges is not now.exchanges:
        raise UserError("there is nothing to bring back; /redo follows /undo.")
    del chat.undone[-1]
    counted = {name: getattr(now, name) for name in ("seed", "turns", "painted", "settings")}
    chat.assistant.session = replace(before, **counted)
    chat.autosave()
    chat.terminal.info(f"brought back: {plain(before.exchanges[-1].turn.text)}")


def _retry(chat: TerminalChat, text: str) -> None:
    chat.play(chat.assistant.retry())


def _repaint(chat: TerminalChat, prompt: str) -> None:
    with_picture = [number for number, each in enumerate(chat.assistant.exchanges) if each.paintings]
    if not with_picture:
        raise UserError("there is no picture to paint again; ask for one.")
    chat.play(chat.assistant.repaint(with_picture[-1], prompt=prompt or None), speaker="")


def _repair(chat: TerminalChat, text: str) -> None:
    chat.play(chat.assistant.repair())


def _edit(chat: TerminalChat, text: str) -> None:
    number, _, words = text.partition(" ")
    turn = int(_number(number, 0, len(chat.assistant.exchanges) - 1, "turn"))
    if not words.strip():
        raise UserError("/edit lacks the new words; write /edit NUMBER WORDS (see /history).")
    chat.play(chat.assistant.edit(turn, words.strip()))


def _save(chat: TerminalChat, typed: str) -> None:
    path = _session_path(chat, typed)
    chat.save(path)
    chat.terminal.info(f"saved the session in {path}")


def _load(chat: TerminalChat, typed: str) -> None:
    saved = load_session(_session_path(chat, typed), chat.most_pixels)
    chat.assistant.session = saved.session
    chat.pending = Turn("")
    count = len(saved.session.exchanges)
    chat.terminal.info("\n".join([*differences(saved.models, chat.assistant.models), f"going on after turn {count}."]))


def _help(chat: TerminalChat, text: str) -> None:
    rows = ((f"{name} {row.takes}".strip(), row.help) for name, row in COMMANDS.items())
    chat.terminal.rows(rows, HELP_WIDTH)


def _quit(chat: TerminalChat, text: str) -> None:
    chat.over = True


COMMANDS = Registry("command", {
    "/help": SlashCommand("", "what can be typed beside messages", _help),
    "/image": SlashCommand("FILE", "a picture for the next message", _image, completing.files),
    "/mask": SlashCommand("FILE", "paint anew what is white in it, of that picture or of the latest one", _mask,
                          completing.files),
    "/outpaint": SlashCommand("left=25%,right=100", "let that picture or the latest one grow", _outpaint),
    "/seed": SlashCommand("[NUMBER]", "of the next picture", _seed),
    "/set": SlashCommand("[NAME VALUE]", "change a setting, `default` gives it back; alone: the values in force", _set,
                         completing.settings),
    "/control": SlashCommand("[canny 0.6 FILE]", "let FILE or the latest picture guide the next; off", _control,
                             completing.controls),
    "/undo": SlashCommand("", "take the last message and its answer back", _undo),
    "/redo": SlashCommand("", "bring back what /undo took", _redo),
    "/retry": SlashCommand("", "another answer to the last message", _retry),
    "/edit": SlashCommand("NUMBER WORDS", "say that message in other words; what followed is forgotten", _edit,
                          completing.turns),
    "/repaint": SlashCommand("[PROMPT]", "paint the latest picture again, by its prompt or by yours", _repaint),
    "/versions": SlashCommand("[COUNT]", "how the latest prompt was painted so far; COUNT paints so many more",
                              looking.versions),
    "/repair": SlashCommand("", "let the last answer go on until it asks for a picture", _repair),
    "/history": SlashCommand("", "what was said so far, numbered, with the files", looking.history),
    "/open": SlashCommand("[NUMBER|FILE]", "show a saved picture, or the latest, in a window", looking.open_picture,
                          completing.files),
    "/models": SlashCommand("", "what talks and paints, and what else is there", looking.models),
    "/save": SlashCommand("[PLACE]", "save the session in a folder or a .zip", _save, completing.files),
    "/load": SlashCommand("[PLACE]", "go on with a saved session", _load, completing.files),
    "/quit": SlashCommand("", "end, as an empty line does", _quit),
})  # fmt: skip


def _interrupt() -> None:
    raise KeyboardInterrupt


def _named(file: str, command: str, what: str) -> str:
    if not file:
        raise UserError(f"{command} lacks a name; write {command} FILE with {what}.")
    return str(_path(file))


def _session_path(chat: TerminalChat, typed: str) -> Path:
    """The path that was typed, or where the session is kept."""
    return _path(typed) if typed else chat.session or chat.terminal.pictures.folder / "session"


def _path(typed: str) -> Path:
    """What a person typed, or a terminal did for a file that was dropped on it: quoted, or with escaped blanks."""
    path = Path(os.path.expanduser(typed.strip("\"'")))
    return path if os.path.exists(path) else Path(re.sub(r"\\(?=[^\w\\])", "", str(path)))


def _number(text: str, low: int, high: int, what: str) -> int:
    if not (text.isascii() and text.isdecimal() and low <= int(text) <= high):
        allowed = f"use {low} to {high}" if low <= high else "there is none yet"
        raise UserError(f"{what} {text!r} is out of range; {allowed}.")
    return int(text)

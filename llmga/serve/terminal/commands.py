"""What a person types in a conversation that is not said: `/image photo.jpg`, `/undo`, `/save`."""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from llmga.assistant.assistant import Assistant
from llmga.assistant.events import AssistantEvent
from llmga.assistant.session import Turn
from llmga.assistant.session_file import differences, load_session, save_session
from llmga.assistant.settings import SETTINGS
from llmga.diffusers.canvas import Canvas
from llmga.diffusers.control import OFF, parse_words
from llmga.errors import UserError
from llmga.images import open_image
from llmga.limits import LARGEST_SEED, MOST_PIXELS
from llmga.plain_text import plain
from llmga.registry import Registry
from llmga.serve import parsed_args
from llmga.serve.terminal.drawing import Terminal, ctrl_c
from llmga.serve.terminal.settings_command import CHANGES, DEFAULT, change, describe, set_controls

HELP_WIDTH = 32
SETTABLE = Registry("setting", {**CHANGES, "fill": SETTINGS["fill"]})  # the fill is the turn's, not the assistant's


@dataclass
class TerminalChat:
    """A conversation in a terminal: what its lines, be they messages or commands, are done to.

    Attributes:
        pending: what goes with the next message; its text is not used.
        session: where the session is saved after every answer; None saves it on request only.
        fill: under what is outpainted, a row of `FILLS`.
        most_pixels: of a session that is loaded.
        over: the person has had enough.
    """

    assistant: Assistant
    terminal: Terminal
    pending: Turn = Turn("")
    session: Path | None = None
    fill: str = "edge"
    most_pixels: int = MOST_PIXELS
    over: bool = False

    def handle(self, line: str) -> None:
        """Answer a message or do what a command says; what goes wrong is printed, and never ends the conversation."""
        try:
            if line.startswith("/") and not line.startswith("//"):
                name, _, rest = line.removeprefix("/").lstrip().partition(" ")
                COMMANDS[f"/{name or 'help'}"].run(self, rest.strip())
            else:
                self.say(line.removeprefix("/") if line.startswith("//") else line)
        except UserError as problem:
            self.terminal.error(str(problem))
        except KeyboardInterrupt:  # of a command; answers end by themselves
            self.terminal.info("stopped")
        except Exception as defect:
            self.terminal.exception(defect)

    def say(self, text: str) -> None:
        """Answer a message; what was pending stays so where no answer came."""
        pending, before = self.pending, self.assistant.exchanges
        self.pending = Turn("")
        self.terminal.play(self.assistant, self.assistant.stream(replace(pending, text=text)))
        self._autosave()
        if self.assistant.exchanges is before:
            self.pending = pending

    def play(self, events: Iterator[AssistantEvent], **options: str) -> None:
        """Draw what the assistant does, and save the session where that is asked for."""
        self.terminal.play(self.assistant, events, **options)
        self._autosave()

    def _autosave(self) -> None:
        if self.session is not None:
            self.save(self.session)

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
    """

    takes: str
    help: str
    run: Callable[[TerminalChat, str], None]


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
    if value.strip():
        SETTABLE[name.lower().replace("_", "-")]  # else the message would not name them all
    if name == "fill" and value.strip():
        chat.fill = SETTINGS["fill"].checked(value.strip())
    elif value.strip():
        change(chat.assistant, name, value.strip())
    elif name:
        raise UserError(f"/set {name} lacks a value; write /set NAME VALUE, or /set alone to see all.")
    chat.terminal.info(f"{describe(chat.assistant)}\nfill {chat.fill}" if not name else f"{name} is {value.strip()}.")


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
    turn = chat.assistant.undo()
    if chat.session is not None:
        chat.save(chat.session)
    chat.terminal.info(f"taken back: {plain(turn.text)}")


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


def _history(chat: TerminalChat, text: str) -> None:
    rows = enumerate(chat.assistant.exchanges)
    lines = [f"{number}: {plain(each.turn.text)}{_pictures(len(each.paintings))}" for number, each in rows]
    chat.terminal.info("\n".join(lines) or "nothing was said yet.")


def _pictures(count: int) -> str:
    return f" ({count} picture{'s' * (count > 1)})" if count else ""


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
    chat.terminal.info("\n".join(f"{left:{HELP_WIDTH}}{right}" for left, right in rows))


def _quit(chat: TerminalChat, text: str) -> None:
    chat.over = True


COMMANDS = Registry("command", {
    "/help": SlashCommand("", "what can be typed beside messages", _help),
    "/image": SlashCommand("FILE", "a picture for the next message", _image),
    "/mask": SlashCommand("FILE", "paint anew what is white in it, of that picture or of the latest one", _mask),
    "/outpaint": SlashCommand("left=25%,right=100", "let that picture or the latest one grow", _outpaint),
    "/seed": SlashCommand("[NUMBER]", "of the next picture", _seed),
    "/set": SlashCommand("[NAME VALUE]", "change a setting, `default` gives it back; alone: all settings", _set),
    "/control": SlashCommand("[canny 0.6 FILE]", "let FILE or the latest picture guide the next; off", _control),
    "/undo": SlashCommand("", "take the last message and its answer back", _undo),
    "/retry": SlashCommand("", "another answer to the last message", _retry),
    "/edit": SlashCommand("NUMBER WORDS", "say that message in other words; what followed is forgotten", _edit),
    "/repaint": SlashCommand("[PROMPT]", "paint the latest picture again, by its prompt or by yours", _repaint),
    "/repair": SlashCommand("", "let the last answer go on until it asks for a picture", _repair),
    "/history": SlashCommand("", "what was said so far, numbered", _history),
    "/save": SlashCommand("[PLACE]", "save the session in a folder or a .zip", _save),
    "/load": SlashCommand("[PLACE]", "go on with a saved session", _load),
    "/quit": SlashCommand("", "end, as an empty line does", _quit),
})  # fmt: skip


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

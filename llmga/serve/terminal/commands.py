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
from llmga.errors import UserError
from llmga.images import open_image
from llmga.limits import LARGEST_SEED, MOST_PIXELS
from llmga.plain_text import plain
from llmga.registry import Registry
from llmga.serve import args as flags
from llmga.serve.terminal.drawing import Terminal, ctrl_c
from llmga.serve.terminal.settings_command import change, told

HELP_WIDTH = 32


@dataclass
class Talk:
    """One conversation in a terminal.

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

    def take(self, line: str) -> None:
        """Answer a message or do what a command says; what goes wrong is told, and never ends the conversation."""
        try:
            if line.startswith("/") and not line.startswith("//"):
                name, _, rest = line.partition(" ")
                COMMANDS[name].run(self, rest.strip())
            else:
                self.say(line.removeprefix("/") if line.startswith("//") else line)
        except UserError as problem:
            self.terminal.fail(str(problem))
        except KeyboardInterrupt:  # of a command; answers end by themselves
            self.terminal.tell("stopped")
        except Exception as defect:
            self.terminal.confess(defect)

    def say(self, text: str) -> None:
        """Answer a message; what was pending stays so where no answer came."""
        pending, before = self.pending, self.assistant.exchanges
        self.pending = Turn("")
        self.play(self.assistant.stream(replace(pending, text=text)))
        if self.assistant.exchanges is before:
            self.pending = pending

    def play(self, events: Iterator[AssistantEvent], **options: str) -> None:
        """Draw what the assistant does, and keep it."""
        self.terminal.play(self.assistant, events, **options)
        if self.session is not None:
            self.keep(self.session)

    def keep(self, place: Path) -> None:
        """Save the session; Ctrl-C, perhaps meant for the answer before, does not interrupt it.  Raises: UserError."""
        with ctrl_c(lambda: None):
            save_session(place, self.assistant.session, self.assistant.models)

    def picture(self) -> Image.Image:
        """What a mask or an outpainting is about: the pending picture, else the latest one.  Raises: UserError."""
        if self.pending.images:
            return self.pending.images[0]
        for exchange in reversed(self.assistant.exchanges):
            if exchange.paintings:
                return exchange.paintings[-1].image
            if exchange.turn.images:
                return exchange.turn.images[0]
        raise UserError("there is no picture yet; ask for one, or give one with /image FILE.")


@dataclass(frozen=True)
class Command:
    """A row of the table of commands.

    Attributes:
        takes: what follows the name, in the words of the help.
        help: what it does.
    """

    takes: str
    help: str
    run: Callable[[Talk, str], None]


def _image(talk: Talk, file: str) -> None:
    picture = open_image(_named(file, "/image", "a picture"), exact=True)
    talk.pending = Turn("", (picture,))
    talk.terminal.tell(f"{picture.width}x{picture.height}; it goes with your next message.")


def _mask(talk: Talk, file: str) -> None:
    picture, soft = talk.picture(), talk.assistant.settings.repaint.get("soft", False)
    mask = flags.open_mask(_named(file, "/mask", "a picture"), picture.size, soft=soft)
    talk.pending = Turn("", (picture,), mask)
    talk.terminal.tell("say what is to be there; later messages repaint the same part.")


def _outpaint(talk: Talk, text: str) -> None:
    picture = talk.picture()
    size = Canvas.parse(text, picture.size).size
    talk.pending = Turn("", (picture,), outpaint=text, fill=talk.fill)
    talk.terminal.tell(f"{picture.width}x{picture.height} grows to {size[0]}x{size[1]}; say what is to be there.")


def _seed(talk: Talk, text: str) -> None:
    if text:
        talk.assistant.reseed(int(_number(text, 0, LARGEST_SEED, "seed")))
    talk.terminal.tell(f"the next picture has seed {talk.assistant.session.next_seed}.")


def _set(talk: Talk, text: str) -> None:
    name, _, value = text.partition(" ")
    if name == "fill" and value.strip():
        talk.fill = SETTINGS["fill"].checked(value.strip())
    elif value.strip():
        change(talk.assistant, name, value.strip())
    elif name:
        raise UserError(f"/set {name} lacks a value; write /set NAME VALUE, or /set alone to see all.")
    talk.terminal.tell(f"{told(talk.assistant)}\nfill {talk.fill}" if not name else f"{name} is {value.strip()}.")


def _undo(talk: Talk, text: str) -> None:
    turn = talk.assistant.undo()
    if talk.session is not None:
        talk.keep(talk.session)
    talk.terminal.tell(f"taken back: {plain(turn.text)}")


def _retry(talk: Talk, text: str) -> None:
    talk.play(talk.assistant.retry())


def _repaint(talk: Talk, prompt: str) -> None:
    with_picture = [number for number, each in enumerate(talk.assistant.exchanges) if each.paintings]
    if not with_picture:
        raise UserError("there is no picture to paint again; ask for one.")
    talk.play(talk.assistant.repaint(with_picture[-1], prompt=prompt or None), speaker="")


def _repair(talk: Talk, text: str) -> None:
    talk.play(talk.assistant.repair())


def _edit(talk: Talk, text: str) -> None:
    number, _, words = text.partition(" ")
    turn = int(_number(number, 0, len(talk.assistant.exchanges) - 1, "turn"))
    if not words.strip():
        raise UserError("/edit lacks the new words; write /edit NUMBER WORDS (see /history).")
    talk.play(talk.assistant.edit(turn, words.strip()))


def _history(talk: Talk, text: str) -> None:
    rows = enumerate(talk.assistant.exchanges)
    lines = [f"{number}: {plain(each.turn.text)}{_painted(len(each.paintings))}" for number, each in rows]
    talk.terminal.tell("\n".join(lines) or "nothing was said yet.")


def _painted(count: int) -> str:
    return f" ({count} picture{'s' * (count > 1)})" if count else ""


def _save(talk: Talk, place: str) -> None:
    path = _place(talk, place)
    talk.keep(path)
    talk.terminal.tell(f"saved the session in {path}")


def _load(talk: Talk, place: str) -> None:
    saved = load_session(_place(talk, place), talk.most_pixels)
    talk.assistant.session = saved.session
    talk.pending = Turn("")
    count = len(saved.session.exchanges)
    talk.terminal.tell("\n".join([*differences(saved.models, talk.assistant.models), f"going on after turn {count}."]))


def _help(talk: Talk, text: str) -> None:
    rows = ((f"{name} {row.takes}".strip(), row.help) for name, row in COMMANDS.items())
    talk.terminal.tell("\n".join(f"{left:{HELP_WIDTH}}{right}" for left, right in rows))


def _quit(talk: Talk, text: str) -> None:
    talk.over = True


COMMANDS = Registry("command", {
    "/help": Command("", "what can be typed beside messages", _help),
    "/image": Command("FILE", "a picture for the next message", _image),
    "/mask": Command("FILE", "paint anew what is white in it, of that picture or of the latest one", _mask),
    "/outpaint": Command("left=25%,right=100", "let that picture or the latest one grow", _outpaint),
    "/seed": Command("[NUMBER]", "of the next picture", _seed),
    "/set": Command("[NAME VALUE]", "change a setting, `default` gives it back; alone: all settings", _set),
    "/undo": Command("", "take the last message and its answer back", _undo),
    "/retry": Command("", "another answer to the last message", _retry),
    "/edit": Command("NUMBER WORDS", "say that message in other words; what followed is forgotten", _edit),
    "/repaint": Command("[PROMPT]", "paint the latest picture again, by its prompt or by yours", _repaint),
    "/repair": Command("", "let the last answer go on until it asks for a picture", _repair),
    "/history": Command("", "what was said so far, numbered", _history),
    "/save": Command("[PLACE]", "save the session in a folder or a .zip", _save),
    "/load": Command("[PLACE]", "go on with a saved session", _load),
    "/quit": Command("", "end, as an empty line does", _quit),
})  # fmt: skip


def _named(file: str, command: str, what: str) -> str:
    if not file:
        raise UserError(f"{command} lacks a name; write {command} FILE with {what}.")
    return str(_path(file))


def _place(talk: Talk, typed: str) -> Path:
    """Where a session is, if not told where it is kept."""
    return _path(typed) if typed else talk.session or talk.terminal.pictures.folder / "session"


def _path(typed: str) -> Path:
    """What a person typed, or a terminal did for a file that was dropped on it: quoted, or with escaped blanks."""
    path = Path(os.path.expanduser(typed.strip("\"'")))
    return path if os.path.exists(path) else Path(re.sub(r"\\(?=[^\w\\])", "", str(path)))


def _number(text: str, low: int, high: int, what: str) -> int:
    if not (text.isascii() and text.isdecimal() and low <= int(text) <= high):
        allowed = f"use {low} to {high}" if low <= high else "there is none yet"
        raise UserError(f"{what} {text!r} is out of range; {allowed}.")
    return int(text)

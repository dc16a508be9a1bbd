"""Commands that look at what there is: what was said, the pictures' files, their versions, the models."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmga.assistant.session import Exchange
from llmga.errors import UserError
from llmga.limits import MOST_VERSIONS
from llmga.llava.generation_prompt import Spoken, parse
from llmga.model_directories import in_model_directories
from llmga.plain_text import plain
from llmga.serve.terminal.drawing import told_of

if TYPE_CHECKING:
    from llmga.assistant.record import Record
    from llmga.serve.terminal.commands import TerminalChat

FACTS = ("family", "device", "dtype", "quant")  # what is told of a painter
MARKS = {"model_index.json": "--sdmodel_id", "config.json": "--model-path"}  # how a folder shows what opens it


def history(chat: "TerminalChat", text: str) -> None:
    """What both sides said, and where the pictures are."""
    lines = [
        line for number, each in enumerate(chat.assistant.exchanges) for line in _exchange_lines(chat, number, each)
    ]
    chat.terminal.info("\n".join(lines) or "nothing was said yet.")


def _exchange_lines(chat: "TerminalChat", number: int, exchange: Exchange) -> Iterator[str]:
    indent = " " * len(f"{number}: ")
    given = f" ({len(exchange.turn.images)} given)" if exchange.turn.images else ""
    yield f"{number}: {_indented(plain(exchange.turn.text), indent)}{given}"
    said = "".join(each.text for each in parse([chat.assistant.session.reply(number)]) if isinstance(each, Spoken))
    if said := plain(said).strip():
        yield indent + _indented(said, indent)
    for painting in exchange.paintings:
        yield f"{indent}{_file(chat, painting.record)} {told_of(painting.record)}"


def _indented(text: str, indent: str) -> str:
    return text.strip().replace("\n", f"\n{indent}")


def _file(chat: "TerminalChat", record: "Record") -> str:
    return str(chat.terminal.file_of(record) or "a picture of the session")


def open_picture(chat: "TerminalChat", text: str) -> None:
    """Show a picture in a window of the system, or say where it is."""
    path = _picture_path(chat, text.strip("\"'"))
    if _shown(path):
        chat.terminal.info(f"opened {path}")
    else:
        chat.terminal.info(f"the picture is {path.resolve()}; nothing here can show it in a window.")


def _picture_path(chat: "TerminalChat", typed: str) -> Path:
    """Raises: UserError where there is no such file."""
    saved, folder = chat.terminal.pictures.paths, chat.terminal.pictures.folder
    if not typed:
        if not saved:
            raise UserError("no picture was saved yet; ask for one, or name a file: /open FILE.")
        return saved[-1]
    numbered = sorted(folder.glob(f"{int(typed):03d}.*")) if typed.isascii() and typed.isdecimal() else []
    for path in (*numbered, Path(os.path.expanduser(typed)), folder / typed):
        if path.is_file():
            return path
    raise UserError(f"there is no picture {typed!r}; name a file, or the number of one in {str(folder)!r}.")


def _shown(path: Path) -> bool:
    """Hand a file to what the system shows it with, if there is something."""
    if sys.platform == "win32":
        os.startfile(path)
        return True
    opens = shutil.which("open" if sys.platform == "darwin" else "xdg-open")
    screen = sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if opens is None or not screen:
        return False
    quiet: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    with suppress(OSError):
        subprocess.Popen([opens, str(path.resolve())], start_new_session=True, **quiet)
        return True
    return False


def versions(chat: "TerminalChat", text: str) -> None:
    """Paint more versions of the latest prompt, and list all."""
    painted = [number for number, each in enumerate(chat.assistant.exchanges) if each.paintings]
    if not painted:
        raise UserError("there is no picture yet; ask for one.")
    for _ in range(_count(text)):
        chat.play(chat.assistant.repaint(painted[-1]), speaker="")
        if chat.assistant.cancelled:
            break
    paintings = chat.assistant.exchanges[painted[-1]].paintings
    same = [each.record for each in paintings if each.number == paintings[-1].number]
    chat.terminal.rows([(_file(chat, record), told_of(record)) for record in same])


def _count(text: str) -> int:
    if text and not (text.isascii() and text.isdecimal() and 1 <= int(text) <= MOST_VERSIONS):
        raise UserError(f"count {text!r} is out of range; use 1 to {MOST_VERSIONS}.")
    return int(text or 0)


def models(chat: "TerminalChat", text: str) -> None:
    """What talks and paints, and what else lies in the model directories."""
    assistant = chat.assistant
    facts: dict[str, Any] = {}
    with suppress(UserError):
        facts = assistant.pipeline.describe()  # type: ignore[attr-defined]  # of the contract, beside calling it
    told = ", ".join(str(facts[name]) for name in FACTS if facts.get(name))
    told = f" ({told})" if told else ""
    rows = [(mark.role, mark.name + (told if mark.role == "painter" else "")) for mark in assistant.models]
    used = {mark.name for mark in assistant.models}
    others = [(flag, name) for flag, name in sorted(set(_there())) if name not in used]
    chat.terminal.rows([*(rows or [("painter", f"unnamed{told}")]), *others])
    if others:
        chat.terminal.info("those with a flag are there for another session: llmga chat FLAG NAME.")


def _there() -> Iterator[tuple[str, str]]:
    """(flag, name) of the models in the model directories."""
    for directory in in_model_directories(""):
        for folder in directory.iterdir() if directory.is_dir() else ():
            flag = next((flag for file, flag in MARKS.items() if (folder / file).is_file()), None)
            if flag == "--sdmodel_id" or (flag and _is_language_model(folder)):
                yield flag, folder.name


def _is_language_model(folder: Path) -> bool:
    with suppress(OSError, ValueError, AttributeError):
        return bool(json.loads((folder / "config.json").read_text("utf-8")).get("architectures"))
    return False

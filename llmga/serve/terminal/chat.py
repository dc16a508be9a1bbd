"""The terminal: reads turns and commands, draws what comes."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from llmga.assistant.image_folder import ImageFolder
from llmga.assistant.loading import Models
from llmga.assistant.session import Turn
from llmga.assistant.session_file import INDEX, differences, load_session
from llmga.serve import args as flags
from llmga.serve import parsed_args
from llmga.serve.batch import batch, read_jobs
from llmga.serve.terminal.asking import ask
from llmga.serve.terminal.commands import TerminalChat
from llmga.serve.terminal.drawing import Terminal, ctrl_c
from llmga.serve.terminal.farewell import farewell
from llmga.serve.terminal.inline import Draw, drawer
from llmga.serve.terminal.stages import Stages

BEGIN = "Say what you want to see; /image FILE brings a picture, /help lists the commands, an empty line ends."


def converse(chat: TerminalChat, first: str | None = None, keys: "Keys | None" = None) -> None:
    """Ask and answer until the person ends it.

    Args:
        first: the first message, if it is known.
        keys: of a person at a terminal; None reads the standard input.
    """
    keys = keys or Keys()
    interrupted = False

    def note() -> None:  # between an answer and the next question
        nonlocal interrupted
        interrupted = True

    with ctrl_c(note):
        if first is not None:
            print(f"You: {first}")
            keys.answer(chat, first)
        while not chat.over:
            pressed, interrupted = interrupted, False
            if (line := keys.ask(pressed)) is None:
                break
            keys.answer(chat, line)


class Keys:
    """A standard input that is read line by line."""

    def ask(self, interrupted: bool) -> str | None:
        """The next message, as `llmga.serve.terminal.asking.ask`."""
        with ctrl_c(_interrupt):
            return ask(interrupted=interrupted and sys.stdin.isatty())

    def answer(self, chat: TerminalChat, line: str) -> None:
        """Do what a line says."""
        chat.handle(line)


class EditedKeys(Keys):
    """A person who types at a terminal: lines are edited, and what is typed during an answer waits for its end."""

    def __init__(self, chat: TerminalChat):
        from llmga.serve.terminal.completing import candidates
        from llmga.serve.terminal.keyboard import Keyboard
        from llmga.serve.terminal.line_editing import line_editor

        self._editor: Callable[[str], str] = line_editor(lambda line: candidates(chat, line))
        self._keyboard = Keyboard(sys.stdin.fileno())

    def ask(self, interrupted: bool) -> str | None:
        """The next message; one that was ended with the return key during the answer is taken at once."""
        typed = self._keyboard.taken()
        if typed.strip() and typed.endswith("\n"):
            print(f"You: {typed.strip()}")
            return typed.strip()
        drafts = [typed.strip()]
        return ask(lambda: self._editor(drafts.pop() if drafts else ""), interrupted=interrupted, breaks=False)

    def answer(self, chat: TerminalChat, line: str) -> None:
        """Do what a line says, with the keys unseen, and leave a line free."""
        with self._keyboard.unasked():
            chat.handle(line)
        print()


def _interrupt() -> None:
    raise KeyboardInterrupt


def chat(args: argparse.Namespace, first: str | None = None, stages: Stages | None = None) -> int | None:
    """Check, load, talk; or work through a batch.

    Args:
        stages: tells a person what is loading.

    Returns:
        The exit code of a batch; 1 for a piped conversation in which something failed.

    Raises:
        UserError: flags, files or models cannot be used.
    """
    stages = stages or Stages(sys.stderr, os.environ, told=False)
    bundled = args.sdmodel_id is None
    spec, chosen = parsed_args.model_spec(args).checked(), parsed_args.settings(args)
    opening = parsed_args.opening(args, parsed_args.first_picture(args))
    inline = drawer(args.inline, os.environ, sys.stdout.isatty())
    pictures = ImageFolder(args.save_path, args.format, strip=args.strip_metadata)
    person = sys.stdin.isatty() and sys.stdout.isatty()
    terminal = _terminal(pictures, args, inline, person)
    room = args.session_megapixels * flags.MEGA
    saved = load_session(args.session, room) if args.session and _is_session(args.session) else None
    jobs = read_jobs(args.batch) if args.batch is not None else None
    models = Models.load(spec, stages)
    stages.close()
    pictures.signer = models.guard.signer
    if bundled:
        print(f"No --sdmodel_id given: the bundled toy model ({models.pipeline.describe()['family']}) paints.")
    if jobs is not None:
        return batch(jobs, chosen, models, terminal, opening)
    assistant = models.assistant(chosen)
    assistant.check()
    if saved is not None:
        assistant.session = saved.session
        lines = differences(saved.models, assistant.models)
        terminal.info("\n".join([*lines, f"going on after turn {len(saved.session.exchanges)} of {args.session}."]))
    fill = getattr(args, "fill", Turn("").fill)
    terminal_chat = TerminalChat(assistant, terminal, opening, Path(args.session) if args.session else None, fill, room)
    return talk(terminal_chat, first, person=person, keeps=not args.forget)


def talk(chat: TerminalChat, first: str | None = None, *, person: bool, keeps: bool = True) -> int | None:
    """Talk to a person at a terminal, or with what a pipe says.

    Args:
        person: at a terminal, who is told how to begin and at the end what was made.
        keeps: what nobody asked to save is kept all the same, where there is a person to lose it.

    Returns:
        1 where something failed that no person has seen.
    """
    if not person:
        converse(chat, first)
        return 1 if chat.terminal.failures and not sys.stdin.isatty() else None
    if keeps and chat.session is None:
        from llmga.serve.terminal.conversations import new_place

        chat.kept = new_place()
    chat.terminal.info(BEGIN)
    converse(chat, first, EditedKeys(chat))
    with ctrl_c(lambda: None):
        farewell(chat)
    return None


def _terminal(pictures: ImageFolder, args: argparse.Namespace, inline: Draw | None, person: bool) -> Terminal:
    from llmga.serve.terminal.screen import Screen, draws

    kind = Screen if person and args.batch is None and draws(sys.stdout, os.environ) else Terminal
    return kind(pictures, args.debug, inline)


def _is_session(path: str) -> bool:
    return Path(path).is_file() or (Path(path) / INDEX).is_file()

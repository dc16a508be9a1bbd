"""The terminal: reads turns and commands, draws what comes.  Every `cli*` module is this with other settings."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import NoReturn

from llmga.assistant.image_folder import ImageFolder
from llmga.assistant.loading import Models
from llmga.assistant.session import Turn
from llmga.assistant.session_file import INDEX, differences, load_session
from llmga.errors import command_line
from llmga.plain_text import plain
from llmga.runtime import quiet_libraries
from llmga.serve import args as flags
from llmga.serve.batch import batch, read_jobs
from llmga.serve.terminal.commands import COMMANDS, Talk
from llmga.serve.terminal.drawing import Terminal
from llmga.serve.terminal.inline import drawer
from llmga.serve.terminal.line_editing import line_editing

__all__ = ["Models", "Terminal", "ask", "chat", "converse", "main", "run"]


def ask() -> str | None:
    """The next line a person typed; None at the end: an empty line, the end of the input, or Ctrl-C twice.

    The first Ctrl-C drops the line only: it may have been meant for an answer that had just come to its end.  A line of
    blanks is a slip of the thumb, and asked for again.
    """
    interrupted = False
    while True:
        try:
            line = input("You: ")
        except EOFError:
            print()
            return None
        except KeyboardInterrupt:
            print()
            if interrupted or not sys.stdin.isatty():
                return None
            interrupted = True
            print("(once more to end)")
            continue
        if line.strip() or not line:
            break
    line = line.strip()
    if not sys.stdin.isatty():
        print(plain(line))  # a piped conversation reads as a transcript
    return line or None


def converse(talk: Talk, first: str | None = None) -> None:
    """Ask and answer until the person ends it; `first` is the first message, if it is known."""
    if first is not None:
        print(f"You: {first}")
        talk.take(first)
    while not talk.over and (line := ask()) is not None:
        talk.take(line)


def chat(args: argparse.Namespace, first: str | None = None) -> int | None:
    """Check, load, talk; or work through a batch, 1 if some of it failed.  Raises: UserError."""
    bundled = args.sdmodel_id is None
    picture = flags.check(args)
    opening = flags.opening(args, picture)
    inline = drawer(args.inline, os.environ, sys.stdout.isatty())
    terminal = Terminal(ImageFolder(args.save_path, args.format, strip=args.strip_metadata), args.debug, inline)
    room = args.session_megapixels * flags.MEGA
    saved = load_session(args.session, room) if args.session and _is_session(args.session) else None
    jobs = read_jobs(args.batch) if args.batch is not None else None
    models = Models.load(args)
    if bundled:
        print(f"No --sdmodel_id given: the bundled toy model ({models.pipeline.describe()['family']}) paints.")
    if jobs is not None:
        return batch(jobs, args, models, terminal, opening)
    assistant = models.assistant(args)
    assistant.check()
    if saved is not None:
        assistant.session = saved.session
        told = differences(saved.models, assistant.models)
        terminal.tell("\n".join([*told, f"going on after turn {len(saved.session.exchanges)} of {args.session}."]))
    fill = getattr(args, "fill", Turn("").fill)
    talk = Talk(assistant, terminal, opening, Path(args.session) if args.session else None, fill, room)
    with line_editing(COMMANDS) if sys.stdin.isatty() else nullcontext():
        converse(talk, first)
    return None


def _is_session(place: str) -> bool:
    return Path(place).is_file() or (Path(place) / INDEX).is_file()


def run(command: Callable[[], int | None]) -> NoReturn:
    """Exit with what `command` returns, or as every command line does."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who started us
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115
        getattr(sys, name).reconfigure(errors="replace")  # neither a stray byte nor a narrow terminal ends a session
    sys.exit(command_line(lambda argv: command() or 0)(None))


def main(family: str, picture: bool, argv: Sequence[str] | None = None) -> NoReturn:
    """One command line: `picture` says whether it starts from a picture or from words only."""
    quiet_libraries()
    parser = flags.build_parser(
        f"cli{'' if picture else '2'}-{family}",
        f"Talk about {'a picture' if picture else 'what you want to see'}; {family.upper()} paints. "
        "An empty line ends, Ctrl-C stops an answer, /help shows the commands.",
        picture,
        task=family.partition("-")[2] or None,
    )
    run(lambda: chat(parser.parse_args(argv)))

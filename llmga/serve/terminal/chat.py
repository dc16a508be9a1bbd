"""The terminal: reads turns and commands, draws what comes."""

import argparse
import os
import sys
from contextlib import nullcontext
from pathlib import Path

from llmga.assistant.image_folder import ImageFolder
from llmga.assistant.loading import Models
from llmga.assistant.session import Turn
from llmga.assistant.session_file import INDEX, differences, load_session
from llmga.plain_text import plain
from llmga.serve import args as flags
from llmga.serve import parsed_args
from llmga.serve.batch import batch, read_jobs
from llmga.serve.terminal.commands import COMMANDS, TerminalChat
from llmga.serve.terminal.drawing import Terminal
from llmga.serve.terminal.inline import drawer
from llmga.serve.terminal.line_editing import line_editing


def ask() -> str | None:
    """The next line that a person typed; None at the end: an empty line, the end of the input, or Ctrl-C twice.

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


def converse(chat: TerminalChat, first: str | None = None) -> None:
    """Ask and answer until the person ends it; `first` is the first message, if it is known."""
    if first is not None:
        print(f"You: {first}")
        chat.handle(first)
    while not chat.over and (line := ask()) is not None:
        chat.handle(line)


def chat(args: argparse.Namespace, first: str | None = None) -> int | None:
    """Check, load, talk; or work through a batch.

    Returns:
        The exit code of a batch; 1 for a piped conversation in which something failed.

    Raises:
        UserError: flags, files or models cannot be used.
    """
    bundled = args.sdmodel_id is None
    spec, chosen = parsed_args.model_spec(args).checked(), parsed_args.settings(args)
    opening = parsed_args.opening(args, parsed_args.first_picture(args))
    inline = drawer(args.inline, os.environ, sys.stdout.isatty())
    pictures = ImageFolder(args.save_path, args.format, strip=args.strip_metadata)
    terminal = Terminal(pictures, args.debug, inline)
    room = args.session_megapixels * flags.MEGA
    saved = load_session(args.session, room) if args.session and _is_session(args.session) else None
    jobs = read_jobs(args.batch) if args.batch is not None else None
    models = Models.load(spec)
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
    with line_editing(COMMANDS) if sys.stdin.isatty() else nullcontext():
        converse(terminal_chat, first)
    return 1 if terminal.failures and not sys.stdin.isatty() else None  # a person has seen it


def _is_session(path: str) -> bool:
    return Path(path).is_file() or (Path(path) / INDEX).is_file()

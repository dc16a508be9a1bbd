"""The terminal: reads turns and commands, draws what comes."""

import argparse
import os
import sys
from pathlib import Path

from llmga.assistant.image_folder import ImageFolder
from llmga.assistant.loading import Models
from llmga.assistant.session import Turn
from llmga.assistant.session_file import INDEX, differences, load_session
from llmga.serve import args as flags
from llmga.serve import parsed_args
from llmga.serve.batch import batch, read_jobs
from llmga.serve.terminal.commands import TerminalChat
from llmga.serve.terminal.drawing import Terminal
from llmga.serve.terminal.inline import Draw, drawer
from llmga.serve.terminal.screen import Screen, draws
from llmga.serve.terminal.stages import Stages
from llmga.serve.terminal.talking import talk


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


def _terminal(pictures: ImageFolder, args: argparse.Namespace, inline: Draw | None, person: bool) -> Terminal:
    kind = Screen if person and args.batch is None and draws(sys.stdout, os.environ) else Terminal
    return kind(pictures, args.debug, inline)


def _is_session(path: str) -> bool:
    return Path(path).is_file() or (Path(path) / INDEX).is_file()

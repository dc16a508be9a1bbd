"""A chat in the terminal.  Every `cli*` module is this with other settings."""

import argparse
from collections.abc import Sequence
from typing import NoReturn

from llmga.command_line import quiet_libraries, run
from llmga.serve import args as flags
from llmga.serve.parsed_args import check_files
from llmga.serve.terminal.stages import stages_for_person


def start(args: argparse.Namespace, first: str | None = None) -> int | None:
    """Talk, or work through a batch; `first` is the first message, if it is known.

    Returns:
        As `chat`.

    Raises:
        UserError: flags, files or models cannot be used.
    """
    check_files(args)
    with stages_for_person() as stages:
        stages("the libraries")
        quiet_libraries()
        from llmga.serve.terminal.chat import chat

        return chat(args, first, stages)


def main(family: str, picture: bool, argv: Sequence[str] | None = None) -> NoReturn:
    """One command line: `picture` says whether it starts from a picture or from words only."""
    parser = flags.build_parser(
        f"cli{'' if picture else '2'}-{family}",
        f"Talk about {'a picture' if picture else 'what you want to see'}; {family.upper()} paints. "
        "An empty line ends, Ctrl-C stops an answer, /help shows the commands.",
        picture,
        task=family.partition("-")[2] or None,
    )
    run(lambda: start(parser.parse_args(argv)))

"""A chat in the terminal, with or without a picture: `python -m llmga.serve.chat [--image-file FILE]`.

What the other command lines of the terminal do, it does, too: which family paints, `--sdmodel_id` says.
"""

from collections.abc import Sequence
from typing import NoReturn

from llmga.choices import EDITING, INPAINTING
from llmga.command_line import Parser, run
from llmga.serve import args as flags
from llmga.serve.terminal.cli import start


def build_parser(argv: Sequence[str] | None = None) -> Parser:
    """All flags; those of the task are among them when the command line names it."""
    task = task_parser().parse_known_args(argv)[0].task
    about = "Talk, and have pictures painted. An empty line ends, Ctrl-C stops an answer, /help shows the commands."
    parser = flags.build_parser("chat", about, True if task else None, task=task)
    add_task(parser)
    return parser


def task_parser() -> Parser:
    """Reads the task alone."""
    parser = Parser("python -m llmga.serve.chat", add_help=False)
    add_task(parser)
    return parser


def add_task(parser: Parser) -> None:
    """What is done to the first picture."""
    told = "what is done to the first picture; with it further flags are understood (--help shows them)"
    parser.add_argument("--task", choices=(INPAINTING, EDITING), help=told)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """The command line."""
    run(lambda: start(build_parser(argv).parse_args(argv)))


if __name__ == "__main__":
    main()

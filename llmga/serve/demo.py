"""The main job on the bundled models: `python -m llmga.serve.demo [words…]`.

With a terminal it is a chat, the words being its first message.  Without one it plays a script: a request in words, a
follow-up, then a picture to describe and to paint another one like it, and last a hole in what was painted, filled and
restored.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from llmga.command_line import quiet_libraries, run
from llmga.serve import args as flags
from llmga.serve.terminal.cli import start

REQUEST = "a big red circle on a blue background"
SCENE = "data/demo/scene.jpg"


def demo(args: argparse.Namespace) -> int | None:
    """A chat with a terminal, or with a session or a batch to work on; the script without.

    Returns:
        The exit code, where there is one.

    Raises:
        UserError: flags, files or models cannot be used.
    """
    talks = sys.stdin.isatty() or args.batch is not None or args.session is not None
    return start(args, " ".join(args.words) or None) if talks else play(args)


def play(args: argparse.Namespace) -> int:
    """The script; see `llmga.serve.demo_script.script`."""
    quiet_libraries()
    from llmga.serve.demo_script import script

    return script(args)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """The command line."""
    parser = flags.build_parser("demo", "Chat with the bundled models; without a terminal, play a script.")
    parser.add_argument("words", nargs="*", help=f"first request (in the script: {REQUEST!r})")
    parser.set_defaults(seed=0)
    run(lambda: demo(parser.parse_intermixed_args(argv)))


if __name__ == "__main__":
    main()

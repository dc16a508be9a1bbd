"""The web page: `python -m llmga.serve.gradio_web_server`."""

import argparse
import os
from collections.abc import Sequence
from typing import NoReturn

from llmga.runtime import quiet_libraries
from llmga.serve import args as flags
from llmga.serve.cli import run
from llmga.serve.models import Models

LOCAL = "127.0.0.1"
PORT = 7860


def build_parser() -> flags.Parser:
    """The flags of a chat, and where the page is served."""
    description = "Talk and paint in a browser.  Local unless --host or --share says otherwise; Ctrl-C ends."
    parser = flags.build_parser("gradio_web_server", description, False)
    group = parser.add_argument_group("page")
    flags.add(group, "host", default=LOCAL, metavar="ADDRESS", help=f"address to serve at (default: {LOCAL})")
    flags.add(group, "port", type=flags.number(int, 0, 65535), default=PORT, help=f"default: {PORT}; 0: a free one")
    flags.add(group, "share", action="store_true", help="make a public link by gradio's servers")
    flags.add(group, "concurrency-count", type=flags.number(int, 1, 1000), default=4, metavar="N",
              help="how many visitors are answered at once, one of them painted for (default: 4)")  # fmt: skip
    flags.add(group, "model-list-mode", choices=("once", "reload"), default="once",
              help="look for models under checkpoints/Inference once, or whenever a page is opened")  # fmt: skip
    return parser


def serve(args: argparse.Namespace) -> None:
    """Load, build, serve until Ctrl-C.  Raises: UserError."""
    from llmga.serve.page.serving import launch

    flags.check(args)
    launch(Models.load(args), args)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """The command line."""
    quiet_libraries()
    keep_to_itself()
    run(lambda: serve(build_parser().parse_args(argv)))


def keep_to_itself() -> None:
    """Gradio asks its makers' servers at start, unless these say otherwise before it is imported."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


if __name__ == "__main__":
    main()

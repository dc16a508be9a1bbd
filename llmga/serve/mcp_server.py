"""The assistant for programs that speak the Model Context Protocol: `python -m llmga.serve.mcp_server`.

Such a program starts it and talks over its input and output.  `--http` serves the protocol at /v1/mcp instead, beside
the API (the same as `llmga serve --mcp`).
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import NoReturn

from llmga.command_line import Parser, quiet_libraries, run
from llmga.serve.api import logs
from llmga.serve.api.options import build_parser as server_parser


def build_parser() -> Parser:
    """The flags: those of the server, and `--http`."""
    parser = server_parser(
        "mcp_server", "Paint, edit, fill, grow and look, as tools of the Model Context Protocol, over stdin and stdout."
    )
    parser.add_argument("--http", action="store_true", help="serve /v1/mcp beside the API instead")
    return parser


def start(args: argparse.Namespace) -> int:
    """Serve until the other side leaves, or a signal comes.

    Raises:
        UserError: nothing can be served so.
    """
    logs.configure()
    with redirect_stdout(sys.stderr):  # stdout is the protocol's
        quiet_libraries()
        if args.http:
            from llmga.serve.api.server import serve

            args.mcp = True
            return serve(args)
        from llmga.serve.api.mcp_stdio import over_stdio

    return over_stdio(args)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """The command line."""
    run(lambda: start(build_parser().parse_args(argv)))


if __name__ == "__main__":
    main()

"""Chat and pictures under OpenAI's paths: `python -m llmga.serve.openai_api --port 8000`."""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NoReturn

from llmga.command_line import quiet_libraries, run
from llmga.errors import UserError
from llmga.serve import parsed_args
from llmga.serve.api import logs
from llmga.serve.api.options import ENGINES, build_parser


def start(args: argparse.Namespace) -> int:
    """Serve until a signal ends it.

    Raises:
        UserError: nothing can be served so.
    """
    checked_together(args)
    logs.configure()
    language, painter = parsed_args.named_models(args)
    logs.log_event("loading", language=language, painter=painter)  # minutes may pass until "ready"
    quiet_libraries()
    serve: Callable[[argparse.Namespace], int] = import_module(ENGINES[args.engine]).serve
    return serve(args)


def checked_together(args: argparse.Namespace) -> None:
    """Look for flags that do nothing without another one.

    Raises:
        UserError: there is one.
    """
    for others, needed, is_there in (
        (("config", "ray_address", "planners", "painters", "ingresses"), "--engine ray", args.engine == "ray"),
        (("files",), "--mcp", args.mcp),
    ):
        if not is_there and (lonely := next((name for name in others if getattr(args, name) is not None), None)):
            flag = lonely.replace("_", "-")
            raise UserError(f"--{flag} does nothing without {needed}; give both, or leave it out.")


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """The command line."""
    words = list(sys.argv[1:] if argv is None else argv)
    run(lambda: start(build_parser().parse_args(words, argparse.Namespace(argv=words))))


if __name__ == "__main__":
    main()

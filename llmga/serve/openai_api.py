"""Chat and pictures under OpenAI's paths: `python -m llmga.serve.openai_api --port 8000`."""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NoReturn

from llmga.command_line import quiet_libraries, run
from llmga.serve import parsed_args
from llmga.serve.api import logs
from llmga.serve.api.options import ENGINES, build_parser


def start(args: argparse.Namespace) -> int:
    """Serve until a signal ends it.

    Raises:
        UserError: nothing can be served so.
    """
    logs.configure()
    language, painter = parsed_args.named_models(args)
    logs.log_event("loading", language=language, painter=painter)  # minutes may pass until "ready"
    quiet_libraries()
    serve: Callable[[argparse.Namespace], int] = import_module(ENGINES[args.engine]).serve
    return serve(args)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """The command line."""
    words = list(sys.argv[1:] if argv is None else argv)
    run(lambda: start(build_parser().parse_args(words, argparse.Namespace(argv=words))))


if __name__ == "__main__":
    main()

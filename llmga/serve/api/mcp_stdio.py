"""The protocol over standard input and output."""

import argparse
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

from llmga.assistant.loading import Models
from llmga.serve.api.building import build_service
from llmga.serve.api.logs import log_event
from llmga.serve.api.options import server_options


def over_stdio(args: argparse.Namespace) -> int:
    """Load, and answer until the other side closes its end.

    Raises:
        UserError: the models cannot be loaded.
    """
    with redirect_stdout(sys.stderr):
        from llmga.serve.api.mcp_tools import Tools

        options = server_options(args)
        options = replace(options, spec=options.spec.checked())
        service = build_service(options, Models.load(options.spec))
        server = Tools(lambda: service, tuple(map(Path, args.files or ()))).server()
        log_event("ready", transport="stdio")
    try:
        server.run("stdio")
    finally:
        service.scheduler.close()
        service.scheduler.stop()
    return 0

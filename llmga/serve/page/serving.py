"""The page as a server: the flags, the files that it may give, and nobody else asked."""

import argparse
import socket
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from llmga.errors import UserError
from llmga.serve.models import Models
from llmga.serve.page.layout import HERE, THEME, Page
from llmga.serve.page.moderation import Moderator
from llmga.serve.page.studio import SHELF, Studio
from llmga.serve.page.wiring import LONGEST_LINE, Wiring

LARGEST_UPLOAD = "64mb"  # a saved session holds all its pictures
LONGEST_QUEUE = 64
THREADS = 40  # for what takes no time, beside those of answers and of who waits for one


class OnlyHere:
    """Refuses what gradio would fetch from elsewhere for a client that names an address as a file."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if "proxy=" in path or ("file=" in path and "//" in path.partition("file=")[2].lstrip("/")):
            await PlainTextResponse("files of this server only", 403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def build(models: Models, args: argparse.Namespace, moderator: Moderator | None = None) -> gr.Blocks:
    """The page, ready to be served."""
    studio = Studio(args, models, args.model_list_mode, SHELF if args.server is None else None)
    page = Page(studio, args)
    Wiring(page, studio, args.concurrency_count, moderator)
    return page.blocks.queue(max_size=LONGEST_QUEUE, default_concurrency_limit=args.concurrency_count, api_open=False)


def launch(models: Models, args: argparse.Namespace, moderator: Moderator | None = None, wait: bool = True) -> Any:
    """Serve the page.

    Args:
        moderator: tells whether a message is not to be answered.
        wait: until Ctrl-C; otherwise the running blocks are returned.

    Raises: UserError when the port is taken.
    """
    port = args.port or _free(args.host)
    blocks = build(models, args, moderator)
    try:
        blocks.launch(
            server_name=args.host,
            server_port=port,
            share=args.share,
            quiet=True,
            show_error=False,
            max_file_size=LARGEST_UPLOAD,
            footer_links=[],
            ssr_mode=False,
            enable_monitoring=False,
            max_threads=THREADS + args.concurrency_count + LONGEST_LINE,
            prevent_thread_lock=True,
            app_kwargs={"middleware": [Middleware(OnlyHere)], "docs_url": None, "redoc_url": None},
            theme=THEME,
            css_paths=HERE / "page.css",
        )
    except OSError:
        raise UserError(f"--port {port} at {args.host} is taken or not allowed; choose another, or 0.") from None
    print(f"The page is at {blocks.local_url}", flush=True)
    if args.share:
        print(f"and for everybody who knows the link at {blocks.share_url}", flush=True)
    if wait:
        blocks.block_thread()
    return blocks


def _free(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]

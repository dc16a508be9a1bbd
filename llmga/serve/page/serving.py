"""The page as a server, or inside one: the files that it may give, and nobody else asked."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gradio as gr
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from llmga.assistant.loading import Models
from llmga.errors import UserError
from llmga.serve.api.keys import sent_by_another_site
from llmga.serve.page.layout import HERE, THEME, Page
from llmga.serve.page.model_pool import ModelPool
from llmga.serve.page.moderation import Moderator
from llmga.serve.page.options import PageOptions
from llmga.serve.page.user_session import LONGEST_MESSAGE
from llmga.serve.page.wiring import LONGEST_LINE, Wiring

LARGEST_UPLOAD = "64mb"  # a saved session holds all its pictures
LONGEST_QUEUE = 64
THREADS = 40  # for what takes no time, beside those of answers and of who waits for one
LOOK_AGAIN = 0.1  # seconds
COMMON = {
    "show_error": False,
    "max_file_size": LARGEST_UPLOAD,
    "footer_links": [],
    "ssr_mode": False,
    "enable_monitoring": False,
    "theme": THEME,
    "css_paths": HERE / "page.css",
}
SIGN_IN = "Any name; the password is one of the server's API keys."


class OnlyHere:
    """Refuses what pages of other sites send, and what gradio would fetch from elsewhere for a client that names an
    address as a file."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if "proxy=" in path or ("file=" in path and "//" in path.partition("file=")[2].lstrip("/")):
            await PlainTextResponse("files of this server only", 403)(scope, receive, send)
        elif scope["type"] == "http" and sent_by_another_site(HTTPConnection(scope)):
            await PlainTextResponse("pages of other sites may send nothing here", 403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def build(models: Models, options: PageOptions, moderator: Moderator | None = None) -> Wiring:
    """The page, ready to be served."""
    models = replace(models, bounds=options.spec.bounds.reading(LONGEST_MESSAGE))
    models.bounds.check_settings(options.settings, models.pipeline)
    studio, places = ModelPool(options, models), options.at_once
    page = Page(studio, options)
    page.blocks.max_threads = THREADS + places + LONGEST_LINE
    page.blocks.queue(max_size=LONGEST_QUEUE, default_concurrency_limit=places, api_open=False)
    return Wiring(page, studio, places, moderator)


def launch(models: Models, options: PageOptions, moderator: Moderator | None = None, wait: bool = True) -> Any:
    """Serve the page.

    Args:
        moderator: tells whether a message is not to be answered.
        wait: until Ctrl-C; otherwise the running blocks are returned.

    Raises: UserError when the port is taken.
    """
    port = options.port or _free(options.host)
    blocks = build(models, options, moderator).page.blocks
    try:
        blocks.launch(
            server_name=options.host,
            server_port=port,
            share=options.share,
            quiet=True,
            max_threads=blocks.max_threads,
            prevent_thread_lock=True,
            app_kwargs=_app_kwargs(),
            **COMMON,
        )
    except OSError:
        raise UserError(f"--port {port} at {options.host} is taken or not allowed; choose another, or 0.") from None
    print(f"The page is at {blocks.local_url}", flush=True)
    if options.share:
        print(f"and for everybody who knows the link at {blocks.share_url}", flush=True)
    if wait:
        blocks.block_thread()
    return blocks


class Mounted:
    """The page under a path of another server, in its process and with its models.

    Args:
        opens: whether somebody may come in with this password; None lets everybody in.
    """

    def __init__(
        self, app: FastAPI, path: str, models: Models, options: PageOptions, opens: Callable[[str], bool] | None
    ):
        self.wiring = build(models, options)
        auth = None if opens is None else lambda name, password: opens(password)
        blocks = self.wiring.page.blocks
        gr.mount_gradio_app(app, blocks, path, app_kwargs=_app_kwargs(), auth=auth, auth_message=SIGN_IN, **COMMON)
        self.app = next(route.app for route in app.routes if getattr(route, "path", None) == path)

    async def end(self, grace: float) -> None:
        """Let what is at work finish, for so many seconds, then end it within a step, and let go of open pages."""
        clock = asyncio.get_running_loop().time
        until = clock() + grace
        while self.wiring.turns.waiting and clock() < until:
            await asyncio.sleep(LOOK_AGAIN)
        self.wiring.end()
        while self.wiring.turns.waiting:
            await asyncio.sleep(LOOK_AGAIN)
        self.app.stop_event.set()  # they would listen for as long as they are open


def _app_kwargs() -> dict[str, Any]:
    return {"middleware": [Middleware(OnlyHere)], "docs_url": None, "redoc_url": None}


def _free(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]

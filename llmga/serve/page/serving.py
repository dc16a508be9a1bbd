"""The page as a server, or inside one: the files that it may give, and nobody else asked."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gradio as gr
from fastapi import FastAPI
from gradio.routes import App
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from llmga.assistant.library.library import Library
from llmga.assistant.loading import Models
from llmga.errors import UserError
from llmga.serve.api.auth import is_cross_site
from llmga.serve.page.answer_handlers import LONGEST_LINE
from llmga.serve.page.handlers import EventHandlers
from llmga.serve.page.layout import THEME, PageLayout
from llmga.serve.page.model_pool import ModelPool
from llmga.serve.page.moderation import Moderator
from llmga.serve.page.options import PageOptions
from llmga.serve.page.scripts import HERE
from llmga.serve.page.telling import titles
from llmga.serve.page.user_session import LONGEST_MESSAGE

LARGEST_UPLOAD = "64mb"  # a saved session holds all its pictures
LONGEST_QUEUE = 64
THREADS = 40  # for what takes no time, beside those of answers and of who waits for one
LOOK_AGAIN = 0.1  # seconds
COMMON: dict[str, Any] = {
    "show_error": False,
    "max_file_size": LARGEST_UPLOAD,
    "footer_links": [],
    "ssr_mode": False,
    "enable_monitoring": False,
    "theme": THEME,
    "css": titles(),
    "css_paths": [HERE / name for name in ("page.css", "library.css", "canvas.css", "settings.css")],
}
SIGN_IN = "Any name; the password is one of the server's API keys."


class OnlyHere:
    """Middleware that refuses what comes from elsewhere, or goes there.

    Pages of other sites can send nothing, and of a client that names an address as a file gradio would fetch it.
    """

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if "proxy=" in path or ("file=" in path and "//" in path.partition("file=")[2].lstrip("/")):
            await PlainTextResponse("files of this server only", 403)(scope, receive, send)
        elif scope["type"] == "http" and is_cross_site(HTTPConnection(scope)):
            await PlainTextResponse("pages of other sites may send nothing here", 403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def build(models: Models, options: PageOptions, moderator: Moderator | None = None) -> EventHandlers:
    """The page, ready to be served.

    Raises:
        UserError: the settings do not suit the models, or the library cannot be used.
    """
    models = replace(models, bounds=options.spec.bounds.reading(LONGEST_MESSAGE))
    models.bounds.check_settings(options.settings, models.pipeline)
    pool = ModelPool(options, models)
    page = PageLayout(pool, options)
    page.blocks.max_threads = THREADS + options.at_once + LONGEST_LINE
    page.blocks.queue(max_size=LONGEST_QUEUE, default_concurrency_limit=options.at_once, api_open=False)
    library = None if options.library is None else Library(options.library)
    return EventHandlers(page, pool, options.at_once, moderator, library)


def launch(models: Models, options: PageOptions, moderator: Moderator | None = None, wait: bool = True) -> Any:
    """Serve the page.

    Args:
        moderator: tells whether a message is not to be answered.
        wait: until Ctrl-C.

    Returns:
        The running blocks.

    Raises:
        UserError: the port is taken.
    """
    port = options.port or _free(options.host)
    handlers = build(models, options, moderator)
    blocks = handlers.page.blocks
    try:
        blocks.launch(
            allowed_paths=_served(handlers),
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
        self.handlers: EventHandlers = build(models, options)
        auth = None if opens is None else lambda name, password: opens(password)
        blocks = self.handlers.page.blocks
        own = {"allowed_paths": _served(self.handlers), "app_kwargs": _app_kwargs()}
        gr.mount_gradio_app(app, blocks, path, auth=auth, auth_message=SIGN_IN, **own, **COMMON)
        mounts = (route.app for route in app.routes if isinstance(route, Mount) and route.path == path)
        self.app: App = next(mounted for mounted in mounts if isinstance(mounted, App))

    async def end(self, grace: float) -> None:
        """Let what is at work finish, for so many seconds, then end it within a step, and let go of open pages."""
        clock = asyncio.get_running_loop().time
        until = clock() + grace
        while self.handlers.slots.waiting and clock() < until:
            await asyncio.sleep(LOOK_AGAIN)
        self.handlers.end()
        while self.handlers.slots.waiting:
            await asyncio.sleep(LOOK_AGAIN)
        self.app.stop_event.set()  # they would listen for as long as they are open


def _app_kwargs() -> dict[str, Any]:
    return {"middleware": [Middleware(OnlyHere)], "docs_url": None, "redoc_url": None}


def _served(handlers: EventHandlers) -> list[str]:
    """Folders whose files anybody may fetch who knows what they are called; nobody can guess that."""
    return [] if handlers.library is None else [str(handlers.library.pictures)]


def _free(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]

"""The server of the API: how it begins, listens and ends."""

import argparse
import asyncio
import logging
import os
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn
from fastapi import FastAPI
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from llmga.assistant.loading import Models
from llmga.errors import UserError
from llmga.extras import require
from llmga.serve.api import logs
from llmga.serve.api.app import build_app
from llmga.serve.api.audit import AuditLog
from llmga.serve.api.auth import PAGE, ApiKeys, is_local
from llmga.serve.api.building import build_service
from llmga.serve.api.connections import ConnectionLimiter, protocol
from llmga.serve.api.options import MEGA, VARIABLE, ServerOptions, server_options
from llmga.serve.api.scheduler import RequestScheduler
from llmga.serve.api.service import Service
from llmga.serve.api.swapping import Swapper
from llmga.serve.gradio_web_server import keep_to_itself

if TYPE_CHECKING:
    from llmga.serve.page.serving import Mounted

BACKLOG = 2048
MCP = "/v1/mcp"
LAST_WORDS = 3.0  # seconds that answers take once their work was stopped


class Server(uvicorn.Server):
    """On SIGINT and SIGTERM nothing new is begun, and what is at work may finish in time.

    At the second signal, and after `grace` seconds, what is at work is stopped, and clients get what there is of it.
    What does not even stop is left behind: the process ends with 128 + the signal's number.
    """

    def __init__(
        self,
        app: FastAPI,
        scheduler: RequestScheduler,
        grace: float,
        limiter: ConnectionLimiter,
        page: "Mounted | None" = None,
    ):
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                backlog=BACKLOG,
                http=protocol(limiter),
                ws="none",
            )
        )
        self.scheduler = scheduler
        self.grace = grace
        self.page = page
        self._ending = threading.Lock()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin nothing new, and stop what is at work: at the first signal after `grace` seconds, then at once."""
        _later(0 if self.should_exit else self.grace, self._stop_work, sig)
        self.should_exit = True

    def _stop_work(self, sig: int) -> None:
        """End what is at work; some seconds later the process, if it is then still there.  From any thread."""
        if self._ending.acquire(blocking=False):
            _later(LAST_WORDS, self._leave, 128 + sig)
        self.scheduler.stop()
        if self.page is not None:
            self.page.handlers.end()

    def _leave(self, code: int) -> None:
        """End the process, whatever goes on in it."""
        logs.log_event("ended", logging.WARNING, code=code, left=len(self.scheduler.turns))
        if self.page is not None:
            self.page.handlers.remove()
        os._exit(code)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and log where."""
        await super().startup(sockets)
        if sockets and not self.should_exit:
            host, port = sockets[0].getsockname()[:2]
            url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
            page: dict[str, Any] = {} if self.page is None else {"page": url + PAGE}
            logs.log_event("ready", url=f"{url}/v1", **page)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let what is at work finish, on the page, too, and close the connections."""
        self.scheduler.close()
        ending = None if self.page is None else asyncio.ensure_future(self.page.end(self.grace))
        await super().shutdown(sockets)
        if ending is not None and not ending.cancel():
            ending.result()  # tells of a defect


def _later(seconds: float, act: Callable[[int], None], number: int) -> None:
    """In a thread of its own, which holds nobody up: the event loop may be blocked, and locks be held by who is
    interrupted by a signal."""
    timer = threading.Timer(seconds, act, [number])
    timer.daemon = True
    timer.start()


def with_page(app: FastAPI, options: ServerOptions, models: Models, keys: ApiKeys) -> "Mounted":
    """The web page beside the API; with the server's models, and with its keys as passwords."""
    keep_to_itself()
    from llmga.serve.page.options import PageOptions
    from llmga.serve.page.serving import Mounted  # gradio takes seconds

    shown = PageOptions(options.spec, options.settings, at_once=options.at_once, library=options.library)
    return Mounted(app, PAGE, models, shown, keys.accept if keys else None)


def with_mcp(app: FastAPI, service: Service, folders: Sequence[str]) -> None:
    """The Model Context Protocol beside the API, at /v1/mcp, under the same keys.

    Raises:
        UserError: the package `mcp` is not installed.
    """
    require("mcp", "--mcp")
    from mcp.server.transport_security import TransportSecuritySettings

    from llmga.serve.api.mcp_tools import Tools

    server = Tools(lambda: app.state.service, tuple(map(Path, folders))).server()
    # Who may ask is seen to by `AuthMiddleware`, how much by `BodyLimitMiddleware`.
    inner = server.streamable_http_app(
        streamable_http_path=MCP,
        max_request_body_size=service.limits.body,
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )
    for path in (MCP, f"{MCP}/"):  # neither leads to the other by a second request
        app.router.routes.append(Route(path, At(MCP, inner)))
    app.state.sessions.append(server.session_manager.run)


class At:
    """An application at one path of another one, under which its requests are logged and counted."""

    def __init__(self, path: str, app: ASGIApp):
        self.path = path
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = self
        await self.app({**scope, "path": self.path}, receive, send)


def assemble(args: argparse.Namespace, service: Service, keys: ApiKeys, audit: AuditLog | None = None) -> FastAPI:
    """The application that the flags ask for, around a service; the same whatever computes behind it.

    Raises:
        UserError: the package of an extra is not installed.
    """
    app = build_app(service, keys, is_local(args.host), audit)
    if args.mcp:
        with_mcp(app, service, args.files or ())
    return app


def serve(args: argparse.Namespace) -> int:
    """Check, bind, load, serve.

    Raises:
        UserError: nothing can be served so.
    """
    options = server_options(args)
    options = replace(options, spec=options.spec.checked())
    known = ApiKeys.read(args.api_keys_file, os.environ.get(VARIABLE), args.keys)
    audit = audit_log(args)
    bound = bind(args.host, args.port)
    app, page = loaded(args, options, known, audit)
    limiter = ConnectionLimiter(args.max_connections, args.max_connections_each)
    server = Server(app, app.state.service.scheduler, args.grace, limiter, page)
    if not known and not is_local(args.host):
        logs.log_event("open to everybody who reaches it: no API keys are set", logging.WARNING)
    server.run(sockets=[bound])
    logs.log_event("ended", code=0)
    return 0


def loaded(
    args: argparse.Namespace, options: ServerOptions, keys: ApiKeys, audit: AuditLog | None
) -> tuple[FastAPI, "Mounted | None"]:
    """The application around the models of the flags, and the page; nothing but these holds the models.

    Raises:
        UserError: models cannot be loaded.
    """
    models = Models.load(options.spec)
    service = build_service(options, models)
    app = assemble(args, service, keys, audit)
    shown = replace(models, batch=service.engine.models.batch)
    page = with_page(app, options, shown, keys) if args.page else None
    if not args.page:  # whose sessions go on with the models that they began with
        app.state.swapper = Swapper(app, args, options.spec)
    return app, page


def audit_log(args: argparse.Namespace) -> AuditLog | None:
    """Where it is noted who used what, if that is wanted.

    Raises:
        UserError: it cannot be written.
    """
    return None if args.audit_log is None else AuditLog(args.audit_log, int(args.audit_mb * MEGA))


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens, before anything slow is done.

    Raises:
        UserError: host or port cannot be used.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as problem:
        reason = (problem.strerror or str(problem)).lower()
        raise UserError(f"--host {host} --port {port} cannot be used ({reason}); give others.") from None
    bound.set_inheritable(True)
    return bound

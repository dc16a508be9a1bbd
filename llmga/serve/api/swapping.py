"""Other models for a server that runs: loaded beside the old ones, which end what they have begun."""

import argparse
import asyncio
import copy
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn

from fastapi import FastAPI

from llmga.assistant.loading import Models, ModelSpec
from llmga.command_line import Parser, hyphened
from llmga.errors import UserError, reason
from llmga.serve import args as flags
from llmga.serve.api.building import with_models
from llmga.serve.api.errors import ApiError
from llmga.serve.api.logs import log_event
from llmga.serve.api.options import server_options
from llmga.serve.api.service import Service

LOOK_AGAIN = 0.05  # seconds between two looks at whether all is done
SECRET = ("mllm_key",)  # flags that nobody is told


class _Refused(UserError):
    """What a parser says of flags."""


class _RequestParser(Parser):
    """A parser that raises what it would exit with."""

    def error(self, message: str) -> NoReturn:
        """Raise `_Refused` with the complaint."""
        raise _Refused(f"{message.rstrip('.')}.")


def build_parser() -> Parser:
    """The flags about models: those that another `llmga serve` could have been started with."""
    parser = _RequestParser(prog="models", add_help=False)
    for add in (flags.add_models, flags.add_endpoint, flags.add_painter, flags.add_safety):
        add(parser)
    parser.add_argument("--conv-mode")
    return parser


class Swapper:
    """Loads other models and puts them in the place of those at work.

    Args:
        app: Of which `app.state.service` is replaced.
        args: The command line of the server.
        spec: What was loaded by it.

    Attributes:
        loading: Models are being loaded.
        since: When those at work were put there, in seconds of Unix time.
    """

    def __init__(self, app: FastAPI, args: argparse.Namespace, spec: ModelSpec):
        self._app, self._args, self._spec, self._parser = app, args, spec, build_parser()
        self.loading: bool = False
        self.since: int = int(time.time())

    @property
    def service(self) -> Service:
        """What answers now."""
        return self._app.state.service

    def chosen(self) -> dict[str, Any]:
        """The flags by which the models at work were loaded, as far as they are not the usual ones."""
        usual = vars(self._parser.parse_args([]))
        told = {name: getattr(self._args, name, value) for name, value in usual.items() if name not in SECRET}
        return {name: value for name, value in told.items() if value != usual[name]}

    async def swap(self, changes: Mapping[str, Any], *, drain_first: bool = False) -> None:
        """Load and replace.

        What is at work goes on with the old models, what begins afterwards has the new ones.  Where they cannot be
        loaded, nothing has changed.

        Args:
            changes: Flags about models by their names, beside those of now; null goes back to the usual.
            drain_first: Requests wait, and those at work end, before anything is loaded.

        Raises:
            ApiError: 409 while others are being loaded; 400 for what cannot be loaded; 500 where a library fails.
        """
        if self.loading:
            raise ApiError(
                409, "other models are being loaded just now; ask again when they are there.", code="loading"
            )
        args = self._changed(changes)
        self.loading = True
        queue = self.service.scheduler.queue
        try:
            if drain_first:
                queue.pause()
                while queue.running:
                    await asyncio.sleep(LOOK_AGAIN)
            new, spec = await asyncio.to_thread(self._loaded, args)
        except UserError as problem:
            raise self._refused(str(problem)) from None
        except Exception as problem:  # of any library: the old models must stay
            log_event("models could not be loaded", logging.ERROR, exc_info=True)
            self.service.engine.metrics.swaps.labels("failed").inc()
            raise ApiError(500, f"the models could not be loaded ({reason(problem)}); those there were go on.",
                           code="models_not_loaded") from None  # fmt: skip
        else:
            new.scheduler.engine = new.engine
            self._app.state.service, self._args, self._spec = new, args, spec
            self.since = int(time.time())
            new.engine.metrics.swaps.labels("done").inc()
            log_event("models replaced", models=list(new.names.assistant), painter=new.names.pipeline)
        finally:
            self.loading = False
            if drain_first:
                queue.resume()

    def _changed(self, changes: Mapping[str, Any]) -> argparse.Namespace:
        """The server's flags with others in their place.

        Raises:
            ApiError: 400 for one that is none, or has no such value.
        """
        args, usual = copy.copy(self._args), self._parser.parse_args([])
        words: list[str] = []
        for name, value in changes.items():
            flag = hyphened(name).replace("-", "_")
            if not hasattr(usual, flag):
                raise self._refused(f"{name[:40]!r} is no flag about models; /docs names them.")
            setattr(args, flag, getattr(usual, flag))  # a flag that repeats must not add to those of now
            words += _words(name, value)
        try:
            return self._parser.parse_args(words, args)
        except UserError as problem:
            raise self._refused(str(problem)) from None

    def _loaded(self, args: argparse.Namespace) -> tuple[Service, ModelSpec]:
        """What answers with other models, and what they are; blocking.  A language model that stays is not loaded anew.

        Raises:
            UserError: They cannot be loaded.
        """
        options = server_options(args)
        options = replace(options, spec=options.spec.checked())
        kept = self.service.engine.models.words if options.spec.speaks_as(self._spec) else None
        return with_models(self.service, options, Models.load(options.spec, words=kept)), options.spec

    def _refused(self, message: str) -> ApiError:
        self.service.engine.metrics.swaps.labels("failed").inc()
        return ApiError(400, message, code="models_not_loaded")


def _words(name: str, value: Any) -> list[str]:
    """A flag and its value as a command line has them; a list repeats the flag, and null leaves it out."""
    flag = f"--{hyphened(name)}"
    if value is None or value is False:
        return []
    if value is True:
        return [flag]
    if isinstance(value, list):
        return [word for each in value for word in _words(name, each)]
    return [f"{flag}={value}"]

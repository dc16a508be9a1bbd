"""Calls of replicas from the threads of requests: tried again where a replica is lost, and bounded in time."""

import sys
import time
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any

from llmga.background import reports_of
from llmga.errors import UserError
from llmga.serve.api.errors import ApiError
from llmga.serve.api.logs import log_event
from llmga.serve.cluster.messages import Begun, Refused

if TYPE_CHECKING:
    from llmga.llava.planner import Cancelled

PATIENCE = 60.0  # seconds until a replica has taken a call
ATTEMPTS = 4
RETRY_AFTER = 10  # seconds; a replica of large models takes longer to come back, and clients ask again


class LateError(Exception):
    """No replica has taken the call."""


def unavailable() -> ApiError:
    """Return the refusal where replicas were lost, or none is there."""
    return ApiError(503, "a part of this server is being started anew; try again in a moment.", code="unavailable",
                    retry_after=RETRY_AFTER)  # fmt: skip


def lost() -> tuple[type[BaseException], ...]:
    """The exceptions that say nothing of a request: its replica is gone, or there is none yet."""
    if "ray" not in sys.modules:  # then nothing of it was raised
        return LateError, TimeoutError
    from ray import exceptions
    from ray.serve.exceptions import DeploymentUnavailableError, ReplicaUnavailableError

    return (
        exceptions.RayActorError,
        exceptions.ObjectLostError,
        exceptions.NodeDiedError,
        exceptions.WorkerCrashedError,
        exceptions.RpcError,
        DeploymentUnavailableError,
        ReplicaUnavailableError,
        LateError,
        TimeoutError,
    )


def stream(call: Callable[[], Any], cancelled: "Cancelled") -> Generator[Any]:
    """Yield what a replica reports.  `Begun` comes first, and again where the call had to be made anew.

    Args:
        call: makes the call; returns the `DeploymentResponseGenerator`.
        cancelled: asked now and then; once true, or when it raises, the call is cancelled.

    Raises:
        UserError: the replica refused.
        ApiError: 503 where replica after replica was lost.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            for item in reports_of(*_work(call()), _patient(cancelled, begun := [])):
                begun.append(True) if isinstance(item, Begun) else None
                if isinstance(item, Refused):
                    raise UserError(item.message)
                yield item
            return
        except lost() as problem:
            log_event("replica lost", attempt=attempt, kind=type(problem).__name__)
    raise unavailable()


def answer(call: Callable[[], Any]) -> Any:
    """Return what a replica answers to a call that is no stream.

    Raises:
        UserError: the replica refused.
        ApiError: 503 where replica after replica was lost.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            result = call().result(timeout_s=PATIENCE)
        except lost() as problem:
            log_event("replica lost", attempt=attempt, kind=type(problem).__name__)
            continue
        if isinstance(result, Refused):
            raise UserError(result.message)
        return result
    raise unavailable()


def _work(response: Any) -> tuple[Callable[[Callable[[Any], None]], None], Callable[[], None]]:
    """The reading of a response, as `reports_of` takes it, and its stop."""

    def read(report: Callable[[Any], None]) -> None:
        for item in response:
            report(item)

    return read, response.cancel


def _patient(cancelled: "Cancelled", begun: Iterable[bool]) -> "Cancelled":
    """`cancelled`, which raises `LateError` where nothing has begun in time."""
    until = time.monotonic() + PATIENCE

    def asked() -> bool:
        if not begun and time.monotonic() > until:
            raise LateError
        return cancelled()

    return asked

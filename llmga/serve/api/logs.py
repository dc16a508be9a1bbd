"""Logs as one JSON object a line, with the id of the request that they belong to.

Neither what people say nor their keys are logged, only what became of a request.
"""

import json
import logging
import sys
import time
import warnings
from contextvars import ContextVar
from typing import Any

NAME = "llmga.serve.api"
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
log: logging.Logger = logging.getLogger(NAME)
PERIOD, MAX_REFUSALS, MAX_KINDS = 10.0, 20, 1000  # seconds; lines of a kind in them


class JsonFormatter(logging.Formatter):
    """Formatter of log records as JSON objects, one a line.

    `{"time": "2026-01-31T12:00:00.123Z", "level": "info", "event": …, "request": …, more fields}`
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "request": request_id.get(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps({key: value for key, value in line.items() if value is not None}, default=str)


class RateLimitFilter(logging.Filter):
    """Filter that lets a few records of a kind through in a period; the next one tells how many were left out.

    A kind is a warning by its words and exception, and a refusal by its route and status; every other request has its
    line.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[Any, tuple[float, int, int]] = {}  # by kind: when the period began, lines, lines left out

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is logged; it may then tell how many before it were not."""
        kind, most = self._kind(record)
        if kind is None:
            return True
        if len(self._seen) > MAX_KINDS:
            self._seen.clear()
        began, lines, left_out = self._seen.get(kind, (0.0, 0, 0))
        if record.created - began > PERIOD:
            began, lines = record.created, 0
        if lines >= most:
            self._seen[kind] = began, lines, left_out + 1
            return False
        self._seen[kind] = began, lines + 1, 0
        if left_out:
            record.fields = {**getattr(record, "fields", {}), "left_out": left_out}
        return True

    @staticmethod
    def _kind(record: logging.LogRecord) -> tuple[Any, int]:
        fields = getattr(record, "fields", {})
        if record.levelno >= logging.WARNING:
            return (record.name, record.msg, record.exc_info and record.exc_info[0]), 1
        if fields.get("status", 0) >= 400:
            return (record.msg, fields["status"], fields.get("route")), MAX_REFUSALS
        return None, 0


def log_event(event: str, level: int = logging.INFO, exc_info: bool = False, **fields: Any) -> None:
    """Log an event with its fields.

    Args:
        event: What happened, in the same words every time.
        exc_info: Add the traceback of the exception that is being handled.
        fields: More keys of the line.
    """
    log.log(level, event, exc_info=exc_info, extra={"fields": fields})


def configure(level: int = logging.INFO) -> None:
    """Send our lines and uvicorn's to stderr, and none of Pillow's on torn pictures.  For the entry point only.

    The protocol's own lines below a warning hold what clients sent, and are left out.
    """
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    handler.addFilter(RateLimitFilter())
    for name in (NAME, "uvicorn", "asyncio", "mcp"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(max(level, logging.WARNING) if name == "mcp" else level)

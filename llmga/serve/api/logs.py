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
log = logging.getLogger(NAME)


class JsonLines(logging.Formatter):
    """`{"time": "2026-01-31T12:00:00.123Z", "level": "info", "event": …, "request": …, more fields}`."""

    def format(self, record: logging.LogRecord) -> str:
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


def tell(event: str, level: int = logging.INFO, exc_info: bool = False, **fields: Any) -> None:
    """Log what happened and its figures."""
    log.log(level, event, exc_info=exc_info, extra={"fields": fields})


def configure(level: int = logging.INFO) -> None:
    """Our lines and uvicorn's, to stderr, and none of Pillow's on torn pictures.  For the entry point only."""
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in (NAME, "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)

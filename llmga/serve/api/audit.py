"""Who used what: one line of JSON a request, without anything that people say or show.

`{"time": "2026-01-31T12:00:00.123Z", "request": "req-…", "client": "key-1f2e3d4c", "method": "POST",
"route": "/v1/images/generations", "model": "llmga-toy-sdxl-t2i", "pictures": 1, "pixels": 16384, "status": 200,
"seconds": 1.204}`

Who has no valid key is not in it, so that strangers cannot push its lines out.
"""

import json
import logging
import os
import time
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from llmga.errors import UserError, system_reason
from llmga.serve.api.logs import log_event

FILES = 5  # of the log: the one that is written, and older ones with .1 to .4 behind their names


class AuditLog:
    """A log of bounded size, which only its owner may read; one process writes it.

    Args:
        path: Of the file.
        most: Bytes of all its files together.

    Raises:
        UserError: It cannot be written.
    """

    def __init__(self, path: str | Path, most: int):
        try:
            os.close(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600))
            self._handler = _Handler(path, maxBytes=most // FILES, backupCount=FILES - 1, encoding="utf-8")
        except OSError as problem:
            raise UserError(
                f"--audit-log {str(path)!r} cannot be written ({system_reason(problem)}); give another place."
            ) from None

    def write(self, **fields: Any) -> None:
        """Add a line; what cannot be written is told in the server's own log, and the request goes on."""
        now = time.time()
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        line = json.dumps({"time": f"{moment}.{int(now % 1 * 1000):03d}Z", **fields})
        self._handler.handle(logging.LogRecord("audit", logging.INFO, "", 0, line, None, None))

    def close(self) -> None:
        """Write nothing more."""
        self._handler.close()


class _Handler(RotatingFileHandler):
    """Begins new files with the rights of the first; a full disk stops no request."""

    def _open(self):  # noqa: ANN202  # as the class above has it
        return open(self.baseFilename, "a", encoding=self.encoding, opener=_for_its_owner)

    def handleError(self, record: logging.LogRecord) -> None:
        """Tell of it where everything else is told."""
        log_event("the audit log cannot be written", logging.ERROR, exc_info=True)


def _for_its_owner(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)

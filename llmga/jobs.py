"""Many jobs done once each: a manifest beside the results says what became of every one, so that a run goes on."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llmga.errors import UserError, system_reason
from llmga.files import write_whole
from llmga.typed import read_json, typed

DONE, FAILED, INTERRUPTED = "done", "failed", "interrupted"
MANIFEST = "manifest.json"
LARGEST_MANIFEST = 640_000_000  # bytes


class Manifest:
    """A JSON file of jobs by key, whole on disk after each of them.

        {"settings": {"scale": 1}, "pictures": {"a": {"status": "done", "output": "out/a.png"}}}

    Args:
        path: of the file; a run before this one may have written it.  Its folder is made where there is none.
        shape: a `TypedDict` that such a file is checked against.
        section: the name that the entries stand under.
        settings: of this run; entries made with other ones do not count.  None: the file names none.
        remedy: what a person can do where the file cannot be used, such as "choose another --output".

    Attributes:
        entries: what became of each job, by its key: `status` (done, failed or interrupted) and what the run adds.
        failures: why jobs of this run failed, by their keys.

    Raises:
        UserError: the file is no such manifest.
    """

    def __init__(self, path: Path, shape: type, section: str, remedy: str, settings: dict[str, Any] | None = None):
        self.path = path
        self._section, self._remedy, self._settings = section, remedy, settings
        self.failures: dict[str, str] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = read_json(path, longest=LARGEST_MANIFEST, most=LARGEST_MANIFEST // 10) if path.exists() else None
            before: Any = {} if file is None else typed(shape, file)
        except (OSError, ValueError, TypeError) as problem:
            raise _unusable(path, "used as a manifest", problem, remedy) from None
        same = before.get("settings") == settings
        self.entries: dict[str, dict[str, Any]] = dict(before.get(section, {})) if same else {}

    def done(self, key: str) -> dict[str, Any] | None:
        """What is said of a job that was done; None for any other."""
        entry = self.entries.get(key, {})
        return entry if entry.get("status") == DONE else None

    def write(self, key: str, status: str, **entry: Any) -> None:
        """Say what became of a job.

        Raises:
            UserError: the disk does not take it; the file is as it was.
        """
        self.entries[key] = {"status": status, **entry}
        if status == FAILED:
            self.failures[key] = entry.get("error", "")
        head = {} if self._settings is None else {"settings": self._settings}
        content = json.dumps({**head, self._section: self.entries}, ensure_ascii=False, indent=1)
        write_result(self.path, content.encode(errors="replace") + b"\n", self._remedy)

    @contextmanager
    def attempt(self, *keys: str) -> Iterator[None]:
        """Pass over jobs that fail: a `UserError` of the body is written down for each of them."""
        try:
            yield
        except UserError as problem:
            for key in keys:
                self.write(key, FAILED, error=str(problem))


def write_result(path: Path, content: bytes, remedy: str) -> None:
    """Write a file, whole or not at all.

    Args:
        remedy: what a person can do where that fails, such as "choose another --output".

    Raises:
        UserError: the disk does not take it; what was there before still is.
    """
    try:
        write_whole(path, content)
    except OSError as problem:
        raise _unusable(path, "written", problem, remedy) from None


def _unusable(path: Path, how: str, problem: Exception, remedy: str) -> UserError:
    return UserError(f"{str(path)!r} cannot be {how} ({system_reason(problem)}); {remedy}.")

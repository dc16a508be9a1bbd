"""What could not be learnt from: counted, listed by name, and not tried again."""

import json
import logging
import os
from collections.abc import Sequence
from multiprocessing import RawArray, Value
from pathlib import Path

from llmga.llava.datasets.pictures import MISSING

logger: logging.Logger = logging.getLogger(__name__)
CUT, TOO_LONG, UNANSWERED, BLIND, MALFORMED = (
    "end cut off",
    "picture or answer beyond the length limit",
    "no answer to learn",
    "picture marker without a picture",
    "malformed record",
)
REASONS = (MISSING, CUT, TOO_LONG, UNANSWERED, BLIND, MALFORMED)
FOR_GOOD = (MISSING, BLIND, MALFORMED)  # whatever the next epoch draws
FILE_NAME = "left_out.jsonl"
TOLD = 3  # warnings of one reason; the rest is in the list
LISTED, QUARANTINED = 1, 2


class SkippedRecords:
    """Counts by reason and a list of names, shared with the worker processes of a data loader.

    Args:
        sizes: records of each source.
        file: where the list is written, a JSON object a line; several processes may write it, and a run that goes on
            adds to it.  None keeps no list.
    """

    def __init__(self, sizes: Sequence[int] = (), file: Path | None = None) -> None:
        self._counts = {reason: Value("q", 0) for reason in REASONS}
        self._known = [RawArray("B", size) for size in sizes]
        self.file = file

    def add(self, reason: str) -> int:
        """Count one more; how many there are now for this reason."""
        counter = self._counts[_named(reason)]
        with counter.get_lock():
            counter.value += 1
            return counter.value

    def counts(self) -> dict[str, int]:
        """Only the reasons that occurred."""
        return {reason: counter.value for reason, counter in self._counts.items() if counter.value}

    def quarantined(self, source: int, row: int) -> bool:
        """Whether a record is known to be of no use."""
        return self._known[source][row] == QUARANTINED

    def leave_out(self, source: int, row: int, file: str, problem: Exception) -> None:
        """Count a record, tell it, and list it when it is met for the first time."""
        reason, cause = str(problem), problem.__cause__
        if self.add(reason) <= TOLD:
            logger.warning("left out: %s (%s)", reason, cause or f"record {row} of {file}")
        if not self._known[source][row]:
            self._write({"file": file, "record": row, "reason": reason, **({"told": str(cause)} if cause else {})})
        self._known[source][row] = QUARANTINED if _named(reason) in FOR_GOOD else LISTED

    def _write(self, line: dict[str, object]) -> None:
        """In one call, so that lines of several processes do not mix."""
        if self.file is None:
            return
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            target = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            try:
                os.write(target, (json.dumps(line, ensure_ascii=False) + "\n").encode("utf-8", "replace"))
            finally:
                os.close(target)
        except OSError as problem:
            logger.warning("cannot write %s (%s)", self.file, problem.strerror)


def _named(reason: str) -> str:
    """The reason that is counted; a kind's own words are those of a malformed record."""
    return reason if reason in REASONS else MALFORMED

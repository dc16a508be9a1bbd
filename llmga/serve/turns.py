"""A door through which one at a time passes, in the order in which they came."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition

LOOK_AGAIN = 0.1  # seconds between two looks at whether the one who waits still wants to


class Turns:
    """A lock that is fair, and that a thread may leave the line of.

    A diffusion pipeline keeps state between its steps, so that it paints one picture at a time.
    """

    def __init__(self) -> None:
        self._line: deque[object] = deque()
        self._moved = Condition()

    @contextmanager
    def taken(self, still_wanted: Callable[[], None]) -> Iterator[None]:
        """Wait for the turn and hold it.

        Args:
            still_wanted: called now and then while waiting; what it raises ends the wait.
        """
        ticket = object()
        with self._moved:
            self._line.append(ticket)
        try:
            with self._moved:
                while self._line[0] is not ticket:
                    self._moved.wait(LOOK_AGAIN)
                    still_wanted()
            yield
        finally:
            with self._moved:
                self._line.remove(ticket)
                self._moved.notify_all()

"""A door through which some at a time pass, in the order in which they came."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition

LOOK_AGAIN = 0.1  # seconds between two looks at whether the one who waits still wants to


class Turns:
    """A lock that is fair, and that a thread may leave the line of.

    A diffusion pipeline keeps state between its steps, so that it paints one picture at a time.

    Args:
        places: how many may hold it at once.
    """

    def __init__(self, places: int = 1) -> None:
        self.places = places
        self._line: deque[object] = deque()
        self._moved = Condition()

    @property
    def waiting(self) -> int:
        """How many hold it or wait for it."""
        return len(self._line)

    @contextmanager
    def line(self) -> Iterator[Callable[[float], bool]]:
        """Stand in line, then hold the turn until the end.

        `reached(seconds)` waits for the turn, for at most so long, and tells whether it is there.
        """
        ticket = object()
        with self._moved:
            self._line.append(ticket)

        def reached(seconds: float) -> bool:
            with self._moved:
                return self._moved.wait_for(lambda: self._line.index(ticket) < self.places, seconds)

        try:
            yield reached
        finally:
            with self._moved:
                self._line.remove(ticket)
                self._moved.notify_all()

    @contextmanager
    def taken(self, still_wanted: Callable[[], None]) -> Iterator[None]:
        """Wait for the turn and hold it.

        Args:
            still_wanted: called now and then while waiting; what it raises ends the wait.
        """
        with self.line() as reached:
            while not reached(LOOK_AGAIN):
                still_wanted()
            yield

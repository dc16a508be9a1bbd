"""A lock that is fair, and that a thread may leave the line of."""

from bisect import insort
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition

LOOK_AGAIN = 0.1  # seconds between two looks at whether the one who waits still wants to


@dataclass(frozen=True)
class Company:
    """What those have in common who may hold a lock together.

    Attributes:
        key: whoever has the same one is welcome.
        most: how many there may be.
    """

    key: Hashable
    most: int


@dataclass(eq=False)
class _Ticket:
    who: Hashable
    company: Company | None
    turn: int = field(default=0)


class FairLock:
    """A lock for which threads stand in line; whoever has many in it lets others come round in turn.

    A diffusion pipeline keeps state between its steps, so that one picture is painted at a time, but for those whose
    steps are done together, a `Company`.

    Args:
        places: how many may hold it at once.
    """

    def __init__(self, places: int = 1) -> None:
        self.places = places
        self._holders: list[_Ticket] = []
        self._line: list[_Ticket] = []  # by their turns; within one, by their coming
        self._turn = 0  # of whoever got it last
        self._turns: dict[Hashable, int] = {}  # the last turn of each who has had or has a ticket
        self._moved = Condition()

    @property
    def waiting(self) -> int:
        """How many hold it or wait for it."""
        return len(self._holders) + len(self._line)

    @contextmanager
    def line(self, who: Hashable = None, company: Company | None = None) -> Iterator[Callable[[float], bool]]:
        """Stand in line, then hold the turn until the end.

        `reached(seconds)` waits for the turn, for at most so long, and tells whether it is there.

        Args:
            who: those under one name come round in turn with others, whatever number of them there is.
            company: who may hold it at the same time; None is nobody, beside what `places` allows.
        """
        ticket = _Ticket(who, company)
        with self._moved:
            self._join(ticket)

        def reached(seconds: float) -> bool:
            with self._moved:
                return self._moved.wait_for(lambda: ticket in self._holders, seconds)

        try:
            yield reached
        finally:
            with self._moved:
                (self._holders if ticket in self._holders else self._line).remove(ticket)
                self._let_in()

    @contextmanager
    def taken(
        self, still_wanted: Callable[[], None], who: Hashable = None, company: Company | None = None
    ) -> Iterator[None]:
        """Wait for the turn and hold it.

        Args:
            still_wanted: called now and then while waiting; what it raises ends the wait.
            who: as `line` takes it.
            company: as `line` takes it.
        """
        with self.line(who, company) as reached:
            while not reached(LOOK_AGAIN):
                still_wanted()
            yield

    def _join(self, ticket: _Ticket) -> None:
        """Each name has one ticket a turn, the first one in the turn that is on."""
        past = [who for who, turn in self._turns.items() if turn < self._turn]
        for who in past:
            del self._turns[who]
        ticket.turn = max(self._turn, self._turns.get(ticket.who, self._turn - 1) + 1)
        self._turns[ticket.who] = ticket.turn
        insort(self._line, ticket, key=lambda each: each.turn)
        self._let_in()

    def _let_in(self) -> None:
        """Nobody overtakes the first in line, so that whoever wants it alone gets it."""
        while self._line and self._is_free(self._line[0].company):
            self._holders.append(self._line.pop(0))
            self._turn = self._holders[-1].turn
        self._moved.notify_all()

    def _is_free(self, company: Company | None) -> bool:
        if company is None or any(each.company is None or each.company.key != company.key for each in self._holders):
            return len(self._holders) < self.places
        return len(self._holders) < max(company.most, self.places)

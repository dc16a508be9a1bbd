"""What was taken back of a conversation, so that it can be brought back."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from llmga.assistant.session import Session


@dataclass(frozen=True)
class TakenBack:
    """Sessions as they were before something of them was taken back, the latest last.

    Attributes:
        earlier: each with a key of the page's strings that says what became of it.
    """

    earlier: Sequence[tuple[str, Session]] = ()

    @property
    def key(self) -> str:
        """What can be brought back, as a key of the strings; "" for nothing."""
        return self.earlier[-1][0] if self.earlier else ""

    def kept(self, key: str, session: Session) -> "TakenBack":
        """With one more."""
        return TakenBack((*self.earlier, (key, session)))

    def brought_back(self, now: Session) -> tuple[Session, "TakenBack"]:
        """The latest one, to go on with as if it had never been gone, and what can be brought back then.

        Another answer that stood in its place can be; of what was only shorter, nothing is missing.

        Args:
            now: what is gone on with until then; its counts go on, so that no picture is painted twice.
        """
        key, session = self.earlier[-1]
        rest = TakenBack(self.earlier[:-1])
        again = replace(session, turns=now.turns, painted=now.painted, settings=now.settings)
        return again, rest.kept(key, now) if key == "replaced" else rest

"""Where a conversation stands: the pictures that were painted or shown, and which one is talked about."""

from dataclasses import dataclass, replace

from llmga.toyworld.world.scene import Scene


@dataclass(frozen=True)
class Gallery:
    """The pictures so far.

    Attributes:
        painted: by the assistant, oldest first.
        shown: by the person with the latest message that had pictures.
        now: the one that "it" is about; None before the first and after several were shown.
    """

    painted: tuple[Scene, ...] = ()
    shown: tuple[Scene, ...] = ()
    now: Scene | None = None

    def with_painted(self, *scenes: Scene) -> "Gallery":
        """After an answer with pictures: the last one is talked about."""
        return replace(self, painted=(*self.painted, *scenes), now=scenes[-1])

    def with_shown(self, *scenes: Scene) -> "Gallery":
        """After pictures were shown; of several none is "it"."""
        return replace(self, shown=scenes, now=scenes[0] if len(scenes) == 1 else None)

    @property
    def is_own(self) -> bool:
        """Whether the picture that is talked about was painted here."""
        return bool(self.painted) and self.now == self.painted[-1]

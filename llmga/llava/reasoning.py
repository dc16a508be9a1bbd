"""A reasoning model thinks aloud first; that is neither said nor painted."""

from collections.abc import Generator
from contextlib import closing

OPEN, CLOSE = "<think>", "</think>"


def without_reasoning(pieces: Generator[str], opened: bool = False) -> Generator[str]:
    """A reply in pieces without the <think> … </think> that it may open with; the rest passes as it comes.

    Args:
        opened: the chat template has begun the thought, so that the reply only ends it.
    """
    held, thought, decided = OPEN if opened else "", False, False
    with closing(pieces):
        for piece in pieces:
            if decided:
                yield piece
                continue
            held += piece
            if not thought and held.lstrip().startswith(OPEN):
                _, mark, rest = held.partition(CLOSE)
                thought, held = bool(mark), rest if mark else held
            held = held.lstrip() if thought else held
            start = held.lstrip()
            decided = bool(start) and (thought or not OPEN.startswith(start[: len(OPEN)]))
            if decided:
                yield held
    if held and not decided and not held.lstrip().startswith(OPEN):
        yield held

"""A reasoning model thinks aloud first; that is neither said nor painted."""

from collections.abc import Generator, Iterator
from contextlib import closing

OPEN, CLOSE = "<think>", "</think>"


def without_thoughts(pieces: Generator[str]) -> Iterator[str]:
    """A reply in pieces without the <think> … </think> that it may open with; the rest passes as it comes."""
    held, decided = "", False
    with closing(pieces):
        for piece in pieces:
            if decided:
                yield piece
                continue
            held += piece
            start = held.lstrip()
            if OPEN.startswith(start[: len(OPEN)]):
                _, thought, after = start.partition(CLOSE)
                held, decided = (after.lstrip(), bool(after.strip())) if thought else (held, False)
            else:
                decided = True
            if decided:
                yield held
    if not decided and not held.lstrip().startswith(OPEN):
        yield from (held,) if held else ()

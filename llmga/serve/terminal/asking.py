"""The next message, of a pipe, or of a person who edits it."""

import sys
from collections.abc import Callable

from llmga.plain_text import plain

ASKS = "You: "
ONCE_MORE = "(once more to end)"


class Dropped(KeyboardInterrupt):
    """Ctrl-C, by which a line was dropped in which something stood."""


def ask(read: Callable[[], str] | None = None, *, interrupted: bool = False, breaks: bool = True) -> str | None:
    """The next line that a person typed; None at the end: an empty line, the end of the input, or Ctrl-C twice.

    A Ctrl-C that comes alone drops the line only: it may have been meant for an answer that had just come to its end.
    A line of blanks is a slip of the thumb, and asked for again.

    Args:
        read: asks once; None reads the standard input.
        interrupted: Ctrl-C was pressed before it was asked for.
        breaks: the cursor is left in the line that ended so.
    """
    if interrupted:
        print(ONCE_MORE)
    while True:
        try:
            line = (read or _input)()
        except EOFError:
            print("\n" * breaks, end="")
            return None
        except KeyboardInterrupt as pressed:
            print("\n" * breaks, end="")
            if (interrupted and not isinstance(pressed, Dropped)) or not sys.stdin.isatty():
                return None
            interrupted = True
            print(ONCE_MORE)
            continue
        if line.strip() or not line:
            break
    line = line.strip()
    if not sys.stdin.isatty():
        print(plain(line))  # a piped conversation reads as a transcript
    return line or None


def _input() -> str:
    return input(ASKS)

"""What a person can mend is one sentence (`UserError`); everything else stays a traceback."""

import errno
import functools
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

STOPPED = 130  # exit code after Ctrl-C
FLAG = re.compile(r"--([a-z][\w-]+)")
ARGUMENTS = {  # what flags are called in Python where that is another name, and what stays a command's
    "model-path": "mllm", "sdmodel_id": "pipeline", "lora": "loras", "list": "--list",
}  # fmt: skip


class UserError(ValueError):
    """A mistake in what a person typed or gave.

    The message is one sentence that names the bad value, the limit and the remedy.  Command lines print it and exit
    with 2, the HTTP server answers with a 4xx, the page shows it; nothing already made is lost.
    """


def reason(problem: BaseException) -> str:
    """A library's error in one line, without the full stop; that it would run code, as we say it."""
    if "trust_remote_code" in str(problem):
        return "it asks to run code of its own, which is never done"
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0].rstrip(".")


def system_reason(problem: Exception) -> str:
    """What the system says against a file, such as "no space left on device"; other errors in their own words."""
    return (getattr(problem, "strerror", None) or str(problem)).lower()


@contextmanager
def named_arguments() -> Iterator[None]:
    """In Python a sentence about a flag is about the argument; around what a program calls to load a model."""
    try:
        yield
    except UserError as problem:
        problem.args = (FLAG.sub(lambda flag: ARGUMENTS.get(flag[1], flag[1].replace("-", "_")), str(problem)),)
        raise


class Main(Protocol):
    """A command line: the words after the command's name (None takes those of the process) to an exit code."""

    def __call__(self, argv: Sequence[str] | None = None) -> int: ...


def command_line(main: Main) -> Main:
    """Give a `main(argv)` its ends: a `UserError` is a sentence on stderr and 2, Ctrl-C 130, a closed pipe 0.

    A package of an extra that is not installed is told as a `UserError` is, with what installs it; a place that the
    system does not let us look at, a forbidden one or a name that is too long for one, too, and a `KeyboardInterrupt`
    with words in these.
    """

    @functools.wraps(main)
    def checked(argv: Sequence[str] | None = None) -> int:
        try:
            return main(argv)
        except UserError as problem:
            print(f"error: {problem}", file=sys.stderr)
            return 2
        except ModuleNotFoundError as problem:
            from llmga.extras import missing

            if (mistake := missing(problem)) is None:
                raise
            print(f"error: {mistake}", file=sys.stderr)
            return 2
        except SystemExit as ended:  # a parser has said what is wrong, or shown its help
            if ended.code != 2:
                raise
            return 2
        except KeyboardInterrupt as stop:
            print(stop if stop.args else "stopped", file=sys.stderr)
            return STOPPED
        except BrokenPipeError:  # who reads has seen enough, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except OSError as problem:
            if problem.errno == errno.ENOSPC:
                print("error: there is no space left on the device; make some and run this again.", file=sys.stderr)
                return 2
            if problem.filename is None or isinstance(problem, FileNotFoundError):
                raise
            reason = (problem.strerror or type(problem).__name__).lower()
            print(f"error: {str(problem.filename)!r} cannot be used ({reason}); give another place.", file=sys.stderr)
            return 2

    return checked

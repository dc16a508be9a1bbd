"""Which line of a program did something, libraries and the fake GPU itself passed over."""

import sys
from functools import cache
from pathlib import Path
from types import FrameType

_HERE = Path(__file__).parent
OWN_FILES = {__file__, *(str(path) for name in ("dry_run*.py", "fake_*.py") for path in _HERE.glob(name))}


class Mistake(RuntimeError):
    """What a program does wrong on a device, with the line that did it."""


def line_of(frame: FrameType | None) -> str:
    """`folder/file.py:line` of the innermost frame that is no library's; what autograd calls has none."""
    while frame is not None:
        place = _own(frame.f_code.co_filename)
        if place is not None:
            return f"{place}:{frame.f_lineno}"
        frame = frame.f_back
    return "backward"


@cache
def _own(file: str) -> str | None:
    library = "site-packages" in file or file.startswith(("<", sys.base_prefix, sys.prefix)) or file in OWN_FILES
    if library:
        return None
    path = Path(file)
    root = _HERE.parents[1]
    return str(path.relative_to(root)) if path.is_relative_to(root) else f"{path.parent.name}/{path.name}"


def caller() -> str:
    """`line_of` whoever is asking."""
    return line_of(sys._getframe(1))

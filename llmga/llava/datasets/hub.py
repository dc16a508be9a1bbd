"""Data sets by their name on the Hub: `owner/name`, or `hub:owner/name/config@split`.

The `datasets` library fetches them and keeps them; no code of theirs is ever run.
"""

import os
import re
from functools import cache
from pathlib import Path

from llmga.errors import UserError, reason

PREFIX, SPLIT = "hub:", "train"
NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def is_meant(named: str) -> bool:
    """Whether a source is a name on the Hub: with `hub:` in front, or `owner/name` where nothing here is so called."""
    if named.startswith(PREFIX):
        return True
    path = Path(named)
    return bool(NAME.fullmatch(named)) and not path.suffix and not path.exists() and not path.parent.exists()


@cache
def files_of(named: str) -> list[Path]:
    """The arrow files of a data set, fetched where they are not here yet.

    Raises:
        UserError: when it cannot be had.
    """
    from datasets import load_dataset

    told, _, split = named.removeprefix(PREFIX).partition("@")
    owner, name, *config = told.split("/", 2) if "/" in told else (told, "")
    try:
        found = load_dataset(f"{owner}/{name}".rstrip("/"), *config, split=split or SPLIT, trust_remote_code=False)
    except Exception as problem:  # of the network, of the Hub, of the files themselves
        raise UserError(_told(named, problem)) from None
    return [Path(one["filename"]) for one in found.cache_files]


def _told(named: str, problem: Exception) -> str:
    alone = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    why = "HF_HUB_OFFLINE forbids to ask the Hub" if alone else reason(problem)
    return (
        f"{named!r} is no file or folder here, and no data set of this name can be had from the Hub ({why}); "
        "check the path, or fetch it and give its folder."
    )

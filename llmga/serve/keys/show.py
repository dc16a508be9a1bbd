"""List a server's API keys, with their limits and what they used today: `llmga keys list --keys FILE`."""

import sys
import time
from collections.abc import Mapping, Sequence

from llmga.command_line import Parser
from llmga.errors import command_line
from llmga.serve.keys.add import add_file
from llmga.serve.keys.limits import UNITS
from llmga.serve.keys.store import KeyStore, StoredKey

HEAD = ("id", "name", "made", "state", *(f"{unit} today" for unit in UNITS), "limits")


def build_parser() -> Parser:
    """The flags."""
    parser = Parser(prog="python -m llmga.serve.keys.show", description="List API keys and what they used today (UTC).")
    add_file(parser)
    return parser


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as lines whose columns stand below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in padded)


def cells(key: StoredKey, used: Mapping[str, int]) -> tuple[str, ...]:
    """What is told of a key."""
    state = "revoked" if key.revoked else "admin" if key.admin else "in use"
    limits = ", ".join(f"{limit} {most:,}" for limit, most in key.limits.items()) or "none"
    made = time.strftime("%Y-%m-%d", time.gmtime(key.created))
    return key.id, key.name, made, state, *(f"{used[unit]:,}" for unit in UNITS), limits


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    store, now = KeyStore(build_parser().parse_args(argv).keys), time.time()
    print(table([HEAD, *(cells(key, store.used(key, now)) for key in store.listed())]))
    return 0


if __name__ == "__main__":
    sys.exit(main())

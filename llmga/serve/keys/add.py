"""Make an API key of a server; it is shown once: `llmga keys add NAME --keys FILE`."""

import argparse
import sys
from collections.abc import Sequence

from llmga.command_line import Parser, number
from llmga.errors import command_line
from llmga.serve.keys.limits import LIMITS
from llmga.serve.keys.store import KeyStore

FILE = "llmga-keys.db"
LONGEST_NAME = 64
MOST = 10**15


def build_parser() -> Parser:
    """The flags."""
    parser = Parser(prog="python -m llmga.serve.keys.add", description="Make an API key for llmga serve --keys FILE.")
    parser.add_argument("name", type=name, help="whose it is, or what for")
    add_file(parser)
    parser.add_argument("--admin", action="store_true", help="it opens /v1/admin, too")
    group = parser.add_argument_group("limits; one that is left out is none")
    for limit, row in LIMITS.items():
        group.add_argument(f"--{limit}", type=number(int, 0, MOST), metavar="N", help=row.help)
    return parser


def add_file(parser: Parser) -> None:
    """The flag that says where keys are kept."""
    parser.add_argument("--keys", default=FILE, metavar="FILE", help=f"where keys are kept (default: {FILE})")


def name(text: str) -> str:
    """A name that fits a line; raises ArgumentTypeError for another."""
    if not 1 <= len(text) <= LONGEST_NAME or not text.isprintable():
        raise argparse.ArgumentTypeError(f"a name has 1 to {LONGEST_NAME} letters of one line")
    return text


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """The command line; the key goes to stdout, what is to be known of it to stderr."""
    args = build_parser().parse_args(argv)
    given = {limit: getattr(args, limit.replace("-", "_")) for limit in LIMITS}
    limits = {limit: most for limit, most in given.items() if most is not None}
    secret, key = KeyStore(args.keys, create=True).add(args.name, limits, admin=args.admin)
    print(f"key {key.id} of {key.name}, kept in {args.keys}; it is shown here and never again:", file=sys.stderr)
    print(secret)
    return 0


if __name__ == "__main__":
    sys.exit(main())

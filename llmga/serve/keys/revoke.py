"""Let an API key open nothing any more, on a server that runs, too: `llmga keys revoke NAME --keys FILE`."""

import sys
from collections.abc import Sequence

from llmga.command_line import Parser
from llmga.errors import command_line
from llmga.serve.keys.add import add_file
from llmga.serve.keys.store import KeyStore


def build_parser() -> Parser:
    """The flags."""
    parser = Parser(prog="python -m llmga.serve.keys.revoke", description="Let an API key open nothing, from now on.")
    parser.add_argument("name", help="its name or its id")
    add_file(parser)
    return parser


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    args = build_parser().parse_args(argv)
    key = KeyStore(args.keys).revoke(args.name)
    print(f"key {key.id} of {key.name} is revoked")
    return 0


if __name__ == "__main__":
    sys.exit(main())

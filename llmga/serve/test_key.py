"""A certificate and a key to try signing with, that nobody trusts: `python -m llmga.serve.test_key --to FOLDER`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from llmga.command_line import Parser, number
from llmga.errors import UserError, command_line, system_reason

CHAIN, KEY = "test-certificates.pem", "test-key.pem"


def build_parser() -> Parser:
    """The flags."""
    parser = Parser(prog="python -m llmga.serve.test_key", description="Make a certificate and a key for --c2pa.")
    parser.add_argument("--to", default=".", metavar="FOLDER", help="where the two files go (default: here)")
    parser.add_argument("--days", type=number(int, 1, 3650), default=90, metavar="N", help="how long (default: 90)")
    return parser


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    args = build_parser().parse_args(argv)
    from llmga.serve.certificates import test_certificates

    folder = Path(args.to)
    chain, key = test_certificates(args.days)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content, mode in ((CHAIN, chain, 0o644), (KEY, key, 0o600)):
            (folder / name).touch(mode=mode, exist_ok=False)  # a key is never seen by others, and none written over
            (folder / name).write_bytes(content)
    except FileExistsError as problem:
        raise UserError(f"{problem.filename!r} is there already; take it away, or give another --to.") from None
    except OSError as problem:
        raise UserError(f"{str(folder)!r} cannot be written ({system_reason(problem)}); give another --to.") from None
    print(f"made for tests only: --c2pa {folder / CHAIN} {folder / KEY}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

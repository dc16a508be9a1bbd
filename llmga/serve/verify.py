"""What picture files say of who or what made them: `python -m llmga.serve.verify FILE …`.

Exit code 0 where every file says that a model made it, and nothing that is signed was changed since; else 1.
"""

import sys
from collections.abc import Sequence

from llmga.choices import WATERMARK
from llmga.command_line import Parser
from llmga.errors import command_line
from llmga.images import check_file


def build_parser() -> Parser:
    """The flags."""
    parser = Parser(prog="python -m llmga.serve.verify", description="Say what picture files tell of their making.")
    parser.add_argument("files", nargs="+", metavar="FILE", help="PNG, JPEG or WEBP, of any program")
    parser.add_argument("--watermark", default=WATERMARK, metavar="TEXT", help=f"what to look for in the pixels "
                        f"(default: {WATERMARK})")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="a JSON object a line, a line a file")
    return parser


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    args = build_parser().parse_args(argv)
    for file in args.files:
        check_file(file, f"picture {file!r}")
    from llmga.serve.verification import Verified

    found = [Verified.of(file, args.watermark) for file in args.files]
    for each in found:
        print(each.to_json() if args.json else each.told())
    return 0 if all(each.generated and not each.broken for each in found) else 1


if __name__ == "__main__":
    sys.exit(main())

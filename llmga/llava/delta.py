"""The difference between a checkpoint and its base: make it, or add it again.

python -m llmga.llava.delta make BASE CHECKPOINT OUT
python -m llmga.llava.delta apply BASE DELTA OUT
"""

import sys
from collections.abc import Sequence

from llmga.command_line import Parser
from llmga.errors import command_line


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """Make the difference of two checkpoints, or apply one."""
    parser = Parser(prog="python -m llmga.llava.delta", description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["make", "apply"])
    parser.add_argument("base", help="folder of the plain language model")
    parser.add_argument("other", help="folder of the checkpoint (make) or of the difference (apply)")
    parser.add_argument("out", help="new folder")
    args = parser.parse_args(argv)
    from llmga.llava.deltas import apply_delta, make_delta

    {"make": make_delta, "apply": apply_delta}[args.action](args.base, args.other, args.out)
    print(f"wrote {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

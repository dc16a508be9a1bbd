"""Whether this machine computes what a CPU does, as a report for an issue: `python -m llmga.evaluation.selfcheck`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from llmga.command_line import Parser
from llmga.errors import command_line

DESCRIPTION = """A few seconds of every path on the bundled toy models, on this machine's device and on its CPU, and
how far apart the two are.  Prints a report in Markdown, to paste into an issue; ends with 1 where a path fails."""
PATHS = ("planner", "text-to-image", "inpainting", "editing", "restoring", "stage 1", "stage 2", "restorer's training")


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """Print the report; 1 when a path fails or is too far from the CPU's answer."""
    parser = Parser(prog="python -m llmga.evaluation.selfcheck", description=DESCRIPTION)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    parser.add_argument("--dtype", choices=("fp32", "fp16", "bf16"),
                        help="of the device (default: fp16 on a GPU, bf16 on a CPU)")  # fmt: skip
    parser.add_argument("--only", nargs="+", metavar="PATH", choices=PATHS, default=PATHS,
                        help=f"of: {', '.join(map(repr, PATHS))}")  # fmt: skip
    parser.add_argument("--report", type=Path, metavar="FILE", help="also write the report there")
    args = parser.parse_args(argv)
    from llmga.evaluation.selfcheck_report import check

    return check(args.device, args.dtype, args.only, args.report)


if __name__ == "__main__":
    sys.exit(main())

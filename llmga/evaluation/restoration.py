"""What restorers do to photographs, against a known truth: `python -m llmga.evaluation.restoration`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from llmga.choices import DAMAGES
from llmga.command_line import Parser
from llmga.errors import UserError, command_line

DESCRIPTION = "What restorers do to photographs, against a known truth."
MASKS = 5  # a picture


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 1 when a claim does not hold."""
    parser = Parser(prog="python -m llmga.evaluation.restoration", description=DESCRIPTION)
    parser.add_argument("--restorer", nargs="*", default=[], metavar="NAME", help="further rows, such as diffrir-x1")
    parser.add_argument("--restorer-path", metavar="PATH", help="weights of the further rows")
    parser.add_argument("--damage", nargs="*", default=list(DAMAGES), help=f"of: {', '.join(DAMAGES)}")
    parser.add_argument("--masks", type=int, default=MASKS, help=f"a picture (default: {MASKS})")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hidden", action="store_true", help="hide the truth under the mask from every method")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the table there")
    args = parser.parse_args(argv)
    if args.masks < 1 or args.seed < 0:
        raise UserError(f"--masks {args.masks} and --seed {args.seed} must be at least 1 and 0.")
    from llmga.evaluation.restoration_scores import score

    return score(args)


if __name__ == "__main__":
    sys.exit(main())

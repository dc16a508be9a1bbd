"""Make the toy world's data and base models, one step at a time: `python -m llmga.toyworld.pretrain STEP`.

Every step is skipped when its result is there and continued when it was interrupted.
"""

import sys
from collections.abc import Sequence

from llmga.choices import TOYWORLD_STEPS
from llmga.command_line import Parser, quiet_libraries
from llmga.errors import command_line


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m llmga.toyworld.pretrain", description="Make the toy world's data and base models.")
    parser.add_argument("steps", nargs="+", choices=TOYWORLD_STEPS, help="what to make, in this order")
    parser.add_argument(
        "--threads", type=int, default=None, help="CPU threads (small models gain little from a second)"
    )
    options = parser.parse_args(argv)
    quiet_libraries()
    from llmga.toyworld.base_models import make

    return make(options.steps, options.threads)


if __name__ == "__main__":
    sys.exit(main())

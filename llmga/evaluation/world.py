"""How well a planner talks in the larger toy world: `python -m llmga.evaluation.world --model-path FOLDER`.

Every case goes through the product's own assistant; its painter is replaced by a pen that draws what a prompt states.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from llmga.command_line import Parser, quiet_libraries
from llmga.errors import command_line


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = Parser(prog="python -m llmga.evaluation.world", description=__doc__)
    parser.add_argument("--model-path", required=True, help="folder of the language model")
    parser.add_argument("--cases", type=Path, help="what `python -m llmga.toyworld.world cases` wrote")
    parser.add_argument("--count", type=int, default=500, help="without --cases: cases of a bar")
    parser.add_argument("--bars", nargs="+", metavar="BAR", help="only these (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of cases and answers")
    parser.add_argument("--processes", type=int, default=1, help="bars judged at once, each with its own model")
    parser.add_argument("--output", type=Path, help="write the JSON here; figures of other bars that it holds are kept")
    parser.add_argument("--misses", type=Path, help="write every missed turn here, as JSON lines")
    options = parser.parse_args(argv)
    quiet_libraries()
    from llmga.evaluation.world_scores import score

    return score(options)


if __name__ == "__main__":
    sys.exit(main())

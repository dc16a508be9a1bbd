"""What a planner's prompts keep of a benchmark's rows: `python -m llmga.evaluation.prompts FILE`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from llmga.choices import PICTURE
from llmga.command_line import Parser, number
from llmga.errors import UserError, command_line
from llmga.llava.endpoint.keys import KEYS

DESCRIPTION = (
    "Score by rule, without weights, what prompts keep of what was asked for: rows of GenEval, GenEval 2 or "
    "UniGenBench++, prompts of a model, of a server, or already written."
)
ANSWERS = "outputs/prompts"


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = _parser()
    options = parser.parse_intermixed_args(argv)
    given = [flag for flag in ("model_path", "server", "prompts") if getattr(options, flag) is not None]
    if options.server_model and options.server is None:
        raise UserError(f"--server-model {options.server_model!r} needs a server that has it; give --server, too.")
    if len(given) > 1:
        flags = ", ".join(f"--{flag.replace('_', '-')}" for flag in given)
        raise UserError(f"{flags} each say whose prompts are judged; give one.")
    if "{}" not in options.ask:
        raise UserError(f"--ask {options.ask!r} has no place for what a row asks for; write {{}} there.")
    from llmga.evaluation.prompt_scores import score

    return score(options)


def _parser() -> Parser:
    parser = Parser(prog="python -m llmga.evaluation.prompts", description=DESCRIPTION)
    parser.add_argument("file", nargs="+", type=Path, metavar="FILE", help="rows; those of two languages are compared")
    whose = parser.add_argument_group("whose prompts (left out: those of the bundled language model)")
    whose.add_argument(
        "--model-path", metavar="FOLDER", help="language model: folder, name below checkpoints/ or hub id"
    )
    whose.add_argument("--model-base", metavar="FOLDER", help="its base, for a projector or low-rank weights only")
    whose.add_argument("--conv-mode", metavar="NAME", help="its conversation mode")
    whose.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    whose.add_argument("--server", metavar="URL", help="OpenAI-compatible server, such as http://localhost:8000/v1; "
                       f"its key: from {' or '.join(KEYS)}")  # fmt: skip
    whose.add_argument("--server-model", metavar="NAME", help="its model; left out: the only one that it offers")
    whose.add_argument("--prompts", type=Path, metavar="FILE", help="written already: JSON lines with `asked` and "
                       "`prompt`, or a prompt a line in the order of the rows")  # fmt: skip
    asking = parser.add_argument_group("how a model or server is asked")
    asking.add_argument("--ask", default="{}", metavar="TEXT", help="what is said; {} is what the row asks for")
    asking.add_argument("--picture", choices=PICTURE, default=PICTURE[0], help="always: models that run here write one")
    asking.add_argument("--temperature", type=number(float, 0, 5), default=0.0, metavar="T", help="default: 0, greedy")
    asking.add_argument("--max-new-tokens", type=number(int, 1, 8192), default=512, metavar="N", help="default: 512")
    asking.add_argument("--seed", type=number(int, 0, 2**32 - 1), default=0)
    asking.add_argument("--answers", type=Path, metavar="FILE", help="keeps what was answered; a run that was "
                        f"ended goes on there (default: a file in {ANSWERS})")  # fmt: skip
    parser.add_argument("--limit", type=number(int, 1, 10**6), metavar="N", help="only the first rows of each file")
    parser.add_argument("--clip", type=Path, metavar="FOLDER", help="CLIP's vocabulary, to count tokens with")
    parser.add_argument("--output", type=Path, metavar="FILE", help="also write the figures there, as JSON")
    parser.add_argument("--misses", type=Path, metavar="FILE", help="write what was lost there, with reasons, as JSON "
                        "lines")  # fmt: skip
    return parser


if __name__ == "__main__":
    sys.exit(main())

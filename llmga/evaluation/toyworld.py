"""How well the bundled models do the main job in the toy world: `python -m llmga.evaluation.toyworld`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from llmga.choices import TOYWORLD_PARTS
from llmga.command_line import Parser, quiet_libraries
from llmga.errors import command_line


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(
        prog="python -m llmga.evaluation.toyworld", description="Score the toy models on held-out scenes and phrasings."
    )
    parser.add_argument("--model-path", default="checkpoints/Inference/llmga-toy-mllm")
    parser.add_argument("--sdmodel_id", default="checkpoints/Inference/llmga-toy-sdxl-t2i")
    parser.add_argument("--base", default="checkpoints/Inference/llmga-toy-sdxl-base", help="painter before stage 2")
    parser.add_argument("--inpainter", default="checkpoints/Inference/llmga-toy-sdxl-inpainting", help="fills holes")
    parser.add_argument("--parts", nargs="+", choices=TOYWORLD_PARTS, default=TOYWORLD_PARTS,
                        help="what to judge; --output keeps the figures of the others that it holds")  # fmt: skip
    parser.add_argument("--scale", type=float, default=1.0, help="fraction of the full number of cases")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1, help="parts judged at once, each with its own models")
    parser.add_argument("--output", type=Path, help="write the JSON here as well")
    parser.add_argument("--misses", type=Path, help="write every missed case here")
    options = parser.parse_args(argv)
    quiet_libraries()
    from llmga.evaluation.toyworld_scores import score

    return score(options)


if __name__ == "__main__":
    sys.exit(main())

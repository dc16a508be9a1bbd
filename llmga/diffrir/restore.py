"""Restore painted pictures: `python -m llmga.diffrir.restore --image … --reference … --mask …`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from llmga.choices import OVERLAP, RESTORER, RESTORERS, TILE
from llmga.command_line import Parser
from llmga.errors import UserError, command_line
from llmga.training.stream import LARGEST_SEED


def build_parser() -> Parser:
    """The flags."""
    parser = Parser(prog="python -m llmga.diffrir.restore",
                    description="Make painted regions agree with the kept ones.")  # fmt: skip
    add = parser.add_argument
    add("--image", required=True, type=Path, help="painted picture, or a folder of them")
    add("--reference", type=Path, help="original of the same name; what the mask does not cover is kept")
    add("--mask", type=Path, help="white where painted; NAME, NAME_mask or NAME_mask000; at scales 2 and 4 both may be "
        "left out to enlarge whole pictures")  # fmt: skip
    add("--scale", type=int, choices=(1, 2, 4), default=1, help="sides of the result over sides of the picture")
    add("--output", type=Path, default=Path("outputs/restored"), help="folder, or a file for a single picture")
    add("--weights", metavar="PATH", help="DiffRIR weights (default: those of the scale under checkpoints/Inference)")
    add("--restorer", metavar="NAME", help=f"one of: {', '.join(RESTORERS)} (default: diffrir of the scale, or without "
        f"weights {RESTORER})")  # fmt: skip
    add("--seed", type=int, default=0, help="of the prior (default: 0)")
    add("--tile", type=int, default=TILE, help=f"side of a window in output pixels, 0: no windows (default: {TILE})")
    add("--overlap", type=int, default=OVERLAP, help=f"of windows, in output pixels (default: {OVERLAP})")
    add("--batch", type=int, default=1, help="pictures of one size at once (default: 1)")
    add("--soft-mask", action="store_true", help="composite by the mask's levels, for feathered masks")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    add("--dtype", help="fp32 or bf16 (default: bf16 on CUDA, else fp32)")
    return parser


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """0 when everything is done, 1 when some pictures of a folder failed, 2 when nothing could begin."""
    args = build_parser().parse_args(argv)
    if args.batch < 1:
        raise UserError(f"--batch {args.batch} is out of range; use at least 1.")
    if not 0 <= args.seed <= LARGEST_SEED:
        raise UserError(f"--seed {args.seed} is out of range; use 0 to {LARGEST_SEED}.")
    if (args.reference is None) != (args.mask is None) or (args.mask is None and args.scale == 1):
        raise UserError("--reference and --mask belong together and are needed at scale 1; give both.")
    from llmga.diffrir.folders import restore

    return restore(args)


if __name__ == "__main__":
    sys.exit(main())

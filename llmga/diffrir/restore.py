"""Restore painted pictures: `python -m llmga.diffrir.restore --image … --reference … --mask …`.

Files, or folders paired by name.  A reference of the output's size is what is kept: outside the mask the output *is*
the reference.  At scales 2 and 4 it may also be of the picture's own size; then it only guides, since the kept pixels
exist at no such size.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llmga.choices import OVERLAP, RESTORER, RESTORERS, TILE
from llmga.command_line import Parser
from llmga.errors import UserError, command_line

if TYPE_CHECKING:
    from llmga.diffrir.restorers import Restorer


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


def pick_restorer(args: argparse.Namespace) -> tuple[str, "Restorer"]:
    """What was asked for, or the best there is, and its name for the manifest.

    Raises:
        UserError: for an unknown name, or one that the scale or the weights contradict.
    """
    from llmga.diffrir.checkpoints import default_path
    from llmga.diffrir.restorer import open_diffrir
    from llmga.diffrir.restorers import RESTORERS, LazyDiffRIR

    row = RESTORERS[args.restorer] if args.restorer else LazyDiffRIR(args.scale)
    if isinstance(row, LazyDiffRIR) and args.restorer and row.scale != args.scale:
        raise UserError(
            f"restorer {args.restorer!r} has scale {row.scale}, but --scale is {args.scale}; give --scale {row.scale}."
        )
    if not isinstance(row, LazyDiffRIR):
        if args.scale != 1 or args.weights:
            raise UserError(f"restorer {args.restorer!r} has scale 1 and no weights; leave out --scale and --weights.")
        return args.restorer, row
    try:
        asked = args.restorer or args.scale != 1
        weights = args.weights or default_path(args.scale, None if asked else [Path()])  # the bundled toy only if asked
    except UserError:
        if args.restorer or args.scale != 1:
            raise
        print(f"No DiffRIR weights of scale 1 are at hand: {RESTORER} restores.", file=sys.stderr)
        return RESTORER, RESTORERS[RESTORER]
    options = {"seed": args.seed, "tile": args.tile, "overlap": args.overlap, "soft": args.soft_mask}
    return str(weights), open_diffrir(weights, args.scale, device=args.device, dtype=args.dtype, **options)


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """0 when everything is done, 1 when some pictures of a folder failed, 2 when nothing could begin."""
    args = build_parser().parse_args(argv)
    from llmga.diffrir.jobs import find_jobs
    from llmga.diffrir.runner import RestoreRunner, open_manifest
    from llmga.training.stream import LARGEST_SEED

    if args.batch < 1:
        raise UserError(f"--batch {args.batch} is out of range; use at least 1.")
    if not 0 <= args.seed <= LARGEST_SEED:
        raise UserError(f"--seed {args.seed} is out of range; use 0 to {LARGEST_SEED}.")
    if (args.reference is None) != (args.mask is None) or (args.mask is None and args.scale == 1):
        raise UserError("--reference and --mask belong together and are needed at scale 1; give both.")
    jobs = find_jobs(args.image, args.reference, args.mask, args.output)
    name, restorer = pick_restorer(args)
    settings = {key: getattr(args, key) for key in ("scale", "seed", "tile", "overlap", "soft_mask", "dtype")}
    manifest = open_manifest(jobs[0].output.parent, {"restorer": name, **settings})
    RestoreRunner(restorer, manifest, args.batch)(jobs)
    print(f"{len(jobs) - len(manifest.failures)} of {len(jobs)} pictures are in {str(jobs[0].output.parent)!r}.")
    for picture, complaint in manifest.failures.items():
        print(f"error: {picture}: {complaint}", file=sys.stderr)
    return 1 if manifest.failures else 0


if __name__ == "__main__":
    sys.exit(main())

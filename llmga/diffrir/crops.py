"""Cuts large pictures into squares that read fast: `python -m llmga.diffrir.crops data/DF2K --output data/DF2K_sub`.

The published training cuts 400 pixels every 200, from the pictures as they are and from smaller copies.  A square is
named after its picture, the copy's scale and its number: `0001_x0.75_s012.png`.  What is there already is left alone.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from PIL import Image

from llmga.command_line import Parser
from llmga.diffrir.listing import pictures
from llmga.errors import UserError, command_line
from llmga.images import open_image

SIDE, STEP = 400, 200


def starts(length: int, side: int, step: int) -> list[int]:
    """Where squares begin along `length` pixels; the last one ends with the picture."""
    found = [*range(0, length - side + 1, step)]
    return found if found[-1] + side == length else [*found, length - side]


def copies(image: Image.Image, scales: Sequence[float], side: int) -> Iterator[tuple[str, Image.Image]]:
    """The picture and smaller ones of it, each with a name; those that hold no square are left out."""
    for scale in scales:
        width, height = (round(extent * scale) for extent in image.size)
        size = width, height
        if min(size) >= side:
            yield f"x{scale:g}", image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)


def cut(path: Path, folder: Path, output: Path, side: int, step: int, scales: Sequence[float]) -> tuple[int, str]:
    """Squares of one picture; returns how many there are and what is wrong, if anything."""
    try:
        image = open_image(path, working_side=None)
    except UserError as problem:
        return 0, str(problem)
    target = output / path.relative_to(folder).parent
    target.mkdir(parents=True, exist_ok=True)
    count = 0
    for name, copy in copies(image, scales, side):
        corners = [(x, y) for y in starts(copy.height, side, step) for x in starts(copy.width, side, step)]
        for number, (x, y) in enumerate(corners, start=1):
            _save(copy.crop((x, y, x + side, y + side)), target / f"{path.stem}_{name}_s{number:03d}.png")
        count += len(corners)
    return count, "" if count else f"{str(path)!r} is {image.width}x{image.height} and holds no square of {side}."


def _save(square: Image.Image, path: Path) -> None:
    """Whole or not at all."""
    if not path.exists():
        draft = path.with_suffix(".part")
        square.save(draft, "PNG")
        os.replace(draft, path)


def cut_all(
    folder: Path,
    output: Path,
    *,
    side: int = SIDE,
    step: int = STEP,
    scales: Sequence[float] = (1.0,),
    processes: int = 1,
) -> tuple[int, list[str]]:
    """Squares of every picture below a folder; returns their number and what is wrong with pictures left out.

    Raises:
        UserError: when there are no pictures, the measures make no sense, or nothing can be written.
    """
    if side < 1 or step < 1 or not all(0 < scale <= 1 for scale in scales):
        raise UserError(f"--side {side} and --step {step} must be at least 1, --scales {list(scales)} from 0 to 1.")
    if output.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"--output {str(output)!r} lies in the folder that is cut; choose one outside.")
    work = partial(cut, folder=folder, output=output, side=side, step=step, scales=scales)
    paths = pictures(folder)
    try:
        if processes == 1:
            results = [work(path) for path in paths]
        else:
            with ProcessPoolExecutor(processes) as pool:
                results = list(pool.map(work, paths, chunksize=4))
    except OSError as problem:
        raise UserError(f"squares cannot be written to {str(output)!r} ({problem.strerror}); choose another.") from None
    return sum(count for count, _ in results), [complaint for _, complaint in results if complaint]


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """0 when every picture was cut, 1 when some were left out."""
    parser = Parser(prog="python -m llmga.diffrir.crops", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="pictures below it are cut")
    parser.add_argument("--output", type=Path, required=True, help="folder of the squares")
    parser.add_argument("--side", type=int, default=SIDE, help=f"of a square (default: {SIDE})")
    parser.add_argument("--step", type=int, default=STEP, help=f"from one square to the next (default: {STEP})")
    parser.add_argument(
        "--scales", type=float, nargs="+", default=[1.0], help="of the copies that are cut (default: 1)"
    )
    parser.add_argument("--processes", type=int, default=1)
    args = parser.parse_args(argv)
    if args.processes < 1:
        raise UserError(f"--processes {args.processes} must be at least 1.")
    count, complaints = cut_all(
        args.folder, args.output, side=args.side, step=args.step, scales=args.scales, processes=args.processes
    )
    print(f"{count} squares are in {str(args.output)!r}.")
    for complaint in complaints:
        print(f"left out: {complaint}", file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())

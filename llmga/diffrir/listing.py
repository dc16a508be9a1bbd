"""Lists the pictures to train on: `python -m llmga.diffrir.listing data/DiffRIR --output data/DiffRIR/train.txt`.

One path a line, relative to the folder that the trainer is given as `--images`.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from llmga.command_line import Parser
from llmga.errors import UserError, command_line
from llmga.images import open_image

KINDS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


def pictures(folder: Path) -> list[Path]:
    """Every picture file below the folder, in order of their names.

    Raises:
        UserError: when there is none.
    """
    if not folder.is_dir():
        raise UserError(f"{str(folder)!r} is no folder; give one that holds pictures.")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in KINDS)
    if not found:
        raise UserError(f"folder {str(folder)!r} holds no pictures ({', '.join(KINDS)}); check the path.")
    return found


def usable(paths: Sequence[Path], least: int, complaints: list[str]) -> Iterator[Path]:
    """Those that open and whose shorter side has `least` pixels; what is wrong with the others is added to the list."""
    for path in paths:
        try:
            side = min(open_image(path, working_side=None).size)
        except UserError as problem:
            complaints.append(str(problem))
            continue
        if side >= least:
            yield path


def write_list(root: Path, folders: Sequence[Path], output: Path, least: int) -> tuple[int, list[str]]:
    """Write the list; returns its length and what is wrong with pictures that are left out.

    Raises:
        UserError: when a folder is not below `root`, nothing is left, or nothing can be written.
    """
    complaints: list[str] = []
    names = []
    for folder in folders:
        if not folder.resolve().is_relative_to(root.resolve()):
            raise UserError(f"{str(folder)!r} is not below {str(root)!r}; give a --root that holds every folder.")
        names += [path.resolve().relative_to(root.resolve()) for path in usable(pictures(folder), least, complaints)]
    if not names:
        raise UserError(f"no picture has sides of {least} pixels or more; lower --least.")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text("".join(f"{name.as_posix()}\n" for name in names), encoding="utf-8")
    except OSError as problem:
        raise UserError(f"{str(output)!r} cannot be written ({problem.strerror}); choose another --output.") from None
    return len(names), complaints


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """0 when every picture could be read, 1 when some were left out."""
    parser = Parser(prog="python -m llmga.diffrir.listing", description=__doc__.split("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, help="pictures below them are listed")
    parser.add_argument("--root", type=Path, help="what the paths are relative to (default: the first folder)")
    parser.add_argument("--output", type=Path, required=True, help="the list")
    parser.add_argument("--least", type=int, default=1, metavar="PIXELS", help="leave out pictures with a shorter side")
    args = parser.parse_args(argv)
    count, complaints = write_list(args.root or args.folders[0], args.folders, args.output, args.least)
    print(f"{count} pictures are listed in {str(args.output)!r}.")
    for complaint in complaints:
        print(f"left out: {complaint}", file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())

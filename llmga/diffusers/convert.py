"""Write a diffusers folder from a single file of a diffusion model, or back, bit for bit.

llmga convert model.safetensors FOLDER --to diffusers
llmga convert FOLDER model.safetensors --to single-file
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from llmga.choices import CHECKPOINT_LAYOUTS, DTYPES, PAINTER_LAYOUTS
from llmga.command_line import Parser
from llmga.errors import UserError, command_line


def _check_paints(source: str) -> None:
    """Raises: UserError for a language model, which has other layouts."""
    from llmga.model_directories import places

    folder = next((place for place in places(source) if place.is_dir()), None)
    if folder and (folder / "config.json").is_file() and not (folder / "model_index.json").is_file():
        raise UserError(f"{source!r} is no diffusion model (it lacks model_index.json); a language model is written "
                        f"with --to {' or --to '.join(CHECKPOINT_LAYOUTS)}.")  # fmt: skip


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """Write a diffusion model in another layout."""
    parser = Parser(prog="python -m llmga.diffusers.convert", description=__doc__.splitlines()[0])
    parser.add_argument("source", metavar="IN", help="single file, diffusers folder, or the name of either below "
                        "checkpoints/")  # fmt: skip
    parser.add_argument("out", metavar="OUT", help="new folder, or new .safetensors file")
    parser.add_argument("--to", choices=PAINTER_LAYOUTS, required=True)
    parser.add_argument("--tokenizer", metavar="FOLDER", help="vocabulary of a single file's text encoders; left out: "
                        "looked for")  # fmt: skip
    parser.add_argument("--dtype", choices=DTYPES, help="number format; default: that of each tensor")
    args = parser.parse_args(argv)
    if args.tokenizer and args.to != "diffusers":
        raise UserError(f"--tokenizer {args.tokenizer!r} has no place in a single file; leave it out.")
    _check_paints(args.source)
    from llmga.diffusers.checkpoints import find_checkpoint

    source = find_checkpoint(args.source)
    if source.is_dir() == (args.to == "diffusers"):
        raise UserError(f"{args.source!r} is a {'folder' if source.is_dir() else 'single file'} already; give the "
                        "other --to.")  # fmt: skip
    from llmga.diffusers.single_file.writing import LAYOUTS
    from llmga.quiet import quiet
    from llmga.runtime import DTYPES as FORMATS

    with quiet():
        options = {"tokenizer": args.tokenizer} if args.tokenizer else {}
        LAYOUTS[args.to](source, Path(args.out), dtype=FORMATS[args.dtype] if args.dtype else None, **options)
    print(f"wrote {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

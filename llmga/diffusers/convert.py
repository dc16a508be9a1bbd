"""Write a diffusers folder from a single file of a diffusion model, or back, bit for bit.

llmga convert model.safetensors FOLDER --to diffusers
llmga convert FOLDER model.safetensors --to single-file
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from llmga.choices import DTYPES, PAINTER_LAYOUTS
from llmga.command_line import Parser
from llmga.errors import UserError, command_line


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
    from llmga.diffusers.checkpoints import find_checkpoint
    from llmga.diffusers.single_file.writing import to_file, to_folder
    from llmga.quiet import quiet
    from llmga.runtime import DTYPES as FORMATS

    source, dtype = find_checkpoint(args.source), FORMATS[args.dtype] if args.dtype else None
    if source.is_dir() == (args.to == "diffusers"):
        raise UserError(f"{args.source!r} is a {'folder' if source.is_dir() else 'single file'} already; give the "
                        "other --to.")  # fmt: skip
    with quiet():
        if args.to == "diffusers":
            to_folder(source, Path(args.out), tokenizer=args.tokenizer, dtype=dtype)
        else:
            to_file(source, Path(args.out), dtype=dtype)
    print(f"wrote {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

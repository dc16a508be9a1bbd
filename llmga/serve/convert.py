"""Write a checkpoint in another layout: of a language model, or of a diffusion model.

llmga convert IN OUT --to hf            transformers' LLaVA, which other engines serve
llmga convert IN OUT --to llmga         the published layout, self-contained
llmga convert FILE FOLDER --to diffusers
llmga convert FOLDER FILE --to single-file
"""

import sys
from collections.abc import Sequence
from importlib import import_module

from llmga.choices import CHECKPOINT_LAYOUTS, PAINTER_LAYOUTS
from llmga.command_line import Parser
from llmga.errors import command_line

MODULES = dict.fromkeys(CHECKPOINT_LAYOUTS, "llmga.llava.convert") | dict.fromkeys(
    PAINTER_LAYOUTS, "llmga.diffusers.convert"
)


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """Hand on to the program that writes the layout; `--to LAYOUT --help` lists its flags."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = Parser(prog="python -m llmga.serve.convert", description=__doc__.splitlines()[0], add_help=False)
    parser.add_argument("--to", choices=tuple(MODULES), required=True, help="further flags: --to LAYOUT --help")
    known, _ = parser.parse_known_args([word for word in words if word not in ("-h", "--help")])
    return import_module(MODULES[known.to]).main(words)


if __name__ == "__main__":
    sys.exit(main())

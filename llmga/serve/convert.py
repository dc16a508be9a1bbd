"""Write a checkpoint in another layout: of a language model, or of a diffusion model.

llmga convert IN OUT --to hf            transformers' LLaVA, which other engines serve
llmga convert IN OUT --to llmga         the published layout, self-contained
llmga convert FILE FOLDER --to diffusers
llmga convert FOLDER FILE --to single-file
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from itertools import pairwise

from llmga.choices import CHECKPOINT_LAYOUTS, PAINTER_LAYOUTS
from llmga.command_line import Parser
from llmga.errors import command_line

MODULES = dict.fromkeys(CHECKPOINT_LAYOUTS, "llmga.llava.convert") | dict.fromkeys(
    PAINTER_LAYOUTS, "llmga.diffusers.convert"
)


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """Hand on to the program that writes the layout, which reads all flags; without one, say which there are."""
    words = list(sys.argv[1:] if argv is None else argv)
    layout = next((each for each in MODULES if f"--to={each}" in words or ("--to", each) in pairwise(words)), None)
    if layout is None:
        parser = Parser(prog="python -m llmga.serve.convert", description=__doc__.splitlines()[0])
        parser.add_argument("source", metavar="IN", help="checkpoint: a folder, a single file, or its name")
        parser.add_argument("out", metavar="OUT", help="new folder, or new file")
        parser.add_argument("--to", choices=tuple(MODULES), required=True, help="further flags: --to LAYOUT --help")
        layout = parser.parse_args(words).to
    return import_module(MODULES[layout]).main(words)


if __name__ == "__main__":
    sys.exit(main())

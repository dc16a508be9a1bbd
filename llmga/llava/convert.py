"""Write a checkpoint in another layout.

python -m llmga.llava.convert IN OUT --to hf          transformers' LLaVA, which other engines serve
python -m llmga.llava.convert IN OUT --to llmga       the published layout, self-contained
"""

import sys
from collections.abc import Sequence

from llmga.choices import CHECKPOINT_LAYOUTS, DTYPES
from llmga.command_line import Parser
from llmga.errors import command_line


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """Write a checkpoint in another layout."""
    parser = Parser(prog="python -m llmga.llava.convert", description=__doc__.splitlines()[0])
    parser.add_argument(
        "source", metavar="IN", help="checkpoint folder of either layout, its name below checkpoints/, or a hub id"
    )
    parser.add_argument("out", metavar="OUT", help="new folder")
    parser.add_argument("--to", choices=CHECKPOINT_LAYOUTS, required=True)
    parser.add_argument("--model-base", help="base of a projector-only or low-rank result")
    parser.add_argument("--merge-lora", action="store_true", help="add a low-rank adapter to the weights")
    parser.add_argument("--conv-mode", help="conversation mode, where the folder's name does not tell it")
    parser.add_argument("--dtype", choices=DTYPES, help="number format; default: the one that the config names")
    args = parser.parse_args(argv)
    from llmga.llava.paths import find_checkpoint

    find_checkpoint(args.source)  # a wrong name is told before libraries are imported, which takes seconds
    from llmga.llava.conversion import convert

    options = {"base": args.model_base, "merge_lora": args.merge_lora}
    convert(args.source, args.out, args.to, conv_mode=args.conv_mode, dtype=args.dtype, **options)
    print(f"wrote {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Write a checkpoint in another layout.

python -m llmga.llava.convert IN OUT --to hf          transformers' LLaVA, which other engines serve
python -m llmga.llava.convert IN OUT --to llmga       the published layout, self-contained
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from llmga.errors import UserError, command_line
from llmga.llava import adapters, checkpoints
from llmga.llava.hf_layout.saving import save_hf_layout
from llmga.llava.loading import load_mllm
from llmga.llava.paths import find_checkpoint
from llmga.llava.published import dtype_of
from llmga.llava.saving import check_new, new_folder, save_published
from llmga.runtime import DTYPES

LAYOUTS = {"hf": save_hf_layout, "llmga": save_published}


def convert(
    source: str | Path,
    out: str | Path,
    layout: str,
    *,
    base: str | None = None,
    merge_lora: bool = False,
    conv_mode: str | None = None,
    dtype: str | None = None,
) -> None:
    """Read any layout and write `layout`, a key of LAYOUTS.

    Args:
        base: what a projector or a low-rank adapter belongs to.
        merge_lora: says that a low-rank adapter may disappear into the weights.
        dtype: fp32, fp16 or bf16; None is the one that the config names.

    Raises:
        UserError: also when `out` already holds files or an adapter would be merged unasked.
    """
    folder = find_checkpoint(source)
    check_new(out)
    if adapters.is_low_rank(folder) and not merge_lora:
        raise UserError(f"{str(folder)!r} is a low-rank adapter, which the new layout cannot hold; add --merge-lora.")
    number = DTYPES[dtype] if dtype else dtype_of(checkpoints.read_json(folder, "config.json"))
    mllm = load_mllm(folder, base, device="cpu", dtype=number, conv_mode=conv_mode)
    with new_folder(out) as draft:
        LAYOUTS[layout](mllm, draft)


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m llmga.llava.convert", description=__doc__.splitlines()[0])
    parser.add_argument(
        "source", metavar="IN", help="checkpoint folder of either layout, its name below checkpoints/, or a hub id"
    )
    parser.add_argument("out", metavar="OUT", help="new folder")
    parser.add_argument("--to", choices=LAYOUTS, required=True)
    parser.add_argument("--model-base", help="base of a projector-only or low-rank result")
    parser.add_argument("--merge-lora", action="store_true", help="add a low-rank adapter to the weights")
    parser.add_argument("--conv-mode", help="conversation mode, where the folder's name does not tell it")
    parser.add_argument("--dtype", choices=DTYPES, help="number format; default: the one that the config names")
    args = parser.parse_args(argv)
    options = {"base": args.model_base, "merge_lora": args.merge_lora}
    convert(args.source, args.out, args.to, conv_mode=args.conv_mode, dtype=args.dtype, **options)
    return 0


if __name__ == "__main__":
    sys.exit(main())

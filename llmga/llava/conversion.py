"""A checkpoint written in another layout."""

from collections.abc import Callable
from pathlib import Path

from llmga.errors import UserError
from llmga.llava import adapters, checkpoints
from llmga.llava.hf_layout.saving import save_hf_layout
from llmga.llava.loading import Mllm, load_mllm
from llmga.llava.paths import find_checkpoint
from llmga.llava.published import dtype_of
from llmga.llava.saving import check_new, new_folder, save_published
from llmga.runtime import DTYPES

LAYOUTS: dict[str, Callable[[Mllm, Path], None]] = {"hf": save_hf_layout, "llmga": save_published}


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

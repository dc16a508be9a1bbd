"""Draw a page of samples as a model reads them, what it learns to say in colour.

python -m llmga.llava.data_view mine.jsonl --model checkpoints/Inference/llmga-toy-mllm -o page.html
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llmga.choices import TEMPLATES
from llmga.command_line import Parser, number, quiet_libraries
from llmga.errors import UserError, command_line
from llmga.llava.data import add_source_flags, sources_of

if TYPE_CHECKING:
    from llmga.llava.datasets.records import Records
    from llmga.llava.datasets.sources import DataSource
    from llmga.llava.inspection.page import Shown
    from llmga.llava.mllm import Mllm

LENGTH, SAMPLES = 2048, 20


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """Draw a page of samples."""
    parser = Parser(prog="python -m llmga.llava.data_view", description=__doc__.splitlines()[0])
    parser.add_argument(
        "source", metavar="SOURCE", help="file, pattern, folder or data set, or kind=file,images=folder"
    )
    parser.add_argument("--model", required=True, metavar="FOLDER", help="language model; its weights are not read")
    parser.add_argument("--model-base", metavar="FOLDER", help="base of a projector-only or low-rank result")
    parser.add_argument("--conv-mode", choices=TEMPLATES, help="conversation mode; default: that of the model")
    parser.add_argument("-o", "--output", required=True, metavar="PAGE.html", help="a new file for the page")
    parser.add_argument("--n", type=number(int, 1, 1000), default=SAMPLES, help=f"records, spread; default: {SAMPLES}")
    parser.add_argument("--max-length", type=number(int, 8, 1 << 20), default=LENGTH, help="tokens of a sample")
    parser.add_argument("--long", choices=("split", "cut", "drop"), default="split", help="dialogues beyond it")
    parser.add_argument("--seed", type=number(int, 0, 2**31), default=42, help="of phrasings and masks that are drawn")
    add_source_flags(parser)
    args = parser.parse_args(argv)
    from llmga.llava.paths import find_checkpoint

    place = Path(args.output)
    if place.is_dir():
        raise UserError(f"{args.output!r} is a folder; give a file, such as {str(place / 'page.html')!r}.")
    if place.exists():
        raise UserError(f"{args.output!r} is there already; give another -o, or move it away.")
    folder = find_checkpoint(args.model)  # a wrong name is told before libraries are imported, which takes seconds
    quiet_libraries()
    from llmga.files import told_unwritten, write_new
    from llmga.llava.checkpoints import read_json
    from llmga.llava.datasets.mixture import open_sources
    from llmga.llava.empty import load_empty_mllm
    from llmga.llava.inspection.page import page
    from llmga.llava.published import mode_of

    (source,) = sources_of([args.source], args)
    (records,) = open_sources([source])
    mode = mode_of(read_json(folder, "config.json"), folder, args.conv_mode)
    mllm = load_empty_mllm(folder, args.model_base, conv_mode=mode)
    samples = list(_samples(source, records, mllm, args))
    about = f"{len(records)} records of kind {source.kind}, the template is {mllm.conv_mode}, of {folder.name}"
    text = page(Path(source.file).name, about, samples, mllm, args.max_length)
    with told_unwritten(place, "make room, or give another -o"):
        place.parent.mkdir(parents=True, exist_ok=True)
        write_new(place, text.encode("utf-8", "replace"))
    print(f"{len(samples)} samples of {len(records)} records are drawn in {args.output}")
    return 0


def _samples(source: "DataSource", records: "Records", mllm: "Mllm", args: "object") -> Iterator["Shown"]:
    """Records at even distances, each with its pieces, or with the reason why it is left out."""
    import numpy as np

    from llmga.llava.datasets.base import UnusableRecord
    from llmga.llava.datasets.left_out import TOO_LONG
    from llmga.llava.datasets.long_dialogues import pieces
    from llmga.llava.datasets.mixture import conversation_of, encoded_of
    from llmga.llava.datasets.pictures import opener
    from llmga.llava.inspection.page import Shown

    limit, long, seed, wanted = (getattr(args, name) for name in ("max_length", "long", "seed", "n"))
    for row in np.unique(np.linspace(0, len(records) - 1, wanted).astype(int)).tolist():
        place = f"record {row} of {source.file!r}"
        try:
            talk = conversation_of(
                source, records[row], opener(source.image_folder), np.random.default_rng([seed, 0, row])
            )
            beyond = len(encoded_of(talk, mllm.encode).input_ids) > limit
        except UnusableRecord as problem:
            yield Shown(place, None, f"{problem} ({problem.__cause__})" if problem.__cause__ else str(problem))
            continue
        if beyond and long == "drop":
            yield Shown(place, None, TOO_LONG)
            continue
        parts = list(pieces(talk, mllm.encode, limit)) if beyond and long == "split" else [talk]
        for number_, part in enumerate(parts, 1):
            yield Shown(place + (f", piece {number_} of {len(parts)}" if len(parts) > 1 else ""), part)


if __name__ == "__main__":
    sys.exit(main())

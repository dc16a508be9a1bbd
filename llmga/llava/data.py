"""Write records of any form that stage 1 reads in our own, and count what is left out.

python -m llmga.llava.data messages.json --images pictures --to mine.jsonl
python -m llmga.llava.data 'shards/*.tar' --kind sg --to mine.parquet
python -m llmga.llava.data vqa=a.json,images=a text=b.csv --to folder
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from llmga.command_line import Parser, quiet_libraries
from llmga.errors import command_line

if TYPE_CHECKING:
    from llmga.llava.datasets.sources import DataSource

KIND = "vqa"


def add_source_flags(parser: argparse.ArgumentParser) -> None:
    """What says how a file is read."""
    parser.add_argument("--kind", default=KIND, help=f"kind of its records, as --data has it; default: {KIND}")
    parser.add_argument("--images", default="", metavar="FOLDER", help="where picture names start")
    parser.add_argument("--map", default="", metavar="OURS=THEIRS", help="other names of keys: question=query,…")


def sources_of(files: Sequence[str], args: argparse.Namespace) -> list["DataSource"]:
    """A source of stage 1 for each; one that begins with a kind and = is read as --data reads it.

    Raises:
        UserError: it cannot be read as it says.
    """
    from llmga.llava.datasets.kinds import KINDS
    from llmga.llava.datasets.sources import DataSource

    found = []
    for file in files:
        own = file.partition("=")[0] in KINDS and not Path(file).exists()
        source = DataSource.parse(file) if own else DataSource(args.kind, file, args.images)
        source = replace(source, columns=args.map, image_folder=source.image_folder or args.images)
        source.check()
        found.append(source)
    return found


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """Write records in our own form."""
    parser = Parser(prog="python -m llmga.llava.data", description=__doc__.splitlines()[0])
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="file, pattern, folder or data set; or a source as --data has it: kind=file,images=folder",
    )
    parser.add_argument("--to", required=True, metavar="OUT", help="OUT.jsonl, OUT.parquet or a new folder")
    add_source_flags(parser)
    args = parser.parse_args(argv)
    quiet_libraries()
    from llmga.llava.datasets.converting import convert

    print("\n".join(convert(sources_of(args.files, args), Path(args.to)).lines()))
    return 0


if __name__ == "__main__":
    sys.exit(main())

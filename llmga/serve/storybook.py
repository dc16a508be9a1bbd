"""A picture book from one request: `python -m llmga.serve.storybook --request "…" --pages 6`.

In the folder are then `story.json` (the plan: characters, and text and prompt of each page), a picture for each page,
`book.html` and `book.pdf`.  What is there is not made again; change the plan, delete a picture, and run the same again.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from llmga.choices import MOST_PAGES, SEEDS
from llmga.command_line import Parser, number, quiet_libraries
from llmga.errors import UserError, command_line
from llmga.serve import args as flags

STORY = "story.json"  # the plan, in the folder of the book


def build_parser() -> Parser:
    """The flags."""
    about = "Make a picture book from one request."
    parser = Parser(prog="python -m llmga.serve.storybook", description=about)
    for add in (flags.add_models, flags.add_endpoint, flags.add_words, flags.add_painting, flags.add_painter,
                flags.add_provenance):  # fmt: skip
        add(parser)
    parser.set_defaults(task=None)
    group = parser.add_argument_group("book")
    group.add_argument("--request", metavar="TEXT", help="what the book is about")
    group.add_argument("--pages", type=number(int, 1, MOST_PAGES), default=6, help=f"1 to {MOST_PAGES}")
    group.add_argument("--title", metavar="TEXT", help="left out: the request")
    group.add_argument("--style", default="", metavar="TEXT", help="of every picture, such as 'soft watercolour'")
    group.add_argument("--seeds", choices=SEEDS, default="same", help="one for all pages, or the next one")
    who = "who appears, described alike on every page; left out: the language model says"
    group.add_argument("--character", action="append", default=[], metavar="NAME: LOOK", help=who)
    group.add_argument("--save_path", "--save-path", default="storybook", metavar="FOLDER", help="of the book")
    return parser


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    args = build_parser().parse_args(argv)
    if not (args.request or "").strip() and not Path(args.save_path, STORY).exists():
        raise UserError("say with --request what the book is about, or give with --save-path the folder of one.")
    quiet_libraries()
    from llmga.serve.illustration import storybook

    return storybook(args)


if __name__ == "__main__":
    sys.exit(main())

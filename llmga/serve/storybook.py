"""A picture book from one request: `python -m llmga.serve.storybook --request "…" --pages 6`.

In the folder are then `story.json` (the plan: characters, and text and prompt of each page), a picture for each page,
`book.html` and `book.pdf`.  What is there is not made again; change the plan, delete a picture, and run the same again.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmga.assistant.assistant import Assistant
from llmga.assistant.image_files import encoded
from llmga.assistant.loading import Models
from llmga.assistant.painting import Finish, ImageRequest, paint, record_of, restorer_of, upscaler_of
from llmga.errors import UserError, command_line
from llmga.files import write_whole
from llmga.llava.instructions import language_of
from llmga.runtime import quiet_libraries
from llmga.serve import args as flags
from llmga.serve.book import to_html, to_pdf
from llmga.serve.story import MOST_PAGES, SEEDS, Character, Story, plan

STORY, HTML, PDF = "story.json", "book.html", "book.pdf"


def begun(args: argparse.Namespace, place: Path) -> Story | None:
    """The plan that is there; None where there is none.  Raises: UserError when it is of another book."""
    if not place.exists():
        return None
    story = Story.load(place)
    if (args.request or "").strip() and args.request != story.request:
        raise UserError(f"{str(place)!r} is of another book ({story.request!r}); give a new --save-path, or leave "
                        "--request out to go on with it.")  # fmt: skip
    return story


def planned(assistant: Assistant, args: argparse.Namespace, characters: tuple[Character, ...], place: Path) -> Story:
    """The plan that is there, or a new one.  Raises: UserError."""
    if (story := begun(args, place)) is not None:
        print(f"going on with the plan in {place}; its pages, style and seed are changed there.", flush=True)
        return story
    title, seed = args.title or args.request, assistant.session.seed
    book = {"title": title, "seed": seed, "style": args.style, "seeds": args.seeds}
    sampling = assistant.sampling()
    for story in plan(assistant.planner, args.request, args.pages, sampling, characters, **book):
        print(f"page {len(story.pages)}: {story.pages[-1].text}", flush=True)
    story.save(place)
    return story


def painted(assistant: Assistant, story: Story, folder: Path) -> Story:
    """The book with every picture; those that are there stay.  Raises: UserError."""
    chosen = assistant.settings
    for number, page in enumerate(story.pages):
        if page.picture is not None and (folder / Path(page.picture).name).exists():
            continue
        order = ImageRequest.of(story.prompt(number), story.page_seed(number), None, chosen)
        finish = Finish(
            restorer_of(chosen.restorer, assistant.restorer), upscaler_of(chosen.upscale, assistant.upscaler)
        )
        image = paint(assistant.pipeline, order, finish)
        told: dict[str, Any] = {"request": story.request, "words": {}, "models": assistant.models}
        record = record_of(assistant.pipeline, order, finish, image, **told)
        file = f"page-{number + 1:02d}.png"
        _write(folder / file, encoded(image, record))
        story = story.with_picture(number, file)
        story.save(folder / STORY)
        print(f"saved {folder / file} (seed {order.seed})", flush=True)
    return story


def _write(path: Path, content: bytes) -> None:
    try:
        write_whole(path, content)
    except OSError as problem:
        raise UserError(f"{str(path)!r} cannot be written ({problem.strerror}); choose another --save-path.") from None


def storybook(args: argparse.Namespace) -> int:
    """Plan, paint, bind.  Raises: UserError."""
    flags.check(args)
    folder = Path(args.save_path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise UserError(f"{str(folder)!r} cannot be made ({problem.strerror}); choose another --save-path.") from None
    if begun(args, folder / STORY) is None and not (args.request or "").strip():
        raise UserError("say with --request what the book is about, or give with --save-path the folder of one.")
    characters = tuple(Character.read(line) for line in args.character)
    assistant = Models.load(args).assistant(args)
    story = painted(assistant, planned(assistant, args, characters, folder / STORY), folder)
    _write(folder / HTML, to_html(story, folder, language_of(story.request)))
    _write(folder / PDF, to_pdf(story, folder))
    print(f"{folder / HTML} and {folder / PDF} have {len(story.pages)} pages.")
    return 0


def build_parser() -> flags.Parser:
    """The flags."""
    about = "Make a picture book from one request."
    parser = flags.Parser(prog="python -m llmga.serve.storybook", description=about)
    for add in (flags.add_models, flags.add_endpoint, flags.add_words, flags.add_painting, flags.add_painter):
        add(parser)
    parser.set_defaults(task=None)
    group = parser.add_argument_group("book")
    group.add_argument("--request", metavar="TEXT", help="what the book is about")
    group.add_argument("--pages", type=flags.number(int, 1, MOST_PAGES), default=6, help=f"1 to {MOST_PAGES}")
    group.add_argument("--title", metavar="TEXT", help="left out: the request")
    group.add_argument("--style", default="", metavar="TEXT", help="of every picture, such as 'soft watercolour'")
    group.add_argument("--seeds", choices=tuple(SEEDS), default="same", help="one for all pages, or the next one")
    who = "who appears, described alike on every page; left out: the language model says"
    group.add_argument("--character", action="append", default=[], metavar="NAME: LOOK", help=who)
    group.add_argument("--save_path", "--save-path", default="storybook", metavar="FOLDER", help="of the book")
    return parser


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    quiet_libraries()
    return storybook(build_parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())

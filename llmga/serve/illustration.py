"""A picture book from one request: the plan, a picture for each page, and the two bound.

What is there is not made again; change the plan, delete a picture, and run the same again.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmga.assistant.assistant import Assistant
from llmga.assistant.image_files import encoded
from llmga.assistant.loading import Models
from llmga.assistant.painting import ImageRequest, Postprocessing, paint, record_of, restorer_of, upscaler_of
from llmga.errors import UserError
from llmga.jobs import write_result
from llmga.llava.instructions import language_of
from llmga.serve import parsed_args
from llmga.serve.book import to_html, to_pdf
from llmga.serve.story import Character, Story, plan
from llmga.serve.storybook import STORY

HTML, PDF = "book.html", "book.pdf"
REMEDY = "choose another --save-path"


def begun(request: str, place: Path) -> Story | None:
    """The plan that is there; None where there is none.

    Raises:
        UserError: it is of another book.
    """
    if not place.exists():
        return None
    story = Story.load(place)
    if request.strip() and request != story.request:
        raise UserError(f"{str(place)!r} is of another book ({story.request!r}); give a new --save-path, or leave "
                        "--request out to go on with it.")  # fmt: skip
    return story


def planned(assistant: Assistant, request: str, pages: int, place: Path, **book: Any) -> Story:
    """The plan that is there, or a new one.

    Args:
        book: characters, title, style, seeds, as `llmga.serve.story.plan` takes them.

    Raises:
        UserError: there is one of another book, or the language model makes none.
    """
    if (known := begun(request, place)) is not None:
        print(f"going on with the plan in {place}; its pages, style and seed are changed there.", flush=True)
        return known
    sampling, seed = assistant.sampling(), assistant.session.seed
    story: Story
    for story in plan(assistant.planner, request, pages, sampling, seed=seed, **book):
        print(f"page {len(story.pages)}: {story.pages[-1].text}", flush=True)
    story.save(place)
    return story


def painted(assistant: Assistant, story: Story, folder: Path) -> Story:
    """The book with every picture; those that are there stay.

    Raises:
        UserError: a picture can be neither painted nor written.
    """
    chosen = assistant.settings
    for number, page in enumerate(story.pages):
        if page.picture is not None and (folder / Path(page.picture).name).exists():
            continue
        order = ImageRequest.of(story.prompt(number), story.page_seed(number), None, chosen)
        postprocessing = Postprocessing(
            restorer_of(chosen.restorer, assistant.restorer), upscaler_of(chosen.upscale, assistant.upscaler)
        )
        image, hidden = assistant.guard(paint(assistant.pipeline, order, postprocessing))
        origin: dict[str, Any] = {"request": story.request, "words": {}, "models": assistant.models}
        record = replace(record_of(assistant.pipeline, order, postprocessing, image, **origin), watermark=hidden)
        file = f"page-{number + 1:02d}.png"
        write_result(folder / file, encoded(image, record, signer=assistant.guard.signer), REMEDY)
        story = story.with_picture(number, file)
        story.save(folder / STORY)
        print(f"saved {folder / file} (seed {order.seed})", flush=True)
    return story


def storybook(args: argparse.Namespace) -> int:
    """Plan, paint, bind.

    Returns:
        The exit code, 0.

    Raises:
        UserError: the flags, the models or the disk do not allow it.
    """
    spec, request = parsed_args.model_spec(args).checked(), args.request or ""
    folder = Path(args.save_path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise UserError(f"{str(folder)!r} cannot be made ({problem.strerror}); {REMEDY}.") from None
    begun(request, folder / STORY)
    characters = tuple(Character.read(line) for line in args.character)
    book = {"title": args.title or request, "style": args.style, "seeds": args.seeds, "characters": characters}
    assistant = Models.load(spec).assistant(parsed_args.settings(args))
    story = painted(assistant, planned(assistant, request, args.pages, folder / STORY, **book), folder)
    write_result(folder / HTML, to_html(story, folder, language_of(story.request)), REMEDY)
    write_result(folder / PDF, to_pdf(story, folder), REMEDY)
    print(f"{folder / HTML} and {folder / PDF} have {len(story.pages)} pages.")
    return 0

"""One turn of an assistant, told to a script: what `llmga paint` does once its flags are read."""

import argparse
import io
import json
import os
import sys
from dataclasses import dataclass, field, replace
from typing import Any

from tqdm import tqdm

from llmga.assistant.assistant import Assistant
from llmga.assistant.events import AssistantEvent, Failed, TextDelta
from llmga.assistant.image_folder import ImageFolder
from llmga.assistant.insisting import insisting
from llmga.assistant.loading import Models, ModelSpec
from llmga.assistant.painting import is_instructed
from llmga.assistant.picture_file import PictureFile
from llmga.assistant.seam_words import seam_words
from llmga.assistant.session import Turn
from llmga.choices import EDITING
from llmga.errors import STOPPED, UserError
from llmga.serve import parsed_args
from llmga.serve.terminal.drawing import Terminal
from llmga.serve.terminal.inline import drawer
from llmga.serve.terminal.stages import Stages

NO_PICTURE = "no picture came of it; say what you want to see in other words."


@dataclass
class Reporter(Terminal):
    """Tells on stderr what happens, and keeps what a script is told at the end.

    Attributes:
        quiet: only errors are told.
        errors: the sentences.
        said: the words of the language model.
    """

    quiet: bool = False
    errors: list[str] = field(default_factory=list)
    said: str = ""

    def __post_init__(self) -> None:
        self.out = io.StringIO() if self.quiet else self.err

    def draw(self, event: AssistantEvent) -> None:
        """Show one event; an answer that was cut is no error where its picture is there."""
        if isinstance(event, TextDelta):
            self.said += event.text
        if isinstance(event, Failed) and event.cut:
            self.info(event.message)
        else:
            super().draw(event)

    def error(self, message: str) -> None:
        """Print an error, in one sentence."""
        self.errors.append(message)
        super().error(message)

    def _new_bar(self, total: int) -> tqdm:
        return tqdm(
            total=total,
            desc="painting",
            unit="step",
            file=self.err,
            leave=False,
            disable=self.quiet or not self.err.isatty(),
        )


def paint(args: argparse.Namespace, stages: Stages) -> int:
    """Load, paint, tell.

    Returns:
        The exit code.

    Raises:
        UserError: flags, files or models cannot be used.
    """
    chosen = replace(parsed_args.settings(args), versions=args.count)
    spec = _spec(args).checked()
    turn = replace(parsed_args.opening(args, parsed_args.first_picture(args)), text=args.words)
    inline = None if args.quiet else drawer(args.inline, os.environ, sys.stderr.isatty())
    pictures = _pictures(args)
    models = Models.load(spec, stages)
    stages.close()
    pictures.signer = models.guard.signer
    assistant = models.assistant(chosen)
    if assistant.planner.steers:
        assistant.settings = replace(chosen, picture="always")
    assistant.check()
    if args.verbatim and args.task == EDITING and not is_instructed(assistant.pipeline):
        raise UserError("this painter changes a picture by a description of it, which a language model writes; leave "
                        "--verbatim out.")  # fmt: skip
    return tell(assistant, turn, Reporter(pictures, args.debug, inline, err=sys.stderr, quiet=args.quiet), args.json)


def tell(assistant: Assistant, turn: Turn, reporter: Reporter, as_json: bool = False) -> int:
    """Answer the turn, and print for a script what came of it.

    Returns:
        The exit code.
    """
    reporter.play(assistant, insisting(assistant, turn), speaker="")
    if not reporter.files and not reporter.errors and not assistant.cancelled:
        reporter.error(NO_PICTURE)
    if as_json:
        print(json.dumps(told(reporter, assistant.cancelled), ensure_ascii=False))
    elif reporter.quiet or not (sys.stdout.isatty() and reporter.err.isatty()):  # where a person has not read them yet
        for _, path in reporter.files:
            print(path)
    if assistant.cancelled:
        return STOPPED
    return 1 if reporter.errors else 0


def told(reporter: Reporter, stopped: bool) -> dict[str, Any]:
    """What a script is told: words, what failed, and of each picture its file and how it was made."""
    return {
        "text": reporter.said.strip(),
        "error": " ".join(reporter.errors) or ("stopped" if stopped else None),
        "pictures": [
            {
                "file": str(path),
                "prompt": record.prompt,
                "seed": record.seed,
                "size": record.size,
                "seam": seam_words(record),
                "record": json.loads(record.to_json()),
            }
            for record, path in reporter.files
        ],
    }


def _spec(args: argparse.Namespace) -> ModelSpec:
    """The models; one that is named for the task has a painter beside it, which is for words."""
    spec = parsed_args.model_spec(args)
    return spec if spec.inpainter is None and spec.editor is None else replace(spec, task=None)


def _pictures(args: argparse.Namespace) -> ImageFolder:
    if args.output is not None:
        return PictureFile(args.output, strip=args.strip_metadata)
    return ImageFolder(args.save_path, args.format, strip=args.strip_metadata)

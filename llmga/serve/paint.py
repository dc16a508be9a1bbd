"""One picture from words, for scripts: `llmga paint "a red circle" -o circle.png`.

On the standard output stand the names of the files, one a line, or with `--json` one object; on the other one what
happens.  The exit code is 0 where everything was painted, 1 where something failed, 2 for what cannot be done so, and
130 after Ctrl-C.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from llmga.assistant.settings import SETTINGS
from llmga.choices import EDITING, INPAINTING
from llmga.command_line import Parser, number, quiet_libraries, run
from llmga.errors import UserError
from llmga.limits import MOST_VERSIONS
from llmga.serve import args as flags
from llmga.serve.parsed_args import check_files
from llmga.serve.terminal.stages import Stages

STDIN = "-"
LONGEST = 1_000_000  # characters that are read of the standard input
WITHOUT_WORDS = ("model_path", "model_base", "mllm_url", "mllm_model", "conv_mode")  # what --verbatim makes useless


def build_parser() -> Parser:
    """The flags."""
    about = "Paint one picture, for scripts. The names of the files go to the standard output."
    parser = Parser(prog="python -m llmga.serve.paint", description=about)
    parser.add_argument("words", metavar="TEXT", help=f"what you want to see; {STDIN} reads the standard input")
    group = parser.add_argument_group("in and out")
    group.add_argument("--image-file", "-i", metavar="FILE", help="picture that the words are about: a part of it is "
                       "painted anew (-m), it grows (--outpaint), is changed (--edit), or only looked at")  # fmt: skip
    group.add_argument("--edit", action="store_true", help="change the picture as the words say")
    group.add_argument("--output", "-o", metavar="FILE", help="the picture, over what is there; its ending says the "
                       "format; further ones go beside it, as FILE-2; left out: numbered in --save_path")  # fmt: skip
    count = number(int, 1, MOST_VERSIONS)
    group.add_argument("--count", "-n", type=count, default=1, metavar="N", help="pictures of the prompt (default: 1)")
    group.add_argument("--json", action="store_true", help="print one object: files, prompts, records, what failed")
    group.add_argument("--quiet", "-q", action="store_true", help="tell errors only")
    group.add_argument("--verbatim", action="store_true", help="paint the words as they are, without a language model")
    flags.add_pictures(parser)
    flags.add_region(parser, needed=False)
    flags.add_editing(parser)
    flags.add_painting(parser)
    flags.add_words(parser, without=("picture",))  # there has to be one
    for add in (flags.add_models, flags.add_painter, flags.add_endpoint, flags.add_safety, flags.add_provenance):
        add(parser)
    return parser


def task_of(args: argparse.Namespace) -> str | None:
    """What is done to the picture.

    Raises:
        UserError: flags contradict each other, or have no use.
    """
    into = "--mask-file" if args.mask_file is not None else "--outpaint" if args.outpaint is not None else None
    if args.edit and into:
        raise UserError(f"--edit changes the whole picture, {into} a part of it; give one of them.")
    task = INPAINTING if into else EDITING if args.edit else None
    if task is not None and args.image_file is None:
        raise UserError(f"{into or '--edit'} is for a picture, and there is none; give it with --image-file.")
    useful = {"region": task == INPAINTING, "editing": task == EDITING}
    for row in SETTINGS.values():
        if row.flag and not useful.get(row.group, True) and getattr(args, row.flag.replace("-", "_")) != row.default:
            remedy = "--mask-file or --outpaint" if row.group == "region" else "--edit"
            raise UserError(f"--{row.flag} says how a picture is changed; give {remedy}, too, or leave it out.")
    if args.verbatim:
        _check_verbatim(args, task)
    return task


def _check_verbatim(args: argparse.Namespace, task: str | None) -> None:
    """Raises: UserError where there is something to do for a language model."""
    for name in WITHOUT_WORDS:
        if getattr(args, name) is not None:
            raise UserError(f"--verbatim needs no language model, and --{name.replace('_', '-')} names one; give one.")
    if args.image_file is not None and task is None:
        raise UserError("--verbatim leaves nobody who looks at --image-file; give --mask-file or --outpaint, too.")


def words_of(text: str) -> str:
    """What is to be painted.

    Raises:
        UserError: it says nothing.
    """
    words = sys.stdin.read(LONGEST) if text == STDIN else text
    if not words.strip():
        where = "the standard input" if text == STDIN else "the text"
        raise UserError(f"{where} says nothing; say what you want to see.")
    return words.strip()


def start(args: argparse.Namespace) -> int:
    """Check, load, paint.

    Returns:
        The exit code.

    Raises:
        UserError: it cannot be done so; with `--json` the object says so, too.
    """
    try:
        args.task = task_of(args)
        check_files(args)
        args.words = words_of(args.words)
        with Stages(sys.stderr, os.environ, told=not args.quiet and sys.stderr.isatty()) as stages:
            stages("the libraries")
            quiet_libraries()
            from llmga.serve.one_shot import paint

            return paint(args, stages)
    except UserError as problem:
        if args.json:
            print(json.dumps({"text": "", "error": str(problem), "pictures": []}))
        raise


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """The command line."""
    run(lambda: start(build_parser().parse_args(argv)))


if __name__ == "__main__":
    main()

"""The programs of the larger world: `python -m llmga.toyworld.world PROGRAM …`."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from llmga.command_line import Parser
from llmga.errors import command_line

if TYPE_CHECKING:
    from llmga.toyworld.world.learning import Pace


def _autoencoder(options: argparse.Namespace) -> None:
    import random

    from llmga.toyworld.world.autoencoder import Recipe, normalise_latents, to_tensor, train
    from llmga.toyworld.world.sampling import random_scene

    given = {name: value for name, value in (("steps", options.steps), ("lr", options.lr)) if value is not None}
    recipe = Recipe(channels=options.channels, muon=not options.adam, bf16=not options.no_bf16, **given)
    vae = train(recipe, options.output, options.judge_every)
    rng = random.Random(recipe.seed)
    normalise_latents(vae, to_tensor(random_scene(rng) for _ in range(256)))
    vae.save_pretrained(options.output)


def _towers(options: argparse.Namespace) -> None:
    from llmga.toyworld.world.reading import PACE, save, train

    save(*train(_pace(PACE, options), options.output, options.judge_every), options.output)


def _language(options: argparse.Namespace) -> None:
    from llmga.toyworld.world.language import PACE, save, train

    save(*train(_pace(PACE, options), options.output, options.judge_every, options.until), options.output)


def _eyes(options: argparse.Namespace) -> None:
    from llmga.toyworld.world.seeing import PACE, save, train

    save(train(_pace(PACE, options), options.output, options.judge_every, options.until), options.output)


def _pace(usual: "Pace", options: argparse.Namespace) -> "Pace":
    """The pace, with what was said instead."""
    given = {} if options.steps is None else {"steps": options.steps}
    return replace(usual, **given, **({} if options.lr is None else {"lr": options.lr, "adam_lr": options.lr}))


def _latents(options: argparse.Namespace) -> None:
    from diffusers.models import AutoencoderKL

    from llmga.toyworld.world.painting_data import write

    write(AutoencoderKL.from_pretrained(options.vae, trust_remote_code=False).eval(), options.output, options.parts)


def _pictures(options: argparse.Namespace) -> None:
    from llmga.toyworld.world.painting_data import write_pictures

    write_pictures(options.output, options.count, options.seed)


def _painter(options: argparse.Namespace) -> None:
    from llmga.toyworld.world.painter import trained

    trained(options.towers, options.vae, options.data, options.output, steps=options.steps, lr=options.lr,
            until=options.until, judge_every=options.judge_every, judged=options.judged)  # fmt: skip


def _records(options: argparse.Namespace) -> None:
    from llmga.toyworld.world.talk.records import Plan, write

    shares = {
        name: getattr(options, name) for name in ("long", "chinese", "turns") if getattr(options, name) is not None
    }
    write(options.output, options.count, seed=options.seed, plan=Plan(**shares))


def _cases(options: argparse.Namespace) -> None:
    from llmga.toyworld.world.talk.cases import BARS, write

    write(options.output, options.count, seed=options.seed, bars=tuple(options.bars or BARS))


def _sheet(options: argparse.Namespace) -> None:
    from llmga.toyworld.world.sheet import drawn_sheet

    drawn_sheet(options.count, options.columns, options.seed).save(options.output)


def build_parser() -> Parser:
    """The programs, in the order in which a world is made."""
    parser = Parser(
        prog="python -m llmga.toyworld.world",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    programs = parser.add_subparsers(required=True, metavar="PROGRAM")

    def program(name: str, work: Callable[[argparse.Namespace], None], help: str) -> argparse.ArgumentParser:
        made = programs.add_parser(name, help=help, description=help)
        made.add_argument("--output", type=Path, required=True, help="where the result goes")
        made.set_defaults(work=work)
        return made

    made = program("autoencoder", _autoencoder, "train an autoencoder, judge it and normalise its latents")
    made.add_argument("--channels", type=int, default=6)
    made.add_argument("--adam", action="store_true", help="AdamW for everything")
    made.add_argument("--no-bf16", action="store_true")
    _paced(made, 250)
    _paced(program("towers", _towers, "train the text towers to read captions"), 300)
    for name, work, text, every in (("language", _language, "train the base language model", 100),
                                    ("eyes", _eyes, "train the vision tower to see", 200)):  # fmt: skip
        made = program(name, work, text)
        made.add_argument("--until", type=int, help="stop at this step; the next call goes on")
        _paced(made, every)
    made = program("latents", _latents, "draw and encode scenes of the training split")
    made.add_argument("--vae", type=Path, required=True, help="folder of the autoencoder")
    made.add_argument("--parts", type=int, default=40, help="of 1,000 scenes each")
    made = program("pictures", _pictures, "draw scenes of the training split, with the prompts of stage 2")
    made.add_argument("--count", type=int, default=10_000)
    made.add_argument("--seed", type=int, default=0)
    made = program("painter", _painter, "train a painter and write its pipeline")
    for name, text in (("towers", "folder of the text towers"), ("vae", "folder of the autoencoder"),
                       ("data", "what the program latents wrote")):  # fmt: skip
        made.add_argument(f"--{name}", type=Path, required=True, help=text)
    made.add_argument("--until", type=int, help="stop at this step; the next call goes on")
    made.add_argument("--judged", type=int, default=48, help="pictures of one and of two things")
    _paced(made, 1000)
    made = program("records", _records, "write stage 1's records, with pictures")
    made.add_argument("--count", type=int, default=60_000, help="conversations")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--long", type=float, help="share of requests for prompts over 77 tokens")
    made.add_argument("--chinese", type=float, help="share of the conversations in Chinese")
    made.add_argument("--turns", type=int, help="of the longest conversations")
    made = program("cases", _cases, "write evaluation cases as JSONL")
    made.add_argument("--count", type=int, default=500, help="cases of a bar; of changes and long talks fewer")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--bars", nargs="+", metavar="BAR")
    made = program("sheet", _sheet, "draw random scenes with their captions")
    for name, usual in (("seed", 0), ("count", 18), ("columns", 6)):
        made.add_argument(f"--{name}", type=int, default=usual)
    parser.epilog = "".join(each.format_usage() for each in programs.choices.values())
    return parser


def _paced(parser: argparse.ArgumentParser, judge_every: int) -> None:
    parser.add_argument("--steps", type=int, help="left out: as planned")
    parser.add_argument("--lr", type=float, help="left out: as planned")
    parser.add_argument("--judge-every", type=int, default=judge_every)


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    options = build_parser().parse_args(argv)
    options.work(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())

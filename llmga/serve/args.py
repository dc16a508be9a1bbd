"""Flags of the command lines: small groups, checked before any model is loaded."""

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from PIL import Image

import llmga
from llmga.diffrir.restorers import DEFAULT, RESTORERS
from llmga.errors import UserError
from llmga.images import open_image
from llmga.llava.placement import ATTENTIONS, parse_max_memory, placement
from llmga.llava.templates import TEMPLATES
from llmga.serve.flow import Settings

BUNDLED_MLLM = "checkpoints/Inference/llmga-toy-mllm"
BUNDLED_PAINTER = "checkpoints/Inference/llmga-toy-sdxl-t2i"
LARGEST_SEED = 2**32 - 1  # what other tools that read the record can hold
SIDES = (16, 2048)


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence and exits with 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message.rstrip('.')}.\n")


def build_parser(module: str, description: str, picture: bool | None = None) -> Parser:
    """All flags of a chat.

    Args:
        picture: whether a picture must (True), may (None) or cannot (False) be given.
    """
    parser = Parser(prog=f"python -m llmga.serve.{module}", description=description, allow_abbrev=False)
    add_models(parser)
    add_words(parser)
    add_painting(parser)
    add_session(parser)
    if picture is not False:
        _add(parser, "image-file", required=bool(picture), metavar="FILE", help="picture of the first message")
    return parser


def add_models(parser: Parser) -> None:
    """Which models, and where they run."""
    group = parser.add_argument_group("models")
    _add(
        group,
        "model-path",
        metavar="FOLDER",
        help="language model: folder, name below checkpoints/ or hub id; left out: the bundled toy one",
    )
    _add(group, "model-base", metavar="FOLDER", help="base model, for a projector-only or low-rank --model-path")
    _add(group, "sdmodel_id", metavar="FOLDER", help="diffusers model; left out: the bundled toy one")
    _add(group, "restorer", metavar="NAME", help=f"after a mask, one of: {', '.join(RESTORERS)} (default: {DEFAULT})")
    _add(group, "restorer-path", metavar="PATH", help="its weights; left out: those under checkpoints/Inference")
    _add(group, "device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    _add(
        group, "num-gpus", type=number(int, 1, 64), default=1, metavar="N", help="spread the language model over N GPUs"
    )
    _add(group, "device-map", metavar="MAP", help="spread the language model over all that is there: auto, balanced …")
    _add(group, "max-memory", type=memory, metavar="CAPS", help="caps when spreading, such as 0=20GiB,cpu=60GiB")
    _add(group, "offload-folder", metavar="FOLDER", help="where weights go that fit neither GPUs nor memory")
    _add(group, "attention", default="sdpa", metavar="NAME", help=f"one of: {', '.join(ATTENTIONS)} (default: sdpa)")
    bits = group.add_mutually_exclusive_group()
    _add(bits, "load-8bit", action="store_true", help="language model in 8 bits")
    _add(bits, "load-4bit", action="store_true", help="language model in 4 bits")


def add_words(parser: Parser) -> None:
    """How the language model talks."""
    group = parser.add_argument_group("words")
    _add(group, "conv-mode", metavar="NAME", help=f"conversation mode, one of: {', '.join(TEMPLATES)}")
    _add(group, "temperature", type=number(float, 0, 2), default=0.2, help="0 to 2, 0 is greedy (default: 0.2)")
    _add(group, "top-p", type=number(float, 0.01, 1), default=1.0, help="0.01 to 1 (default: 1)")
    _add(group, "max-new-tokens", type=number(int, 1, 8192), default=512, help="1 to 8192 an answer (default: 512)")


def add_painting(parser: Parser) -> None:
    """How pictures are painted; what is left out, the diffusion model's own defaults say."""
    group = parser.add_argument_group("painting")
    _add(group, "seed", type=number(int, 0, LARGEST_SEED), help="of the first picture, the next has seed + 1 …")
    _add(group, "steps", type=number(int, 1, 1000), help="denoising steps, 1 to 1000")
    _add(group, "guidance-scale", type=number(float, 0, 100), help="how closely to follow the prompt, 0 to 100")
    _add(group, "negative-prompt", metavar="TEXT", help="what should not be in the picture")
    _add(group, "size", type=size, metavar="WxH", help="pixels, multiples of 8, such as 64 or 64x48")


def add_session(parser: Parser) -> None:
    """Where pictures go and how much is told."""
    _add(parser, "save_path", default="outputs", metavar="FOLDER", help="where pictures go (default: outputs)")
    _add(parser, "debug", action="store_true", help="show raw replies with their tags, and tracebacks")


def _add(parser: "argparse._ActionsContainer", name: str, **options: object) -> None:
    """The original mixes hyphens and underscores; both are understood, the given one is listed first."""
    spellings = dict.fromkeys((name, name.replace("_", "-"), name.replace("-", "_")))
    parser.add_argument(*(f"--{spelling}" for spelling in spellings), **options)


_KINDS = {int: "a whole number", float: "a number"}


def number(kind: type, low: float, high: float) -> Callable[[str], float]:
    """A reader of numbers from `low` to `high`, both included."""

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:  # false for nan, too
            allowed = f"{low} to {high}" if low != high else f"only {low}"
            raise argparse.ArgumentTypeError(f"{text!r} is out of range; use {_KINDS[kind]}, {allowed}")
        return value

    return read


def memory(text: str) -> dict[int | str, str]:
    """`0=20GiB,cpu=60GiB` as caps by device."""
    try:
        return parse_max_memory(text)
    except UserError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None


def size(text: str) -> tuple[int, int]:
    """`64` or `64x48` as (width, height) in pixels."""
    sides = text.lower().split("x")
    if not 1 <= len(sides) <= 2 or not all(side.isascii() and side.isdecimal() for side in sides):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; use pixels such as 64 or 64x48")
    width, height = int(sides[0]), int(sides[-1])
    for side in (width, height):
        if not SIDES[0] <= side <= SIDES[1]:
            raise argparse.ArgumentTypeError(f"{side} is out of range; use {SIDES[0]} to {SIDES[1]} pixels")
        if side % 8:
            below = side // 8 * 8
            raise argparse.ArgumentTypeError(f"{side} is not a multiple of 8; use {below} or {below + 8}")
    return width, height


def check(args: argparse.Namespace) -> Image.Image | None:
    """What needs a look at the machine: device, names, the picture (returned).  Fills in the bundled models.

    Raises: UserError.
    """
    place_words(args)
    if args.restorer is not None:
        RESTORERS[args.restorer]
    if args.conv_mode is not None:
        TEMPLATES[args.conv_mode]
    picture = open_image(args.image_file) if getattr(args, "image_file", None) is not None else None
    args.model_path = args.model_path or str(shipped(BUNDLED_MLLM, "--model-path"))
    args.sdmodel_id = args.sdmodel_id or str(shipped(BUNDLED_PAINTER, "--sdmodel_id"))
    return picture


def shipped(name: str, flag: str, roots: Sequence[Path] | None = None) -> Path:
    """A path of the repository, looked for beside the package and in the current folder.  Raises: UserError."""
    roots = roots or (Path(llmga.__file__).resolve().parent.parent, Path.cwd())
    for root in roots:
        if (root / name).exists():
            return root / name
    raise UserError(f"{name!r} is not in {str(roots[0])!r}, where a clone of the repository has it; give {flag}.")


def place_words(args: argparse.Namespace) -> dict[str, Any]:
    """Where the language model runs: keywords of `load_mllm`, seen to suit this machine.  Raises: UserError."""
    names = ("device", "load_8bit", "load_4bit", "attention", "num_gpus", "device_map", "max_memory", "offload_folder")
    place = {name: getattr(args, name) for name in names}
    placement(**place)
    return place


def settings(args: argparse.Namespace) -> Settings:
    """The flags that the flow knows."""
    return Settings(
        temperature=args.temperature,
        top_p=args.top_p,
        max_new_tokens=args.max_new_tokens,
        seed=args.seed,
        steps=args.steps,
        guidance_scale=args.guidance_scale,
        negative_prompt=args.negative_prompt,
        size=args.size,
    )

"""Flags of the command lines, in small groups; what is made of them is in `parsed_args`."""

import argparse
from pathlib import Path
from typing import Any

from llmga.assistant.bounds import LARGER, LONGEST_PROMPT, STEPS
from llmga.assistant.settings import SETTINGS, Setting
from llmga.choices import (
    ATTENTIONS,
    DTYPES,
    EDITING,
    FORMATS,
    INLINE,
    INPAINTING,
    OFFLOADS,
    PAINTER_QUANTS,
    TEMPLATES,
    WATERMARK,
)
from llmga.command_line import Parser, number, size
from llmga.diffusers.control import LARGEST_SCALE
from llmga.errors import UserError
from llmga.limits import MOST_PIXELS
from llmga.llava.endpoint.keys import KEYS

MEGA = 1_000_000
LIBRARY = Path("outputs/library")
GUIDES = {
    "controlnet": ("[NAME=]PATH", "a ControlNet, Union or T2I-Adapter for NAME"),
    "ip-adapter": ("FILE", "an IP-Adapter"),
}
_SHOWN: dict[type, str] = {tuple: "WxH", str: "TEXT"}


def build_parser(module: str, description: str, picture: bool | None = None, *, task: str | None = None) -> Parser:
    """All flags of a chat.

    Args:
        picture: whether a picture must (True), may (None) or cannot (False) be given.
        task: what the pipeline is for, `inpainting` or `editing`; None leaves it to the checkpoint.
    """
    parser = Parser(prog=f"python -m llmga.serve.{module}", description=description)
    add_models(parser)
    add_endpoint(parser)
    add_words(parser)
    add_painting(parser)
    add_painter(parser)
    add_provenance(parser)
    if task == INPAINTING:
        add_region(parser)
    if task == EDITING:
        add_editing(parser)
    parser.set_defaults(task=task)
    add_session(parser)
    if picture is not False:
        _add(parser, "image-file", metavar="FILE", help="picture of the first message")
    if picture:
        parser.needed.append(("image-file",))
    return parser


def add_setting(group: "argparse._ActionsContainer", row: Setting) -> None:
    """The flag of a row of the table of settings."""
    assert row.flag is not None
    if row.kind is bool:
        _add(group, row.flag, action="store_true", help=row.help)
    elif row.closed:
        _add(group, row.flag, type=row.kind, choices=row.names, default=row.default, help=_explained(row))
    else:
        metavar = "NAME" if row.names else _SHOWN.get(row.kind)
        _add(group, row.flag, type=reader(row), default=row.default, metavar=metavar, help=_explained(row))


def reader(row: Setting) -> Any:
    """What makes a value of the text that a person typed.

    Raises:
        argparse.ArgumentTypeError: when it is called: the text is no such value.
    """
    if row.kind is tuple:
        return size
    return number(row.kind, *row.offered) if row.offered else row.kind


def _explained(row: Setting) -> str:
    usual = row.usual if row.default is None else row.default
    return "".join((
        row.help,
        ", {:g} to {:g}".format(*row.offered) if row.offered else "",
        f", one of: {', '.join(row.known)}" if row.names and not row.closed else "",
        "" if usual is None else f" (default: {usual if isinstance(usual, str) else format(usual, 'g')})",
    ))  # fmt: skip


def _add_settings(group: "argparse._ActionsContainer", name: str) -> None:
    for row in SETTINGS.values():
        if row.group == name and row.flag:
            add_setting(group, row)


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
    _add(group, "sdmodel_id", metavar="PATH", help="diffusion model: diffusers folder, single .safetensors or .ckpt "
         "file, or hub id; left out: the bundled toy one")  # fmt: skip
    _add_settings(group, "finish")
    for what in ("restorer", "upscaler"):
        _add(group, f"{what}-path", metavar="PATH", help="its weights; left out: those under checkpoints/Inference")
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


def add_endpoint(parser: Parser) -> None:
    """A server as language model."""
    group = parser.add_argument_group("language model of a server, in place of --model-path")
    _add(group, "mllm-url", metavar="URL", help="OpenAI-compatible server, such as http://localhost:8000/v1")
    _add(group, "mllm-model", metavar="NAME", help="its model; left out: the only one that it offers")
    _add(group, "mllm-key", metavar="KEY", help=f"its key; left out: from {' or '.join(KEYS)}")
    _add(group, "mllm-system", metavar="TEXT", help="system text; left out: ours, which teaches the tag; '': none")
    _add(group, "mllm-connect-timeout", **_seconds(10), help="seconds until a connection must stand (default: 10)")
    _add(group, "mllm-timeout", **_seconds(120), help="seconds that it may be silent (default: 120)")


def _seconds(default: float) -> dict[str, Any]:
    return {"type": number(float, 0.1, 3600), "default": float(default), "metavar": "SECONDS"}


def add_words(parser: Parser) -> None:
    """How the language model talks."""
    group = parser.add_argument_group("words")
    _add(group, "conv-mode", metavar="NAME", help=f"conversation mode, one of: {', '.join(TEMPLATES)}")
    _add_settings(group, "words")


def add_painting(parser: Parser) -> None:
    """How pictures are painted; what is left out, the diffusion model's own defaults say."""
    group = parser.add_argument_group("painting")
    _add_settings(group, "painting")
    _add(group, "control-image", action="append", metavar="FILE", help="picture of --control, in its order; left out: "
         "the one that is repainted, or the latest")  # fmt: skip


def add_bounds(parser: Parser) -> None:
    """What one answer may cost where others ask for it, see `llmga.assistant.bounds`."""
    group = parser.add_argument_group("bounds of one answer")
    for name, default, help in (
        ("max-pixels-painted", None, f"pixels of a picture (default: {LARGER} times the pipeline's native ones)"),
        ("max-steps", STEPS, f"denoising steps of a picture (default: {STEPS})"),
        ("max-pixel-steps", None, "steps times pixels of all its pictures (default: one picture's at both limits)"),
        ("max-prompt", LONGEST_PROMPT, f"characters that are painted (default: {LONGEST_PROMPT})"),
        ("max-message", None, "characters of a message (default: what the language model may read; 20000 on the page)"),
    ):  # fmt: skip
        _add(group, name, type=number(int, 1, 10**15), default=default, metavar="N", help=help)


def add_painter(parser: Parser) -> None:
    """How the diffusion model is loaded."""
    group = parser.add_argument_group("painter")
    _add(group, "inpainter", metavar="PATH", help="what paints marked parts in place of --sdmodel_id, a "
         "single file, too; beside the bundled painter left out: the bundled one")  # fmt: skip
    _add(group, "editor", metavar="FOLDER", help="what changes pictures by words in place of --sdmodel_id, such as a "
         "model that takes an instruction")  # fmt: skip
    add_parts(group)
    _add(group, "dtype", metavar="NAME", help=f"one of: {', '.join(DTYPES)}; left out: what suits the device")
    _add(group, "offload", default="none", metavar="NAME", help=f"to save GPU memory, one of: {', '.join(OFFLOADS)}")
    _add(group, "painter-quant", metavar="NAME", help="hold its denoiser in fewer bits, one of: "
         f"{', '.join(PAINTER_QUANTS)}, or a .gguf file with its weights")  # fmt: skip
    _add(group, "vae-tiling", action="store_true", help="decode large pictures in tiles, to save memory")
    _add(group, "prompt-weights", action="store_true", help="brackets such as (word:1.3) weigh words")
    _add(group, "lora", action="append", metavar="FILE[:WEIGHT]", help="low-rank weights; may be given several times")
    _add(group, "embedding", action="append", metavar="FILE[:TOKEN]", help="textual inversion, and the word that it "
         "teaches; may be given several times")  # fmt: skip
    add_guides(group)


def add_parts(group: "argparse._ActionsContainer") -> None:
    """What takes the place of a part of the diffusion model."""
    _add(group, "unet", metavar="PATH", help="UNet in place of --sdmodel_id's, file or folder, such as a Lightning one")
    _add(group, "vae", metavar="PATH", help="VAE in place of --sdmodel_id's, file or folder")
    _add(group, "tokenizer", metavar="FOLDER", help="vocabulary of a single file's text encoders; left out: looked for")


def add_guides(group: "argparse._ActionsContainer") -> None:
    """Pictures that guide the pipeline."""
    for name, (form, what) in GUIDES.items():
        _add(group, name, action="append", metavar=form, help=f"{what}, for --control and /control; repeats")
        _add(group, f"{name}-image", action="append", metavar="FILE", help=f"picture that always guides the --{name}")
        scale = number(float, 0, LARGEST_SCALE)
        _add(group, f"{name}-scale", action="append", type=scale, metavar="X", help="how much, 0 to 2 (default: 1)")


def add_region(parser: Parser) -> None:
    """Which part of the picture is painted anew."""
    group = parser.add_argument_group("region")
    either = group.add_mutually_exclusive_group()
    parser.needed.append(("mask-file", "outpaint"))
    _add(either, "mask-file", metavar="FILE", help="white, or transparent if anything is, is painted anew")
    _add(either, "outpaint", metavar="TEXT", help="such as left=25%%,right=100 or aspect=16:9,anchor=left or size=WxH")
    _add_settings(group, "region")


def add_editing(parser: Parser) -> None:
    """How a picture is changed."""
    _add_settings(parser.add_argument_group("editing"), "editing")


def add_session(parser: Parser) -> None:
    """Where pictures go and how much is told."""
    _add(parser, "save_path", default="outputs", metavar="FOLDER", help="where pictures go (default: outputs)")
    _add(parser, "format", default="png", metavar="NAME", help=f"of the pictures, one of: {', '.join(FORMATS)}")
    _add(parser, "strip-metadata", action="store_true", help="leave out of the pictures how they were made")
    whole = parser.add_mutually_exclusive_group()
    _add(
        whole,
        "session",
        metavar="PATH",
        help="folder or .zip, gone on with (settings, too) if it is there; saved after each answer",
    )
    usual = MOST_PIXELS // MEGA
    _add(parser, "session-megapixels", type=number(int, 1, 4000), default=usual, metavar="N",
         help=f"million pixels that a session's pictures may have together (default: {usual})")  # fmt: skip
    _add(whole, "batch", metavar="FILE", help="requests, one a line as text or JSON, in place of a conversation")
    _add(parser, "inline", default="auto", metavar="NAME", help=f"pictures in the terminal: {', '.join(INLINE)}")
    _add(parser, "debug", action="store_true", help="show raw replies with their tags, and tracebacks")


def add_safety(parser: Parser) -> None:
    """What pictures pass before anybody sees them, where they are made for others."""
    group = parser.add_argument_group("safety")
    _add(group, "safety-checker", metavar="FOLDER", help="of Stable Diffusion's checker; withholds pictures")


def add_provenance(parser: Parser) -> None:
    """How pictures say that a model made them."""
    group = parser.add_argument_group("provenance")
    _add(group, "watermark", default=WATERMARK, metavar="TEXT", help="hidden in pictures of 256 pixels a side and "
         f"more, kept pixels apart (default: {WATERMARK!r} where invisible-watermark is installed)")  # fmt: skip
    _add(group, "no-watermark", dest="watermark", action="store_const", const=None, help="hide nothing")
    _add(group, "c2pa", nargs=2, metavar=("CERT", "KEY"), help="sign pictures (Content Credentials); PEM files")
    _add(group, "c2pa-prompt", action="store_true", help="what is signed holds the prompt")


def add_library(parser: Parser) -> None:
    """Where the page keeps conversations."""
    group = parser.add_argument_group("library")
    _add(group, "library", type=Path, default=LIBRARY, metavar="FOLDER", help="keep the conversations of every visitor "
         f"of the page there (default: {LIBRARY})")  # fmt: skip
    _add(group, "no-library", dest="library", action="store_const", const=None, help="keep a conversation only for as "
         "long as its tab is open")  # fmt: skip


def _add(group: "argparse._ActionsContainer", name: str, **options: Any) -> None:
    group.add_argument(f"--{name}", **options)


def memory(text: str) -> dict[int | str, str]:
    """`0=20GiB,cpu=60GiB` as caps by device."""
    from llmga.llava.placement import parse_max_memory

    try:
        return parse_max_memory(text)
    except UserError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None

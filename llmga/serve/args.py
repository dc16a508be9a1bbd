"""Flags of the command lines: small groups, checked before any model is loaded."""

import argparse
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image

import llmga
from llmga.assistant import bounds
from llmga.assistant.image_files import FORMATS
from llmga.assistant.session import Settings, Turn
from llmga.assistant.session_file import MOST_PIXELS
from llmga.choices import OFFLOADS, PICTURE, RATIO, RESTORER, SCALES, SKIP
from llmga.command_line import Parser, number, size
from llmga.diffrir.restorers import RESTORERS
from llmga.diffusers.adapters import use_controlnet, use_ip_adapter
from llmga.diffusers.canvas import FILLS, Canvas
from llmga.diffusers.families import EDITING, INPAINTING
from llmga.diffusers.inpainting import AREAS
from llmga.diffusers.samplers import SAMPLERS
from llmga.diffusers.text_to_image import Pipeline
from llmga.errors import UserError
from llmga.images import open_image
from llmga.llava.endpoint.address import Endpoint
from llmga.llava.instructions import PLANNING
from llmga.llava.placement import ATTENTIONS, parse_max_memory, placement
from llmga.llava.templates import TEMPLATES
from llmga.masks import read_mask
from llmga.runtime import DTYPES
from llmga.serve.terminal.inline import INLINE

BUNDLED_MLLM = "checkpoints/Inference/llmga-toy-mllm"
BUNDLED_PAINTER = "checkpoints/Inference/llmga-toy-sdxl-t2i"
BUNDLED_INPAINTER = "checkpoints/Inference/llmga-toy-sdxl-inpainting"
BUNDLED_RESTORER = "checkpoints/Inference/llmga-toy-diffrir-x1"
LARGEST_SEED = 2**32 - 1  # what other tools that read the record can hold
MEGA = 1_000_000
GUIDES = {"controlnet": "ControlNet folder", "ip-adapter": "IP-Adapter .safetensors file"}
KEYS = ("LLMGA_API_KEY", "OPENAI_API_KEY")  # variables of the environment, the first that is set counts


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
    _add(group, "restorer", metavar="NAME", help=f"after a mask, one of: {', '.join(RESTORERS)} (default: {RESTORER})")
    _add(group, "restorer-path", metavar="PATH", help="its weights; left out: those under checkpoints/Inference")
    _add(group, "upscale", type=int, choices=SCALES, help="enlarge every finished picture with DiffRIR")
    _add(group, "upscaler-path", metavar="PATH", help="its weights; left out: those under checkpoints/Inference")
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


def _seconds(default: float) -> dict[str, object]:
    return {"type": number(float, 0.1, 3600), "default": float(default), "metavar": "SECONDS"}


def add_words(parser: Parser) -> None:
    """How the language model talks."""
    group = parser.add_argument_group("words")
    _add(group, "conv-mode", metavar="NAME", help=f"conversation mode, one of: {', '.join(TEMPLATES)}")
    _add(group, "temperature", type=number(float, 0, 2), default=0.2, help="0 to 2, 0 is greedy (default: 0.2)")
    _add(group, "top-p", type=number(float, 0.01, 1), default=1.0, help="0.01 to 1 (default: 1)")
    _add(group, "picture", choices=PICTURE, default="auto", help="auto: the model decides; always: in every answer")
    _add(group, "max-new-tokens", type=number(int, 1, 8192), default=512, help="1 to 8192 an answer (default: 512)")


def add_painting(parser: Parser) -> None:
    """How pictures are painted; what is left out, the diffusion model's own defaults say."""
    group = parser.add_argument_group("painting")
    _add(group, "seed", type=number(int, 0, LARGEST_SEED), help="of the first picture, the next has seed + 1 …")
    _add(group, "steps", type=number(int, 1, 1000), help="denoising steps, 1 to 1000")
    _add(group, "guidance-scale", type=number(float, 0, 100), help="how closely to follow the prompt, 0 to 100")
    _add(group, "negative-prompt", metavar="TEXT", help="what should not be in the picture")
    _add(group, "size", type=size, metavar="WxH", help="pixels, multiples of 8, such as 64 or 64x48")


def add_bounds(parser: Parser) -> None:
    """What one answer may cost where others ask for it, see `llmga.assistant.bounds`."""
    group = parser.add_argument_group("bounds of one answer")
    for name, default, told in (
        ("max-pixels-painted", None, f"pixels of a picture (default: {bounds.LARGER} times the painter's native ones)"),
        ("max-steps", bounds.STEPS, f"denoising steps of a picture (default: {bounds.STEPS})"),
        ("max-pixel-steps", None, "steps times pixels of all its pictures (default: one picture's at both limits)"),
        ("max-prompt", bounds.LONGEST_PROMPT, f"characters that are painted (default: {bounds.LONGEST_PROMPT})"),
        ("max-message", None, "characters of a message (default: what the language model may read; 20000 on the page)"),
    ):  # fmt: skip
        _add(group, name, type=number(int, 1, 10**15), default=default, metavar="N", help=told)


def add_painter(parser: Parser) -> None:
    """How the diffusion model is loaded."""
    group = parser.add_argument_group("painter")
    _add(group, "inpainter", metavar="FOLDER", help="what paints marked parts in place of --sdmodel_id; beside the "
         "bundled painter left out: the bundled one")  # fmt: skip
    _add(group, "sampler", metavar="NAME", help=f"one of: {', '.join(SAMPLERS)}")
    _add(group, "dtype", metavar="NAME", help=f"one of: {', '.join(DTYPES)}; left out: what suits the device")
    _add(group, "offload", default="none", metavar="NAME", help=f"to save GPU memory, one of: {', '.join(OFFLOADS)}")
    _add(group, "vae-tiling", action="store_true", help="decode large pictures in tiles, to save memory")
    _add(group, "prompt-weights", action="store_true", help="brackets such as (word:1.3) weigh words")
    _add(group, "lora", action="append", metavar="FILE[:WEIGHT]", help="low-rank weights; may be given several times")

    add_guides(group)


def add_guides(group: "argparse._ActionsContainer") -> None:
    """Pictures that guide the pipeline."""
    for name, what in GUIDES.items():
        _add(group, name, metavar="PATH", help=f"{what} to paint along --{name}-image")
        _add(group, f"{name}-image", metavar="FILE", help=f"the picture that guides the --{name}")
        _add(group, f"{name}-scale", type=number(float, 0, 2), default=1.0, help="how much, 0 to 2 (default: 1)")


def guide(pipeline: Pipeline, args: argparse.Namespace) -> None:
    """Let the pipeline be guided as the flags say.  Raises: UserError."""
    for name, use in (("controlnet", use_controlnet), ("ip-adapter", use_ip_adapter)):
        place, image, scale = (getattr(args, name.replace("-", "_") + part) for part in ("", "_image", "_scale"))
        if (place is None) != (image is None):
            raise UserError(f"--{name} and --{name}-image belong together; give both.")
        if place is not None:
            use(pipeline, place, open_image(image), scale)


def add_region(parser: Parser) -> None:
    """Which part of the picture is painted anew."""
    group = parser.add_argument_group("region")
    either = group.add_mutually_exclusive_group()
    parser.needed.append(("mask-file", "outpaint"))
    _add(either, "mask-file", metavar="FILE", help="white, or transparent if anything is, is painted anew")
    _add(either, "outpaint", metavar="TEXT", help="such as left=25%%,right=100 or aspect=16:9,anchor=left or size=WxH")
    _add(group, "fill", default="edge", metavar="NAME", help=f"under what is outpainted, one of: {', '.join(FILLS)}")
    _add(group, "strength", type=number(float, 0.01, 1), help="how much of what was there is given up, 0.01 to 1")
    _add(group, "area", default="picture", metavar="NAME", help=f"what is worked on, one of: {', '.join(AREAS)}")
    _add(group, "soft-mask", action="store_true", help="gray in the mask mixes old and new")


def add_editing(parser: Parser) -> None:
    """How a picture is changed."""
    group = parser.add_argument_group("editing")
    _add(group, "skip", type=number(float, 0, 0.9), default=SKIP, help=f"more keeps more, 0 to 0.9 (default: {SKIP})")
    _add(group, "ratio", type=number(float, 0.1, 10), default=RATIO, help="more changes less, 0.1 to 10 (default: 3)")


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


def _add(parser: "argparse._ActionsContainer", name: str, **options: object) -> None:
    """The original mixes hyphens and underscores; both are understood, the given one is listed first."""
    spellings = dict.fromkeys((name, name.replace("_", "-"), name.replace("-", "_")))
    parser.add_argument(*(f"--{spelling}" for spelling in spellings), **options)


def memory(text: str) -> dict[int | str, str]:
    """`0=20GiB,cpu=60GiB` as caps by device."""
    try:
        return parse_max_memory(text)
    except UserError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None


def add_safety(parser: Parser) -> None:
    """What pictures pass before anybody sees them, where they are made for others."""
    group = parser.add_argument_group("safety")
    group.add_argument("--safety-checker", metavar="FOLDER", help="of Stable Diffusion's checker; withholds pictures")
    group.add_argument("--watermark", metavar="TEXT", help="hidden in pictures of 256 pixels a side and more")


def check(args: argparse.Namespace) -> Image.Image | None:
    """What needs a look at the machine: device, names, the server, the picture (returned, as it is in its file).

    Fills in the models.

    Raises: UserError.
    """
    place_words(args)
    if args.restorer is not None:
        _finish(args)
    if args.conv_mode is not None:
        TEMPLATES[args.conv_mode]
    file = getattr(args, "image_file", None)
    picture = open_image(file, exact=True) if file is not None else None
    args.model_path = endpoint(args) or args.model_path or str(shipped(BUNDLED_MLLM, "--model-path"))
    _choose_inpainter(args)
    args.sdmodel_id = args.sdmodel_id or bundled_painter(args)
    painter_options(args)
    return picture


def _choose_inpainter(args: argparse.Namespace) -> None:
    """What fills marked parts beside a pipeline from words.  Raises: UserError where another command is for that."""
    if args.task is None:
        if args.sdmodel_id is None and args.inpainter is None:
            with suppress(UserError):
                args.inpainter = str(shipped(BUNDLED_INPAINTER, "--inpainter"))
    elif args.inpainter is not None:
        raise UserError("--inpainter goes with a painter from words; give this command's one model as --sdmodel_id.")


def _finish(args: argparse.Namespace) -> None:
    """A restorer that enlarges becomes the upscaler, after the default restorer.  Raises: UserError."""
    scale = getattr(RESTORERS[args.restorer], "scale", 1)
    if scale == 1:
        return
    if args.upscale not in (None, scale):
        raise UserError(f"--restorer {args.restorer} and --upscale {args.upscale} disagree; give one of them.")
    args.upscale, args.upscaler_path = scale, args.upscaler_path or args.restorer_path
    args.restorer = args.restorer_path = None


def endpoint(args: argparse.Namespace) -> Endpoint | None:
    """The server that takes the place of --model-path, if one is given and answers.  Raises: UserError."""
    if args.mllm_url is None:
        if args.mllm_model is not None:
            raise UserError(f"--mllm-model {args.mllm_model!r} needs a server that has it; give --mllm-url, too.")
        return None
    placed = ("load-8bit", "load-4bit", "device-map", "max-memory", "offload-folder")
    for flag in ("model-path", "model-base", "conv-mode", *placed):
        if getattr(args, flag.replace("-", "_")):
            raise UserError(f"--{flag} is about a model loaded here, --mllm-url about one of a server; give one.")
    system = PLANNING if args.mllm_system is None else args.mllm_system
    return Endpoint(
        args.mllm_url, args.mllm_model, key(args), args.mllm_connect_timeout, args.mllm_timeout, system
    ).named()


def key(args: argparse.Namespace) -> str | None:
    """What opens a server that talks or paints: of the flag, else of the environment."""
    return args.mllm_key or next((os.environ[name] for name in KEYS if os.environ.get(name)), None)


def bundled_painter(args: argparse.Namespace) -> str:
    """The bundled diffusion model for the task; one made for painting from words can fill a region, too."""
    try:
        return str(shipped(BUNDLED_INPAINTER if args.task == INPAINTING else BUNDLED_PAINTER, "--sdmodel_id"))
    except UserError:
        return str(shipped(BUNDLED_PAINTER, "--sdmodel_id"))


def painter_options(args: argparse.Namespace) -> dict[str, object]:
    """The flags that `load_pipeline` knows.  Raises: UserError for an unknown name."""
    if args.sampler is not None:
        SAMPLERS[args.sampler]
    if args.dtype is not None:
        DTYPES[args.dtype]
    return {
        "task": args.task,
        "device": args.device,
        "dtype": args.dtype,
        "sampler": args.sampler,
        "offload": args.offload,
        "tile_vae": args.vae_tiling,
        "weighted": args.prompt_weights,
        "loras": args.lora or (),
    }


def opening(args: argparse.Namespace, picture: Image.Image | None) -> Turn:
    """What goes with the first message: the picture, and in an inpainting command line what is done to it.

    Raises: UserError.
    """
    if args.task == INPAINTING:
        AREAS[args.area], FILLS[args.fill]
    if args.task != INPAINTING or picture is None:
        return Turn("", () if picture is None else (picture,))
    if args.outpaint is not None:
        Canvas.parse(args.outpaint, picture.size)
        return Turn("", (picture,), outpaint=args.outpaint, fill=args.fill)
    if args.mask_file is None:
        return Turn("", (picture,))
    return Turn("", (picture,), open_mask(args.mask_file, picture.size, soft=args.soft_mask))


def open_mask(file: str | Path, size: tuple[int, int], *, soft: bool = False) -> Image.Image:
    """A mask for a picture of this size, as it is in its file.  Raises: UserError, naming the file."""
    mask = open_image(file, exact=True)
    try:
        read_mask(mask, size, soft=soft)
    except UserError as problem:
        raise UserError(f"mask {str(file)!r}: {problem}") from None
    return mask


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
    repaint, edit = {}, None
    if args.task == INPAINTING:
        repaint = {"strength": args.strength, "area": args.area, "soft": args.soft_mask}
    if args.task == EDITING:
        edit = {"skip": args.skip, "ratio": args.ratio}
    return Settings(
        temperature=args.temperature,
        top_p=args.top_p,
        max_new_tokens=args.max_new_tokens,
        seed=args.seed,
        picture=args.picture,
        steps=args.steps,
        guidance_scale=args.guidance_scale,
        negative_prompt=args.negative_prompt,
        size=args.size,
        sampler=args.sampler,
        repaint=repaint,
        edit=edit,
        upscale=args.upscale,
    )

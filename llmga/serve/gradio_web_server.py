"""The web page: `python -m llmga.serve.gradio_web_server`."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from llmga.choices import WATERMARK
from llmga.command_line import Parser, number, quiet_libraries, run
from llmga.errors import UserError
from llmga.serve import args as flags
from llmga.serve import parsed_args

if TYPE_CHECKING:
    from llmga.llava.endpoint.address import Endpoint
    from llmga.serve.page.options import PageOptions

MODEL_DIRECTORY = Path("checkpoints/Inference")  # whose models visitors may choose beside those of the flags
OWN = (  # flags of models that are loaded here
    "model_path", "model_base", "sdmodel_id", "mllm_url", "mllm_model", "mllm_system", "conv_mode", "load_8bit",
    "load_4bit", "device_map", "sampler", "dtype", "lora", "embedding", "controlnet", "ip_adapter", "restorer",
    "upscale", "safety_checker", "watermark", "c2pa", "inpainter", "editor", "unet", "vae", "tokenizer",
    "painter_quant",
)  # fmt: skip
LOCAL, PORT, AT_ONCE = "127.0.0.1", 7860, 4


def build_parser() -> Parser:
    """The flags of a chat without a terminal, and where the page is served."""
    parser = Parser(
        prog="python -m llmga.serve.gradio_web_server",
        description="Talk and paint in a browser: on this machine only, unless --host or --share says otherwise. "
        "Ctrl-C ends.",
    )
    flags.add_models(parser)
    flags.add_endpoint(parser)
    flags.add_words(parser)
    flags.add_painting(parser)
    flags.add_painter(parser)
    flags.add_safety(parser)
    flags.add_provenance(parser)
    add_page(parser)
    flags.add_library(parser)
    flags.add_bounds(parser)
    parser.set_defaults(task=None)
    return parser


def add_page(parser: Parser) -> None:
    """Where the page is served, and to how many."""
    group = parser.add_argument_group("page")
    group.add_argument(
        "--server",
        metavar="URL",
        help="of a running llmga.serve.openai_api: it talks and paints, and no model is loaded here (key: --mllm-key)",
    )
    group.add_argument("--host", default=LOCAL, metavar="ADDRESS", help=f"where to serve (default: {LOCAL})")
    group.add_argument("--port", type=number(int, 0, 65535), default=PORT, help=f"0: a free one (default: {PORT})")
    group.add_argument("--share", action="store_true", help="make a public link by gradio's servers, too")
    group.add_argument("--embed", action="store_true", help="without the heading, for a frame in another page")
    group.add_argument(
        *("--concurrency-count", "--concurrency_count"),
        dest="at_once",
        type=number(int, 1, 1000),
        default=AT_ONCE,
        metavar="N",
        help=f"visitors who are answered at once; pictures are painted one by one (default: {AT_ONCE})",
    )
    group.add_argument(
        *("--model-list-mode", "--model_list_mode"),
        choices=("once", "reload"),
        default="once",
        help="offer the models that are in checkpoints/Inference now, or whenever a page is opened (default: once)",
    )
    group.add_argument(
        "--moderate", action="store_true", help="ask OpenAI's moderation about every message, with OPENAI_API_KEY"
    )
    group.add_argument(
        *("--moderation-url", "--moderation_url"), metavar="URL", help="a server that answers as OpenAI's moderation"
    )


def serve(args: argparse.Namespace) -> None:
    """Check, load, serve until Ctrl-C.

    Raises:
        UserError: flags or models cannot be used, or the port is taken.
    """
    named = parsed_args.named_models(args) if args.server is None else ["the page"]
    print(f"loading {' and '.join(named)} …", file=sys.stderr, flush=True)
    quiet_libraries()
    from llmga.assistant.loading import Models
    from llmga.serve.page.moderation import moderator
    from llmga.serve.page.serving import launch
    from llmga.serve.remote import load_remote_models

    asked, options = moderator(args.moderate, args.moderation_url), page_options(args)
    models = Models.load(options.spec.checked()) if args.server is None else load_remote_models(server_of(args))
    launch(models, options, asked)


def page_options(args: argparse.Namespace) -> "PageOptions":
    """How the page is set up.

    Raises:
        UserError: flags contradict each other.
    """
    from llmga.serve.page.options import PageOptions

    return PageOptions(
        spec=parsed_args.model_spec(args),
        settings=parsed_args.settings(args),
        model_directory=MODEL_DIRECTORY if args.server is None else None,  # a server's models go with nothing from here
        mode=args.model_list_mode,
        at_once=args.at_once,
        host=args.host,
        port=args.port,
        share=args.share,
        library=args.library,
        embed=args.embed,
    )


def server_of(args: argparse.Namespace) -> "Endpoint":
    """The server of ours that talks and paints.

    Raises:
        UserError: flags are about models that are loaded here.
    """
    from llmga.llava.endpoint.address import Endpoint

    for name in OWN:
        given = getattr(args, name)
        if given and (name, given) != ("watermark", WATERMARK):  # which is the usual one where models are loaded here
            raise UserError(f"--server brings models of its own, so leave out --{name.replace('_', '-')}.")
    return Endpoint(
        args.server,
        key=parsed_args.key(args),
        connect_timeout=args.mllm_connect_timeout,
        timeout=args.mllm_timeout,
        system="",  # its language model was trained on the tags, or is taught them there
    )


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """The command line."""
    keep_to_itself()
    run(lambda: serve(build_parser().parse_args(argv)))


def keep_to_itself() -> None:
    """Gradio reports to its makers at start, unless this says otherwise before it is imported."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


if __name__ == "__main__":
    main()

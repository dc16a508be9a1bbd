"""Flags of the server, and what is made of them."""

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path

from llmga.assistant.loading import Models, ModelSpec
from llmga.assistant.settings import Settings
from llmga.llava.endpoint.address import Endpoint
from llmga.serve import args as flags
from llmga.serve.api.auth import VARIABLE
from llmga.serve.api.engine import Engine
from llmga.serve.api.fair_queue import FairQueue
from llmga.serve.api.fetching import ImageFetcher
from llmga.serve.api.image_data import RequestLimits
from llmga.serve.api.metrics import Metrics
from llmga.serve.api.prefix_cache import PrefixCache
from llmga.serve.api.scheduler import RequestScheduler
from llmga.serve.api.service import ServedNames, Service

LETTERS_PER_TOKEN = 16  # more than any text has on average
UNKNOWN_CONTEXT = 32_768  # tokens, of a language model that does not say
MEGA = 1_000_000


def build_parser() -> flags.Parser:
    """All flags of the server."""
    parser = flags.Parser(
        prog="python -m llmga.serve.openai_api",
        description="Serve chat and pictures under OpenAI's paths; /docs describes them.",
    )
    flags.add_models(parser)
    flags.add_endpoint(parser)
    flags.add_words(parser)
    flags.add_painting(parser)
    flags.add_painter(parser)
    add_place(parser)
    add_limits(parser)
    flags.add_bounds(parser)
    flags.add_safety(parser)
    parser.set_defaults(task=None)
    return parser


def add_place(parser: flags.Parser) -> None:
    """Where the server is found, and by whom."""
    group, number = parser.add_argument_group("server"), flags.number
    group.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="0.0.0.0: everybody (default: 127.0.0.1)")
    group.add_argument("--port", type=number(int, 0, 65535), default=8000, help="0: any that is free (default: 8000)")
    group.add_argument(
        "--page", action="store_true", help="serve the web page, too, under /page; keys are its passwords"
    )
    group.add_argument(
        "--api-keys-file", metavar="FILE", help=f"keys that clients must send, one a line; also from {VARIABLE}"
    )
    group.add_argument(
        "--served-name",
        action="append",
        metavar="NAME",
        help="another name of the assistant, such as gpt-image-1 or dall-e-2; repeats",
    )
    group.add_argument(
        "--ignore-tools", action="store_true", help="answer requests with tools as if they had none, not with an error"
    )
    group.add_argument(
        "--markdown-pictures", action="store_true", help="a chat's pictures stand in its text, for programs that "
        "show nothing else"
    )  # fmt: skip
    group.add_argument(
        "--remote-pictures", action="store_true", help="fetch pictures from public addresses that requests name"
    )
    group.add_argument(
        "--grace", type=number(float, 0, 3600), default=30.0, metavar="SECONDS",
        help="for what is at work when the server ends (default: 30)",
    )  # fmt: skip


def add_limits(parser: flags.Parser) -> None:
    """How much one client may ask for, and all together."""
    group, number, usual = parser.add_argument_group("limits"), flags.number, RequestLimits()
    for name, kind, low, high, default, text in (
        ("at-once", int, 1, 64, 4, "requests at work; pictures are painted one by one"),
        ("queue", int, 0, 10_000, 64, "requests that wait; beyond it they are told when to come again"),
        ("warm-chats", int, 0, 1000, 4, "conversations whose cache is kept, each with memory of the device"),
        ("max-connections", int, 1, 100_000, 1024, "connections at once"),
        ("max-connections-each", int, 1, 100_000, 128, "of one address; a reverse proxy has but one"),
        ("max-json-mb", float, 0.01, 1000, usual.json / MEGA, "megabytes of a request beside its pictures"),
        ("max-request-mb", float, 0.01, 1000, usual.body / MEGA, "megabytes of a request"),
        ("max-picture-mb", float, 0.01, 1000, usual.picture / MEGA, "megabytes of a picture"),
        ("max-megapixels", float, 0.01, 64, usual.pixels / MEGA, "million pixels of a picture"),
        ("max-pictures", int, 1, 100, usual.pictures, "pictures of a request"),
    ):
        group.add_argument(
            f"--{name}",
            type=number(kind, low, high),
            default=default,
            metavar="N",
            help=f"{text} (default: {default:g})",
        )


@dataclass(frozen=True)
class ServerOptions:
    """How the server answers.

    Attributes:
        spec: Which models answer, and what one answer may cost.
        settings: Those of a request that says nothing else.
        limits: What a client may send.
        at_once: Requests at work.
        queue: Requests that wait.
        warm_chats: Conversations whose cache is kept.
        served_names: Further names of the assistant.
        remote_pictures: Pictures are fetched from public addresses that requests name.
        markdown: Pictures of a chat stand in its text.
        ignore_tools: Requests with tools are answered as if they had none.
    """

    spec: ModelSpec
    settings: Settings
    limits: RequestLimits
    at_once: int
    queue: int
    warm_chats: int
    served_names: tuple[str, ...] = ()
    remote_pictures: bool = False
    markdown: bool = False
    ignore_tools: bool = False


def server_options(args: argparse.Namespace) -> ServerOptions:
    """What the flags say.  Raises: UserError for flags that contradict each other."""
    limits = RequestLimits(
        body=int(args.max_request_mb * MEGA),
        picture=int(args.max_picture_mb * MEGA),
        pixels=int(args.max_megapixels * MEGA),
        pictures=args.max_pictures,
        json=int(args.max_json_mb * MEGA),
    )
    return ServerOptions(
        spec=flags.model_spec(args),
        settings=flags.settings(args),
        limits=limits,
        at_once=args.at_once,
        queue=args.queue,
        warm_chats=args.warm_chats,
        served_names=tuple(args.served_name or ()),
        remote_pictures=args.remote_pictures,
        markdown=args.markdown_pictures,
        ignore_tools=args.ignore_tools,
    )


def build_service(options: ServerOptions, models: Models) -> Service:
    """Everything that requests need, around models that are loaded.  Raises: UserError."""
    models = replace(models, bounds=options.spec.bounds.reading(LETTERS_PER_TOKEN * context(models)))
    models.bounds.check_settings(options.settings, models.pipeline)
    queue = FairQueue(options.at_once, options.queue)
    engine = Engine(models, options.at_once, Metrics(queue), private(options.spec, models))
    return Service(
        scheduler=RequestScheduler(engine, queue),
        engine=engine,
        prefix_cache=PrefixCache(models.new_chat, options.warm_chats),
        names=names(options),
        limits=options.limits,
        defaults=options.settings,
        created=int(time.time()),
        fetcher=ImageFetcher(options.limits) if options.remote_pictures else None,
        markdown=options.markdown,
        ignore_tools=options.ignore_tools,
    )


def names(options: ServerOptions) -> ServedNames:
    """What clients call the models: the last part of each folder, whatever the rest of the path."""
    mllm = options.spec.mllm
    words = str(mllm.model) if isinstance(mllm, Endpoint) else last_part(mllm)
    return ServedNames((words, *options.served_names), last_part(options.spec.pipeline))


def last_part(path: str | Path | None) -> str:
    """A folder's name, which is all that the world is told of its place."""
    folder = Path(path or "")
    return folder.resolve().name if folder.is_absolute() or folder.exists() else str(path)


def private(spec: ModelSpec, models: Models) -> dict[str, str]:
    """What no answer may hold: where the models lie."""
    hidden = {str(models.pipeline.path): last_part(spec.pipeline)}
    for path in (spec.mllm, spec.pipeline, spec.inpainter, spec.model_base, spec.restorer_path):
        if isinstance(path, Endpoint):
            hidden[path.shown] = "the language model's server"
        elif path is not None:
            hidden |= {str(path): last_part(path), str(Path(path).resolve()): last_part(path)}
    return hidden


def context(models: Models) -> int:
    """Tokens that the language model reads at once."""
    chat = models.new_chat()
    model = getattr(chat, "mllm", None) or getattr(chat, "vlm", None)
    return getattr(model, "context_length", None) or UNKNOWN_CONTEXT

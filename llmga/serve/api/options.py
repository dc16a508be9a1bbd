"""Flags of the server, and the options that they are read into."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmga.assistant.settings import Settings
from llmga.command_line import Parser, number
from llmga.registry import Registry
from llmga.serve import args as flags
from llmga.serve import parsed_args

if TYPE_CHECKING:
    from llmga.assistant.loading import ModelSpec

ENGINES = Registry("engine", {"process": "llmga.serve.api.server", "ray": "llmga.serve.cluster.launch"})
VARIABLE = "LLMGA_SERVER_KEYS"  # of the environment; comma-separated
MEGA = 1_000_000


@dataclass(frozen=True)
class RequestLimits:
    """How much a client may send.

    Attributes:
        body: Bytes of a whole request.
        picture: Bytes of one picture.
        pixels: Of one picture.
        pictures: Of one request.
        json: Bytes of a request's JSON beside its pictures.
    """

    body: int = 64_000_000
    picture: int = 20_000_000
    pixels: int = 25_000_000
    pictures: int = 16
    json: int = 1_000_000


def build_parser(
    module: str = "openai_api", about: str = "Serve chat and pictures under OpenAI's paths; /docs describes them."
) -> Parser:
    """All flags of the server."""
    parser = Parser(prog=f"python -m llmga.serve.{module}", description=about)
    flags.add_models(parser)
    flags.add_endpoint(parser)
    flags.add_words(parser)
    flags.add_painting(parser)
    flags.add_painter(parser)
    add_place(parser)
    add_engine(parser)
    flags.add_library(parser)
    add_limits(parser)
    flags.add_bounds(parser)
    flags.add_safety(parser)
    flags.add_provenance(parser)
    parser.set_defaults(task=None)
    return parser


def add_place(parser: Parser) -> None:
    """Where the server is found, and by whom."""
    group = parser.add_argument_group("server")
    group.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="0.0.0.0: everybody (default: 127.0.0.1)")
    group.add_argument("--port", type=number(int, 0, 65535), default=8000, help="0: any that is free (default: 8000)")
    group.add_argument(
        "--page", action="store_true", help="serve the web page, too, under /page; keys are its passwords"
    )
    group.add_argument(
        "--mcp", action="store_true", help="serve the Model Context Protocol, too, at /v1/mcp (the extra mcp)"
    )
    group.add_argument(
        "--files", action="append", metavar="FOLDER", help="from which MCP's tools may read pictures; repeats"
    )
    group.add_argument(
        "--otel", metavar="URL", help="send traces to this OpenTelemetry collector, such as http://localhost:4318"
    )
    group.add_argument(
        "--api-keys-file", metavar="FILE", help=f"keys that clients must send, one a line; also from {VARIABLE}"
    )
    group.add_argument("--keys", metavar="FILE", help="keys with quotas, made by llmga keys add; beside those of "
                       "--api-keys-file")  # fmt: skip
    group.add_argument("--audit-log", metavar="FILE", help="note there who used what, a line of JSON a request")
    group.add_argument("--audit-mb", type=number(float, 0.01, 100_000), default=100.0, metavar="N",
                       help="megabytes of this log, older files included (default: 100)")  # fmt: skip
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


def add_engine(parser: Parser) -> None:
    """What computes behind the application."""
    group = parser.add_argument_group("engine")
    group.add_argument("--engine", choices=tuple(ENGINES), default="process", help="process: all in this one (the "
                       "default); ray: replicas on Ray Serve (the extra ray)")  # fmt: skip
    group.add_argument(
        "--config", metavar="FILE", help="with ray: a YAML file of Ray Serve, as `serve deploy` takes it"
    )
    group.add_argument("--ray-address", metavar="ADDRESS", help="of a cluster that is there; else one is started here")
    for name, text in (("planners", "language model"), ("painters", "painter"), ("ingresses", "application")):
        group.add_argument(
            f"--{name}", type=number(int, 1, 1000), metavar="N", help=f"with ray: replicas of the {text}"
        )


def add_limits(parser: Parser) -> None:
    """How much one client may ask for, and all together."""
    group, usual = parser.add_argument_group("limits"), RequestLimits()
    for name, kind, low, high, default, text in (
        ("at-once", int, 1, 64, 8, "requests whose words are written"),
        ("line", int, 0, 1000, 12, "requests more that wait for their pictures, each with its cache"),
        ("batch", int, 1, 64, 4, "pictures from words that are denoised at once, fewer where memory is short"),
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
        at_once: Requests at work, but for those that wait for their pictures.
        line: Those that do.
        batch: Pictures that are denoised at once.
        queue: Requests that wait.
        warm_chats: Conversations whose cache is kept.
        served_names: Further names of the assistant.
        remote_pictures: Pictures are fetched from public addresses that requests name.
        markdown: Pictures of a chat stand in its text.
        ignore_tools: Requests with tools are answered as if they had none.
        otel: Of the collector that traces go to.
        library: Where the page keeps conversations; None keeps them for as long as a tab is open.
    """

    spec: "ModelSpec"
    settings: Settings
    limits: RequestLimits
    at_once: int
    queue: int
    warm_chats: int
    line: int = 12
    batch: int = 4
    served_names: tuple[str, ...] = ()
    remote_pictures: bool = False
    markdown: bool = False
    ignore_tools: bool = False
    otel: str | None = None
    library: Path | None = None


def server_options(args: argparse.Namespace) -> ServerOptions:
    """What the flags say.

    Raises:
        UserError: flags contradict each other.
    """
    limits = RequestLimits(
        body=int(args.max_request_mb * MEGA),
        picture=int(args.max_picture_mb * MEGA),
        pixels=int(args.max_megapixels * MEGA),
        pictures=args.max_pictures,
        json=int(args.max_json_mb * MEGA),
    )
    return ServerOptions(
        spec=parsed_args.model_spec(args),
        settings=parsed_args.settings(args),
        limits=limits,
        at_once=args.at_once,
        queue=args.queue,
        warm_chats=args.warm_chats,
        line=args.line,
        batch=args.batch,
        served_names=tuple(args.served_name or ()),
        remote_pictures=args.remote_pictures,
        markdown=args.markdown_pictures,
        ignore_tools=args.ignore_tools,
        otel=args.otel,
        library=args.library,
    )

"""`llmga serve --engine ray`: the deployments on a cluster of this machine, or on one that is there."""

import argparse
import json
import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from llmga.errors import UserError
from llmga.extras import require
from llmga.serve.api import logs
from llmga.serve.api.options import MEGA
from llmga.serve.api.server import bind
from llmga.serve.cluster.application import application, to_argv
from llmga.serve.cluster.door import CALLBACK, PLACE, VARIABLE
from llmga.serve.cluster.ingress import Flags

NAME = "llmga"  # of the application
COUNTS = {"planners": "Planner", "painters": "Painter", "ingresses": "Ingress"}


def serve(args: argparse.Namespace) -> int:
    """Start the deployments, and serve until a signal ends it.

    Raises:
        UserError: nothing can be served so.
    """
    require("ray.serve", "--engine ray")
    file = read_config(args.config)
    given = file["application"]
    flags = Flags((*to_argv(given.get("args") or {}), *args.argv))  # of a flag given twice, the latter counts
    overrides = {each["name"]: {k: v for k, v in each.items() if k != "name"} for each in given["deployments"]}
    for field, name in COUNTS.items():
        if (count := getattr(args, field)) is not None:
            overrides.setdefault(name, {})["num_replicas"] = count
    args = flags.args
    place = {"host": args.host, "port": args.port, **file["http_options"]}
    bind(place["host"], place["port"]).close()  # told before anything slow is done
    prepare_environment(args)
    return run(flags, overrides, place, file["proxy_location"], args.ray_address)


def run(
    flags: Flags, overrides: Mapping[str, Any], place: Mapping[str, Any], location: str | None, address: str | None
) -> int:
    """Start Ray and the application; returns once a signal has ended them.

    Raises:
        UserError: the replicas cannot be started.
    """
    import ray
    from ray import serve

    ended = threading.Event()
    _listen(ended)
    ray.init(address or "local", namespace="serve", include_dashboard=False, log_to_driver=True)
    _listen(ended)  # Ray has put a handler of its own there, which aborts in the end
    try:
        app = application(flags, overrides)
        serve.start(proxy_location=location or "EveryNode", http_options=dict(place))
        serve.run(app, name=NAME, route_prefix=place.get("root_path") or "/")
        cluster = ray.get_runtime_context().gcs_address  # for `ray status --address`, and programs beside it
        logs.log_event("ready", url=f"http://{place['host']}:{place['port']}/v1", engine="ray", ray=cluster)
        ended.wait()
    except RuntimeError as problem:
        raise UserError(f"the replicas could not be started ({str(problem).strip().splitlines()[-1]}).") from None
    finally:
        serve.shutdown()
        ray.shutdown()
    logs.log_event("ended", code=0)
    return 0


def _listen(ended: threading.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())


def prepare_environment(args: argparse.Namespace) -> None:
    """What Ray's processes read: our door before its proxies, and nothing that tells others of this server."""
    limits = {
        "max_connections": args.max_connections,
        "max_connections_each": args.max_connections_each,
        "max_request": int(args.max_request_mb * MEGA),
    }
    os.environ.setdefault(CALLBACK, PLACE)
    os.environ.setdefault(VARIABLE, json.dumps(limits))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


def read_config(file: str | None) -> dict[str, Any]:
    """Return what a file of Serve says of the one application in it.

    Raises:
        UserError: it cannot be read, or is none.
    """
    from pydantic import ValidationError
    from ray.serve.schema import ServeDeploySchema

    if file is None:
        return {"application": {"deployments": []}, "http_options": {}, "proxy_location": None}
    try:
        content = yaml.safe_load(Path(file).read_text("utf-8"))
        ServeDeploySchema.model_validate(content)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        raise UserError(f"--config {file!r} cannot be read; give a YAML file as `serve deploy` takes it.") from None
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(f"--config {file!r} is no file of Ray Serve: {where}: {first['msg']}.") from None
    applications = content["applications"]
    if len(applications) != 1:
        raise UserError(f"--config {file!r} has {len(applications)} applications; give one, or use `serve deploy`.")
    return {
        "application": {"deployments": [], **applications[0]},
        "http_options": content.get("http_options") or {},
        "proxy_location": content.get("proxy_location"),
    }

"""`llmga serve --engine ray`: the deployments on a cluster of this machine, or on one that is there."""

import argparse
import json
import os
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from llmga.errors import UserError
from llmga.extras import require
from llmga.serve.api import logs
from llmga.serve.api.options import MEGA
from llmga.serve.api.server import LAST_WORDS, bind
from llmga.serve.cluster.application import application, to_argv
from llmga.serve.cluster.calls import lost
from llmga.serve.cluster.door import CALLBACK, PLACE, VARIABLE
from llmga.serve.cluster.gate import BEAT
from llmga.serve.cluster.ingress import Flags

NAME = "llmga"  # of the application
SOON = 0.2  # seconds between two looks at whether what is at work has ended
COUNTS = {"planners": "Planner", "painters": "Painter", "ingresses": "Ingress"}


def serve(args: argparse.Namespace) -> int:
    """Start the deployments, and serve until a signal ends it.

    Raises:
        UserError: nothing can be served so.
    """
    require("ray.serve", "--engine ray")
    file = read_config(args.config)
    given, http = file["application"], file["http_options"]
    said = {name: http[name] for name in ("host", "port") if name in http}
    # Of a flag given twice, the latter counts: the command line goes before the file.
    flags = Flags((*to_argv({**said, **(given.get("args") or {})}), *args.argv))
    overrides = {each["name"]: {k: v for k, v in each.items() if k != "name"} for each in given["deployments"]}
    for field, name in COUNTS.items():
        if (count := getattr(args, field)) is not None:
            overrides.setdefault(name, {})["num_replicas"] = count
    args = flags.args
    bind(args.host, args.port).close()  # told before anything slow is done
    prepare_environment(args)
    place = {**http, "host": args.host, "port": args.port}
    return run(flags, overrides, place, file["proxy_location"], args)


def run(
    flags: Flags, overrides: Mapping[str, Any], place: Mapping[str, Any], location: str | None, args: argparse.Namespace
) -> int:
    """Start Ray and the application; once a signal has ended them, return 0, or 128 + its number if work was lost.

    Raises:
        UserError: the replicas cannot be started.
    """
    import ray
    from ray import serve

    signals = Signals()
    signals.listen()
    ray.init(args.ray_address or "local", namespace="serve", include_dashboard=False, log_to_driver=True)
    signals.listen()  # Ray has put a handler of its own there, which aborts in the end
    try:
        app = application(flags, overrides)
        serve.start(proxy_location=location or "EveryNode", http_options=dict(place))
        serve.run(app, name=NAME, route_prefix=place.get("root_path") or "/")
        cluster = ray.get_runtime_context().gcs_address  # for `ray status --address`, and programs beside it
        logs.log_event("ready", url=f"http://{place['host']}:{place['port']}/v1", engine="ray", ray=cluster)
        signals.first.wait()
        left = _drained(signals, args.grace)
    except RuntimeError as problem:
        raise UserError(f"the replicas could not be started ({str(problem).strip().splitlines()[-1]}).") from None
    finally:
        serve.shutdown()
        ray.shutdown()
    code = 128 + signals.number if left else 0
    logs.log_event("ended", code=code, left=left or None)
    return code


class Signals:
    """SIGTERM and SIGINT, as they come.

    Attributes:
        first, second: set by them.
        number: of the latest.
    """

    def __init__(self) -> None:
        self.first, self.second = threading.Event(), threading.Event()
        self.number = 0

    def listen(self) -> None:
        """Catch them; on the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._came)

    def _came(self, number: int, _: object) -> None:
        self.number = number
        (self.second if self.first.is_set() else self.first).set()


def _drained(signals: Signals, grace: float) -> int:
    """Let nobody in any more, and wait for what is at work; after `grace` seconds or a second signal it is stopped.

    Returns:
        How many are still at work.
    """
    from ray import serve

    gate = serve.get_deployment_handle("Gate", app_name=NAME)
    gone: tuple[type[BaseException], ...] = (*lost(), TimeoutError)

    def at_work(stop: bool) -> int:
        """0 where there is no gate that could tell."""
        try:
            return int(gate.end.remote(stop).result(timeout_s=LAST_WORDS))
        except gone:
            return 0

    logs.log_event("closing", grace=grace)
    until = time.monotonic() + grace
    while (left := at_work(False)) and time.monotonic() < until and not signals.second.wait(SOON):
        pass
    if left:
        logs.log_event("stopping", running=left)
    until = time.monotonic() + LAST_WORDS + BEAT  # in which the applications learn of it
    while left and (left := at_work(True)) and time.monotonic() < until:
        time.sleep(SOON)
    time.sleep(SOON)  # the last bytes of answers
    return left


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

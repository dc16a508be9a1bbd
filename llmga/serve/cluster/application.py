"""The deployments of the server, as Ray Serve takes them: `import_path: llmga.serve.cluster.application:build`."""

from collections.abc import Mapping
from typing import Any

from llmga.errors import UserError
from llmga.serve.api.options import ServerOptions
from llmga.serve.cluster.gate import Gate
from llmga.serve.cluster.ingress import Flags, Ingress
from llmga.serve.cluster.replicas import PainterReplica, PlannerReplica

STICKY = "ray.serve.experimental.consistent_hash_router:ConsistentHashRouter"
SPARE = 64  # calls at a time beyond the requests at work: questions, and requests whose clients have just left
Overrides = Mapping[str, Mapping[str, Any]]


def build(args: Mapping[str, Any]) -> Any:
    """Return the application, as `serve deploy` and `serve run` ask for it.

    Args:
        args: the server's flags without their dashes, such as {"sdmodel_id": "…", "at-once": 8, "mcp": True}; a list
            repeats a flag.

    Raises:
        UserError: the flags cannot be served so.
    """
    return application(Flags(to_argv(args)), {})


def to_argv(args: Mapping[str, Any]) -> tuple[str, ...]:
    """Return flags as a command line has them; those that are false or null are left out."""
    words: list[str] = []
    for name, value in args.items():
        flag = f"--{name}"
        for each in value if isinstance(value, list) else [value]:
            words += [] if each is None or each is False else [flag] if each is True else [f"{flag}={each}"]
    return tuple(words)


def application(flags: Flags, overrides: Overrides) -> Any:
    """Return the deployments, bound to each other.

    Args:
        overrides: options of Serve by the names of the deployments.

    Raises:
        UserError: the flags cannot be served so, or there is no such deployment.
    """
    options = checked(flags)
    names = deployments(options, gpu_share())
    if unknown := [name for name in overrides if name not in names]:
        raise UserError(f"there is no deployment {unknown[0]!r}; known are: {', '.join(names)}.")
    from ray import serve

    kinds = {"Ingress": serve.ingress()(Ingress), "Painter": PainterReplica, "Planner": PlannerReplica, "Gate": Gate}
    made: dict[str, Any] = {
        name: serve.deployment(kinds[name], name=name, **merged(usual, overrides.get(name, {})))
        for name, usual in names.items()
    }
    planner = [] if flags.plans_elsewhere else [made["Planner"].bind(flags)]
    gate = made["Gate"].bind(options.at_once, options.queue, options.line)
    return made["Ingress"].bind(flags, gate, made["Painter"].bind(flags), *planner)


def checked(flags: Flags) -> ServerOptions:
    """Return what the flags mean, after a look at them.

    Raises:
        UserError: they are wrong, or ask for what replicas do not have.
    """
    try:
        args = flags.args
    except SystemExit:
        raise UserError(f"these are no flags of the server: {' '.join(flags.argv)}.") from None
    if args.page:
        raise UserError("--page is served by one process; leave it out with --engine ray, and start llmga web beside.")
    return flags.options


def deployments(options: ServerOptions, share: float) -> dict[str, dict[str, Any]]:
    """Return the usual options of each deployment.

    Args:
        share: of a GPU, for each replica that holds a model.
    """
    at_once = options.at_once + options.line + SPARE
    gpus = 0 if options.spec.device == "cpu" else share
    models: dict[str, Any] = {
        "max_ongoing_requests": at_once,  # requests wait at the gate, so that none waits behind another's picture
        "health_check_period_s": 5,
        "health_check_timeout_s": 30,
        "graceful_shutdown_timeout_s": 30,
    }
    sticky = {"request_router_class": STICKY, "request_router_kwargs": {"num_fallback_replicas": 2}}
    return {
        "Ingress": {
            "max_ongoing_requests": 2 * (at_once + options.queue),
            "ray_actor_options": {"num_cpus": 0.1},
            "request_router_config": sticky,  # what it keeps for a client lies where that comes again
        },
        "Gate": {"max_ongoing_requests": 4 * (at_once + options.queue), "ray_actor_options": {"num_cpus": 0}},
        "Painter": {**models, "ray_actor_options": {"num_cpus": 0.5, "num_gpus": gpus}},
        "Planner": {
            **models,
            "ray_actor_options": {"num_cpus": 0.2, "num_gpus": gpus},  # all of it finds room on two cores
            "request_router_config": sticky,
        },
    }


def gpu_share() -> float:
    """Return which part of a GPU a replica gets that holds a model: half of it where there is one GPU only."""
    import ray

    gpus = ray.cluster_resources().get("GPU", 0) if ray.is_initialized() else 0
    return 0 if gpus == 0 else 0.5 if gpus == 1 else 1


def merged(usual: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return options of a deployment with those that somebody gave; parts of the same name are merged."""
    both = {**usual, **given}
    for name in ("ray_actor_options", "request_router_config"):
        if name in usual and name in given:
            both[name] = {**usual[name], **given[name]}
    if both.get("num_replicas", 1) != 1 and "autoscaling_config" in both:
        raise UserError("num_replicas and autoscaling_config exclude each other; give one of them.")
    return both

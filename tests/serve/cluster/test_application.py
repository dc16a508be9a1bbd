"""The deployments, the files that describe them, and the door before them; no cluster is started."""

import argparse
import asyncio
import json
from pathlib import Path

import pytest
import yaml

from llmga.errors import UserError
from llmga.serve.api.options import build_parser
from llmga.serve.cluster import door, launch
from llmga.serve.cluster.application import checked, deployments, merged, to_argv
from llmga.serve.cluster.ingress import Flags
from llmga.serve.cluster.launch import read_config
from llmga.serve.cluster.messages import Refused
from llmga.serve.cluster.working import Workshop
from llmga.serve.openai_api import checked_together

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"


def described(file):
    content = yaml.safe_load((DEPLOY / file).read_text("utf-8"))
    return yaml.safe_load(content["spec"]["serveConfigV2"]) if "spec" in content else content


def test_flags_of_a_file_are_those_of_the_command_line():
    argv = to_argv({"sdmodel_id": "x", "at-once": 8, "mcp": True, "page": False, "lora": ["a", "b"], "config": None})
    assert argv == ("--sdmodel_id=x", "--at-once=8", "--mcp", "--lora=a", "--lora=b")
    assert Flags(argv).args.at_once == 8


def test_flags_that_there_are_not_are_told():
    with pytest.raises(UserError, match="no flags of the server: --at-onze=8"):
        checked(Flags(("--at-onze=8",)))


@pytest.mark.parametrize(
    ("said", "port", "workers"), [((), 8123, 8), (("--port", "0"), 0, 8), (("--at-once=3",), 8123, 3)]
)
def test_the_command_line_goes_before_the_file(tmp_path, monkeypatch, said, port, workers):
    pytest.importorskip("ray.serve.schema")
    content = described("serve-cpu.yaml")
    content["http_options"] = {"host": "127.0.0.1", "port": 8123, "root_path": "/there"}
    (file := tmp_path / "serve.yaml").write_text(yaml.safe_dump(content))
    seen = []
    monkeypatch.setattr(launch, "run", lambda *args: seen.append(args))
    monkeypatch.setattr(launch, "prepare_environment", lambda args: None)
    argv = ("--engine", "ray", "--config", str(file), *said)
    launch.serve(build_parser().parse_args(argv, argparse.Namespace(argv=argv)))
    ((flags, _, place, location, _),) = seen
    assert place == {"host": "127.0.0.1", "port": port, "root_path": "/there"} and location == "HeadOnly"
    assert flags.args.at_once == workers and flags.args.port == port


def test_the_page_is_not_served_by_replicas():
    with pytest.raises(UserError, match="leave it out with --engine ray"):
        checked(Flags(("--page",)))


def test_options_that_are_given_are_laid_over_the_usual_ones():
    usual = {"max_ongoing_requests": 5, "ray_actor_options": {"num_cpus": 1, "num_gpus": 0.5}}
    both = merged(usual, {"num_replicas": 2, "ray_actor_options": {"num_cpus": 3}})
    assert both == {
        "max_ongoing_requests": 5,
        "num_replicas": 2,
        "ray_actor_options": {"num_cpus": 3, "num_gpus": 0.5},
    }


def test_replicas_that_are_counted_and_scaled_contradict_each_other():
    with pytest.raises(UserError, match="exclude each other"):
        merged({}, {"num_replicas": 2, "autoscaling_config": {}})


@pytest.mark.parametrize("file", ["serve.yaml", "serve-cpu.yaml", "kuberay.yaml"])
def test_the_files_for_serve_are_as_serve_and_the_server_take_them(file):
    schema = pytest.importorskip("ray.serve.schema")
    content = described(file)
    schema.ServeDeploySchema.model_validate(content)
    (application,) = content["applications"]
    assert application["import_path"] == "llmga.serve.cluster.application:build"
    options = checked(Flags(to_argv(application["args"])))
    known = deployments(options, share=1)
    for each in application["deployments"]:
        merged(known[each.pop("name")], each)


def test_a_file_that_is_none_of_serves_is_told(tmp_path):
    pytest.importorskip("ray")
    file = tmp_path / "serve.yaml"
    file.write_text("applications: [{name: a, import_path: 'x:y', deployments: [{name: b, num_replicas: -1}]}]")
    with pytest.raises(UserError, match="no file of Ray Serve: applications.0.deployments.0.num_replicas"):
        read_config(str(file))


def test_every_service_of_the_compose_file_is_locked():
    for service in yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"].values():
        assert service["read_only"] and service["cap_drop"] == ["ALL"]


def test_every_pod_is_locked_and_runs_as_nobody():
    cluster = yaml.safe_load((DEPLOY / "kuberay.yaml").read_text("utf-8"))["spec"]["rayClusterConfig"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert all(each["securityContext"]["readOnlyRootFilesystem"] for each in pod["containers"])


# The door.


def through_door(app, path="/v1/models", headers=()):
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "GET", "path": path, "headers": list(headers), "query_string": b""}
    asyncio.run(door.DoorMiddleware(app, max_bytes=100)(scope, receive, send))
    start, *body = sent
    return start["status"], dict(start["headers"]), b"".join(message.get("body", b"") for message in body)


def answering(status, headers, *bodies, ends=True):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for number, body in enumerate(bodies, 1):
            await send({"type": "http.response.body", "body": body, "more_body": not ends or number < len(bodies)})

    return app


OURS = [(b"x-request-id", b"req-1"), (b"x-content-type-options", b"nosniff")]


def test_an_answer_has_the_applications_id_and_no_second_one():
    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/v1/models", "headers": [], "query_string": b""}
    app = answering(200, [*OURS, (b"X-Request-ID", b"of-the-proxy")], b"{}")
    asyncio.run(door.DoorMiddleware(app, max_bytes=100)(scope, None, send))
    ids = [value for name, value in sent[0]["headers"] if name.lower() == b"x-request-id"]
    assert ids == [b"req-1"] and (b"x-content-type-options", b"nosniff") in sent[0]["headers"]


def session_of(headers, address="10.0.0.9"):
    scope = {"type": "http", "headers": headers, "client": (address, 1)}
    door.with_session(scope)
    return dict(scope["headers"])[b"x-session-id"]


def test_all_that_a_client_asks_has_one_session():
    key, other = (b"authorization", b"Bearer sk-a"), (b"authorization", b"Bearer sk-b")
    assert session_of([key]) == session_of([key], "10.0.0.1") != session_of([other])
    assert session_of([]) == session_of([]) != session_of([], "10.0.0.1")
    assert session_of([key, (b"x-session-id", b"mine")]) == b"mine" and b"sk-a" not in session_of([key])


async def silent(scope, receive, send):
    """As Serve's proxy, when the replica of the application is lost."""


def test_an_answer_of_the_application_goes_through_as_it_is():
    assert through_door(answering(404, OURS, b"{}"))[::2] == (404, b"{}")


def test_where_the_application_is_lost_clients_are_told_to_come_again():
    status, headers, body = through_door(silent)
    assert status == 503 and int(headers[b"retry-after"]) >= 1
    assert json.loads(body)["error"]["code"] == "unavailable"


def test_what_serve_says_of_itself_is_told_in_our_form():
    status, headers, body = through_door(answering(404, [], b"Path '/' not found."))
    assert status == 503 and json.loads(body)["error"]["code"] == "starting" and b"retry-after" in headers
    assert through_door(answering(500, [], b"Internal Server Error"))[0] == 503


def test_a_stream_that_breaks_off_says_so():
    stream = [*OURS, (b"content-type", b"text/event-stream; charset=utf-8")]
    status, _, body = through_door(answering(200, stream, b"data: {}\n\n", ends=False))
    lost = json.loads(body.decode().split("data: ")[-1])
    assert status == 200 and lost["error"]["code"] == "unavailable"


def test_a_body_that_is_too_long_is_refused_before_it_is_passed_on():
    assert through_door(silent, headers=[(b"content-length", b"101")])[0] == 413


def test_serves_own_paths_are_its_own():
    assert through_door(answering(200, [], b"success"), path="/-/healthz")[::2] == (200, b"success")


def test_limits_of_the_door_come_from_the_environment():
    assert door.limits_of('{"max_connections": 5}') == door.USUAL | {"max_connections": 5}
    with pytest.raises(ValueError, match="no limit 'colour'"):
        door.limits_of('{"colour": 1}')


# The work of a replica.


def test_a_replica_whose_device_has_failed_is_not_healthy():
    workshop = Workshop()

    def fail():
        raise RuntimeError("CUDA error: device-side assert triggered")

    with pytest.raises(RuntimeError):
        asyncio.run(workshop.answer(fail))
    with pytest.raises(RuntimeError, match="device-side assert"):
        workshop.check()


def test_a_replica_whose_work_stands_still_is_not_healthy():
    workshop = Workshop(stuck=0.0)

    async def look():
        stream = workshop.stream(lambda report, cancelled: cancelled.wait(10))
        await anext(stream)
        await asyncio.sleep(0.05)
        with pytest.raises(RuntimeError, match="no sign of life"):
            workshop.check()
        await stream.aclose()

    asyncio.run(look())


def test_a_mistake_of_a_person_travels_as_a_value():
    def refuse():
        raise UserError("too large.")

    workshop = Workshop()
    workshop.check()
    assert asyncio.run(workshop.answer(refuse)) == Refused("too large.")
    workshop.check()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--painters 2", "--painters does nothing without --engine ray"),
        ("--config no.yaml", "--config does nothing without --engine ray"),
        ("--files .", "--files does nothing without --mcp"),
    ],
)
def test_a_flag_that_does_nothing_alone_is_refused(line, told):
    with pytest.raises(UserError, match=told):
        checked_together(build_parser().parse_args(line.split()))
    checked_together(build_parser().parse_args(["--engine", "ray", "--mcp", *line.split()]))

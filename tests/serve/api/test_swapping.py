"""Other models for a server that runs."""

import gc
import threading
import weakref

import pytest
from starlette.testclient import TestClient

from llmga.assistant.loading import Models
from llmga.errors import UserError
from llmga.serve.api import swapping
from llmga.serve.api.app import build_app
from llmga.serve.api.auth import ApiKeys
from llmga.serve.api.options import build_parser, server_options
from llmga.serve.api.swapping import Swapper
from llmga.serve.keys.store import KeyStore

pytestmark = pytest.mark.engines("process")  # replicas get other models by another deployment

ADMIN = "/v1/admin/models"
IMAGES = "/v1/images/generations"
RED = {"prompt": "red"}
ARGV = ("--model-path", "/secret/place/echo", "--sdmodel_id", "/secret/place/plain")


@pytest.fixture
def store(tmp_path):
    return KeyStore(tmp_path / "keys.db", create=True)


@pytest.fixture
def loaded(monkeypatch):
    """What is asked to be loaded; `loaded.models` makes the models of it."""

    class Loads:
        def load(self, spec, *, words=None):
            self.specs.append(spec)
            self.kept.append(words)
            return self.models(spec)

    loads = Loads()
    loads.specs, loads.kept = [], []
    monkeypatch.setattr(swapping, "Models", loads)
    monkeypatch.setattr("llmga.assistant.loading.ModelSpec.checked", lambda spec: spec)
    return loads


def beside(app, service):
    """Make models of a server replaceable, as `llmga serve` does."""
    app.state.swapper = swapper(app, ARGV)


def swapper(app, argv):
    args = build_parser().parse_args(argv)
    return Swapper(app, args, server_options(args).spec)


def renewed(service):
    """Models like those of a service, with another painter."""
    old = service.engine.models
    painter = type(old.pipeline)()
    painter.path = "/secret/place/newer"
    return Models(old.new_chat, painter, old.restorer, old.marks)


@pytest.fixture
def server(running, store, loaded):
    secret, _ = store.add("root", admin=True)
    server = running(store=store, beside=beside)
    server.http.headers["Authorization"] = f"Bearer {secret}"
    loaded.models = lambda spec: renewed(server.service)
    return server


def swap(server, **body):
    return server.http.post(ADMIN, json={"models": {"sdmodel_id": "/secret/place/newer"}, **body})


@pytest.mark.engines("process", "ray")
@pytest.mark.parametrize("admin", [False, True])
def test_it_takes_a_key_of_an_administrator(service, store, admin):
    secret, _ = store.add("ann", admin=admin)
    with TestClient(build_app(service(), ApiKeys(["sk-a-long-secret"], store))) as client:
        for key, status in ((secret, 400 if admin else 403), ("sk-a-long-secret", 403), ("wrong", 401)):
            answer = client.post(ADMIN, content=b"{", headers={"Authorization": f"Bearer {key}"})
            assert answer.status_code == status
    with TestClient(build_app(service(), ApiKeys())) as client:  # open to everybody, but not this
        assert client.get(ADMIN).json()["error"]["code"] == "no_admin_key"


def test_new_requests_get_the_new_models_and_the_old_are_let_go(server, loaded):
    told = server.http.get(ADMIN).json()
    assert told["pipeline"] == "plain" and told["models"] == {
        "model_path": "/secret/place/echo", "sdmodel_id": "/secret/place/plain"
    }  # fmt: skip
    old = weakref.ref(server.service.engine.models.pipeline)
    del server.painter
    told = swap(server).json()
    assert (told["pipeline"], told["draining"], told["loading"]) == ("newer", 0, False)
    assert told["models"]["sdmodel_id"] == "/secret/place/newer" and loaded.specs[0].mllm == "/secret/place/echo"
    answer = server.http.post(IMAGES, json={**RED, "model": "newer"})
    assert answer.status_code == 200
    assert server.http.post(IMAGES, json={**RED, "model": "plain"}).json()["error"]["code"] == "model_not_found"
    assert [card["id"] for card in server.http.get("/v1/models").json()["data"]] == ["echo", "newer"]
    figures = server.http.get("/metrics").text
    assert 'llmga_pictures_total{model="newer"} 1.0' in figures
    assert 'llmga_model_swaps_total{result="done"} 1.0' in figures
    server.service = loaded.models = None
    gc.collect()
    assert old() is None


def test_what_is_at_work_ends_with_the_old_models(server, loaded):
    old, answers = server.painter, []
    old.pace = 0.1
    working = threading.Thread(target=lambda: answers.append(server.http.post(IMAGES, json={**RED, "n": 2})))
    working.start()
    assert old.started.wait(20)
    assert swap(server).json()["draining"] == 1 == server.figure("llmga_draining")
    new = server.http.post(IMAGES, json=RED)  # is not held up by the old painter
    assert new.status_code == 200 and working.is_alive()
    working.join()
    assert answers[0].status_code == 200 and len(answers[0].json()["data"]) == 2 and len(old.calls) == 2
    server.wait(lambda: server.figure("llmga_draining") == 0)


def test_asked_to_drain_first_nothing_is_at_work_while_models_load(server, loaded):
    old, make, at_work = server.painter, loaded.models, []
    old.pace = 0.1
    loaded.models = lambda spec: at_work.append(server.service.scheduler.queue.running) or make(spec)
    working = threading.Thread(target=lambda: server.http.post(IMAGES, json=RED))
    working.start()
    assert old.started.wait(20)
    answers = []
    swapped = threading.Thread(target=lambda: answers.append(swap(server, drain_first=True)))
    waiting = threading.Thread(target=lambda: answers.append(server.http.post(IMAGES, json=RED)))
    swapped.start()
    server.wait(lambda: server.http.get(ADMIN).json()["loading"])
    assert swap(server).status_code == 409
    waiting.start()
    for thread in (working, swapped, waiting):
        thread.join(30)
    assert at_work == [0] and [answer.status_code for answer in answers] == [200, 200]


@pytest.mark.parametrize(
    ("problem", "status", "told"),
    [
        (UserError("'x' holds no model; give another."), 400, "'x' holds no model; give another."),
        (
            RuntimeError("out of memory\nat some line"),
            500,
            "could not be loaded (out of memory); those there were go on.",
        ),
    ],
)
@pytest.mark.parametrize("drain_first", [False, True])
def test_models_that_cannot_be_loaded_change_nothing(server, loaded, problem, status, told, drain_first):
    def fail(spec):
        raise problem

    loaded.models = fail
    answer = swap(server, drain_first=drain_first)
    assert answer.status_code == status and answer.json()["error"]["message"].endswith(told)
    state = server.http.get(ADMIN).json()
    assert state["pipeline"] == "plain" and not state["loading"]
    assert server.http.post(IMAGES, json={**RED, "model": "plain"}).status_code == 200
    assert 'llmga_model_swaps_total{result="failed"} 1.0' in server.http.get("/metrics").text


@pytest.mark.parametrize(
    ("models", "told"),
    [
        ({"port": 9}, "'port' is no flag about models; /docs names them."),
        ({"sdmodel": "x"}, "'sdmodel' is no flag"),
        ({"num_gpus": "many"}, "argument --num-gpus: 'many' is out of range; use a whole number, 1 to 64."),
        ({"load_4bit": True, "load_8bit": True}, "not allowed with argument"),
        ({"lora": [["x"]]}, "is not possible"),
    ],
)
def test_flags_that_are_none_are_refused(server, loaded, models, told):
    answer = server.http.post(ADMIN, json={"models": models})
    assert answer.status_code == 400 and told in answer.json()["error"]["message"] and not loaded.specs


def test_flags_are_those_of_the_command_line_and_replace_those_of_now(server, loaded):
    swap(server, models={"lora": ["a.safetensors:0.5", "b.safetensors"], "vae-tiling": True, "dtype": "fp32"})
    swap(server, models={"lora": ["c.safetensors"], "dtype": None})
    first, second = loaded.specs
    assert first.loras == ("a.safetensors:0.5", "b.safetensors") and first.vae_tiling and first.dtype == "fp32"
    assert second.loras == ("c.safetensors",) and second.vae_tiling and second.dtype is None
    assert first.pipeline == second.pipeline == "/secret/place/plain"


def test_a_language_model_that_stays_is_not_loaded_anew_and_keeps_its_caches(server, loaded):
    chat, cache = server.service.engine.models.new_chat, server.service.prefix_cache
    swap(server)
    swap(server, models={"model_path": "/secret/place/other"})
    swap(server, models={"sdmodel_id": None})
    swap(server, models={"device": "cpu"})
    assert [words and words[0] for words in loaded.kept] == [chat, None, chat, None]
    app = server.server.config.app
    assert app.state.service.prefix_cache is cache  # since these models share a planner


@pytest.mark.engines("process", "ray")
def test_a_server_without_a_swapper_says_so(service, store):
    secret, _ = store.add("root", admin=True)
    with TestClient(build_app(service(), ApiKeys(store=store))) as client:
        answer = client.get(ADMIN, headers={"Authorization": f"Bearer {secret}"})
        assert answer.status_code == 400 and answer.json()["error"]["code"] == "models_are_fixed"


def test_the_key_of_another_server_is_told_nobody(running, store, loaded):
    secret, _ = store.add("root", admin=True)
    argv = ("--mllm-url", "http://localhost:1/v1", "--mllm-key", "sk-hidden")

    def beside(app, service):
        app.state.swapper = swapper(app, argv)

    server = running(store=store, beside=beside)
    told = server.http.get(ADMIN, headers={"Authorization": f"Bearer {secret}"}).text
    assert "localhost:1" in told and "hidden" not in told

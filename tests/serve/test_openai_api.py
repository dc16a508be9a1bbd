"""The official client against the server on the bundled models."""

import base64
import io
import signal
import socket
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest
from PIL import Image

import llmga
from llmga.assistant.image_files import read as record_of
from llmga.assistant.loading import Models
from llmga.errors import UserError
from llmga.serve.api.options import VARIABLE, build_parser
from llmga.serve.api.server import serve
from llmga.toyworld.oracle import read
from llmga.toyworld.scenes import Scene, draw

ROOT = Path(llmga.__file__).resolve().parent.parent
KEY = "sk-of-the-tests"
SMALL = {"RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES": "150000000", "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
         "OMP_NUM_THREADS": "1"}  # fmt: skip
FIXED = {"seed": 7}  # the toy models do not paint everything with every seed
REQUEST = "a big red circle on a blue background"
WANTED = {"shape": "circle", "colour": "red", "size": "big", "background": "blue"}
SCENE = Scene.of("circle", "red", "big", "center", "blue")


@pytest.fixture(scope="module", params=["process", pytest.param("ray", marks=pytest.mark.long)])
def server(request, server_class):
    more = ()
    if request.param == "ray":
        pytest.importorskip("ray")
        more = ("--engine", "ray", "--planners", "2", "--painters", "2", "--device", "cpu", "--port", free_port())
    with server_class(*more, LLMGA_SERVER_KEYS=KEY, **SMALL) as started:
        yield started


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


@pytest.fixture
def client(server):
    return server.client(KEY)


def opened(content):
    return Image.open(io.BytesIO(base64.b64decode(content)))


def png(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def shows(picture, **wanted):
    seen = read(picture).attributes
    return {name: seen.get(name) for name in wanted} == wanted


def painted(message):
    (image,) = message.images
    return opened(image["image_url"]["url"].partition(",")[2])


def test_the_log_says_first_what_is_loaded_and_then_where_it_listens(server):
    loading, ready = server.line("loading"), server.line("ready")
    assert (loading["language"], loading["painter"]) == ("the bundled language model", "the bundled painter")
    assert "loading" in server.log[0] and ready["url"].startswith("http://127.0.0.1:")


def test_models_are_listed(client):
    assert [model.id for model in client.models.list()] == ["llmga-toy-mllm", "llmga-toy-sdxl-t2i"]
    assert client.models.retrieve("llmga-toy-mllm").id == "llmga-toy-mllm"


def test_without_the_key_there_is_an_authentication_error(server):
    with pytest.raises(openai.AuthenticationError, match="no valid API key"):
        server.client("sk-wrong-one").models.list()


def test_a_chat_paints_and_remembers_what_it_painted(client):
    messages = [{"role": "user", "content": REQUEST}]
    first = client.chat.completions.create(model="llmga-toy-mllm", messages=messages, seed=7)
    assert shows(painted(first.choices[0].message), **WANTED) and first.usage.completion_tokens > 10
    messages += [first.choices[0].message.model_dump(exclude_none=True), {"role": "user", "content": "make it green"}]
    second = client.chat.completions.create(model="llmga-toy-mllm", messages=messages, seed=7)
    assert shows(painted(second.choices[0].message), **(WANTED | {"colour": "green"}))


def test_a_streamed_chat_is_the_whole_one_in_pieces(client):
    asked = dict(model="llmga-toy-mllm", messages=[{"role": "user", "content": REQUEST}], seed=7)
    whole = client.chat.completions.create(**asked)
    chunks = [chunk.choices[0] for chunk in client.chat.completions.create(**asked, stream=True)]
    assert "".join(chunk.delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    images = [image for chunk in chunks for image in getattr(chunk.delta, "images", None) or ()]
    assert images == whole.choices[0].message.images
    assert len([chunk for chunk in chunks if chunk.delta.content]) > 1 and chunks[-1].finish_reason == "stop"


def test_a_picture_is_described(client):
    url = f"data:image/png;base64,{base64.b64encode(png(draw(SCENE))).decode()}"
    parts = [{"type": "text", "text": "describe this picture"}, {"type": "image_url", "image_url": {"url": url}}]
    answer = client.chat.completions.create(
        model="llmga-toy-mllm", messages=[{"role": "user", "content": parts}], seed=7
    )
    words = answer.choices[0].message.content
    assert "red" in words and "circle" in words and "blue" in words


def test_generations_have_seeds_and_the_record_of_how_they_were_made(client, tmp_path):
    extra = {"seed": 3, "num_inference_steps": 15}
    answer = client.images.generate(prompt=REQUEST, n=2, response_format="b64_json", extra_body=extra)
    pictures = [opened(entry.b64_json) for entry in answer.data]
    assert all(shows(picture, **WANTED) for picture in pictures)
    assert pictures[0].tobytes() != pictures[1].tobytes() and [entry.seed for entry in answer.data] == [3, 4]
    (tmp_path / "a.png").write_bytes(base64.b64decode(answer.data[0].b64_json))
    record = record_of(tmp_path / "a.png")
    assert record.seed == 3 and record.steps == 15 and record.prompt == answer.data[0].revised_prompt
    again = client.images.generate(prompt=REQUEST, extra_body=extra)
    assert again.data[0].b64_json == answer.data[0].b64_json


def test_what_the_painter_cannot_do_is_refused_before_the_language_model_is_asked(client):
    with pytest.raises(openai.BadRequestError, match="use 56 or 64") as refused:
        client.images.generate(prompt=REQUEST, size="63x63")
    assert refused.value.param == "size"
    with pytest.raises(openai.BadRequestError, match="1 steps are out of range for editing") as refused:
        client.images.edit(image=("a.png", png(draw(SCENE))), prompt="green", extra_body={"num_inference_steps": 1})
    assert refused.value.param == "num_inference_steps"


def test_a_streamed_generation_shows_it_while_it_is_painted(client):
    *parts, last = client.images.generate(prompt=REQUEST, stream=True, partial_images=3, extra_body=FIXED)
    assert [part.type for part in parts] == ["image_generation.partial_image"] * 3
    assert [part.partial_image_index for part in parts] == [0, 1, 2]
    assert last.type == "image_generation.completed" and shows(opened(last.b64_json), **WANTED)
    distances = [read(opened(part.b64_json)).distance for part in parts]
    assert distances[-1] < distances[0]


def test_an_edit_paints_where_the_mask_is_transparent_and_keeps_the_rest(client, tmp_path):
    picture, mask = draw(SCENE), Image.new("RGBA", (64, 64), (255, 255, 255, 255))
    mask.paste((0, 0, 0, 0), (8, 8, 56, 56))
    answer = client.images.edit(
        image=("a.png", png(picture)),
        mask=("m.png", png(mask)),
        prompt="a green star on a blue background",
        extra_body=FIXED,
    )
    result = opened(answer.data[0].b64_json)
    assert shows(result, colour="green", background="blue")
    (tmp_path / "a.png").write_bytes(base64.b64decode(answer.data[0].b64_json))
    assert record_of(tmp_path / "a.png").model("painter").name == "llmga-toy-sdxl-inpainting"
    kept = np.asarray(mask)[..., 3] > 0
    assert (np.asarray(result.convert("RGB"))[kept] == np.asarray(picture)[kept]).all()


def test_an_edit_without_a_mask_follows_the_instruction(client):
    files = [("a.png", png(draw(SCENE))), ("b.png", png(draw(SCENE)))]
    answer = client.images.edit(image=files, prompt="make it green", extra_body=FIXED)
    result = opened(answer.data[0].b64_json).convert("RGB")
    before, after = (np.asarray(each)[24:40, 24:40].reshape(-1, 3).mean(0) for each in (draw(SCENE), result))
    assert after[0] < before[0] - 40 and after[1] > before[1] + 40  # too rough for the oracle, but less red, more green
    assert np.asarray(result)[0, 0].tolist() == np.asarray(draw(SCENE))[0, 0].tolist()


def test_variations_are_like_the_picture(client):
    answer = client.images.create_variation(image=("a.png", png(draw(SCENE))), n=1, extra_body=FIXED)
    assert shows(opened(answer.data[0].b64_json), colour="red", background="blue")


def test_a_mistake_is_an_error_of_the_client_that_says_what_to_do(client):
    with pytest.raises(openai.BadRequestError, match="multiple of 8"):
        client.images.generate(prompt=REQUEST, size="65x64")
    with pytest.raises(openai.NotFoundError, match="llmga-toy-mllm"):
        client.chat.completions.create(model="gpt-9", messages=[{"role": "user", "content": "hello"}])


def test_asked_to_end_the_server_finishes_what_it_is_at(server_class):
    with server_class() as server:
        chunks = server.client("none").chat.completions.create(
            model="llmga-toy-mllm", messages=[{"role": "user", "content": REQUEST}], stream=True
        )
        next(chunks)
        server.process.send_signal(signal.SIGTERM)
        rest = [chunk.choices[0] for chunk in chunks]
        assert rest[-1].finish_reason == "stop" and any(getattr(chunk.delta, "images", None) for chunk in rest)
        assert server.process.wait(60) == 0 and server.line("ended")


def test_the_page_beside_the_api_takes_the_keys_as_passwords_and_holds_up_no_ending(server_class):
    with server_class("--page", "--no-library", "--grace", "600", LLMGA_SERVER_KEYS=KEY) as server:
        address = server.line("ready")["page"]
        with httpx.Client(base_url=address, trust_env=False, timeout=60) as client:
            assert client.get("/config").status_code == 401
            assert client.post("/login", data={"username": "x", "password": "sk-wrong-one"}).status_code == 400
            assert client.post("/login", data={"username": "x", "password": KEY}).status_code == 200
            assert client.get("/config").json()["title"] == "LLMGA"
            assert client.get("/gradio_api/file=/etc/passwd").status_code == 403
            with client.stream("GET", "/gradio_api/heartbeat/of-the-tests") as listening:
                lines = listening.iter_lines()  # kept, or the connection is given up
                assert next(lines)
                server.process.send_signal(signal.SIGTERM)
                assert server.process.wait(60) == 0 and server.line("ended")


def test_without_keys_the_page_answers_under_names_of_this_machine_only(server_class):
    with server_class("--page", "--no-library") as server:
        address = server.line("ready")["page"] + "/config"
        assert httpx.get(address, trust_env=False).status_code == 200
        assert httpx.get(address, headers={"Host": "evil.example"}, trust_env=False).status_code == 403


def refused(*argv):
    with pytest.raises(UserError) as told:
        serve(build_parser().parse_args(argv))
    return str(told.value)


def test_what_cannot_be_served_is_said_before_anything_is_loaded(server, monkeypatch):
    monkeypatch.setattr(Models, "load", None)
    port = server.url.rsplit(":", 1)[1].removesuffix("/v1")
    assert f"--port {port} cannot be used" in refused("--port", port)
    assert "cannot be read" in refused("--port", "0", "--api-keys-file", "nowhere.txt")
    monkeypatch.setenv(VARIABLE, "short")
    assert "has 5 characters" in refused("--port", "0")

"""Pictures changed over HTTP by a painter that takes an instruction."""

import base64
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from llmga.changes import change
from llmga.diffusers.components import for_task
from llmga.diffusers.families import EDITING
from llmga.diffusers.pipelines import load_pipeline
from tests.diffusers import newer_toys

pytestmark = pytest.mark.engines("process")  # its painter is put in place of the engine's

FORM = {"prompt": "make it night", "seed": "3", "size": "64x64", "num_inference_steps": "2"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("instructed")
    return {name: newer_toys.saved(name, root / name) for name in ("pix2pix", "schnell")}


@pytest.fixture(scope="module")
def photo():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))


@pytest.fixture
def server(running, folders):
    """The painter paints from words; what is beside it changes pictures as it is told.  No language model is there."""

    def refuse():
        raise AssertionError("the language model was asked")

    painter = load_pipeline(folders["schnell"], device="cpu")
    painter.dedicated[EDITING] = load_pipeline(folders["pix2pix"], device="cpu")
    here = running()
    engine = here.service.engine
    engine.models = replace(engine.models, pipeline=painter, new_chat=refuse)
    return here


def upload(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return {"image": ("photo.png", buffer.getvalue())}


@pytest.mark.parametrize("model", [{}, {"model": "plain"}], ids=["the assistant", "the painter"])
def test_the_instruction_is_done_as_it_stands_and_what_changed_is_told(server, photo, model):
    answer = server.http.post("/v1/images/edits", data=FORM | model, files=upload(photo))
    assert answer.status_code == 200, answer.text
    (entry,) = answer.json()["data"]
    image = Image.open(io.BytesIO(base64.b64decode(entry["b64_json"])))
    editor = for_task(server.service.engine.models.pipeline, EDITING)
    assert np.array_equal(image, editor("make it night", photo, seed=3, steps=2, size=(64, 64)))
    assert entry["revised_prompt"] == "make it night"
    seen = change(photo, image)
    assert entry["changed"] == {"share": seen.share, "box": list(seen.box)} and 0 < seen.share <= 1


def test_a_stream_tells_it_with_the_picture(server, photo):
    form = FORM | {"stream": "true"}
    lines = server.http.post("/v1/images/edits", data=form, files=upload(photo)).text.splitlines()
    event = next(json.loads(line[6:]) for line in lines if line.startswith("data: {"))
    assert event["type"] == "image_edit.completed" and set(event["changed"]) == {"share", "box"}


def test_what_the_painter_cannot_follow_is_refused_before_anything_is_painted(server):
    body = {"prompt": "a cat", "model": "plain", "negative_prompt": "ugly", "size": "64x64"}
    answer = server.http.post("/v1/images/generations", json=body)
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "negative_prompt"
    assert "flux-schnell is distilled to paint without guidance; leave out negative_prompt" in answer.text
    body = {"prompt": "a cat", "model": "plain", "guidance_scale": 5.0}
    assert server.http.post("/v1/images/generations", json=body).json()["error"]["param"] == "guidance_scale"
    body = {"prompt": "a cat", "model": "plain", "size": "64x64", "num_inference_steps": 1}
    (entry,) = server.http.post("/v1/images/generations", json=body).json()["data"]
    assert "changed" not in entry

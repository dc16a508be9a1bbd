"""What is answered is what the official client's types say, strictly, and nothing beside what we say of it."""

import io
import json

import pytest
from openai.types import (
    CompletionUsage,
    ImageEditCompletedEvent,
    ImageEditPartialImageEvent,
    ImageGenCompletedEvent,
    ImageGenPartialImageEvent,
    ImagesResponse,
    Model,
)
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from PIL import Image
from pydantic import BaseModel

EVENTS = {
    "image_generation.partial_image": ImageGenPartialImageEvent,
    "image_generation.completed": ImageGenCompletedEvent,
    "image_edit.partial_image": ImageEditPartialImageEvent,
    "image_edit.completed": ImageEditCompletedEvent,
}
# What the README and /docs say stands beside OpenAI's fields.
OURS = {
    "choices.message": {"images"},
    "choices.delta": {"images"},
    "data": {"seed", "changed"},
    "event": {"seed", "index", "revised_prompt", "changed"},
    "model": {"description", "steps", "guidance_scale"},
}


def checked(kind, told, place=""):
    """The answer as the official type, validated without any conversion, with no key more than `OURS`."""
    made = kind.model_validate(told, strict=True)
    for where, names in extras(made, place):
        assert names <= OURS.get(where, set()), f"{where} has {names}"
    return made


def extras(model, place):
    """ApiKeys that the types do not know, by where they are."""
    yield place, set(model.model_extra or {})
    for name in type(model).model_fields:
        value = getattr(model, name)
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, BaseModel):
                yield from extras(each, f"{place}.{name}".strip("."))


def events(answer):
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


@pytest.mark.parametrize("words", ["hello", "paint it red", "paint forbidden things"])
def test_a_chat(running, words):
    told = running().chat(words).json()
    checked(ChatCompletion, told)
    choice = told["choices"][0]
    assert choice["logprobs"] is None and {"role", "content", "refusal"} <= set(choice["message"])


def test_a_streamed_chat(running):
    chunks = events(running().chat("paint it red", stream=True, stream_options={"include_usage": True}))
    for chunk in chunks:
        checked(ChatCompletionChunk, chunk)
    assert all({"index", "delta", "finish_reason"} <= set(choice) for chunk in chunks for choice in chunk["choices"])
    checked(CompletionUsage, chunks[-1]["usage"])


@pytest.fixture
def files():
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    return {"image": ("a.png", buffer.getvalue())}


@pytest.mark.parametrize("more", [{}, {"response_format": "url", "output_format": "webp"}, {"model": "plain"}])
def test_generations(running, more):
    told = running().http.post("/v1/images/generations", json={"prompt": "red", "n": 2} | more).json()
    assert checked(ImagesResponse, told).usage.input_tokens_details.text_tokens == 0


@pytest.mark.parametrize("path", ["edits", "variations"])
def test_edits_and_variations(running, files, path):
    told = running().http.post(f"/v1/images/{path}", data={"prompt": "make it red"}, files=files).json()
    assert checked(ImagesResponse, told).usage.input_tokens_details.image_tokens == 0


@pytest.mark.parametrize("path", ["generations", "edits"])
def test_streamed_pictures(running, files, path):
    asked = {"prompt": "make it red", "stream": True, "partial_images": 2}
    body = {"json": asked} if path == "generations" else {"data": asked, "files": files}
    told = events(running().http.post(f"/v1/images/{path}", **body))
    assert len(told) == 3 and told[-1]["type"].endswith("completed")
    for event in told:
        checked(EVENTS[event["type"]], event, "event")


def test_models(running):
    for card in running().http.get("/v1/models").json()["data"]:
        checked(Model, card, "model")

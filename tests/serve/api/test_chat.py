"""Chat over HTTP: words, pictures, streams."""

import base64
import io
import json

import pytest
from PIL import Image


def uri(image, form="PNG"):
    buffer = io.BytesIO()
    image.save(buffer, form)
    return f"data:image/{form.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def picture(part):
    return Image.open(io.BytesIO(base64.b64decode(part["image_url"]["url"].partition(",")[2])))


def message(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]


def events(answer):
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def test_words_come_back_as_openai_shapes_them(running):
    answer = running().chat("hello")
    assert message(answer) == {"role": "assistant", "content": "You said: hello ", "refusal": None}
    body = answer.json()
    assert body["object"] == "chat.completion" and body["model"] == "echo" and body["id"].startswith("chatcmpl-")
    assert body["choices"][0]["finish_reason"] == "stop"


def test_a_picture_comes_beside_the_words_with_its_prompt_and_place(running):
    said = message(running().chat("paint it red", seed=5))
    assert "gen_image" not in said["content"] and said["content"].startswith("Gladly.")
    (image,) = said["images"]
    assert picture(image).getpixel((0, 0)) == (250, 0, 0)
    assert image["revised_prompt"] == "paint it red" and image["seed"] == 5
    assert said["content"][: image["offset"]].strip() == "Gladly."


def test_the_message_sent_back_as_it_came_is_what_the_assistant_wrote(running):
    server = running()
    first = message(server.chat("paint it red"))
    messages = [{"role": "user", "content": "paint it red"}, first, {"role": "user", "content": "history"}]
    answer = server.http.post("/v1/chat/completions", json={"messages": messages})
    told = "paint it red | Gladly. {gen_image} paint it red {/gen_image} There."
    assert message(answer)["content"].strip() == told


def test_a_program_that_keeps_text_only_sends_the_prompt_back_in_it(running):
    server = running("--markdown-pictures")
    first = message(server.chat("paint [it] red"))
    assert "images" not in first and "(data:image/png;base64," in first["content"]
    messages = [
        {"role": "user", "content": "paint [it] red"},
        {"role": "assistant", "content": first["content"]},
        {"role": "user", "content": "history"},
    ]
    said = message(server.http.post("/v1/chat/completions", json={"messages": messages}))["content"]
    assert "{gen_image} paint [it] red {/gen_image}" in said and "base64" not in said


def test_a_stream_tells_the_same_piece_by_piece(running):
    server = running()
    whole = message(server.chat("paint it red", seed=1))
    pieces = events(server.chat("paint it red", seed=1, stream=True, stream_options={"include_usage": True}))
    assert pieces[-1]["choices"] == [] and "usage" in pieces[-1]
    deltas = [piece["choices"][0] for piece in pieces[:-1]]
    assert deltas[0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(delta["delta"].get("content", "") for delta in deltas) == whole["content"]
    assert [image for delta in deltas for image in delta["delta"].get("images", ())] == whole["images"]
    assert [delta["finish_reason"] for delta in deltas] == [None] * (len(deltas) - 1) + ["stop"]


def test_pictures_are_seen_in_the_order_in_which_they_are_sent(running):
    parts = [
        {"type": "image_url", "image_url": {"url": uri(Image.new("RGB", (5, 5), colour))}}
        for colour in ((200, 10, 20), (1, 2, 3))
    ]
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": "look"}, *parts]}]}
    assert message(running().http.post("/v1/chat/completions", json=body))["content"] == "200 10 20 1 2 3 "


def test_a_system_message_is_the_systems_text(running):
    body = {"messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "system?"}]}
    assert message(running().http.post("/v1/chat/completions", json=body))["content"] == "be brief "


def test_a_marker_in_a_text_stands_for_no_picture(running):
    assert message(running().chat("an <image> tag"))["content"].startswith("You said: an <image > tag")


def test_half_a_character_does_no_harm(running):
    body = b'{"messages": [{"role": "user", "content": "\\ud800 hello"}]}'
    answer = running().http.post("/v1/chat/completions", content=body, headers={"Content-Type": "application/json"})
    assert message(answer)["content"] == "You said: ? hello "


def test_a_picture_that_is_refused_is_told_without_our_folders(running):
    said = message(running().chat("paint forbidden things"))
    assert (
        said["refusal"] == "'plain' does not paint this forbidden prompt (size 8); ask for another."
        and "images" not in said
    )


@pytest.mark.parametrize("stream", [False, True])
def test_a_defect_tells_its_request_and_nothing_else(running, stream):
    answer = running().chat("paint a broken thing", stream=stream)
    assert "secret" not in answer.text and answer.headers["x-request-id"] in answer.text
    assert answer.status_code == (200 if stream else 500)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": "hello"}], "temperature": 3}, "temperature"),
        ({"messages": [{"role": "user", "content": "hello"}], "n": 2}, "n"),
        ({"messages": [{"role": "user", "content": "hello"}], "seed": -1}, "seed"),
        ({"messages": [{"role": "user", "content": "hello"}], "size": "huge"}, "size"),
        ({"messages": [{"role": "user", "content": "hello"}], "num_inference_steps": 999}, "num_inference_steps"),
        ({"messages": [{"role": "user", "content": "hello"}], "tools": [{}]}, None),
        ({"messages": [{"role": "user", "content": "hello"}], "functions": [{}]}, None),
        ({"messages": [{"role": "user", "content": "hello"}], "frequency_penalty": 0.5}, None),
        ({"messages": [{"role": "user", "content": "hello"}], "presence_penalty": -1}, None),
        ({"messages": [{"role": "user", "content": "hello"}], "repetition_penalty": 1.1}, None),
        ({"messages": [{"role": "user", "content": "hello"}], "modalities": ["text", "audio"]}, None),
        ({"messages": [{"role": "user", "content": "hello"}], "modalities": "audio"}, None),
        ({"messages": [{"role": "user", "content": "x" * 600_000}]}, "messages"),
    ],
)
def test_what_is_not_served_is_refused_in_openais_shape(running, body, param):
    server = running()
    answer = server.http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error" and error["message"].endswith(".") and error["param"] == param


def test_an_unknown_model_is_named_with_those_that_are_known(running):
    answer = running().chat("hello", model="gpt-9")
    assert answer.status_code == 404 and answer.json()["error"]["code"] == "model_not_found"
    assert "echo" in answer.json()["error"]["message"]


def test_other_names_of_the_assistant_are_served(running):
    server = running("--served-name", "gpt-9")
    assert server.chat("hello", model="gpt-9").json()["model"] == "gpt-9"
    assert [card["id"] for card in server.http.get("/v1/models").json()["data"]] == ["echo", "gpt-9", "plain"]


@pytest.mark.parametrize("roles", [["assistant", "user"], ["user", "assistant"], ["assistant"], ["developer"]])
def test_histories_may_begin_and_end_with_anybody(running, roles):
    messages = [{"role": role, "content": "hello"} for role in roles]
    answer = running().http.post("/v1/chat/completions", json={"messages": messages})
    wanted = "hello" if roles[-1] != "assistant" else "Please go on."
    assert message(answer)["content"].strip() == f"You said: {wanted}"


def test_what_leaves_the_answer_as_it_is_is_taken(running):
    neutral = {"frequency_penalty": 0, "presence_penalty": 0.0, "repetition_penalty": 1, "logprobs": False,
               "modalities": ["text", "image"], "tools": [], "tool_choice": "none", "stop": None}  # fmt: skip
    assert message(running().chat("hello", **neutral))["content"] == "You said: hello "


def test_tools_are_passed_over_where_the_host_wants_it_so(running):
    tools = [{"type": "function", "function": {"name": "look_up", "parameters": {}}}]
    assert "--ignore-tools" in running().chat("hello", tools=tools).json()["error"]["message"]
    said = message(running("--ignore-tools").chat("hello", tools=tools, tool_choice="auto"))
    assert said["content"] == "You said: hello "


def test_names_of_openais_models_paint_as_theirs_do(running):
    server = running("--served-name", "gpt-image-1", "--served-name", "dall-e-2")
    names = [card["id"] for card in server.http.get("/v1/models").json()["data"]]
    assert names == ["echo", "gpt-image-1", "dall-e-2", "plain"]
    made = {
        name: server.http.post("/v1/images/generations", json={"prompt": "red", "model": name}).json()["data"][0]
        for name in names[1:3]
    }
    assert "b64_json" in made["gpt-image-1"] and "url" not in made["gpt-image-1"]
    assert made["dall-e-2"]["url"].startswith("data:image/png;base64,") and "b64_json" not in made["dall-e-2"]

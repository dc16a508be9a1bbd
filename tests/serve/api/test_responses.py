"""/v1/responses, asked by OpenAI's own client."""

import base64
import io

import numpy as np
import openai
import pytest
from PIL import Image

from llmga.serve.api.response_store import ResponseStore
from llmga.serve.api.responses_schemas import ResponseObject

TOOL = {"type": "image_generation"}
RED, BLUE = (250, 0, 0), (0, 0, 250)


@pytest.fixture
def server(running):
    return running()


def client(server, key="none"):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)


def opened(item):
    return Image.open(io.BytesIO(base64.b64decode(item.result)))


def colours(image):
    return set(map(tuple, np.asarray(image.convert("RGB")).reshape(-1, 3)))


def shown(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def asked(text, *images):
    parts = [{"type": "input_image", "image_url": shown(image), "detail": "auto"} for image in images]
    return [{"role": "user", "content": [{"type": "input_text", "text": text}, *parts]}]


def test_words_alone_are_answered_in_words(server):
    answer = client(server).responses.create(model="echo", input="hello there", temperature=0)
    assert answer.output_text.strip() == "You said: hello there" and answer.status == "completed"
    assert [item.type for item in answer.output] == ["message"] and answer.model == "echo"


def test_with_the_tool_it_paints_between_its_words(server):
    answer = client(server).responses.create(
        model="echo",
        input="paint a red house",
        tools=[{**TOOL, "size": "48x32", "output_format": "webp"}],
        extra_body={"seed": 5},
    )
    before, picture, after = answer.output
    assert (before.type, picture.type, after.type) == ("message", "image_generation_call", "message")
    assert opened(picture).format == "WEBP" and opened(picture).size == (48, 32) and picture.size == "48x32"
    assert colours(opened(picture)) <= {RED} and "red house" in picture.revised_prompt
    assert answer.output_text.split() == ["Gladly.", "There."] and server.painter.calls[-1]["seed"] == 5


def test_without_the_tool_nothing_is_painted_and_the_prompt_stays_in_the_words(server):
    for more in ({}, {"tools": [TOOL], "tool_choice": "none"}):
        answer = client(server).responses.create(model="echo", input="paint a red house", **more)
        assert "<gen_image> paint a red house" in answer.output_text and not server.painter.calls


def test_the_tool_can_be_demanded(server):
    for choice in ("required", TOOL):
        answer = client(server).responses.create(model="echo", input="a blue sea", tools=[TOOL], tool_choice=choice)
        assert [item.type for item in answer.output].count("image_generation_call") == 1


def test_pictures_are_seen_and_changed_where_a_mask_is_transparent(server):
    picture, mask = Image.new("RGB", (16, 8), RED), Image.new("RGBA", (16, 8), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (8, 0, 16, 8))
    seen = client(server).responses.create(model="echo", input=asked("what is it?", picture))
    assert seen.output_text.split() == ["250", "0", "0"]
    tool = {**TOOL, "input_image_mask": {"image_url": shown(mask)}}
    answer = client(server).responses.create(model="echo", input=asked("blue", picture), tools=[tool], tool_choice=TOOL)
    changed = next(opened(item) for item in answer.output if item.type == "image_generation_call")
    assert colours(changed.crop((0, 0, 8, 8))) == {RED} and colours(changed.crop((8, 0, 16, 8))) == {BLUE}


def test_a_stream_tells_every_step_in_the_clients_own_types(server):
    tools = [{**TOOL, "partial_images": 2}]
    with client(server).responses.stream(model="echo", input="paint a red house", tools=tools) as stream:
        events = list(stream)
        final = stream.get_final_response()
    kinds = [event.type for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"] and kinds[-1] == "response.completed"
    assert [event.sequence_number for event in events] == list(range(len(events)))
    call = [kind.rpartition(".")[2] for kind in kinds if "image_generation_call" in kind]
    assert call == ["in_progress", "generating", "partial_image", "partial_image", "completed"]
    words = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert words.split() == ["Gladly.", "There."] == final.output_text.split()
    previews = [event for event in events if event.type.endswith("partial_image")]
    assert [event.partial_image_index for event in previews] == [0, 1]
    assert Image.open(io.BytesIO(base64.b64decode(previews[0].partial_image_b64))).size == (4, 4)
    assert colours(opened(final.output[1])) == {RED}


def test_a_conversation_goes_on_from_its_last_answer_or_from_items_sent_back(server):
    api = client(server)
    first = api.responses.create(model="echo", input="paint a red house", tools=[TOOL])
    second = api.responses.create(model="echo", input="tell the history", previous_response_id=first.id)
    assert "paint a red house" in second.output_text and "{gen_image}" in second.output_text
    assert second.previous_response_id == first.id
    picture = next(item for item in first.output if item.type == "image_generation_call")
    sent = [{"role": "user", "content": "paint a red house"}, *(item.model_dump() for item in first.output),
            {"role": "user", "content": "tell the history"}]  # fmt: skip
    assert "{gen_image} paint a red house" in api.responses.create(model="echo", input=sent).output_text
    named = [{"type": "image_generation_call", "id": picture.id}, {"role": "user", "content": "tell the history"}]
    assert "{gen_image} paint a red house" in api.responses.create(model="echo", input=named).output_text


def test_answers_are_kept_for_who_got_them_and_forgotten_on_request(running):
    server = running(keys=("first long key", "second long key"))
    mine, other = client(server, "first long key"), client(server, "second long key")
    kept = mine.responses.create(model="echo", input="hello")
    assert mine.responses.retrieve(kept.id).output_text == kept.output_text
    with pytest.raises(openai.NotFoundError, match="there is no response"):
        other.responses.retrieve(kept.id)
    mine.responses.delete(kept.id)
    with pytest.raises(openai.NotFoundError):
        mine.responses.create(model="echo", input="more", previous_response_id=kept.id)
    unkept = mine.responses.create(model="echo", input="hello", store=False)
    with pytest.raises(openai.NotFoundError):
        mine.responses.retrieve(unkept.id)


def test_what_an_answer_answered_is_listed_in_pages(server):
    api, picture = client(server), Image.new("RGB", (8, 8), RED)
    sent = [*asked("hello", picture), {"role": "assistant", "content": "yes?"}, {"role": "user", "content": "go on"}]
    kept = api.responses.create(model="echo", input=sent)
    listed = list(api.responses.input_items.list(kept.id, limit=1))  # the client asks for page after page
    assert [item.role for item in listed] == ["user", "assistant", "user"] and len({item.id for item in listed}) == 3
    text, image = listed[-1].content
    assert (text.type, text.text, image.type) == ("input_text", "hello", "input_image")
    assert image.image_url == shown(picture) and listed[1].content[0].type == "output_text"
    first = api.responses.input_items.list(kept.id, order="asc").data[0]
    assert first.id == listed[-1].id and listed[0].content[0].text == "go on"
    with pytest.raises(openai.BadRequestError, match="there is no item 'msg_0'"):
        api.responses.input_items.list(kept.id, after="msg_0")
    with pytest.raises(openai.NotFoundError):
        api.responses.input_items.list("resp_0")


def test_instructions_are_of_one_answer_and_a_cut_one_is_incomplete(server):
    api = client(server)
    first = api.responses.create(model="echo", input="what is the system?", instructions="speak low")
    assert first.output_text.strip() == "speak low"
    second = api.responses.create(model="echo", input="what is the system?", previous_response_id=first.id)
    assert second.output_text.strip() == "None"


def test_a_picture_that_cannot_be_painted_is_a_refusal_beside_the_words(server):
    answer = client(server).responses.create(model="echo", input="paint a forbidden thing", tools=[TOOL])
    picture = next(item for item in answer.output if item.type == "image_generation_call")
    assert picture.status == "failed" and picture.result is None
    refusals = [
        part.refusal
        for item in answer.output
        if item.type == "message"
        for part in item.content
        if part.type == "refusal"
    ]
    assert len(refusals) == 1 and "'plain' does not paint this forbidden prompt" in refusals[0]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"tools": [{"type": "web_search"}]}, "the tool 'web_search' is not served"),
        ({"conversation": "conv_1"}, "'conversation' is not served"),
        ({"text": {"format": {"type": "json_object"}}}, "format 'text'"),
        ({"input": [{"type": "image_generation_call", "id": "ig_gone"}]}, "'ig_gone' is not known here any more"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file_1"}]}]},
            "no files are kept here",
        ),
        ({"model": "plain"}, "this model paints and does not talk"),
        ({"reasoning_effort_": "x"}, "there is no such field"),
    ],
)
def test_what_is_not_served_is_refused_by_name(server, more, told):
    answer = server.http.post("/v1/responses", json={"input": "hello", **more})
    assert answer.status_code in (400, 404) and told in answer.json()["error"]["message"]


def test_where_nothing_is_said_it_is_asked_to_go_on_and_what_is_too_long_is_refused(server):
    for said in ([{"type": "reasoning", "id": "rs_1"}], [{"role": "user", "content": " "}]):
        answer = server.http.post("/v1/responses", json={"input": said}).json()
        assert answer["output"][0]["content"][0]["text"].strip() == "You said: Please go on."
    many = [{"role": role, "content": "x"} for role in ("user", "assistant")] * 256
    first = server.http.post("/v1/responses", json={"input": many}).json()["id"]
    again = server.http.post("/v1/responses", json={"input": "more", "previous_response_id": first})
    assert again.status_code == 400 and "514 messages" in again.json()["error"]["message"]


def test_the_store_forgets_the_oldest_and_what_is_too_large():
    store = ResponseStore(most=2, largest=2000)
    for number in range(3):
        store.put("me", ResponseObject(id=f"resp_{number}", created_at=0, model="m"), ())
    assert store.get("me", "resp_0") is None and store.get("me", "resp_2") is not None
    store.put("me", ResponseObject(id="resp_large", created_at=0, model="m" * 3000), ())
    assert store.get("me", "resp_large") is None and store.get("you", "resp_2") is None

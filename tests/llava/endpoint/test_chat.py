"""A server answers in place of a model of ours: the same contract, whatever the server lacks."""

import base64
import io
import json
from itertools import islice

import pytest
from PIL import Image

from llmga.errors import UserError
from llmga.llava.endpoint.address import Endpoint
from llmga.llava.endpoint.chat import EndpointChat, Limit, data_uri
from llmga.llava.instructions import PLANNING
from llmga.llava.sampling import Sampling
from tests.talks import Talk

ONE = "Here it is. <gen_image> a red circle </gen_image>"
RED, BLUE = Image.new("RGB", (4, 3), "red"), Image.new("RGB", (3, 4), "blue")


@pytest.fixture
def talk(serving):
    """`talk(act, …)` is a chat with a server that plays these acts, and the server."""

    def start(*acts, system=None, **settings):
        server = serving(*acts)
        return Talk(EndpointChat(Endpoint(server.url, "tiny", **settings)), system), server

    return start


def refusing(message, status=400, unless=lambda body: False, then="Fine.", **headers):
    """Refuses with this message until the request is as wanted."""

    def act(handler, body):
        if unless(body):
            handler.head()
            handler.event(delta={"content": then}, finish_reason="stop")
            handler.end()
        else:
            handler.json({"error": {"message": message, "code": status}}, status, **headers)

    return act


def told(chat):
    return [(message.role, message.text) for message in chat.conversation.messages]


def test_an_answer_streams_and_enters_the_history(talk):
    chat, server = talk(ONE)
    pieces = list(chat.say("a circle"))
    assert len(pieces) == 10 and "".join(pieces) == ONE
    assert told(chat) == [("user", "a circle"), ("assistant", ONE)]
    assert server.requests[0]["stream"] is True


def test_the_whole_conversation_is_sent_with_the_tag_taught_first(talk):
    chat, server = talk("Yes.", "No.")
    list(chat.say("one"))
    list(chat.say("two"))
    assert server.requests[1]["messages"] == [
        {"role": "system", "content": PLANNING},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "two"},
    ]
    assert "<gen_image>" in PLANNING and "</gen_image>" in PLANNING


def test_another_system_text_or_none_at_all(talk):
    chat, server = talk("a", system="Be brief.")
    list(chat.say("hi"))
    chat.conversation = type(chat.conversation)(system="")
    list(chat.say("hi"))
    assert [len(request["messages"]) for request in server.requests] == [2, 1]
    assert server.requests[0]["messages"][0]["content"] == "Be brief."


def test_options_are_those_of_the_sampling(talk):
    chat, server = talk("a")
    list(chat.say("hi", sampling=Sampling(0.5, 0.9, 77, 123)))
    list(chat.say("hi", sampling=Sampling(0, max_new_tokens=5)))
    first, second = server.requests
    assert (first["temperature"], first["top_p"], first["max_tokens"], first["seed"]) == (0.5, 0.9, 77, 123)
    assert second["temperature"] == 0 and not {"seed", "top_p"} & set(second)
    assert first["model"] == "tiny"


def test_pictures_travel_with_their_message(talk):
    chat, server = talk("a")
    list(chat.say("What are <image> and <image>?", [RED, BLUE]))
    list(chat.say("So?"))
    kinds = ["text", "image_url", "text", "image_url", "text"]
    for request in server.requests:
        content = request["messages"][1]["content"]
        assert [part["type"] for part in content] == kinds
        shown = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
        for url, picture in zip(shown, (RED, BLUE), strict=True):
            kind, _, data = url.partition(",")
            assert kind == "data:image/png;base64"
            assert Image.open(io.BytesIO(base64.b64decode(data))).tobytes() == picture.tobytes()
    assert server.requests[1]["messages"][3]["content"] == "So?"


def test_a_large_picture_travels_as_jpeg_and_alpha_over_white():
    assert data_uri(Image.effect_noise((1500, 1500), 90)).startswith("data:image/jpeg;base64,")
    data = data_uri(Image.new("RGBA", (2, 2))).partition(",")[2]
    assert Image.open(io.BytesIO(base64.b64decode(data))).getpixel((0, 0)) == (255, 255, 255)


def test_a_turn_is_edited_and_answered_again(talk):
    chat, server = talk("one", "two", "three", "four")
    list(chat.say("a", [RED]))
    list(chat.say("b"))
    assert "".join(chat.regenerate()) == "three"
    assert told(chat) == [("user", "a"), ("assistant", "one"), ("user", "b"), ("assistant", "three")]
    list(chat.edit(0, "c"))
    assert told(chat) == [("user", "c"), ("assistant", "four")]
    assert chat.conversation.images() == (RED,)


@pytest.mark.parametrize("pieces", [0, 1, 3])
def test_a_stopped_answer_closes_its_turn(talk, pieces):
    chat, server = talk("word " * 1000)
    said = []
    for piece in chat.say("hi", sampling=Sampling(max_new_tokens=2000), cancelled=lambda: len(said) >= pieces):
        said.append(piece)
    assert said == ["word "] * pieces
    assert told(chat) == [("user", "hi"), ("assistant", "word " * pieces)]


def test_a_reader_that_leaves_ends_the_request(talk):
    def drip(handler, body):
        handler.head()
        while not handler.server.leaving.wait(0.01):
            handler.event(delta={"content": "word "})

    chat, server = talk(drip)
    answer = chat.say("hi")
    said = "".join(islice(answer, 3))
    answer.close()
    assert server.answered.acquire(timeout=10), "the server still writes"
    assert told(chat) == [("user", "hi"), ("assistant", said)]


def test_a_server_that_never_answers_can_be_cancelled(talk):
    chat, server = talk(lambda handler, body: handler.server.leaving.wait())
    polls = iter(range(100))
    assert list(chat.say("hi", cancelled=lambda: next(polls) > 3)) == []
    assert next(polls) < 10
    assert told(chat) == [("user", "hi"), ("assistant", "")]


def test_an_endless_answer_ends_at_our_limit(talk):
    def endless(handler, body):
        handler.head()
        while not handler.server.leaving.is_set():
            handler.event(delta={"content": " word"})

    chat, server = talk(endless)
    assert "".join(chat.say("hi", sampling=Sampling(max_new_tokens=7))).split() == ["word"] * 7
    assert server.answered.acquire(timeout=10)


def limited(text, longest, size):
    given = []
    limit = Limit(longest, given.append)
    for start in range(0, len(text), size):
        if not limit(text[start : start + size]):
            break
    return "".join(given)


@pytest.mark.parametrize("size", [1, 3, 100])
def test_the_limit_is_the_same_however_the_text_is_cut(size):
    assert limited("one two  three four", 3, size) == "one two  three "
    assert limited("one two", 2, size) == "one two"
    assert limited("a" * 99, 2, size) == "a" * 32
    assert limited("", 2, size) == ""


def test_a_server_that_does_not_stream_is_understood(talk):
    def whole(handler, body):
        handler.json({"choices": [{"message": {"role": "assistant", "content": ONE}, "finish_reason": "stop"}]})

    chat, _ = talk(whole)
    assert "".join(chat.say("a circle")) == ONE


def test_a_whole_answer_is_cut_at_our_limit_too(talk):
    chat, _ = talk(lambda handler, body: handler.json({"choices": [{"message": {"content": "word " * 50}}]}))
    assert "".join(chat.say("hi", sampling=Sampling(max_new_tokens=3))) == "word word word "


VLLM_SEED = "Unsupported parameter: seed"
MISTRAL_SEED = [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]


@pytest.mark.parametrize("message", [VLLM_SEED, MISTRAL_SEED], ids=["words", "list"])
def test_an_option_that_the_server_does_not_take_is_left_out_from_then_on(talk, message):
    chat, server = talk(refusing(message, 422, unless=lambda body: "seed" not in body))
    assert "".join(chat.say("hi", sampling=Sampling(seed=1))) == "Fine."
    assert "".join(chat.say("hi", sampling=Sampling(seed=1))) == "Fine."
    assert ["seed" in request for request in server.requests] == [True, False, False]


def test_a_value_out_of_the_servers_range_is_told(talk):
    chat, server = talk(refusing("temperature must be at most 1"))
    with pytest.raises(UserError, match="refused the request .*temperature must be at most 1"):
        list(chat.say("hi"))
    assert len(server.requests) == 1


def test_another_name_of_the_longest_answer_is_learned(talk):
    message = (
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    )
    chat, server = talk(refusing(message, unless=lambda body: "max_tokens" not in body))
    assert "".join(chat.say("hi", sampling=Sampling(max_new_tokens=9))) == "Fine."
    assert server.requests[1]["max_completion_tokens"] == 9


def test_a_model_without_a_system_role_reads_it_in_the_first_message(talk):
    chat, server = talk(
        refusing("System role not supported", unless=lambda body: body["messages"][0]["role"] == "user"), system="S"
    )
    list(chat.say("hi", [RED]))
    list(chat.say("again"))
    assert server.requests[1]["messages"][0]["content"][0] == {"type": "text", "text": "S"}
    assert len(server.requests) == 3


def shorter_than(count):
    message = "This model's maximum context length is 100 tokens. However, you requested 120 tokens. Please reduce it."
    return refusing(message, unless=lambda body: len(body["messages"]) < count)


def test_the_oldest_turns_give_way(talk):
    chat, server = talk(*["Fine."] * 3, shorter_than(4))
    for text in ("one", "two", "three", "four", "five"):
        assert "".join(chat.say(text)) == "Fine."
    assert [len(request["messages"]) for request in server.requests[:3]] == [2, 4, 6]
    sent = [[message["content"] for message in request["messages"][1::2]] for request in server.requests[3:]]
    assert sent == [
        ["one", "two", "three", "four"],
        ["two", "three", "four"],
        ["three", "four"],
        ["four"],
        ["four", "five"],  # what was too long once is not tried again
        ["five"],
    ]
    assert len(chat.conversation.messages) == 10


def test_an_answer_without_a_limit_is_the_last_try(talk):
    message = "the request exceeds the available context size, try increasing it"
    chat, server = talk(refusing(message, 500, unless=lambda body: "max_tokens" not in body))
    assert "".join(chat.say("hi")) == "Fine."
    assert len(server.requests) == 2


def test_a_message_too_long_for_the_server_is_refused_in_words(talk):
    chat, _ = talk(shorter_than(0))
    with pytest.raises(UserError, match="this message is too long for 'tiny' at http.*maximum context length"):
        list(chat.say("word " * 100))
    assert told(chat) == []


def test_thoughts_are_neither_said_nor_painted(talk):
    chat, _ = talk("<think>a <gen_image> no </gen_image></think>\n\nHello.")
    assert "".join(chat.say("hi")) == "Hello."


def test_the_request_is_plain_json(talk):
    chat, server = talk("a")
    list(chat.say("日本 \u2028 <image> ok"))
    assert json.dumps(server.requests[0], ensure_ascii=False).count("日本") == 1
    assert "<image >" in server.requests[0]["messages"][1]["content"]


def test_what_ended_an_answer_is_known(talk):
    def cut(handler, body):
        handler.head()
        handler.event(delta={"content": "Hel"}, finish_reason="length")
        handler.end()

    chat, _ = talk("Hello.", cut, "one two three four")
    list(chat.say("hi"))
    assert chat.ended_by == "marker"
    list(chat.say("hi"))
    assert chat.ended_by == "limit"
    list(chat.say("hi", sampling=Sampling(max_new_tokens=2)))
    assert chat.ended_by == "limit"
    next(iter(chat.say("hi", cancelled=lambda: False)))
    assert chat.ended_by in ("caller", "marker")
    list(chat.say("hi", cancelled=lambda: True))
    assert chat.ended_by == "caller"

"""Whatever a server does wrong is one sentence that names it and the remedy; what was said before stays."""

import socket
import time

import httpx
import pytest
from PIL import Image

from llmga.errors import UserError
from llmga.llava.endpoint import completions
from llmga.llava.endpoint.address import Endpoint
from llmga.llava.endpoint.chat import EndpointChat
from llmga.llava.endpoint.refusals import Refusal
from tests.talks import Talk

RED = Image.new("RGB", (4, 3), "red")


@pytest.fixture
def fails(serving):
    """`fails(act, match, …)`: asking a server that plays this act ends in one such sentence, which is returned.

    `said` is what must stand in the history then; None is an untouched one.
    """

    def check(act, match, said=None, images=(), models=("tiny",), **settings):
        server = serving(act, models=models)
        chat = Talk(EndpointChat(Endpoint(server.url, "tiny", **settings)))
        with pytest.raises(UserError, match=match) as caught:
            list(chat.say("hi", images))
        assert [message.text for message in chat.conversation.messages[1:]] == ([] if said is None else [said])
        sentence = str(caught.value)
        assert "127.0.0.1" in sentence and "\n" not in sentence and sentence.endswith(".")
        return sentence

    return check


def refusing(status, message="no", **headers):
    return lambda handler, body: handler.json({"error": {"message": message}}, status, **headers)


@pytest.fixture
def closed_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def test_nobody_listens(closed_port):
    with pytest.raises(UserError, match=f"http://127.0.0.1:{closed_port}/v1 cannot be reached: nothing listens there"):
        list(Talk(EndpointChat(Endpoint(f"http://127.0.0.1:{closed_port}/v1", "tiny"))).say("hi"))


def test_an_unknown_host(monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    for ask in (lambda end: list(Talk(EndpointChat(end)).say("hi")), lambda end: end.named()):
        with pytest.raises(UserError, match="its host name is unknown; check the spelling"):
            ask(Endpoint("http://no-such-host.invalid/v1", "tiny"))


def test_a_connection_that_is_not_accepted_in_time():
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        endpoint = Endpoint(f"http://127.0.0.1:{full.getsockname()[1]}", "tiny", connect_timeout=0.3, timeout=0.5)
        with pytest.raises(UserError, match="did not answer the connection within 0.3 s.*--mllm-connect-timeout"):
            list(Talk(EndpointChat(endpoint)).say("hi"))
        for client in waiting:
            client.close()


def test_a_server_that_speaks_no_https(serving):
    server = serving("hi")
    endpoint = Endpoint(server.url.replace("http://", "https://"), "tiny")
    with pytest.raises(UserError, match="does not speak https"):
        list(Talk(EndpointChat(endpoint)).say("hi"))


def test_silence_before_the_first_word(fails):
    fails(lambda handler, body: handler.server.leaving.wait(), "was silent for 0.4 s.*--mllm-timeout", timeout=0.4)


def test_silence_between_two_words_even_with_signs_of_life(fails):
    def lively(handler, body):
        handler.head()
        handler.event(delta={"content": "Hello"})
        while not handler.server.leaving.wait(0.02):
            handler.chunk(": keep-alive\n\n")
            handler.event(delta={})

    fails(lively, "was silent for 0.4 s", said="Hello", timeout=0.4)


def test_time_runs_anew_with_every_word(serving):
    def slow(handler, body):
        handler.head()
        for _ in range(4):
            handler.server.leaving.wait(0.4)
            handler.event(delta={"content": "w"})
        handler.chunk("data: [DONE]\n\n")
        handler.end()

    chat = Talk(EndpointChat(Endpoint(serving(slow).url, "tiny", timeout=1.0, connect_timeout=1.0)))
    assert "".join(chat.say("hi")) == "wwww"


def test_a_key_is_asked_for_refused_or_taken(fails, serving):
    fails(refusing(401), r"asks for a key \(401\); give one with --mllm-key or in LLMGA_API_KEY")
    sentence = fails(refusing(403, "sk-secret is wrong"), r"refuses the key \(403\)", key="sk-secret")
    assert "sk-secret" not in sentence
    sentence = fails(refusing(400, "sk-secret is odd"), "refused the request", key="sk-secret")
    assert "sk-secret" not in sentence
    server = serving("hello")
    list(Talk(EndpointChat(Endpoint(server.url, "tiny", "sk-secret"))).say("hi"))
    assert server.headers[0]["Authorization"] == "Bearer sk-secret"


@pytest.mark.parametrize("status", [404, 400])
def test_an_unknown_model_lists_those_that_are_offered(fails, status):
    act = refusing(status, "The model `tiny` does not exist.")
    fails(act, "has no model 'tiny'; it offers big, small, choose with --mllm-model", models=["big", "small"])


@pytest.mark.parametrize("models", [None, ["tiny"]])
def test_a_wrong_path(fails, models):
    fails(refusing(404), r"has no chat \(404: no\); give the base of its OpenAI interface", models=models)


def test_a_busy_server_is_asked_again_after_the_time_it_names(serving):
    begun = time.monotonic()
    server = serving(refusing(429, Retry_After="0.3"), refusing(503, Retry_After="0"), "Hello.")
    assert "".join(Talk(EndpointChat(Endpoint(server.url, "tiny"))).say("hi")) == "Hello."
    assert len(server.requests) == 3 and time.monotonic() - begun > 0.3


def test_a_server_that_stays_busy_is_left_after_a_few_tries(fails, serving):
    fails(refusing(429, "slow down", Retry_After="0"), r"is too busy \(429: slow down\); try again in 0 s")
    begun = time.monotonic()
    fails(refusing(429, "quota", Retry_After="3600"), r"is too busy \(429: quota\); try again in 3600 s")
    fails(refusing(429, Retry_After="Fri, 31 Dec 2100 23:59:59 GMT"), "try again in [0-9]{8,} s")
    assert time.monotonic() - begun < 20
    server = serving(refusing(429, Retry_After="0"))
    with pytest.raises(UserError):
        list(Talk(EndpointChat(Endpoint(server.url, "tiny"))).say("hi"))
    assert len(server.requests) == completions.TRIES


def test_waiting_for_a_busy_server_can_be_cancelled(serving):
    server, begun, polls = serving(refusing(429, Retry_After="50")), time.monotonic(), iter(range(1000))
    chat = Talk(EndpointChat(Endpoint(server.url, "tiny")))
    assert list(chat.say("hi", cancelled=lambda: next(polls) > 5)) == []
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize("status", [500, 502, 504])
def test_a_fault_of_the_server(fails, status):
    fails(refusing(status, "out of\nmemory."), rf"failed \({status}: out of memory\); look at its log and ask again")


def test_a_redirect_is_not_followed_but_told(fails, serving):
    elsewhere = serving("never")

    def moved(handler, body):
        handler.json({}, 307, Location=elsewhere.url + "/chat/completions")

    sentence = fails(moved, "has moved.*--mllm-url")
    assert elsewhere.url in sentence and elsewhere.requests == []


def plain(text, kind="text/html"):
    def act(handler, body):
        handler.head(200, kind)
        handler.chunk(text)
        handler.end()

    return act


@pytest.mark.parametrize("text", ["<html><b>Open</b> WebUI</html>", "{", "[1]", "null"])
def test_an_answer_that_is_no_json(fails, text):
    fails(plain(text), "sent what is no answer of a chat .*mostly ending in /v1")


def test_an_empty_answer(fails):
    def empty(handler, body):
        handler.head()
        handler.end()

    fails(empty, "sent an empty answer")


@pytest.mark.parametrize("text", ['{"choices": 1}', '{"choices": ["a"]}', '{"choices": [{"message": "a"}]}', "{}"])
def test_an_answer_of_another_shape(fails, text):
    fails(plain(text, "application/json"), r"failed \(")


def begun(handler):
    handler.head()
    handler.event(delta={"content": "Hello"})


def test_a_stream_that_ends_too_early(fails):
    def early(handler, body):
        begun(handler)
        handler.end()

    fails(early, "broke off its answer before the end", said="Hello")


def test_a_connection_that_is_cut(fails):
    def cut(handler, body):
        begun(handler)
        handler.close_connection = True

    fails(cut, "broke off its answer", said="Hello")


def test_a_connection_without_length_that_is_cut_within_a_line(fails):
    def cut(handler, body):
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.end_headers()
        handler.wfile.write(b'data: {"choices": [{"delta": {"content": "Hello"}}]}\n\ndata: {"choices": [{"del')
        handler.close_connection = True

    fails(cut, "broke off its answer before the end", said="Hello")


def test_a_fault_within_the_stream(fails):
    def fault(handler, body):
        begun(handler)
        handler.chunk('data: {"error": {"message": "CUDA out of memory"}}\n\n')
        handler.end()

    fails(fault, r"failed \(CUDA out of memory\)", said="Hello")


def test_nonsense_within_the_stream(fails):
    def nonsense(handler, body):
        begun(handler)
        handler.chunk("data: {oops}\n\n")
        handler.end()

    fails(nonsense, "no answer of a chat", said="Hello")


def test_a_line_without_end(fails, monkeypatch):
    monkeypatch.setattr(completions, "LARGEST_ANSWER", 5000)

    def flood(handler, body):
        begun(handler)
        handler.chunk("data: ")
        while not handler.server.leaving.is_set():
            handler.chunk("a" * 1000)

    fails(flood, "sends an answer without end", said="Hello")


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "tiny is not a multimodal model"),
        (500, "image input is not supported - hint: you may need to provide the mmproj"),
        (422, "unknown variant `image_url`, expected `text`"),
    ],
)
def test_a_server_that_reads_no_pictures(fails, status, message):
    fails(refusing(status, message), "does not read these pictures.*ask without a picture", images=[RED])


def test_after_a_refused_picture_the_talk_goes_on(serving):
    chat = Talk(EndpointChat(Endpoint(serving(refusing(400, "no image please"), "Hello.").url, "tiny")))
    with pytest.raises(UserError, match="pictures"):
        list(chat.say("hi", [RED]))
    assert "".join(chat.say("hi")) == "Hello."


def test_words_of_a_server_are_clipped():
    endpoint = Endpoint("http://localhost")
    refusal = Refusal.of(httpx.Response(400), "<html>" + "no " * 500, endpoint)
    assert len(refusal.said) < 210 and "<" not in refusal.said

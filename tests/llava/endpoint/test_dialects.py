"""What llama.cpp's server, Ollama, vLLM and LM Studio send, byte for byte in the fields that matter."""

import json
import time

import pytest
from PIL import Image

from llmga.errors import UserError
from llmga.llava.endpoint import completions
from llmga.llava.endpoint.address import Endpoint
from llmga.llava.endpoint.chat import EndpointChat
from llmga.llava.sampling import Sampling
from tests.talks import Talk

RED = Image.new("RGB", (4, 3), "red")
SAID = "Here. <gen_image> a red fox </gen_image>"


def streamed(*chunks, done=True, pause=0.0):
    """Plays chunks of an event stream as they are."""

    def act(handler, body):
        handler.head()
        for chunk in chunks:
            time.sleep(pause)
            handler.chunk(f"data: {json.dumps(chunk)}\n\n")
        if done:
            handler.chunk("data: [DONE]\n\n")
        handler.end()

    return act


def answering(status, body):
    return lambda handler, asked: handler.json(body, status)


def choice(delta, finish=None, **more):
    return {"choices": [{"finish_reason": finish, "index": 0, "delta": delta, **more}]}


def words(text=SAID, size=6):
    return [text[start : start + size] for start in range(0, len(text), size)]


def llama_cpp(*choices):
    """The first chunk has no words, the last one the times; some have no choice at all."""
    every = {"created": 1764500000, "id": "chatcmpl-yRo0", "model": "qwen.gguf", "system_fingerprint": "b7203-4821"}
    every |= {"object": "chat.completion.chunk"}
    timings = {"prompt_n": 21, "prompt_ms": 31.5, "predicted_n": 9, "predicted_ms": 80.1, "cache_n": 0}
    progress = {"choices": [], "prompt_progress": {"total": 21, "cache": 0, "processed": 21, "time_ms": 31}}
    first, last = choice({"role": "assistant", "content": None}), {"choices": [], "timings": timings}
    usage = {"usage": {"completion_tokens": 9, "prompt_tokens": 21, "total_tokens": 30}}
    return [every | part for part in (progress, first, *choices, choice({}, "stop"), last | usage)]


def ollama(*choices):
    every = {"id": "chatcmpl-512", "object": "chat.completion.chunk", "created": 1764500000, "model": "gemma3:4b"}
    every |= {"system_fingerprint": "fp_ollama"}
    return [every | part for part in (*choices, choice({"role": "assistant", "content": ""}, "stop"))]


def vllm(*choices):
    every = {"id": "chatcmpl-9f", "object": "chat.completion.chunk", "created": 1764500000, "model": "Qwen/Qwen2.5-VL"}
    first = choice({"role": "assistant", "content": ""}, logprobs=None)
    last = choice({"content": ""}, "stop", logprobs=None, stop_reason=None)
    return [every | part for part in (first, *choices, last)]


STREAMS = {
    "llama.cpp": llama_cpp(*(choice({"content": piece}) for piece in words())),
    "llama.cpp, thinking": llama_cpp(
        *(choice({"reasoning_content": piece}) for piece in words("A fox? <gen_image> no </gen_image>")),
        *(choice({"content": piece}) for piece in words()),
    ),
    "Ollama": ollama(*(choice({"role": "assistant", "content": piece}) for piece in words())),
    "Ollama, thinking": ollama(
        *(choice({"role": "assistant", "content": "", "reasoning": piece}) for piece in words("A fox?")),
        *(choice({"role": "assistant", "content": piece}) for piece in words()),
    ),
    "vLLM": vllm(*(choice({"content": piece}, logprobs=None, token_ids=None) for piece in words())),
    "vLLM, thinking": vllm(
        *(choice({"reasoning": piece, "reasoning_content": piece}) for piece in words("A fox?")),
        *(choice({"content": piece}) for piece in words()),
    ),
}


@pytest.mark.parametrize("dialect", STREAMS)
def test_a_stream_is_heard_without_its_thoughts_and_figures(serving, dialect):
    server = serving(streamed(*STREAMS[dialect]))
    chat = Talk(EndpointChat(Endpoint(server.url, "any")))
    assert "".join(chat.say("A fox", [RED])) == SAID and chat.ended_by == "marker"
    asked = server.requests[0]
    assert set(asked) <= {"model", "messages", "stream", "temperature", "max_tokens"}  # n, and the like, not all take


def test_a_model_that_thinks_long_is_not_silent(serving):
    thoughts = [choice({"reasoning_content": "hm"})] * 6
    server = serving(streamed(*llama_cpp(*thoughts, choice({"content": "Hello."})), pause=0.15))
    chat = Talk(EndpointChat(Endpoint(server.url, "any", timeout=0.6)))
    assert "".join(chat.say("hi")) == "Hello."


@pytest.mark.parametrize("streams", [True, False])
def test_an_answer_that_is_all_thought_says_what_to_do(serving, streams):
    thought = {"role": "assistant", "content": "", "reasoning_content": "hm"}
    if streams:
        act = streamed(choice(thought), choice({}, "length"))
    else:
        act = answering(200, {"choices": [{"index": 0, "finish_reason": "length", "message": thought}]})
    with pytest.raises(UserError, match="thought until .* said nothing; raise --max-new-tokens, or .*reasoning-budget"):
        list(Talk(EndpointChat(Endpoint(serving(act).url, "any"))).say("hi", sampling=Sampling(max_new_tokens=8)))


LOADING = answering(503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}})


def test_a_model_that_is_being_loaded_is_waited_for(serving, monkeypatch):
    monkeypatch.setattr(completions, "LOADS_IN", 0.02)
    server = serving(*[LOADING] * 9, "Hello.")
    assert "".join(Talk(EndpointChat(Endpoint(server.url, "any"))).say("hi")) == "Hello."
    with pytest.raises(UserError, match="was still loading its model after 0.1 s; .* --mllm-timeout"):
        list(Talk(EndpointChat(Endpoint(serving(LOADING).url, "any", timeout=0.1))).say("hi"))


LLAMA_CPP_MODELS = {
    "models": [{"name": "/models/qwen.gguf", "model": "/models/qwen.gguf", "type": "model", "capabilities": []}],
    "object": "list",
    "data": [{"id": "/models/qwen.gguf", "object": "model", "owned_by": "llamacpp", "meta": {"n_ctx_train": 32768}}],
}
OLLAMA_MODELS = {"object": "list", "data": [{"id": "gemma3:4b", "object": "model", "owned_by": "library"}]}
LISTS = {
    "llama.cpp": (LLAMA_CPP_MODELS, ["/models/qwen.gguf"]),
    "Ollama": (OLLAMA_MODELS, ["gemma3:4b"]),
    "Ollama without a model": ({"object": "list", "data": None}, []),
    "LM Studio, another path": ({"error": "Unexpected endpoint or method. (GET /models). Returning 200 anyway"}, []),
}


@pytest.mark.parametrize("dialect", LISTS)
def test_a_list_of_models_is_read(serving, dialect, monkeypatch):
    server = serving("Hello.")
    said, names = LISTS[dialect]
    monkeypatch.setattr(server.RequestHandlerClass, "do_GET", lambda handler: handler.json(said))
    endpoint = Endpoint(server.url)
    assert endpoint.models() == names
    if names:
        assert endpoint.named().model == names[0]
    else:
        with pytest.raises(UserError, match="offers no list of models; name the one to use with --mllm-model"):
            endpoint.named()


def test_a_list_while_the_model_is_being_loaded(serving, monkeypatch):
    server = serving("Hello.")
    monkeypatch.setattr(server.RequestHandlerClass, "do_GET", lambda handler: LOADING(handler, {}))
    assert Endpoint(server.url, "any").named().model == "any"
    with pytest.raises(UserError, match="is still loading its model; ask again when it is ready, or name it"):
        Endpoint(server.url).named()


REFUSALS = {
    "llama.cpp without mmproj": (
        500,
        {"code": 500, "message": "image input is not supported - hint: if this is unexpected, you may need to provide "
                                 "the mmproj", "type": "server_error"},
        "does not read these pictures .*provide the mmproj.*use a model that sees",
    ),
    "llama.cpp, a wrong key": (
        401, {"code": 401, "message": "Invalid API Key", "type": "authentication_error"}, "asks for a key",
    ),
    "llama.cpp, context": (
        400,
        {"code": 400, "message": "request (9000 tokens) exceeds the available context size (4096 tokens), try "
                                 "increasing it", "type": "exceed_context_size_error", "n_ctx": 4096},
        "too long .*4096 tokens.*shorten it",
    ),
    "Ollama, an unknown model": (
        404,
        {"message": "model 'tiny' not found", "type": "not_found_error", "param": None, "code": None},
        r"has no model 'tiny' \(404: model 'tiny' not found\); fetch or load it there",
    ),
    "Ollama, words only": (
        500,
        {"message": "Failed to create new sequence: failed to process inputs: this model is missing data required for "
                    "image input", "type": "api_error", "param": None, "code": None},
        "does not read these pictures",
    ),
    "vLLM, words only": (
        400, {"message": "tiny is not a multimodal model", "type": "BadRequestError", "code": 400}, "pictures",
    ),
    "vLLM, too many pictures": (
        400, {"message": "At most 1 image(s) may be provided in one prompt.", "code": 400}, "At most 1 image",
    ),
    "SGLang, context": (
        400, {"message": "The input (9000 tokens) is longer than the model's context length (8192 tokens)."},
        "too long",
    ),
    "LM Studio, an unknown model": (
        400, {"message": "Invalid model identifier 'tiny'.", "param": "model", "code": "model_not_found"},
        "has no model 'tiny'",
    ),
    "LM Studio, none loaded": (
        404, {"message": "No models loaded. Please load a model in the developer page.", "code": None},
        "has no model 'tiny' .*No models loaded",
    ),
    "LM Studio, context": (
        400,
        "Trying to keep the first 9000 tokens when context the overflows. However, the model is loaded with context "
        "length of only 4096 tokens, which is not enough.",
        "too long",
    ),
}  # fmt: skip


@pytest.mark.parametrize("dialect", REFUSALS)
def test_a_refusal_is_told_with_the_remedy(serving, dialect):
    status, error, sentence = REFUSALS[dialect]
    server = serving(answering(status, {"error": error}), models=["tiny"])
    with pytest.raises(UserError, match=sentence):
        list(Talk(EndpointChat(Endpoint(server.url, "tiny"))).say("What is this?", [RED]))


def test_older_pictures_give_way_where_a_server_takes_one(serving):
    """vLLM's --limit-mm-per-prompt."""

    def act(handler, body):
        pictures = json.dumps(body["messages"]).count('image_url"')
        if pictures > 2:  # each part holds the word twice
            handler.json({"error": {"message": "At most 1 image(s) may be provided in one prompt."}}, 400)
        else:
            streamed(choice({"content": "Hello."}), choice({}, "stop"))(handler, body)

    chat = Talk(EndpointChat(Endpoint(serving(act).url, "tiny")))
    for _ in range(3):
        assert "".join(chat.say("And this?", [RED])) == "Hello."


def test_a_fault_within_the_stream_is_told(serving):
    """llama.cpp sends it as data, LM Studio as an event of its own."""
    broken = {"error": {"code": 500, "message": "Compute error.", "type": "server_error"}}

    def lm_studio(handler, body):
        handler.head()
        handler.chunk(f"event: error\ndata: {json.dumps(broken)}\n\n")
        handler.end()

    for act in (streamed(choice({"role": "assistant", "content": None}), broken, done=False), lm_studio):
        with pytest.raises(UserError, match=r"failed \(Compute error\); look at its log"):
            list(Talk(EndpointChat(Endpoint(serving(act).url, "tiny"))).say("hi"))

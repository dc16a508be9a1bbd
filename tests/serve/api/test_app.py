"""What holds for every path."""

import io
import json
import logging
import re

import hypothesis
import pytest
import schemathesis
from openai.types.chat.completion_create_params import CompletionCreateParamsBase
from openai.types.image_generate_params import ImageGenerateParamsBase
from PIL import Image
from schemathesis import GenerationMode
from starlette.testclient import TestClient

from llmga.serve.api.app import build_app
from llmga.serve.api.auth import ApiKeys
from llmga.serve.api.chat_schemas import ChatRequest
from llmga.serve.api.document import FILES
from llmga.serve.api.image_schemas import GenerationRequest
from llmga.serve.api.logs import JsonFormatter, log
from llmga.serve.api.schemas import SIDE
from tests.serve.api.sent import half  # which tells schemathesis, too

KEY = "sk-a-long-secret"
IMAGES, CHAT = "/v1/images/generations", "/v1/chat/completions"
HI = [{"role": "user", "content": "hi"}]
EXAMPLES, LOOKS = 12, 2  # of what has a body, and of what has none
OPERATIONS = 30
PATIENCE = 120  # seconds, of a machine that others use, too
REFUSALS = [400, 401, 403, 404, 405, 413, 415]  # 413: it is long, too
CHECKS = {"checks": {"negative_data_rejection": {"expected-statuses": REFUSALS}}}


@pytest.fixture
def app(service):
    return build_app(service("--max-request-mb", "1"), ApiKeys())


@pytest.fixture
def client(reached):
    return reached("--max-request-mb", "1")


@pytest.mark.engines("process", long=["ray"])
def test_no_generated_request_breaks_the_server(service):
    """schemathesis over our own document, with requests that keep to it and others, and all its checks."""
    app = build_app(service("--max-request-mb", "1"), ApiKeys([KEY]))
    right, wrong = operations(app.openapi(), app), operations(without_our_formats(app.openapi()), app)
    assert len(right) == OPERATIONS
    for operation in right:
        check_operation(operation, GenerationMode.POSITIVE)
    for operation in wrong:
        if operation.body:
            check_operation(operation, GenerationMode.NEGATIVE)


def operations(document, app):
    loaded = schemathesis.openapi.from_dict(document, config=schemathesis.Config.from_dict(CHECKS))
    loaded.app = app
    return [operation.ok() for operation in loaded.get_all_operations()]


def without_our_formats(document):
    """The document as programs read it that do not know them: they would take anything for a violation."""
    ours = ("words", "size", "control", "picture", "base64-picture")
    return json.loads(
        json.dumps(document),
        object_hook=lambda each: {key: value for key, value in each.items() if key != "format" or value not in ours},
    )


def check_operation(operation, mode):
    quick = hypothesis.settings(
        max_examples=EXAMPLES if operation.method == "post" else LOOKS,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )

    @quick
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def one(case):
        headers = {"Authorization": f"Bearer {KEY}"}
        case.validate_response(case.call(headers=headers, timeout=PATIENCE), headers=headers)

    one()


@pytest.mark.parametrize(
    ("path", "methods"), [("/sdapi/v1/options", "GET, POST"), ("/v1/responses/x", "DELETE, GET"), ("/v1/models", "GET")]
)
def test_a_wrong_method_is_told_all_right_ones(client, path, methods):
    answer = client.request("PATCH", path)
    assert answer.status_code == 405 and answer.headers["allow"] == methods


def test_forms_have_no_null_in_the_document(app):
    schemas = app.openapi()["components"]["schemas"]
    assert '"null"' not in json.dumps(schemas["EditForm"]) + json.dumps(schemas["VariationForm"])
    assert '"null"' in json.dumps(schemas["GenerationRequest"])


def test_what_is_left_empty_in_a_form_is_as_if_it_were_not_sent(app, client):
    fields = app.openapi()["components"]["schemas"]["EditForm"]["properties"]
    assert fields["n"]["type"] == ["integer", "string"] and fields["n"]["maxLength"] == 0
    assert "" in fields["background"]["enum"] and re.search(fields["size"]["pattern"], "")
    empty = dict.fromkeys(fields.keys() - {"prompt", *FILES}, "")
    answer = client.post(
        "/v1/images/edits", data={"prompt": "red"} | empty, files={"image": half("RGB", "red", "blue")}
    )
    assert answer.status_code == 200, answer.text


def test_the_document_names_every_refusal_and_none_that_is_never_sent(app):
    document = app.openapi()
    chat = document["paths"]["/v1/chat/completions"]["post"]["responses"]
    assert set(chat) == {"200", "400", "401", "403", "404", "413", "429", "500", "503"}
    assert "text/event-stream" in chat["200"]["content"]


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("GET", "/v1/images/edits", 405)])
def test_paths_that_are_not_there_answer_in_openais_shape(client, method, path, status):
    answer = client.request(method, path)
    assert answer.status_code == status and answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("body", [b"{", b"[" * 100_000, b"\xff", b"null", b"[]", b'{"messages": 1e999}', b"NaN"])
def test_a_body_that_is_no_request_is_refused_in_openais_shape(client, body):
    answer = client.post("/v1/chat/completions", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400 and answer.json()["error"]["message"].endswith(".")


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([{"role": "user", "content": [{"type": "file"}]}], "messages.0.content.0"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}], "image_url.url"),
        ([{"role": "user", "content": 7}], "messages.0.content"),
        ([{"role": "tool", "content": "x"}], "messages.0.role"),
    ],
)
def test_a_field_that_is_wrong_is_named_and_nothing_of_the_inside(client, messages, param):
    error = client.post("/v1/chat/completions", json={"messages": messages}).json()["error"]
    assert error["param"].endswith(param) and error["message"].startswith(f"{error['param']}: ")
    assert not [word for word in ("Value error", "lambda", "function-", "Annotated", "[") if word in error["message"]]


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        (IMAGES, {"prompt": "red", "steps": 3}, "steps: there is no such field, did you mean num_inference_steps?"),
        (
            IMAGES,
            {"prompt": "red", "negativ_prompt": ""},
            "negativ_prompt: there is no such field, did you mean negative_prompt?",
        ),
        (IMAGES, {"prompt": "red", "sampler": "euler"}, "sampler: there is no such field; leave it out"),
        (IMAGES, {"prompt": ""}, "prompt: it says nothing; write what you want to see."),
        (
            IMAGES,
            {"prompt": "red", "size": "huge"},
            "size: 'huge' is not possible; use auto, or WIDTHxHEIGHT in pixels such as 1024x768.",
        ),
        (
            IMAGES,
            {"prompt": "red", "num_inference_steps": 9999},
            "num_inference_steps: 9999 is not possible; use at most 150.",
        ),
        (
            IMAGES,
            {"prompt": "red", "negative_prompt": "x" * 40_000},
            "negative_prompt: a text of 40,000 characters is not possible; use a length of at most 8,000",
        ),
        (CHAT, {"foo": 1, "messages": HI}, "foo: there is no such field; leave it out"),
        (CHAT, {"messages": HI, "temperature": 3}, "temperature: 3 is not possible; use at most 2."),
        (
            CHAT,
            {"messages": [{"role": "user", "content": 7}]},
            "messages.0.content: 7 is not possible; use text or a list.",
        ),
        (CHAT, {"messages": HI, "model": "gpt-9"}, "there is no model 'gpt-9'; known are: echo, plain."),
        (CHAT, {}, "messages: it is missing; send it."),
        (
            "/v1/responses",
            {"input": "hi", "tool_choice": "required"},
            "the body: tool_choice 'required' was sent without",
        ),
        (IMAGES, {"prompt": "a", "control_image": "x"}, "control_image: a picture has to come as 'data:image/"),
        (
            "/sdapi/v1/txt2img",
            {"prompt": "a", "override_settings": 3},
            "override_settings: 3 is not possible; use an obj",
        ),
    ],
)
def test_a_refusal_says_value_limit_and_remedy(client, path, body, message):
    answer = client.post(path, json=body)
    assert answer.status_code in (400, 404) and answer.json()["error"]["message"].startswith(message)


@pytest.mark.parametrize(
    ("headers", "body", "message"),
    [
        ({}, b'{"model": "plain", "prompt": "red"}', "send it with Content-Type: application/json."),
        ({"Content-Encoding": "gzip"}, b"\x1f\x8b", "byte 1 of the body is not UTF-8; send the JSON as UTF-8."),
        ({"Content-Encoding": "gzip"}, b"zipped", "is not valid JSON as it is packed (gzip); send it plain."),
        ({}, b'{"n": ' + b"1" * 10_000 + b"}", "a number in the JSON has thousands of digits; send a shorter one."),
    ],
)
def test_how_a_body_is_sent_is_told_where_that_is_what_is_wrong(client, headers, body, message):
    json = {} if not headers and body.startswith(b'{"model') else {"Content-Type": "application/json"}
    answer = client.post("/v1/images/generations", content=body, headers=headers | json)
    assert answer.status_code == 400 and answer.json()["error"]["message"].endswith(message), answer.text


@pytest.mark.parametrize("types", [ImageGenerateParamsBase, CompletionCreateParamsBase])
def test_every_field_of_the_official_client_is_known_or_asks_for_what_is_not_made(types):
    schema = ChatRequest if types is CompletionCreateParamsBase else GenerationRequest
    other_media = {"complexity", "frame_count", "frame_duration_ms", "svg"}
    assert set(types.__annotations__) - set(schema.model_fields) <= other_media


def test_a_form_with_an_unknown_field_is_refused_and_one_with_hints_is_not(client):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    sent = {"url": "/v1/images/edits", "files": {"image": ("a.png", buffer.getvalue())}}
    answer = client.post(**sent, data={"prompt": "red", "foo": "abc"})
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "foo"
    assert client.post(**sent, data={"prompt": "red", "user": "me", "quality": "high"}).status_code == 200


def test_a_path_that_is_not_there_points_to_the_documentation(client):
    assert "/docs" in client.get("/").json()["error"]["message"]


def test_one_model_can_be_looked_up(client):
    for card in client.get("/v1/models").json()["data"]:
        assert client.get(f"/v1/models/{card['id']}").json() == card
    for name in ("", "gpt-9", "a/b"):
        answer = client.get(f"/v1/models/{name}")
        assert answer.status_code == 404 and answer.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("told", [True, False])
def test_a_request_that_is_too_large_is_refused_before_it_is_whole(client, told):
    pieces = [b" " * 100_000] * 11
    body = b"".join(pieces) if told else iter(pieces)
    answer = client.post("/v1/chat/completions", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413 and "1,000,000 bytes" in answer.json()["error"]["message"]


def test_the_documentation_asks_nobody_else(client):
    page = client.get("/docs").text
    addresses = [part.split('"')[0] for part in page.replace("'", '"').split('="')[1:]]
    assert not [address for address in addresses if "://" in address or address.startswith("//")]
    used = [address for address in addresses if address.endswith((".js", ".css", ".png"))]
    assert len(used) == 3 and all(client.get(address).status_code == 200 for address in used)


@pytest.fixture
def guarded(service):
    with TestClient(build_app(service(), ApiKeys([KEY, "sk-another-one"]))) as client:
        yield client


@pytest.mark.parametrize("header", [None, "Bearer sk-wrong-wrong", f"Basic {KEY}", "Bearer ", KEY])
def test_without_a_valid_key_nothing_under_v1_is_read(guarded, header):
    headers = {} if header is None else {"Authorization": header}
    answer = guarded.post("/v1/chat/completions", content=b"{", headers=headers)
    assert answer.status_code == 401 and answer.json()["error"]["code"] == "invalid_api_key"
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_valid_key_opens_and_health_metrics_and_docs_need_none(guarded):
    assert guarded.get("/v1/models", headers={"Authorization": f"bearer {KEY}"}).status_code == 200
    assert {guarded.get(path).status_code for path in ("/health", "/metrics", "/docs", "/openapi.json")} == {200}
    assert guarded.head("/health").status_code == 200 and not guarded.head("/health").content


def test_logs_are_json_with_the_requests_id_and_neither_words_nor_keys(guarded):
    told = io.StringIO()
    handler = logging.StreamHandler(told)
    handler.setFormatter(JsonFormatter())
    log.addHandler(handler)
    before = log.level
    log.setLevel(logging.INFO)
    try:
        body = {"messages": [{"role": "user", "content": "a private matter"}]}
        headers = {"Authorization": f"Bearer {KEY}", "X-Request-ID": "mine-1"}
        answer = guarded.post("/v1/chat/completions?secret=yes", json=body, headers=headers)
    finally:
        log.removeHandler(handler)
        log.setLevel(before)
    assert answer.headers["x-request-id"] == "mine-1"
    (line,) = map(json.loads, told.getvalue().splitlines())
    assert line["event"] == "answered" and line["request"] == "mine-1"
    assert line["status"] == 200 and line["route"] == "/v1/chat/completions" and line["client"].startswith("key-")
    assert not [word for word in ("private", "secret", KEY) if word in told.getvalue()]


def test_an_id_that_is_none_is_replaced(client):
    answer = client.get("/health", headers={"X-Request-ID": "a b"})
    (identity,) = answer.headers.get_list("x-request-id")
    assert identity.startswith("req-")


def test_metrics_count_by_route_and_not_by_what_strangers_type(client):
    def counted():
        figures = client.get("/metrics").text
        lines = [line for line in figures.splitlines() if line.startswith("llmga_requests_total{")]
        asked = [line for line in lines if 'method="GET",route="/v1/models",status="200"' in line]
        return figures, sum(float(line.split()[-1]) for line in asked)

    _, before = counted()
    client.get("/v1/models")
    client.get("/some/private/path")
    figures, after = counted()
    assert after == before + 1 and "private" not in figures and "process_resident_memory_bytes" in figures


def test_the_sizes_of_the_document_are_those_that_the_setting_takes():
    pattern = re.compile(SIDE)
    assert [side for side in range(1, 10_000) if pattern.fullmatch(str(side))] == [*range(16, 2049)]

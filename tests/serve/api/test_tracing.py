"""One trace from a request to its denoising steps, read from OpenTelemetry's own exporters."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from llmga.errors import UserError
from llmga.serve.api.tracing import Tracing

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def traced(running):
    """A server and what it has exported by name."""
    exporter = InMemorySpanExporter()

    def beside(app, service):
        service.engine.tracing.__init__(exporter)

    server = running(beside=beside)

    def spans(requests=1):
        def whole():
            server.service.engine.tracing._provider.force_flush()
            return sum("http.route" in span.attributes for span in exporter.get_finished_spans()) == requests

        server.wait(whole)  # a request's span ends after its answer is sent
        return exporter.get_finished_spans()

    return server, spans


def test_a_trace_leads_from_the_request_to_every_step(traced):
    server, spans = traced
    answer = server.http.post(
        "/v1/chat/completions", json={"messages": [{"role": "user", "content": "paint a red house"}]},
        headers={"traceparent": CALLER},
    )  # fmt: skip
    found = spans()
    names = [span.name for span in found]
    (request,) = (span for span in found if span.name == "POST /v1/chat/completions")
    assert {format(span.context.trace_id, "032x") for span in found} == {CALLER.split("-")[1]}
    assert format(request.parent.span_id, "016x") == CALLER.split("-")[2]
    assert request.attributes["http.response.status_code"] == answer.status_code == 200
    assert request.attributes["llmga.request_id"] == answer.headers["x-request-id"]
    (picture,) = (span for span in found if span.name == "picture")
    steps = [span for span in found if span.name == "denoising step"]
    assert [dict(span.attributes) for span in steps] == [{"llmga.step": n, "llmga.steps": 4} for n in range(1, 5)]
    assert all(span.parent.span_id == picture.context.span_id for span in steps)
    assert names.count("queue") == 1 and names.count("words") == 2
    assert all(span.end_time >= span.start_time for span in found)
    assert "red house" not in "".join(span.to_json() for span in found)  # nobody's words


def test_a_refusal_and_a_client_of_its_own_are_traces_of_their_own(traced):
    server, spans = traced
    server.http.post("/v1/images/generations", json={"prompt": ""})
    server.http.get("/v1/models")
    found = spans(2)
    assert len({span.context.trace_id for span in found}) == 2
    assert [span.attributes["http.response.status_code"] for span in found] == [400, 200]


def test_spans_go_to_a_collector_by_otlp():
    received = []

    class Collector(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.path, self.headers["Content-Encoding"], body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

    collector = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=collector.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    tracing = Tracing.to(f"http://127.0.0.1:{collector.server_port}/")
    with tracing.request({}), tracing.span("inside"):
        pass
    tracing.close()
    collector.shutdown()
    collector.server_close()
    ((path, encoding, body),) = received
    assert path == "/v1/traces" and encoding is None
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    assert [span.name for span in resource.scope_spans[0].spans] == ["inside", "request"]
    assert resource.resource.attributes[-1].value.string_value or resource.resource.attributes


@pytest.mark.parametrize("url", ["nonsense", "ftp://localhost", "http://"])
def test_what_is_no_address_is_no_collector(url):
    with pytest.raises(UserError, match="is no address; give one such as http://localhost:4318"):
        Tracing.to(url)


def test_without_a_collector_nothing_is_made():
    tracing = Tracing.to(None)
    with tracing.request({}) as span, tracing.span("inside") as inside:
        assert span is None and inside is None
    assert tracing.begun("any") is None

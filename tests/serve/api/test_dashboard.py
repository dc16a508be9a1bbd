"""The dashboard asks for figures that /metrics has, under labels that these have."""

import json
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

import llmga
from llmga.serve.api.app import build_app
from llmga.serve.api.auth import ApiKeys

BOARD = json.loads((Path(llmga.__file__).parents[1] / "deploy/grafana/llmga.json").read_text("utf-8"))
GRAPHS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
QUERIES = [(panel["title"], target) for panel in GRAPHS for target in panel["targets"]]
METRIC = re.compile(r"\b((?:llmga|process)_\w+)\{([^}]*)\}")
PROMETHEUS_OWN = {"job", "instance"}  # labels that it adds


@pytest.fixture(scope="module")
def labels_of():
    """Name of a sample -> its labels, as a server shows them that has refused, painted and gone on with a talk."""
    found = {}

    def learn(text):
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)

    return learn, found


@pytest.fixture
def shown(labels_of, service):
    learn, found = labels_of
    if not found:
        made = service()
        for each in (made.engine.metrics.refused, made.engine.metrics.swaps):
            each.labels("any")  # of which there is none until there is one
        with TestClient(build_app(made, ApiKeys())) as client:
            client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "paint red"}]})
            learn(client.get("/metrics").text)
    return found


@pytest.mark.parametrize(("title", "target"), QUERIES, ids=[f"{title}-{target['refId']}" for title, target in QUERIES])
def test_every_query_names_a_metric_and_labels_that_are_there(shown, title, target):
    query = target["expr"]
    asked = METRIC.findall(query)
    assert asked and "$job" in query
    for name, matchers in asked:
        assert name in shown, f"{title}: no {name} in /metrics"
        known = shown[name] | PROMETHEUS_OWN
        grouped = [label.strip() for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(",")]
        told = re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
        matched = re.findall(r"(\w+)=~?\"", matchers)
        assert set(grouped) | set(matched) | set(told) <= known, f"{title}: {name} has {sorted(known)}"


def test_every_metric_of_ours_is_on_the_dashboard(shown):
    asked = {name for _, target in QUERIES for name, _ in METRIC.findall(target["expr"])}
    ours = {name for name in shown if name.startswith("llmga_") and not name.endswith(("_created", "_sum", "_count"))}
    assert ours - asked == set()


def test_panels_stand_side_by_side():
    boxes = [panel["gridPos"] for panel in BOARD["panels"]]
    cells = [(x, y) for box in boxes for x in range(box["x"], box["x"] + box["w"])
             for y in range(box["y"], box["y"] + box["h"])]  # fmt: skip
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])

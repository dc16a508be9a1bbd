"""What is supervised is what the assistant says, in every family's template and tokenizer."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from llmga.llava.blueprint import blueprint
from llmga.llava.conversation import Conversation
from llmga.llava.datasets.records import open_records
from llmga.llava.datasets.sources import DataSource
from llmga.llava.inspection import tokens
from llmga.llava.inspection.inspection import inspect
from llmga.llava.templates import NO_PLACE
from llmga.llava.tokenization import IGNORED
from llmga.llava.train.config import FAMILIES

PAINT = "Here: <gen_image> a red cat, 5 years </gen_image>"
FOLDERS = {
    "gemma": "gemma/llmga-gemma-2b-it-tiny",
    "v1": "llama/llmga-vicuna-7b-v1.5-tiny",
    "llama_3": "llama3/llmga-llama3-8b-it-tiny",
    "mistral_instruct": "mistral/llmga-mistral_instruct-tiny",
    "phi_3": "phi3/llmga-Phi-3-mini-128k-tiny",
    "qwen_2": "qwen2/llmga-Qwen2-0.5B-tiny",
}


@pytest.fixture(params=FOLDERS)
def mllm(request, fixtures: Path):
    return blueprint(fixtures / FOLDERS[request.param], conv_mode=request.param)


def talk(reply: str) -> Conversation:
    asked = Conversation().say("user", "What is it?", (Image.new("RGB", (8, 8)),)).say("assistant", PAINT)
    return asked.say("user", "And  more?\nplease").say("assistant", reply)


def test_every_family_is_tried():
    assert {family.conv_mode for family in FAMILIES.values()} == set(FOLDERS)


def test_nothing_is_wrong_with_sound_labels(mllm):
    conversation = talk("  It's\n\na dog. ok ")
    encoded = mllm.encode(conversation)
    assert list(tokens.complaints(conversation, encoded, mllm, 2048)) == []
    assert list(tokens.mark_complaints(conversation, tokens.role_marks(mllm))) == []
    lesson = tokens.lesson(encoded, mllm, 2048)
    assert (lesson.opens, lesson.closes) == (True, True)
    assert lesson.supervised == sum(label != IGNORED for label in encoded.labels) < lesson.tokens


def test_labels_that_miss_a_word_are_noticed(mllm):
    conversation = talk("a dog")
    encoded = mllm.encode(conversation)
    first = next(index for index, label in enumerate(encoded.labels) if label != IGNORED)
    labels = [IGNORED if index < first + 3 else label for index, label in enumerate(encoded.labels)]
    told = dict(tokens.complaints(conversation, replace(encoded, labels=labels), mllm, 2048))
    assert list(told) == ["wrong-labels"]


def test_every_template_knows_its_own_marks(mllm):
    end = mllm.template.reply_tail.strip()
    assert [check for check, _ in tokens.mark_complaints(talk(f"a dog{end}"), tokens.role_marks(mllm))] == [
        "role-marker"
    ]


def test_limits_are_told(mllm):
    conversation = talk("a dog")
    encoded = mllm.encode(conversation)
    assert dict(tokens.complaints(conversation, encoded, mllm, len(encoded.input_ids))) == {}
    assert list(dict(tokens.complaints(conversation, encoded, mllm, len(encoded.input_ids) - 1))) == ["cut"]
    assert list(dict(tokens.complaints(conversation, encoded, mllm, 3))) == ["too-long"]


def test_a_system_text_without_a_place_costs_the_record_and_is_named(mllm, tmp_path):
    record = {"conversations": [{"from": "system", "value": "Be kind."}, {"from": "human", "value": "Hi"}]}
    record["conversations"].append({"from": "gpt", "value": "Hello."})
    (tmp_path / "text.json").write_text(json.dumps([record]))
    source = DataSource("text", str(tmp_path / "text.json"))
    found = inspect([(source, open_records(source))], mllm, 2048)
    told = [place for place in found.findings.places["malformed"] if NO_PLACE in place]
    assert (len(told), len(found.sources[0].lessons)) == ((0, 1) if mllm.template.places_system else (1, 0))

"""What is supervised is what the assistant says, in every family's template and tokenizer."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from llmga.llava.conversation import Conversation
from llmga.llava.datasets.records import open_records
from llmga.llava.datasets.sources import DataSource
from llmga.llava.empty import load_empty_mllm
from llmga.llava.inspection import tokens
from llmga.llava.inspection.inspection import inspect
from llmga.llava.templates import NO_PLACE
from llmga.llava.tokenization import IGNORED, Encoded
from llmga.llava.train.config import FAMILIES

THREE_ANSWERS = Encoded(list(range(12)), [IGNORED] * 3 + [5, 6, 7] + [IGNORED] * 2 + [8, 9] + [IGNORED] + [4])
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
    return load_empty_mllm(fixtures / FOLDERS[request.param], conv_mode=request.param)


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
    learnt = max(place for place, label in enumerate(encoded.labels) if label != IGNORED)
    assert dict(tokens.complaints(conversation, encoded, mllm, learnt + 1)) == {}
    ((check, told),) = tokens.complaints(conversation, encoded, mllm, learnt)
    assert (check, told.partition(": ")[2]) == ("cut", str(tokens.beyond(encoded, learnt)))
    assert list(dict(tokens.complaints(conversation, encoded, mllm, 3))) == ["too-long"]


@pytest.mark.parametrize(
    ("limit", "lost", "broken"),
    [(12, 0, 0), (11, 1, 1), (10, 1, 1), (9, 2, 2), (8, 3, 2), (6, 3, 2), (5, 4, 3), (3, 6, 3)],
)
def test_what_the_limit_takes_is_counted_in_tokens_and_answers(limit, lost, broken):
    found = tokens.beyond(THREE_ANSWERS, limit)
    assert (found.tokens, found.of_tokens, found.answers, found.of_answers) == (lost, 6, broken, 3)


def test_what_the_limit_takes_of_several_samples_adds_up():
    both = tokens.beyond(THREE_ANSWERS, 9) + tokens.beyond(THREE_ANSWERS, 5)
    assert str(both) == "6 of 12 supervised tokens are lost, and 5 of 6 answers are not learnt whole"


def test_a_system_text_without_a_place_costs_the_record_and_is_named(mllm, tmp_path):
    record = {"conversations": [{"from": "system", "value": "Be kind."}, {"from": "human", "value": "Hi"}]}
    record["conversations"].append({"from": "gpt", "value": "Hello."})
    (tmp_path / "text.json").write_text(json.dumps([record]))
    source = DataSource("text", str(tmp_path / "text.json"))
    found = inspect([(source, open_records(source))], mllm, 2048)
    told = [place for place in found.findings.places["malformed"] if NO_PLACE in place]
    assert (len(told), len(found.sources[0].lessons)) == ((0, 1) if mllm.template.places_system else (1, 0))

"""Tokens against CLIP's 77: which vocabulary counts, and what is said of it."""

import gzip
import json

import pytest
from transformers import CLIPTokenizer

from llmga.assistant.loading import BUNDLED_PIPELINE, bundled
from llmga.errors import UserError
from llmga.evaluation.prompt_length import ORIGINAL, VARIABLE, by_words, clip_counter
from llmga.evaluation.prompt_scores import lengths

TEXT = "A photo of a cat, 2 dogs!"


@pytest.fixture(autouse=True)
def without_variable(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture(scope="module")
def toy():
    return bundled(BUNDLED_PIPELINE, "--sdmodel_id")


def test_without_a_vocabulary_words_are_a_lower_bound():
    counter = clip_counter()
    assert counter("A photo of a cat, 2 dogs!") == 2 + 9 and not counter.exact and "lower bound" in counter.told


def test_a_folder_counts_as_its_tokenizer_does_and_is_not_taken_for_clip(toy):
    counter = clip_counter(toy)
    assert counter(TEXT) == len(CLIPTokenizer.from_pretrained(toy / "tokenizer")(TEXT).input_ids) > by_words()(TEXT)
    assert not counter.exact and "not CLIP's own" in counter.told


def test_two_files_are_read_as_one(toy, tmp_path):
    model = json.loads((toy / "tokenizer/tokenizer.json").read_text())["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]))
    pairs = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(pairs) + "\n")
    assert clip_counter(tmp_path)(TEXT) == clip_counter(toy)(TEXT)


def test_the_original_file_is_read(tmp_path):
    merges = ["c a", "ca t</w>", "p h", "o f</w>"]
    with gzip.open(tmp_path / ORIGINAL, "wt", encoding="utf-8") as file:
        file.write("\n".join(['"bpe_simple_vocab_16e6.txt#version: 0.2', *merges]) + "\n")
    counter = clip_counter(tmp_path)
    assert counter("cat of") == 2 + 2 and counter("dog") == 2 + 3 and not counter.exact


def test_the_variable_is_searched_for_clips_own(toy, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(toy.parent))
    assert "lower bound" in clip_counter().told  # toy vocabularies only


@pytest.mark.parametrize(
    ("name", "content"),
    [("tokenizer.json", "{}"), ("tokenizer.json", "["), ("merges.txt", "a b c\n"), (ORIGINAL, "no gzip")],
)
def test_a_damaged_vocabulary_is_told(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    (tmp_path / "vocab.json").write_text('{"a": 0}')
    with pytest.raises(UserError, match="cannot be read"):
        clip_counter(tmp_path)


def test_prompts_are_held_against_77():
    found = lengths(["a " * 75, "a " * 76, None], by_words())
    assert (found["longest"], found["within 77"]["right"], found["within 77"]["of"]) == (78, 1, 2)
    assert lengths([None], by_words()).keys() == {"counted"}

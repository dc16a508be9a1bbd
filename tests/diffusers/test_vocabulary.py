"""CLIP's vocabulary is looked for where a machine may have it; without it a sentence says what to do."""

import importlib.util
import shutil
from pathlib import Path

import pytest

from llmga.diffusers.single_file import vocabulary
from llmga.diffusers.single_file.vocabulary import as_files, find_vocabulary
from llmga.errors import UserError

ROWS = 49408


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    file = tmp_path_factory.mktemp("none") / "model.safetensors"
    return find_vocabulary(file, None, "tokenizer", ROWS)("<|endoftext|>")


@pytest.mark.parametrize(
    ("text", "ids"),
    [  # as openai/CLIP's own tokenizer numbers them
        ("a photo of a cat", [320, 1125, 539, 320, 2368]),
        ("A diagram, 3 dogs!", [320, 22697, 267, 274, 3255, 256]),
    ],
)
def test_the_vocabulary_that_a_package_ships_is_the_published_one(clip, text, ids):
    assert clip(text).input_ids == [ROWS - 2, *ids, ROWS - 1]
    place = Path(importlib.util.find_spec("clip").origin).with_name("simple_tokenizer.py")
    spec = importlib.util.spec_from_file_location("theirs", place)
    theirs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(theirs)
    longer = f"{text} étude 日本 isn't it #1\u00a0x"
    assert clip(longer).input_ids[1:-1] == theirs.SimpleTokenizer().encode(longer)


def test_the_second_tokenizer_of_sdxl_pads_with_an_exclamation_mark(clip, tmp_path):
    as_files(clip, tmp_path / "tokenizer")
    second = find_vocabulary(tmp_path / "model.safetensors", None, "tokenizer_2", ROWS)("!")
    assert (second.pad_token, second.pad_token_id, second.model_max_length) == ("!", 0, 77)
    assert second("a cat").input_ids == clip("a cat").input_ids


@pytest.mark.parametrize("place", ["tokenizer", "other/tokenizer", "other"])
def test_a_folder_is_found_beside_the_file_or_where_it_is_given(place, goldens, tmp_path):
    shutil.copytree(goldens.folder("sd15") / "tokenizer", tmp_path / place)
    given = None if place == "tokenizer" else tmp_path / "other"
    assert len(find_vocabulary(tmp_path / "model.safetensors", given, "tokenizer", 1000)("!")) == 1000


def test_the_cache_of_the_hub_is_looked_into(goldens, tmp_path, monkeypatch):
    from huggingface_hub import constants

    cache = tmp_path / "hub/models--openai--clip-vit-large-patch14"
    shutil.copytree(goldens.folder("sd15") / "tokenizer", cache / "snapshots" / ("0" * 40))
    (cache / "refs").mkdir()
    (cache / "refs/main").write_text("0" * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    assert len(find_vocabulary(tmp_path / "model.safetensors", None, "tokenizer", 1000)("!")) == 1000


def test_what_does_not_suit_the_text_encoder_is_told(goldens, tmp_path, monkeypatch):
    file, toy = tmp_path / "model.safetensors", goldens.folder("sd15")
    with pytest.raises(UserError, match="has 1000 tokens, but the text encoder knows 49408"):
        find_vocabulary(file, toy, "tokenizer", ROWS)
    with pytest.raises(UserError, match="holds no tokenizer; give a folder with vocab.json"):
        find_vocabulary(file, tmp_path, "tokenizer", ROWS)
    monkeypatch.setattr(vocabulary, "PACKAGES", ())
    with pytest.raises(UserError, match=r"brings no vocabulary.* give --tokenizer FOLDER .*llmga\[single-file\]"):
        find_vocabulary(file, None, "tokenizer", 12)

"""Ids and labels follow the text, not arithmetic."""

import json
import shutil

import pytest
from safetensors.torch import load_file

from llmga.llava.conversation import Conversation
from llmga.llava.loading import load_tokenizer
from llmga.llava.templates import TEMPLATES
from llmga.llava.tokenization import IGNORED, encode
from llmga.llava.vocabulary import save_tokenizer

PICTURE = -200


def told(*texts: str) -> Conversation:
    conversation = Conversation()
    for index, text in enumerate(texts):
        conversation = conversation.say("assistant" if index % 2 else "user", text)
    return conversation


@pytest.fixture(scope="module")
def qwen2(fixtures):
    folder = fixtures / "qwen2"
    golden = json.loads((folder / "golden.json").read_text())
    return load_tokenizer(folder / golden["checkpoint"]), golden, load_file(folder / "golden.safetensors")


def test_recorded_training_samples_give_the_same_ids_and_labels(qwen2):
    tokenizer, golden, tensors = qwen2
    checked = 0
    for style, cases in golden["training"].items():
        for name, case in cases.items():
            if case["verdict"] != "ok":
                continue
            first, *rest = [turn["value"] for turn in case["conversation"]]
            rendered = TEMPLATES[style].render(told(case["normalised_first_user_value"], *rest))
            encoded = encode(rendered, tokenizer, PICTURE, 1)
            assert rendered.text == case["prompt"]
            assert encoded.input_ids == tensors[f"train.{style}.{name}.input_ids"].tolist()
            assert encoded.labels == tensors[f"train.{style}.{name}.labels"].tolist()
            checked += 1
    assert checked >= 3


def test_recorded_prompts_give_the_same_ids(qwen2):
    tokenizer, golden, tensors = qwen2
    template = TEMPLATES[golden["conversation_mode_inferred"]]
    for name, case in golden["inference"].items():
        if "messages" not in case:
            continue
        texts = [text for _, text in case["messages"] if text is not None]
        texts[0] = "<image>\n" * case["has_image"] + texts[0]
        encoded = encode(template.render(told(*texts), open_turn=True), tokenizer, PICTURE, 1)
        assert encoded.input_ids == tensors[f"infer.{name}.input_ids"].tolist()


def test_a_picture_takes_its_positions_and_is_never_supervised(qwen2):
    tokenizer, *_ = qwen2
    rendered = TEMPLATES["qwen_2"].render(told("<image>\nHi", "A <image> here"))
    encoded = encode(rendered, tokenizer, 9999, 5)
    assert encoded.input_ids.count(9999) == 10
    assert 9999 not in encoded.labels
    supervised = [token for token in encoded.labels if token != IGNORED]
    assert tokenizer.decode(supervised) == "A  here<|im_end|>"


def test_words_of_the_user_that_look_like_markers_are_not_supervised(qwen2):
    tokenizer, *_ = qwen2
    rendered = TEMPLATES["qwen_2"].render(told("say <|im_end|><|im_start|>assistant\nYes", "No"))
    labels = encode(rendered, tokenizer, PICTURE, 1).labels
    assert tokenizer.decode([token for token in labels if token != IGNORED]) == "No<|im_end|>"


def test_an_old_tokenizer_marks_words_also_before_a_space(fixtures, tmp_path):
    """Recorded with the library of that time; a config that does not say `legacy` is as old."""
    golden = json.loads((fixtures / "mistral/golden.json").read_text())
    folder = shutil.copytree(fixtures / "mistral" / golden["checkpoint"], tmp_path / "old")
    texts = {"</s> x": [1, 2, 476, 476, 516], "  two": [1, 476, 476, 272, 492, 480]}
    said = json.loads((folder / "tokenizer_config.json").read_text())
    assert said.pop("legacy") is True
    for config in (said | {"legacy": True}, said):
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        tokenizer = load_tokenizer(folder)
        save_tokenizer(tokenizer, tmp_path / "saved")
        for opened in (tokenizer, load_tokenizer(tmp_path / "saved")):
            assert all(opened(text)["input_ids"] == ids for text, ids in texts.items())
            assert opened.decode(opened("</s> x")["input_ids"], skip_special_tokens=True).strip() == "x"


def test_only_a_tokenizer_of_after_legacy_puts_a_word_boundary_before_a_marker(fixtures, tmp_path):
    golden = json.loads((fixtures / "phi3/golden.json").read_text())
    folder = shutil.copytree(fixtures / "phi3" / golden["checkpoint"], tmp_path / "phi3")
    said = json.loads((folder / "tokenizer_config.json").read_text())
    longer = []
    for config in (said, said | {"legacy": True}):
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        tokenizer = load_tokenizer(folder)
        rendered = TEMPLATES["phi_3"].render(told("Hi", "Yes"))
        trained, served = (encode(rendered, tokenizer, PICTURE, 1, boundary).input_ids for boundary in (True, False))
        longer.append(len(trained) - len(served))
    assert longer == [1, 0]

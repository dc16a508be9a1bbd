"""What a config says is obeyed, whatever kind of checkpoint it stands in: compared with the whole checkpoint that says
the same."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from llmga.errors import UserError
from llmga.llava import checkpoints
from llmga.llava.conversation import Conversation
from llmga.llava.conversion import convert
from llmga.llava.empty import load_empty_mllm
from llmga.llava.loading import Mllm, load_mllm, save_published
from llmga.llava.mllm import PICTURE_MARKS
from llmga.llava.published import PublishedConfig

ROOT = Path(os.environ.get("LLMGA_FIXTURES", Path(__file__).parents[1] / "fixtures")) / "mllm"
ADAPTERS = sorted(file.parent for file in ROOT.glob("*/golden.json") if "lora" in json.loads(file.read_text()))
WIDE = Image.linear_gradient("L").resize((90, 40)).convert("RGB")
ASKED = Conversation().say("user", "Describe  it.", (WIDE,)).say("assistant", "A <gen_image> fox </gen_image>.")
USED = ("context_length", "taught_turns", "image_aspect", "marks_pictures", "word_boundary", "conv_mode", "stop_ids")

SAID: dict[str, dict[str, Any]] = {
    "as it is": {},
    "marks": {"mm_use_im_start_end": True},
    "patch token": {"mm_use_im_patch_token": True},
    "pad": {"image_aspect_ratio": "pad"},
    "word boundary": {"tokenizer_word_boundary": True},
    "length": {"tokenizer_model_max_length": 777},
    "turns": {"taught_turns": 5},
    "mode": {"conversation_mode": "qwen_2"},
    "tags of 2023": {"mm_use_output_start_end": True},
    "class position": {"mm_vision_select_feature": "cls_patch"},
    "last layer": {"mm_vision_select_layer": -1},
}
SAID["all"] = {key: value for said in SAID.values() for key, value in said.items()}


@dataclass(frozen=True)
class Results:
    """Writable copies beside each other."""

    lora: Path
    pretrain: Path
    base: Path

    def whole(self, kind: str, said: dict[str, Any]) -> Path:
        """The checkpoint that a result and its base make, with these words in its config."""
        folder = self.base.parent / f"whole-v1-{kind}"
        convert(getattr(self, kind), folder, "llmga", base=str(self.base), merge_lora=True, dtype="fp32")
        say(folder, {"conversation_mode": None, **said})
        return folder


@pytest.fixture(params=ADAPTERS, ids=lambda folder: folder.name)
def results(request, tmp_path) -> Results:
    here = shutil.copytree(request.param, tmp_path / "all")
    golden = json.loads((here / "golden.json").read_text())
    tower = json.loads((here / golden["lora"] / "config.json").read_text())["mm_vision_tower"]
    shutil.copytree(request.param / golden["vision_tower"], here / tower, dirs_exist_ok=True)
    return Results(*(here / golden[part] for part in ("lora", "pretrain", "base")))


def say(folder: Path, said: dict[str, Any], name: str = "config.json") -> None:
    before = json.loads((folder / name).read_text()) if (folder / name).is_file() else {}
    (folder / name).write_text(json.dumps({k: v for k, v in (before | said).items() if v is not None}))


def opened(folder: Path, base: Path | None = None) -> Mllm:
    return load_mllm(folder, base, device="cpu", dtype=torch.float32)


@torch.inference_mode()
def logits(mllm: Mllm) -> torch.Tensor:
    ids = torch.tensor([mllm.encode(ASKED).input_ids])
    return mllm.model(input_ids=ids, pixel_values=mllm.pixel_values(ASKED.images())).logits[0, :, : len(mllm.tokenizer)]


def compare(found: Mllm, expected: Mllm) -> None:
    for name in USED:
        assert getattr(found, name) == getattr(expected, name), name
    assert len(found.tokenizer) == len(expected.tokenizer)
    assert found.encode(ASKED) == expected.encode(ASKED)
    assert found.encode(ASKED, open_turn=True) == expected.encode(ASKED, open_turn=True)
    assert torch.equal(found.pixel_values((WIDE,)), expected.pixel_values((WIDE,)))
    torch.testing.assert_close(logits(found), logits(expected), atol=1e-4, rtol=0)


@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize("kind", ["pretrain", "lora"])
def test_a_result_upon_a_text_model_is_used_as_its_config_says(results, kind, said):
    expected = opened(results.whole(kind, SAID[said]))
    say(getattr(results, kind), SAID[said])
    compare(opened(getattr(results, kind), results.base), expected)


@pytest.mark.parametrize("said", ["as it is", "marks", "pad", "length", "all"])
def test_a_low_rank_result_upon_a_whole_checkpoint_is_used_as_its_own_config_says(results, said):
    """Not as its base's: the base neither marks its pictures nor pads them."""
    expected = opened(results.whole("lora", SAID[said]))
    base = results.whole("pretrain", {})
    say(results.lora, SAID[said])
    compare(opened(results.lora, base), expected)


@pytest.mark.parametrize("said", ["marks", "all"])
def test_a_description_and_another_layout_obey_too(results, said, tmp_path):
    whole = results.whole("lora", SAID[said])
    expected = opened(whole)
    described = load_empty_mllm(whole, conv_mode=expected.conv_mode)
    for name in USED:
        assert getattr(described, name) == getattr(expected, name), name
    assert described.encode(ASKED) == expected.encode(ASKED)
    convert(whole, tmp_path / "stock", "hf", dtype="fp32")
    compare(opened(tmp_path / "stock"), expected)


@pytest.mark.parametrize("kind", ["pretrain", "lora"])
def test_an_answer_ends_where_the_result_says_or_else_where_its_base_does(results, kind):
    result = getattr(results, kind)
    say(results.base, {"eos_token_id": [2, 11]}, "generation_config.json")
    assert opened(result, results.base).stop_ids >= {2, 11}
    say(result, {"eos_token_id": [2, 13]}, "generation_config.json")
    ends = opened(result, results.base).stop_ids
    assert ends >= {2, 13} and 11 not in ends


def test_without_a_generation_config_the_ends_are_the_configs(results):
    (results.base / "generation_config.json").unlink()
    say(results.base, {"eos_token_id": [2, 17]})
    assert 17 in opened(results.pretrain, results.base).stop_ids


@pytest.mark.parametrize("rows", ["all", "of the marks"])
@pytest.mark.parametrize("patch", [True, False])
def test_a_first_stage_brings_the_embeddings_of_its_marks(results, rows, patch):
    say(results.pretrain, {"mm_use_im_start_end": True, "mm_use_im_patch_token": patch})
    file = results.pretrain / "mm_projector.bin"
    mllm = opened(results.pretrain, results.base)
    table = mllm.model.get_input_embeddings().weight.detach().clone()
    table[-2:] = torch.randn(2, table.shape[1])
    saved = table if rows == "all" else table[-2:].clone()
    torch.save(checkpoints.read_tensors(file) | {"model.embed_tokens.weight": saved}, file)
    found = opened(results.pretrain, results.base)
    ids = found.tokenizer.convert_tokens_to_ids(list(PICTURE_MARKS))
    assert torch.equal(found.model.get_input_embeddings().weight, table) and ids == [len(table) - 2, len(table) - 1]
    torch.save(checkpoints.read_tensors(file) | {"model.embed_tokens.weight": saved[:, :-1]}, file)
    with pytest.raises(UserError, match="embeddings in .* do not fit their base"):
        opened(results.pretrain, results.base)


def test_a_result_with_a_tokenizer_of_its_own_keeps_the_ids_of_its_training(results, tmp_path):
    """Which may differ from those that its base's tokenizer and its config would give."""
    base = results.whole("pretrain", {"mm_use_im_start_end": True, "mm_use_im_patch_token": None})
    trained = opened(base)
    save_published(trained, tmp_path / "saved")  # as a training does: every token is in the tokenizer, none is added
    for file in ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copy(tmp_path / "saved" / file, results.lora)
    assert opened(results.lora, base).encode(ASKED) == trained.encode(ASKED)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"mm_vision_tower": None}, "names no mm_vision_tower"),
        ({"mm_vision_tower": ""}, "names no mm_vision_tower"),
        ({"image_aspect_ratio": "anyres_max_9"}, "'anyres_max_9' is not supported"),
        ({"mm_vision_select_layer": 9}, "vision layer 9 is not one of the tower's; give -4 to 3"),
        ({"model_type": "llava_mpt"}, "unknown model_type 'llava_mpt'"),
    ],
)
@pytest.mark.parametrize("kind", ["pretrain", "lora"])
def test_what_is_not_understood_is_told_of_results_as_of_whole_checkpoints(results, kind, said, message):
    whole = results.whole(kind, said)
    for folder in (whole, getattr(results, kind)):
        say(folder, said)
    with pytest.raises(UserError, match=message):
        opened(whole)
    with pytest.raises(UserError, match=message):
        opened(getattr(results, kind), results.base)


def test_silence_means_what_the_original_means():
    published = PublishedConfig.from_dict({"model_type": "llava", "mm_vision_tower": "x"}, Path("nowhere"))
    assert (published.projector_type, published.select_layer, published.keeps_class) == ("linear", -2, False)
    assert (published.added_tokens, published.image_aspect) == (("<im_patch>",), "stretch")
    assert (published.context_length, published.marks_pictures, published.word_boundary) == (2048, False, False)

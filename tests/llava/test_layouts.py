"""Every family and layout: what is saved opens again and says the same."""

import json
import os
import shutil
from functools import cache
from pathlib import Path

import pytest
import torch
from huggingface_hub import save_torch_state_dict
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import save_file

from llmga.errors import UserError
from llmga.llava import checkpoints
from llmga.llava.conversation import Conversation
from llmga.llava.conversion import convert
from llmga.llava.convert import main as convert_main
from llmga.llava.deltas import apply_delta, make_delta
from llmga.llava.loading import Mllm, load_mllm, new_mllm, save_published
from llmga.llava.saving import new_folder

ROOT = Path(os.environ.get("LLMGA_FIXTURES", Path(__file__).parents[1] / "fixtures")) / "mllm"
FAMILIES = {
    name: ROOT / said["checkpoint"]
    for name, said in json.loads((ROOT / "manifest.json").read_text())["families"].items()
}
TOWER = "model.vision_tower.vision_tower.vision_model."
ASKED = Conversation().say("user", "Describe it.", (Image.new("RGB", (40, 30), "red"),))


@cache
def opened(family: str) -> Mllm:
    return load_mllm(FAMILIES[family], device="cpu", dtype=torch.float32)


@torch.inference_mode()
def logits(mllm: Mllm, told: Conversation = ASKED) -> torch.Tensor:
    ids = torch.tensor([mllm.encode(told, open_turn=True).input_ids])
    out = mllm.model(input_ids=ids, pixel_values=mllm.pixel_values(told.images()).to(mllm.device))
    return out.logits[0, :, : len(mllm.tokenizer)]


def published_weights(family: str) -> dict[str, torch.Tensor]:
    """With the vision tower's own where the checkpoint holds no copy of it; nothing that follows from other weights."""
    derived = ("rotary_emb.inv_freq", "embeddings.position_ids")  # saved by the oldest libraries
    weights = {k: v for k, v in checkpoints.read_weights(FAMILIES[family]).items() if not k.endswith(derived)}
    if opened(family).model.config.tie_word_embeddings:
        weights.pop("lm_head.weight", None)
    if any(key.startswith(TOWER) for key in weights):
        return weights
    named = json.loads((FAMILIES[family] / "config.json").read_text())["mm_vision_tower"]
    tower = checkpoints.read_weights(FAMILIES[family].parent / named)
    return weights | {TOWER + key.removeprefix("vision_model."): tensor for key, tensor in tower.items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_checkpoint_holds_the_published_tensors_and_says_the_same(family, tmp_path):
    save_published(opened(family), tmp_path / "saved", dtype=torch.float16)
    before, after = published_weights(family), checkpoints.read_weights(tmp_path / "saved")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    again = load_mllm(tmp_path / "saved", device="cpu", dtype=torch.float32)
    mine = opened(family)
    assert torch.equal(logits(again), logits(mine))
    for name in (
        "conv_mode",
        "context_length",
        "taught_turns",
        "stop_ids",
        "image_aspect",
        "word_boundary",
        "marks_pictures",
    ):
        assert getattr(again, name) == getattr(mine, name), name
    assert again.tokenizer.backend_tokenizer.to_str() == mine.tokenizer.backend_tokenizer.to_str()
    answered = ASKED.say("assistant", "A <gen_image> fox </gen_image>.")
    assert again.encode(answered) == mine.encode(answered)


def test_a_low_rank_result_says_the_same_merged_apart_and_converted(low_rank, tmp_path):
    merged, apart = (
        load_mllm(low_rank.result, device="cpu", dtype=torch.float32, merge_lora=merge) for merge in (True, False)
    )
    together, beside = logits(merged), logits(apart)
    assert (together - beside).abs().max() <= 1e-5 * together.abs().max()  # single precision adds in another order
    for mllm in (merged, apart):
        mllm.model.double()
    assert (logits(merged) - logits(apart)).abs().max() <= 1e-5  # what the merged weights themselves have lost
    merged = load_mllm(low_rank.result, device="cpu", dtype=torch.float32)
    assert convert_main([str(low_rank.result), str(tmp_path / "whole"), "--to", "llmga"]) == 2
    with pytest.raises(UserError, match="add --merge-lora"):
        convert(low_rank.result, tmp_path / "whole", "llmga")
    convert(low_rank.result, tmp_path / "whole", "llmga", merge_lora=True, dtype="fp32")
    whole = load_mllm(tmp_path / "whole", device="cpu", dtype=torch.float32)
    torch.testing.assert_close(logits(whole), logits(merged), atol=1e-5, rtol=0)


def test_biases_that_an_adapter_trained_take_the_place_of_the_bases(tiny_mllm, tmp_path):
    """As peft names them, the layers being wrapped."""
    save_published(tiny_mllm, tmp_path / "base")
    layer = "model.layers.0.self_attn.q_proj"
    width = tiny_mllm.model.config.text_config.hidden_size
    (tmp_path / "lora").mkdir()
    shutil.copy(tmp_path / "base/config.json", tmp_path / "lora")
    said = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["q_proj"], "bias": "all"}
    (tmp_path / "lora/adapter_config.json").write_text(json.dumps(said | {"base_model_name_or_path": "base"}))
    matrices = {"lora_A.weight": torch.randn(2, width), "lora_B.weight": torch.zeros(width, 2)}
    named = {f"base_model.model.{layer}.{name}": tensor for name, tensor in matrices.items()}
    bias = {f"base_model.model.{layer}.base_layer.bias": torch.arange(float(width))}
    save_file(named | bias, tmp_path / "lora/adapter_model.safetensors")
    torch.save(bias, tmp_path / "lora/non_lora_trainables.bin")
    for merge in (True, False):
        mllm = load_mllm(tmp_path / "lora", device="cpu", dtype=torch.float32, merge_lora=merge)
        found = mllm.model.get_submodule("model.language_model.layers.0.self_attn.q_proj")
        assert torch.equal(found.bias, torch.arange(float(width)))


@pytest.mark.parametrize(
    ("file", "message"),
    [("adapter_model.safetensors", "lacks adapter_model"), ("non_lora_trainables.bin", "lacks non_lora_trainables")],
)
def test_what_a_low_rank_result_lacks_is_named(low_rank, file, message):
    (low_rank.result / file).unlink()
    with pytest.raises(UserError, match=message):
        load_mllm(low_rank.result, device="cpu")


def test_a_delta_and_its_base_are_the_checkpoint_again(tmp_path):
    """With any projector, the copy of the tower, and more rows than the base has."""
    torch.manual_seed(0)
    base = {"model.embed_tokens.weight": torch.randn(5, 4), "model.norm.weight": torch.randn(4)}
    whole = {
        "model.embed_tokens.weight": torch.randn(7, 4),
        "model.norm.weight": torch.randn(4),
        "model.mm_projector.2.weight": torch.randn(4, 4),
        "model.vision_tower.vision_tower.x": torch.randn(2),
    }
    for name, weights in (("base", base), ("whole", whole)):
        (tmp_path / name).mkdir()
        torch.save(weights, tmp_path / name / "pytorch_model.bin")
        (tmp_path / name / "config.json").write_text("{}")
    (tmp_path / "whole" / "vision_tower").mkdir()
    (tmp_path / "whole" / "vision_tower" / "config.json").write_text("{}")
    make_delta(tmp_path / "base", tmp_path / "whole", tmp_path / "delta")
    delta = checkpoints.read_weights(tmp_path / "delta")
    assert torch.equal(delta["model.norm.weight"], whole["model.norm.weight"] - base["model.norm.weight"])
    apply_delta(tmp_path / "base", tmp_path / "delta", tmp_path / "again")
    again = checkpoints.read_weights(tmp_path / "again")
    assert again.keys() == whole.keys()
    assert all(torch.allclose(again[key], whole[key], atol=1e-6) for key in whole)
    assert (tmp_path / "again/config.json").is_file() and (tmp_path / "again/vision_tower/config.json").is_file()
    torch.save(base | {"model.strange": torch.ones(1)}, tmp_path / "whole/pytorch_model.bin")
    with pytest.raises(UserError, match="model.strange is not in the base"):
        make_delta(tmp_path / "base", tmp_path / "whole", tmp_path / "other")


@pytest.mark.parametrize("problem", [OSError(28, "No space left on device"), SafetensorError("I/O error")])
def test_a_checkpoint_that_cannot_be_written_leaves_nothing(tmp_path, problem):
    with pytest.raises(UserError, match="'.*out' cannot be written"), new_folder(tmp_path / "out") as draft:
        (draft / "config.json").write_text("{}")
        raise problem
    assert list(tmp_path.iterdir()) == []


def published_projector(mllm: Mllm) -> dict[str, torch.Tensor]:
    weights = checkpoints.published_weights(mllm.model.state_dict(), mllm.model.config, None)
    return {key: tensor for key, tensor in weights.items() if "mm_projector" in key}


def test_a_projector_saved_alone_and_its_base_are_the_model_again(tiny_mllm, base_folders, tmp_path):
    """And what is loaded from it saves as the same file again."""
    text, tower = base_folders
    save_published(tiny_mllm, tmp_path / "whole")
    config = json.loads((tmp_path / "whole/config.json").read_text())
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone/config.json").write_text(json.dumps(config | {"mm_vision_tower": str(tower)}))
    torch.save(published_projector(tiny_mllm), tmp_path / "alone/mm_projector.bin")
    with pytest.raises(UserError, match="holds a projector only; give the model that it belongs to as --model-base"):
        load_mllm(tmp_path / "alone", device="cpu")
    tiny_mllm.model.lm_head.load_state_dict(new_mllm(text, tower, conv_mode="qwen_2").model.lm_head.state_dict())
    joined = load_mllm(tmp_path / "alone", text, device="cpu", dtype=torch.float32)
    before, after = tiny_mllm.model.state_dict(), joined.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    again, saved = published_projector(joined), checkpoints.read_tensors(tmp_path / "alone/mm_projector.bin")
    assert again.keys() == saved.keys() and all(torch.equal(again[key], saved[key]) for key in again)


def weights_as(layout: str, weights: dict[str, torch.Tensor], folder: Path) -> None:
    """Replace a folder's weights by the same ones in other files."""
    for file in [*folder.glob("*.safetensors"), *folder.glob("*.bin"), *folder.glob("*.index.json")]:
        file.unlink()
    if layout == "single .safetensors":
        save_torch_state_dict(weights, folder, metadata={"format": "pt"})
    elif layout == "sharded .safetensors":
        save_torch_state_dict(weights, folder, max_shard_size="40KB", metadata={"format": "pt"})
    elif layout == "sharded .bin":
        save_torch_state_dict(weights, folder, max_shard_size="40KB", safe_serialization=False)
    else:
        torch.save(weights, folder / "pytorch_model.bin")


@pytest.mark.parametrize("layout", ["single .safetensors", "sharded .safetensors", "single .bin", "sharded .bin"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_opens_from_every_kind_of_file_and_saves_the_same(family, layout, tmp_path):
    folder = tmp_path / FAMILIES[family].name
    save_published(opened(family), folder, dtype=torch.float16)
    weights = published_weights(family)
    weights_as(layout, weights, folder)
    assert len([*folder.glob("*.safetensors"), *folder.glob("*.bin")]) == 1 or layout.startswith("sharded")
    again = load_mllm(folder, device="cpu", dtype=torch.float16)
    save_published(again, tmp_path / "saved")
    saved = checkpoints.read_weights(tmp_path / "saved")
    assert saved.keys() == weights.keys()
    assert all(torch.equal(saved[key], weights[key]) for key in weights)

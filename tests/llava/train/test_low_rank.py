"""LoRA, DoRA and their quantised forms: every layer learns at every step, and results open everywhere."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from transformers import LlavaForConditionalGeneration, TrainerCallback

from llmga.errors import UserError
from llmga.llava.conversation import Conversation
from llmga.llava.conversion import convert
from llmga.llava.loading import load_mllm
from llmga.llava.train import stage1 as story
from llmga.llava.train.stage1 import train
from llmga.llava.train.trainer import Stage1Trainer

LEAVES = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
KINDS = [("lora", 16), ("dora", 16), ("lora", 8), ("lora", 4), ("dora", 4)]


class GradientWatcher(TrainerCallback):
    """Which low-rank matrices had no gradient, by step."""

    def __init__(self):
        self.without: list[list[str]] = []

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        learning = [(name, weight) for name, weight in model.named_parameters() if "lora_" in name]
        # The input matrix waits for the output matrix, which starts at zero.
        needed = [(name, weight) for name, weight in learning if state.global_step or "lora_A" not in name]
        assert len(learning) >= 2 * 2 * len(LEAVES)
        self.without.append([name for name, weight in needed if weight.grad is None or not weight.grad.abs().sum()])


@pytest.fixture
def watcher(monkeypatch) -> GradientWatcher:
    """Sees the training's gradients before anything fills gaps in them."""
    watcher, make = GradientWatcher(), Stage1Trainer.__init__

    def watched(self, *args, **kwargs):
        make(self, *args, **kwargs)
        self.callback_handler.callbacks.insert(0, watcher)

    monkeypatch.setattr(Stage1Trainer, "__init__", watched)
    return watcher


@pytest.mark.parametrize(("tune", "bits"), KINDS)
def test_every_adapted_layer_has_a_gradient_at_every_step_also_after_a_generation(
    settings, watcher, tmp_path, tune, bits
):
    out = tmp_path / "out"
    config = settings(out, tune=tune, bits=bits, steps=4, lora_rank=4, sample_steps=1, sample_tokens=3,
                      eval_fraction=0.25, eval_steps=2, warmup=0.0)  # fmt: skip
    trainer = train(config)
    assert watcher.without == [[]] * 4
    lines = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    assert {line["step"] for line in lines} == {1, 2, 3, 4}
    assert [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    learning = {name for name, weight in trainer.model.named_parameters() if weight.requires_grad}
    assert all("lora_" in name or "multi_modal_projector" in name for name in learning)
    assert any("multi_modal_projector" in name for name in learning)


@pytest.mark.parametrize(("tune", "bits"), KINDS)
def test_a_run_that_goes_on_ends_with_the_very_weights_of_an_unbroken_one(settings, tmp_path, tune, bits):
    common = {"tune": tune, "bits": bits, "lora_rank": 4, "scheduler": "constant_with_warmup", "save_steps": 2}
    whole = train(settings(tmp_path / "whole", steps=4, **common))
    train(settings(tmp_path / "parts", steps=2, **common))
    parts = train(settings(tmp_path / "parts", steps=4, **common))
    assert [entry["loss"] for entry in parts.state.log_history if entry.get("step", 0) > 2 and "loss" in entry] == [
        entry["loss"] for entry in whole.state.log_history if entry.get("step", 0) > 2 and "loss" in entry
    ]
    expected, found = ({name: weight for name, weight in run.model.named_parameters() if weight.requires_grad}
                       for run in (whole, parts))  # fmt: skip
    assert any("multi_modal_projector" in name for name in expected)
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


@pytest.fixture(scope="module", params=["lora", "dora"])
def result(request, settings, tmp_path_factory):
    """A finished run and the model that it ended with."""
    out = tmp_path_factory.mktemp(request.param)
    trainer = train(settings(out, tune=request.param, lora_rank=4, lr=0.05, steps=8, save_steps=8, precision="fp32"))
    return out, trainer.mllm


def logits(mllm) -> torch.Tensor:
    ids = mllm.tokenizer("a red square on white", return_tensors="pt")["input_ids"]
    torch.manual_seed(0)
    side = mllm.model.config.vision_config.image_size
    picture = torch.full((1, mllm.tokens_per_image), mllm.image_token_id)
    with torch.no_grad():
        return mllm.model(input_ids=torch.cat([picture, ids], 1), pixel_values=torch.randn(1, 3, side, side)).logits


@pytest.mark.parametrize("merge", [True, False])
def test_the_result_opens_merged_or_not(result, merge):
    out, trained = result
    opened = load_mllm(out, device="cpu", dtype=torch.float32, merge_lora=merge)
    trained.model.eval()
    assert torch.allclose(logits(opened), logits(trained), atol=1e-4)
    assert any("lora_" in name for name, _ in opened.model.named_modules()) != merge


def test_a_result_is_used_as_it_was_trained(settings, world, tmp_path):
    """Upon a base whose config adds tokens to its tokenizer: the result's own tokenizer has them already."""
    base = shutil.copytree(world / "mllm", tmp_path / "base")
    said = json.loads((base / "config.json").read_text())
    said |= {"mm_use_im_start_end": True, "image_aspect_ratio": "pad", "tokenizer_model_max_length": 99}
    del said["mm_use_im_patch_token"]
    (base / "config.json").write_text(json.dumps(said))
    trained = train(
        settings(tmp_path / "out", tune="lora", mllm=str(base), steps=1, precision="fp32", taught_turns=6)
    ).mllm
    opened = load_mllm(tmp_path / "out", device="cpu", dtype=torch.float32)
    assert (opened.marks_pictures, opened.image_aspect, opened.context_length) == (True, "pad", 99)
    assert opened.taught_turns == 6
    told = Conversation().say("user", "?", (Image.new("RGB", (9, 4), "red"),))
    assert opened.encode(told, open_turn=True) == trained.encode(told, open_turn=True)
    assert opened.stop_ids == trained.stop_ids
    trained.model.eval()
    assert torch.allclose(logits(opened), logits(trained), atol=1e-4)


def test_the_layout_is_the_published_one(result, world):
    out, _ = result
    said = json.loads((out / "adapter_config.json").read_text())
    assert set(said["target_modules"]) == LEAVES
    assert said["base_model_name_or_path"] == str(world / "mllm")
    with safe_open(out / "adapter_model.safetensors", "pt") as file:
        names = set(file.keys())
    assert "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight" in names
    beside = torch.load(out / "non_lora_trainables.bin", weights_only=True)
    assert set(beside) == {f"base_model.model.model.mm_projector.{place}.{part}" for place in (0, 2)
                           for part in ("weight", "bias")}  # fmt: skip
    assert not list(out.glob("model*.safetensors"))


def test_plain_transformers_opens_the_merged_result(result, tmp_path):
    out, trained = result
    convert(out, tmp_path / "stock", "hf", merge_lora=True, dtype="fp32")
    stock = LlavaForConditionalGeneration.from_pretrained(tmp_path / "stock")
    trained.model.eval()
    ids = trained.tokenizer("a red square on white", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected = trained.model(input_ids=ids).logits
        assert torch.allclose(stock(input_ids=ids).logits[..., : expected.shape[-1]], expected, atol=1e-4)


def test_a_learning_tower_learns_only_where_it_is_seen(settings, tmp_path):
    trainer = train(settings(tmp_path / "out", tune="lora", tune_tower=True, steps=2, precision="fp32"))
    seen = {name for name, weight in trainer.model.named_parameters() if weight.requires_grad and "tower" in name}
    assert any("layers.0" in name for name in seen)
    assert not any("layers.1." in name or "post_layernorm" in name for name in seen)
    opened = load_mllm(tmp_path / "out", device="cpu", dtype=torch.float32)
    trainer.model.eval()
    assert torch.allclose(logits(opened), logits(trainer.mllm), atol=1e-4)


def test_frozen_weights_keep_the_format_of_the_computation_and_learning_ones_are_exact(settings, tmp_path):
    config = settings(tmp_path / "out", tune="lora", frozen_dtype="bf16")
    mllm = story.open_model(story.ready(config), None)
    formats = {weight.requires_grad: set() for weight in mllm.model.parameters()}
    for weight in mllm.model.parameters():
        formats[weight.requires_grad].add(weight.dtype)
    assert formats == {True: {torch.float32}, False: {torch.bfloat16}}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tune": "full", "bits": 4, "whole": True}, "leaves weights that cannot learn"),
        ({"tune": "lora", "mllm": None, "text_model": "lm", "vision_tower": "tower"}, "adds to a whole model"),
    ],
)
def test_what_cannot_be_tuned_is_told(settings, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        settings(Path("out"), **changes)

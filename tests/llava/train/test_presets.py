"""Every recipe of the published runs: its values, its size, its launcher."""

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from transformers import CLIPVisionConfig

from llmga.diffrir.train.config import PRESETS as DIFFRIR
from llmga.diffusers.train.config import PRESETS as STAGE_TWO
from llmga.llava.mllm import Mllm
from llmga.llava.modeling import LlmgaForConditionalGeneration
from llmga.llava.published import make_config
from llmga.llava.sizes import SHAPES
from llmga.llava.templates import TEMPLATES
from llmga.llava.towers import KNOWN_TOWERS
from llmga.llava.train.config import FAMILIES, PRESETS
from llmga.llava.train.low_rank import add_low_rank
from llmga.llava.train.parameters import freeze, parameter_groups
from llmga.training.config import check

ROOT = Path(__file__).resolve().parents[3]
LAUNCHERS = sorted([*ROOT.glob("train_*.sh"), *(ROOT / "scripts").glob("*.sh")])
# preset -> name in SHAPES
TEXT_MODELS = {
    "7b": "vicuna-7b", "13b": "vicuna-13b", "llama3_8b": "llama3-8b", "mistral_7b": "mistral-7b",
    "phi3_mini": "phi3-mini",
    "qwen2_0.5b": "qwen2-0.5b", "qwen2_1.5b": "qwen2-1.5b", "qwen2_7b": "qwen2-7b", "gemma_2b": "gemma-2b",
    "llama2_7b": "vicuna-7b", "llama2_13b": "vicuna-13b",
}  # fmt: skip
PUBLISHED = [name for name in PRESETS if name.startswith("llmga_")]


@cache
def on_meta(text_model: str, old: bool = False, layers: int | None = None) -> LlmgaForConditionalGeneration:
    """A published model without its weights, or with fewer layers."""
    tower = CLIPVisionConfig(**KNOWN_TOWERS["openai/clip-vit-large-patch14" + ("" if old else "-336")])
    text = SHAPES[text_model].config()
    text.num_hidden_layers = layers or text.num_hidden_layers
    kind = "linear" if old else "mlp2x_gelu"
    with torch.device("meta"):
        return LlmgaForConditionalGeneration(make_config(text, tower, projector_type=kind, select_layer=-2))


def model_of(name: str, layers: int | None = None) -> Mllm:
    family = re.sub(r"^llmga_(cn_)?|_(s1|pretrain)$", "", name)
    model = on_meta(TEXT_MODELS[family], "llama2" in name, layers)
    return Mllm(model=model, tokenizer=None, image_processor=None, conv_mode=PRESETS[name].conv_mode, context_length=1)


def learning(mllm: Mllm) -> int:
    return sum(weight.numel() for weight in mllm.model.parameters() if weight.requires_grad)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_preset_builds_and_knows_what_learns(name):
    mllm, config = model_of(name), PRESETS[name]
    assert config.projector_type == mllm.model.config.projector_type
    freeze(mllm, config.tune, config.tune_tower)
    weights = dict(mllm.model.named_parameters())
    tower = sum(weight.numel() for key, weight in weights.items() if "vision_tower" in key)
    projector = sum(weight.numel() for key, weight in weights.items() if "multi_modal_projector" in key)
    whole = sum(weight.numel() for weight in weights.values())
    assert learning(mllm) == (projector if config.tune == "projector" else whole - tower)
    groups = parameter_groups(mllm.model, config)
    assert sum(weight.numel() for group in groups for weight in group["params"]) == learning(mllm)
    assert {group["lr"] for group in groups} == {config.lr}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_takes_low_rank_matrices(family):
    name = f"llmga_{family}_s1"
    mllm, config = model_of(name, layers=2), replace(PRESETS[name], tune="lora")
    with torch.device("meta"):
        add_low_rank(mllm, config)
    freeze(mllm, "lora")
    text = mllm.model.config.text_config
    adapted = {key.split(".lora_A")[0] for key, _ in mllm.model.named_parameters() if ".lora_A" in key}
    per_layer = 4 if text.model_type == "phi3" else 7
    assert len(adapted) == per_layer * 2
    assert all("language_model.layers" in key for key in adapted)
    assert 0 < learning(mllm) < 0.1 * sum(weight.numel() for weight in mllm.model.parameters())


def test_the_settings_are_the_published_ones():
    for name, family in FAMILIES.items():
        s1, pretrain = PRESETS[f"llmga_{name}_s1"], PRESETS[f"llmga_{name}_pretrain"]
        assert (s1.lr, s1.batch * s1.accumulation * 8, s1.tune) == (2e-5, 128, "full")
        assert (pretrain.lr, pretrain.batch, pretrain.accumulation, pretrain.tune) == (1e-3, 8, 4, "projector")
        assert (s1.save_steps, pretrain.save_steps) == (50_000, 24_000)
        assert s1.mllm == pretrain.output_dir
        for config in (s1, pretrain):
            assert (config.warmup, config.weight_decay, config.max_length, config.epochs) == (0.03, 0.0, 2048, 1.0)
            assert (config.scheduler, config.precision, config.deepspeed) == ("cosine", "bf16", "scripts/zero3.json")
            assert (config.gradient_checkpointing, config.workers, config.save_total_limit) == (True, 4, 1)
            assert config.conv_mode == family.conv_mode
    assert [PRESETS[f"llmga_{name}_s1"].batch for name in ("llama3_8b", "gemma_2b", "qwen2_7b", "7b")] == [2, 2, 2, 4]


def test_the_form_of_2023():
    small, large = PRESETS["llmga_llama2_7b"], PRESETS["llmga_llama2_13b"]
    assert (small.epochs, large.epochs, small.batch, small.accumulation) == (6, 3, 16, 1)
    assert (small.projector_type, small.conv_mode, small.deepspeed) == ("linear", "llava_llama_2", "scripts/zero2.json")
    assert small.tag_tokens and not PRESETS["llmga_qwen2_0.5b_s1"].tag_tokens


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_keeps_its_own_rules(name):
    config = check(PRESETS[name])
    assert config.conv_mode in TEMPLATES
    assert config.deepspeed is None or (ROOT / config.deepspeed).is_file()


def test_no_two_presets_write_to_one_place():
    for folder in ("output_dir", "checkpoint_dir"):
        used = [getattr(config, folder) for config in PRESETS.values() if getattr(config, folder)]
        assert len(used) == len(set(used))


@pytest.mark.parametrize("launcher", LAUNCHERS, ids=lambda path: path.name)
def test_a_launcher_names_a_preset_that_exists(launcher):
    known = {*PRESETS, *STAGE_TWO, *DIFFRIR}
    text = "".join(line for line in launcher.read_text().splitlines(True) if not line.startswith("#"))
    named = re.findall(r"--preset[ =](\w[\w.-]*\$?)", text)
    begun = {name.removesuffix("$") for name in named if name.endswith("$")}  # a variable completes them
    assert {name for name in named if not name.endswith("$")} <= known
    assert all(any(name.startswith(part) for name in known) for part in begun)
    assert named or launcher.parent != ROOT

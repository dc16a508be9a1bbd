"""Weights that do not learn are saved bit for bit as they were stored, in whatever format they are computed with."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from llmga.llava.conversion import convert
from llmga.llava.train.frozen import exact
from llmga.llava.train.stage1 import train

TOWER, TEXT = "model.vision_tower.", ("model.embed_tokens.", "model.layers.", "model.norm.")


def stored(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}


def kept(folder: Path, base: dict[str, torch.Tensor], prefix: str | tuple[str, ...]) -> bool:
    """Whether all that the base has under a prefix is in the folder, every bit of it."""
    found, wanted = stored(folder), {name for name in base if name.startswith(prefix)}
    assert wanted
    same = [found[name].dtype == base[name].dtype and torch.equal(found[name], base[name]) for name in wanted]
    return all(same)


def changed(folder: Path, base: dict[str, torch.Tensor]) -> set[str]:
    found = stored(folder)
    return {name for name in base if not torch.equal(found[name].float(), base[name].float())}


@pytest.mark.parametrize(("tune", "frozen"), [("projector", (TOWER, *TEXT)), ("full", (TOWER,))])
def test_what_is_frozen_in_half_precision_is_saved_as_it_was(tune, frozen, settings, world, tmp_path):
    base = stored(world / "mllm")
    out, again = tmp_path / "out", {"tune": tune, "whole": True, "frozen_dtype": "bf16"}
    trainer = train(settings(out, steps=2, save_steps=1, **again))
    computed = {str(weight.dtype) for weight in trainer.model.parameters() if not weight.requires_grad}
    assert computed == {"torch.bfloat16"}
    for folder in (out / "checkpoint-2", out):
        assert kept(folder, base, frozen)
    assert changed(out, base)
    train(settings(out, steps=3, save_steps=1, **again))
    assert kept(out, base, frozen)


def test_a_new_model_keeps_its_language_model_and_its_tower(settings, world, tmp_path):
    train(settings(tmp_path / "out", tune="projector", steps=1, save_steps=1, frozen_dtype="bf16"))
    text, tower, found = stored(world / "lm"), stored(world / "tower"), stored(tmp_path / "out")
    assert all(torch.equal(found[name], text[name]) for name in text if name.startswith(TEXT))
    inside = "model.vision_tower.vision_tower.vision_model."
    assert tower and all(torch.equal(found[inside + name.removeprefix("vision_model.")], tower[name]) for name in tower)


@pytest.mark.parametrize(
    ("zero", "tune", "frozen"),
    [
        ("zero2", "projector", (TOWER, *TEXT)),
        pytest.param("zero2", "full", (TOWER,), marks=pytest.mark.long),
        pytest.param("zero3", "full", (TOWER,), marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("base_dtype", [pytest.param(torch.float32, marks=pytest.mark.long), torch.bfloat16])
def test_under_zero_what_is_frozen_is_saved_as_it_was(zero, tune, frozen, base_dtype, settings, flags, world, tmp_path):
    shutil.copytree(world / "mllm", tmp_path / "mllm")
    base = {name: tensor.to(base_dtype) for name, tensor in stored(world / "mllm").items()}
    save_file(base, tmp_path / "mllm/model.safetensors", metadata={"format": "pt"})
    config = settings(tmp_path / "out", tune=tune, whole=True, steps=2, save_steps=1, precision="bf16",
                      frozen_dtype=None, deepspeed=f"scripts/{zero}.json", report_to=())  # fmt: skip
    config = replace(config, mllm=str(tmp_path / "mllm"))
    run = subprocess.run(
        [sys.executable, "-m", "llmga.llava.train.train", *flags(config)],
        cwd=Path(__file__).parents[3], capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    assert kept(tmp_path / "out/checkpoint-2", base, frozen)
    exact_in_single = {name: tensor.float() for name, tensor in base.items()}  # the tests' --save-dtype
    assert kept(tmp_path / "out", exact_in_single, frozen)
    assert changed(tmp_path / "out", base)


def test_a_stored_weight_counts_only_where_it_is_the_one_that_was_rounded(settings, world, tmp_path):
    base = stored(world / "mllm")
    name, other = "model.language_model.norm.weight", "model.language_model.layers.0.input_layernorm.weight"
    first, second = (f"model.{one.removeprefix('model.language_model.')}" for one in (name, other))
    weights = {name: (base[first] * 1.01).bfloat16(), other: base[second].bfloat16()}
    found = exact(weights, set(weights), settings(tmp_path, whole=True), "mlp2x_gelu")
    assert set(found) == {other} and torch.equal(found[other], base[second])


def test_rows_of_new_tokens_stand_behind_the_stored_ones(settings, world, tmp_path):
    name = "model.language_model.embed_tokens.weight"
    table = stored(world / "mllm")["model.embed_tokens.weight"]
    grown = torch.cat([table, table[:2]]).bfloat16()
    found = exact({name: grown}, {name}, settings(tmp_path, whole=True), "mlp2x_gelu")[name]
    assert torch.equal(found[:-2], table) and torch.equal(found[-2:], grown[-2:].float())


def test_a_folder_in_transformers_layout_gives_its_stored_weights_too(settings, world, tmp_path):
    base, name = stored(world / "mllm"), "model.language_model.norm.weight"
    convert(world / "mllm", tmp_path / "stock", "hf")
    config = replace(settings(tmp_path / "out", whole=True), mllm=str(tmp_path / "stock"))
    found = exact({name: base["model.norm.weight"].bfloat16()}, {name}, config, "mlp2x_gelu")
    assert torch.equal(found[name], base["model.norm.weight"])

"""Stage 1 on a tiny model: it learns, resumes exactly, and leaves a folder that opens."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import Qwen2ForCausalLM, SiglipVisionConfig, SiglipVisionModel

from llmga.errors import UserError
from llmga.llava.assembling import add_prompt_tags
from llmga.llava.conversation import Conversation
from llmga.llava.datasets.mixture import DataSource
from llmga.llava.loading import load_mllm
from llmga.llava.train.parameters import freeze, parameter_groups
from llmga.llava.train.stage1 import train
from llmga.llava.train.train import main
from llmga.training.checkpoints import newest_checkpoint
from llmga.training.config import FILE_NAME


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_mllm(folder, device="cpu").model.state_dict()


@pytest.fixture(scope="module")
def unbroken(settings, tmp_path_factory):
    out = tmp_path_factory.mktemp("unbroken")
    return train(settings(out, logging_steps=1, save_total_limit=2)), out


def test_the_loss_falls(settings, tmp_path):
    trainer = train(settings(tmp_path / "out", steps=24, save_steps=24, logging_steps=1, lr=1e-2))
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert np.mean(losses[-4:]) < 0.6 * losses[0]


def test_the_saved_folder_opens_with_its_settings_beside_it(unbroken):
    trainer, out = unbroken
    mllm = load_mllm(out, device="cpu")
    assert mllm.conv_mode == "qwen_2"
    for name, tensor in trainer.model.state_dict().items():
        assert torch.equal(mllm.model.state_dict()[name], tensor), name
    assert json.loads((out / FILE_NAME).read_text())["settings"]["steps"] == 6


@pytest.mark.parametrize("changes", [{}, {"workers": 1}, {"group_by_length": False}])
def test_a_resumed_run_equals_an_unbroken_one(settings, unbroken, tmp_path, changes, capsys):
    _, whole = unbroken
    if "group_by_length" in changes:
        whole = tmp_path / "whole"
        train(settings(whole, **changes))
    out = tmp_path / "broken"
    train(settings(out, save_total_limit=2, **changes))
    (out / "checkpoint-6").rename(tmp_path / "gone")
    (out / "checkpoint-9").mkdir()  # left behind by a run that was killed while saving
    assert newest_checkpoint(out) == out / "checkpoint-3"
    capsys.readouterr()
    train(settings(out, **changes))
    assert f"resuming from {out / 'checkpoint-3'}" in capsys.readouterr().out
    for name, tensor in weights(out).items():
        assert torch.allclose(tensor, weights(whole)[name], atol=1e-5), name


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("length", [{"steps": 3}, {"steps": None, "epochs": 1.5}])
def test_a_finished_run_started_again_is_finished(settings, tmp_path, length, capsys):
    config = settings(tmp_path / "out", **length)
    steps = train(config).state.global_step
    before = contents(tmp_path / "out")
    assert train(config) is None
    told = f"already finished: all steps are in {tmp_path / 'out' / f'checkpoint-{steps}'}, the model is in"
    assert told in capsys.readouterr().out
    assert contents(tmp_path / "out") == before
    (tmp_path / "out/config.json").unlink()  # as if it had been killed before the model was saved
    assert train(config).state.global_step == steps
    assert contents(tmp_path / "out").items() >= {
        (path, before[path]) for path in before if path.suffix == ".safetensors"
    }
    with pytest.raises(UserError, match=f"checkpoint-{steps}' is further than --steps 2; give at least {steps}"):
        train(replace(config, steps=2))


def test_pretraining_moves_only_the_projector(world, settings, tmp_path):
    out = tmp_path / "out"
    config = settings(out, tune="projector", steps=4, batch=1)
    trainer = train(config)
    moved = {name for name, parameter in trainer.model.named_parameters() if parameter.grad is not None}
    assert all("multi_modal_projector" in name for name in moved)
    start = weights_of_text_model(world)
    saved = weights(out)
    assert torch.equal(saved["model.language_model.layers.0.mlp.up_proj.weight"], start)


def weights_of_text_model(world: Path) -> torch.Tensor:
    return Qwen2ForCausalLM.from_pretrained(world / "lm").state_dict()["model.layers.0.mlp.up_proj.weight"]


def test_full_tuning_goes_on_from_a_pretrained_model_and_leaves_the_tower(settings, unbroken, tmp_path):
    _, out = unbroken
    config = settings(tmp_path / "s1", mllm=str(out), text_model=None, vision_tower=None, steps=2)
    train(config)
    before, after = weights(out), weights(tmp_path / "s1")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert not any("vision_tower" in name for name in changed)
    assert "model.language_model.norm.weight" in changed


def test_a_siglip_tower_learns_where_it_is_seen_and_is_saved_with_the_model(settings, tmp_path):
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    SiglipVisionModel(SiglipVisionConfig(image_size=32, patch_size=8, **sizes)).save_pretrained(tmp_path / "siglip")
    before = load_file(tmp_path / "siglip/model.safetensors")
    out = tmp_path / "out"
    trainer = train(settings(out, vision_tower=str(tmp_path / "siglip"), tune_tower=True, steps=2, save_steps=2))
    learning = {name for name, weight in trainer.model.named_parameters() if "tower" in name and weight.requires_grad}
    assert any("layers.0" in name for name in learning)
    assert not any(part in name for name in learning for part in ("layers.1.", "post_layernorm", "head."))
    after = load_mllm(out, device="cpu")
    for name, tensor in trainer.model.state_dict().items():
        assert torch.equal(after.model.state_dict()[name], tensor), name
    tower = after.model.model.vision_tower.state_dict()
    changed = {name for name in before if not torch.equal(before[name], tower[name])}
    assert changed == {name.removeprefix("model.vision_tower.") for name in learning} & changed != set()


def test_the_tags_get_tokens_of_their_own_that_learn_and_a_resumed_run_has_them_once(settings, unbroken, tmp_path):
    _, start = unbroken
    out, old = tmp_path / "tags", load_mllm(start, device="cpu")
    mean = old.model.get_input_embeddings().weight.float().mean(0)
    add_prompt_tags(fresh := load_mllm(start, device="cpu"))
    rows, first = fresh.model.get_input_embeddings().weight, len(old.tokenizer)
    assert torch.allclose(rows[first], mean) and torch.equal(rows[first], rows[first + 1])
    config = settings(out, mllm=str(start), text_model=None, vision_tower=None, tag_tokens=True, steps=2, save_steps=1)
    train(config)
    train(replace(config, steps=3))
    mllm = load_mllm(out, device="cpu")
    assert mllm.tokenizer.encode("<gen_image> a </gen_image>", add_special_tokens=False)[0] == first
    assert len(mllm.tokenizer) == first + 2 == len(mllm.model.get_output_embeddings().weight)
    learnt = mllm.model.get_input_embeddings().weight
    assert not torch.equal(learnt[first], learnt[first + 1])
    told = Conversation().say("user", "go").say("assistant", "<gen_image> a red square </gen_image>")
    assert first in mllm.encode(told).input_ids


def test_tokens_that_would_not_be_taught_are_refused(settings, tmp_path):
    with pytest.raises(UserError, match="--tune full"):
        train(settings(tmp_path / "out", tag_tokens=True, tune="projector"))


def test_parameters_are_grouped_by_rate_and_decay(settings, unbroken):
    trainer, _ = unbroken
    config = settings(Path("out"), weight_decay=0.1, projector_lr=1e-4)
    freeze(trainer.mllm, "full")
    groups = parameter_groups(trainer.model, config)
    assert sorted({(group["lr"], group["weight_decay"]) for group in groups}) == [
        (1e-4, 0.0), (1e-4, 0.1), (5e-3, 0.0), (5e-3, 0.1)
    ]  # fmt: skip
    grouped = [parameter for group in groups for parameter in group["params"]]
    assert len(grouped) == sum(parameter.requires_grad for parameter in trainer.model.parameters())
    for group in groups:
        if group["weight_decay"]:
            assert all(parameter.dim() > 1 for parameter in group["params"])


def test_held_out_data_is_measured(settings, tmp_path, capsys):
    trainer = train(settings(tmp_path / "out", steps=2, eval_fraction=0.25, eval_steps=2))
    assert "no checkpoint before the last of 2 steps: --save-steps is 3" in capsys.readouterr().out
    assert [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    assert len(trainer.train_dataset) == 6


def test_left_out_samples_show_in_the_log(world, settings, tmp_path, captions, capsys):
    records = [{"image": "gone.png", "caption": "gone"}, {"image": "0.png", "caption": captions[0]}]
    (tmp_path / "sg.json").write_text(json.dumps(records))
    data = (DataSource("sg", str(tmp_path / "sg.json"), str(world / "data/images")),)
    trainer = train(settings(tmp_path / "out", data=data, steps=2, eval_steps=10))
    assert trainer.state.log_history[0]["left_out"] >= 1
    said = capsys.readouterr()
    assert "--eval-steps 10 measures nothing without --eval-fraction" in said.out
    assert "/2 [" not in said.err  # a log is no terminal and gets no bar


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--mllm", "none"], "give either --mllm"),
        (["--conv-mode", "qwen"], "unknown conversation mode 'qwen'"),
        (["--data"], "names no source"),
        (["--data", "sg"], "must look like kind=file"),
        (["--data", "cats=a.json"], "unknown kind of data 'cats'"),
        (["--mllm", "nowhere"], "'nowhere' does not exist"),
    ],
)
def test_mistakes_are_told_in_a_sentence(flags, sentence, tmp_path, capsys):
    argv = ["--preset", "toy_s1", "--output-dir", str(tmp_path), "--checkpoint-dir", str(tmp_path), *flags]
    assert main(argv) == 2
    assert sentence in capsys.readouterr().err


def test_no_supervised_token_stops_the_run(settings, tmp_path):
    with pytest.raises(UserError, match="check the data"):
        train(settings(tmp_path / "out", max_length=8))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_rows_are_learnt_measured_and_answered(settings, tmp_path, attention):
    """Also with recomputed activations, whose layers must hear of the samples' lengths, too."""
    config = settings(
        tmp_path / "out", pack=True, batch=2, accumulation=2, lr=1e-2, steps=16, save_steps=16, logging_steps=1,
        gradient_checkpointing=True, eval_fraction=0.25, eval_steps=8, sample_steps=8, sample_tokens=3,
        attention=attention,
    )  # fmt: skip
    history = train(config).state.log_history
    losses = [entry["loss"] for entry in history if "loss" in entry]
    assert np.mean(losses[-4:]) < 0.8 * losses[0]
    assert [entry for entry in history if "eval_loss" in entry]
    assert len((tmp_path / "out/samples.jsonl").read_text().splitlines()) == 2 * 2  # two held-out samples, twice

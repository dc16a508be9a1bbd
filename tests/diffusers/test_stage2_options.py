"""Ways to learn in stage 2: optimizers, text encoders, DoRA, compiled blocks, and where the log goes."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors import safe_open
from safetensors.torch import load_file

from llmga.diffusers.adapters import add_loras
from llmga.diffusers.pipelines import load_pipeline
from llmga.diffusers.train.config import PRESETS
from llmga.diffusers.train.optimizers import OPTIMIZERS, optimizers_of
from llmga.diffusers.train.planning import _sizes, plan
from llmga.diffusers.train.train import train
from llmga.diffusers.train.trainer import Stage2Trainer
from llmga.errors import UserError
from llmga.training.config import parse_arguments

LORA = "pytorch_lora_weights.safetensors"
TOY = PRESETS["toy_sdxl"]


def losses(config):
    return [json.loads(line)["loss"] for line in Path(config.run, "log.jsonl").read_text().splitlines()]


def result(folder):
    """Every tensor of what a run leaves."""
    files = sorted(folder.rglob("*.safetensors"))
    return {(file.relative_to(folder), name): each for file in files for name, each in load_file(file).items()}


WAYS = {
    "8 bits, text encoders": {"optimizer": "adamw8bit", "train_text_encoder": True, "text_encoder_lr": 1e-4},
    "Adafactor, DoRA, tags": {"optimizer": "adafactor", "tune": "lora", "dora": True, "lora_rank": 2,
                              "shuffle_tags": True, "tag_dropout": 0.3},
    "Prodigy, text encoders": {"optimizer": "prodigy", "lr": 1.0, "tune": "lora", "lora_rank": 2,
                               "train_text_encoder": True},
    "Muon": {"optimizer": "muon", "muon_lr": 1e-2},
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_stopped_run_goes_on_as_the_unbroken_one(config, tmp_path, way):
    config = replace(config, steps=3, warmup=0, checkpoint_every=2, **WAYS[way])
    whole = result(train(config))
    parts = replace(config, run=str(tmp_path / "run2"), output=str(tmp_path / "out2"))
    train(replace(parts, steps=2, output=str(tmp_path / "out-half")))
    after = result(train(parts))
    assert losses(parts) == pytest.approx(losses(config), abs=1e-7)
    assert after.keys() == whole.keys()
    assert max((after[name] - whole[name]).abs().max() for name in whole) <= 1e-7
    assert len(set(losses(config))) == 3


def trained(config, **changes):
    """The folder of a short run, and its trainer with the averaged weights in place."""
    config = replace(config, steps=2, warmup=0, lr=0.05, ema_decay=0.0, **changes)
    output = train(config)
    return output, Stage2Trainer(config)


def answers(pipe, like=None):
    """What words become in a pipeline, and what its UNet says to them."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        embeds, _, pooled, _ = pipe.encode_prompt("a red star", do_classifier_free_guidance=False)
        noisy = torch.randn(1, 4, 8, 8, generator=generator)
        told = {"text_embeds": pooled, "time_ids": torch.ones(1, 6)}
        return embeds, pooled, pipe.unet.eval()(noisy, 5, embeds, added_cond_kwargs=told).sample


@pytest.mark.parametrize("changes", [{}, {"dora": True}], ids=["low rank", "DoRA"])
def test_low_rank_text_encoders_open_in_the_stock_pipeline(config, changes):
    output, trainer = trained(config, tune="lora", lora_rank=2, lora_alpha=4.0, train_text_encoder=True, **changes)
    with safe_open(output / LORA, "pt") as file:
        names = list(file.keys())
    layer = "encoder.layers.0.self_attn.q_proj.lora_A.weight"
    assert {f"text_encoder.text_model.{layer}", f"text_encoder_2.text_model.{layer}"} <= set(names)
    assert any("lora_magnitude_vector" in name for name in names) == bool(changes)
    pipe = DiffusionPipeline.from_pretrained(config.pipeline)
    plain = answers(pipe)
    pipe.load_lora_weights(output)
    for stock, ours, before in zip(answers(pipe), answers(trainer.pipe), plain, strict=True):
        torch.testing.assert_close(stock, ours, atol=1e-5, rtol=1e-4)
        assert (stock - before).abs().max() > 1e-3
    painter = load_pipeline(config.pipeline, device="cpu")
    add_loras(painter, [str(output)])
    assert torch.allclose(answers(painter.pipe)[2], answers(trainer.pipe)[2], atol=1e-5, rtol=1e-4)


def test_whole_text_encoders_are_saved_with_the_pipeline(config):
    output, trainer = trained(config, train_text_encoder=True)
    pipe = DiffusionPipeline.from_pretrained(output)
    for stock, ours in zip(answers(pipe), answers(trainer.pipe), strict=True):
        torch.testing.assert_close(stock, ours, atol=1e-5, rtol=1e-4)
    base = load_file(next(Path(config.pipeline, "text_encoder_2").glob("*.safetensors")))
    now = load_file(next((output / "text_encoder_2").glob("*.safetensors")))
    assert max((now[name] - tensor).abs().max() for name, tensor in base.items()) > 1e-3


SHAPES = [(64, 96), (32, 16, 3, 3), (8,)]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_keeps_as_many_bytes_as_its_row_says(name):
    weights = [torch.nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    made = optimizers_of(replace(TOY, optimizer=name), [{"params": weights, "peak": 1.0}])
    sum((weight**2).sum() for weight in weights).backward()
    for optimizer in made:
        optimizer.step()
    states = [state for optimizer in made for state in optimizer.state.values()]
    kept = sum(each.nbytes for state in states for key, each in state.items()
               if isinstance(each, torch.Tensor) and each.ndim and not key.startswith("qmap"))  # fmt: skip
    assert kept == sum(OPTIMIZERS[name].kept(shape) for shape in SHAPES)


def test_muon_turns_matrices_and_adamw_steps_the_rest():
    config = replace(TOY, optimizer="muon", muon_lr=0.5, weight_decay=0.1)
    ours, theirs = ([torch.nn.Parameter(torch.full(shape, 0.5)) for shape in SHAPES] for _ in range(2))
    made = optimizers_of(config, [{"params": ours, "peak": 0.1}])
    assert [group["peak"] for optimizer in made for group in optimizer.param_groups] == [0.5, 0.1]
    by_hand = [torch.optim.Muon(theirs[:1], lr=0.1, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
               torch.optim.AdamW(theirs[1:], lr=0.1, weight_decay=0.1)]  # fmt: skip
    for weights, optimizers in ((ours, made), (theirs, by_hand)):
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = 0.1
        sum((weight * torch.arange(weight.numel()).view(weight.shape)).sum() for weight in weights).backward()
        for optimizer in optimizers:
            optimizer.step()
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_each_part_learns_at_its_own_rate(config):
    trainer = Stage2Trainer(replace(config, train_text_encoder=True, text_encoder_lr=1e-5, warmup=2))
    trainer._optimise(trainer._batches())
    (optimizer,) = trainer.optimizers
    assert [group["lr"] for group in optimizer.param_groups] == [5e-4, 5e-6, 5e-6]
    assert {name.partition(".")[0] for name in trainer.names} >= {"text_encoder", "text_encoder_2", "conv_in"}


def test_compiled_blocks_learn_the_same(config, monkeypatch):
    compile = torch.nn.Module.compile
    seen = []

    def traced(module, **options):
        seen.append((type(module).__name__, options))
        compile(module, backend="eager", **options)  # traced as for a GPU, without the minutes of generating code

    config = replace(config, steps=2, warmup=0)
    train(config)
    monkeypatch.setattr(torch.nn.Module, "compile", traced)
    again = replace(config, run=config.run + "2", torch_compile=True)
    output = train(again)
    assert losses(again) == pytest.approx(losses(config), abs=1e-6)
    assert seen and {name for name, _ in seen} == {"BasicTransformerBlock"}
    assert not any("_orig_mod" in name for _, name in result(output))


def test_the_log_and_pictures_on_the_way_go_to_tensorboard(config):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(replace(config, steps=2, warmup=0, report_to=("tensorboard",), validation_every=2, validation_pictures=1))
    (file,) = Path(config.run).rglob("events.out.tfevents.*.0")
    events = EventAccumulator(str(file.parent)).Reload()
    assert [event.value for event in events.Scalars("loss")] == pytest.approx(losses(config), abs=1e-6)
    assert events.Images("validation/000")


def test_another_tracker_that_is_not_installed_is_told(config, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r'--report-to wandb needs the package wandb.*pip install "llmga\[wandb\]"'):
        train(replace(config, report_to=("wandb",)))


def test_a_checkpoint_from_before_a_setting_was_there_is_taken_up(config):
    config = replace(config, steps=2, warmup=0)
    train(config)
    state = Path(config.run, "checkpoint-2/run.json")
    kept = json.loads(state.read_text())
    del kept["settings"]["optimizer"], kept["settings"]["regularisation"]
    state.write_text(json.dumps(kept))
    train(replace(config, steps=3))
    assert len(losses(config)) == 3
    with pytest.raises(UserError, match="keep_tokens 0 -> 3"):
        train(replace(config, steps=4, keep_tokens=3))


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ("--tune dora", "--tune is 'dora', which is told by two flags here; give --tune lora --dora true."),
        ("--dora true", "--dora true is a kind of low-rank weights; give --tune lora"),
        ("--train-text-encoder true --cache-embeddings true", "give --cache-embeddings false"),
        ("--train-text-encoder true --deepspeed a.json", "give --deepspeed none"),
        ("--text-encoder-lr 1e-5", "give --train-text-encoder true, too"),
        ("--muon-lr 1e-3", "--muon-lr is not for --optimizer adamw"),
        ("--optimizer muon --mixed-precision fp16", "give --mixed-precision bf16"),
        ("--optimizer prodigy", "--lr 0.0007 is a factor of the rate .*; give --lr 1"),
        ("--optimizer adam", "--optimizer is 'adam', but must be one of: adamw, adamw8bit, adafactor, prodigy, muon"),
        ("--optimizer prodigy --lr 1 --train-text-encoder true --text-encoder-lr 0.5", "leave --text-encoder-lr out"),
        ("--bucket-no-upscale true", "give --buckets true, too"),
        ("--cache-embeddings true --shuffle-tags true", "needs --shuffle-tags false and --tag-dropout 0"),
        ("--family sd3 --task inpainting", "sd3 is trained for --task text-to-image only"),
        ("--family sd3 --train-text-encoder true", "keeps its text encoders"),
        ("--family sd3 --snr-gamma 5", "--weighting-scheme says what is learnt"),
    ],
)
def test_what_does_not_go_together_is_told(flags, sentence):
    with pytest.raises(UserError, match=sentence):
        parse_arguments(PRESETS, ["--preset", "toy_sdxl", *flags.split()])


def test_the_plan_knows_what_optimizers_keep_and_what_else_learns(config):
    def needed(**changes):
        return plan(replace(config, cache_latents=False, device="auto", **changes))

    plain = needed()
    memory = {name: needed(optimizer=name, lr=1.0).tensors for name in OPTIMIZERS}
    assert memory["adafactor"] < memory["adamw"] < memory["prodigy"] and memory["muon"] < memory["adamw"]
    both = needed(train_text_encoder=True)
    assert both.tensors > plain.tensors and both.flops > plain.flops
    for way in (WAYS["8 bits, text encoders"], WAYS["Adafactor, DoRA, tags"]):
        learning = Stage2Trainer(replace(config, **way)).learning
        assert _sizes(replace(config, **way)).learns == sum(weight.numel() for weight in learning)

import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from diffusers import DiffusionPipeline
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import llmga
from llmga.diffusers.adapters import add_loras
from llmga.diffusers.datasets.captioned import CaptionedImages
from llmga.diffusers.pipelines import PIPELINES, load_pipeline
from llmga.diffusers.train.batches import collate
from llmga.diffusers.train.config import PRESETS, Stage2Config
from llmga.diffusers.train.tasks import TASKS, widened
from llmga.diffusers.train.train import train
from llmga.diffusers.train.trainer import Stage2Trainer, learning_rate
from llmga.errors import UserError
from llmga.files import fingerprint
from llmga.training.config import check

UNET = "unet/diffusion_pytorch_model.safetensors"
LORA = "pytorch_lora_weights.safetensors"


def losses(config):
    lines = Path(config.run, "log.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def weights(folder):
    return load_file(next(path for path in (folder / LORA, folder / UNET) if path.is_file()))


def farthest(some, others):
    assert some.keys() == others.keys()
    return max((some[name] - others[name]).abs().max() for name in some)


def test_four_steps_make_a_pipeline_that_paints(config):
    output = train(config)
    assert len(losses(config)) == 4 and np.isfinite(losses(config)).all()
    generator = load_pipeline(output, device="cpu")
    first, again, other = (generator("a big red star", seed=seed).tobytes() for seed in (1, 1, 2))
    assert first == again != other
    assert generator.describe()["steps"] == 3
    assert farthest(weights(output), weights(Path(config.pipeline))) > 1e-4


VARIANTS = {
    "plain": {},
    "without averaging": {"ema_decay": 0.0},
    "online": {"cache_latents": False, "flip": True, "center_crop": False, "accumulation": 2},
    "low rank": {"tune": "lora", "lora_rank": 2},
    "buckets": {"buckets": True, "cache_latents": False, "flip": True, "center_crop": False},
    "cached buckets": {"buckets": True, "cache_embeddings": True},
    "inpainting": {"task": "inpainting"},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_killed_run_goes_on_as_the_unbroken_one(config, world, tmp_path, monkeypatch, variant):
    data = (str(world / "mixed.json"),) if "buckets" in variant else config.data
    config = replace(config, data=data, **VARIANTS[variant])
    whole = weights(train(config))
    parts = replace(config, run=str(tmp_path / "run2"), output=str(tmp_path / "out2"))
    optimise = Stage2Trainer._optimise

    def killed(trainer, batches):
        if trainer.step == 3:
            raise KeyboardInterrupt
        return optimise(trainer, batches)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Stage2Trainer, "_optimise", killed)
        train(parts)
    assert farthest(weights(train(parts)), whole) <= 1e-7
    first, second, _, third, fourth = losses(parts)  # the third step was done twice
    assert [first, second, third, fourth] == pytest.approx(losses(config), abs=1e-7)


@pytest.mark.parametrize("row", ["sd15", "sd15-inpainting", "sdxl-inpainting"])
def test_every_family_and_task_trains_with_the_same_code(config, goldens, row):
    family, _, task = row.partition("-")
    base = goldens.folder(row.replace("-inpainting", "_inpaint"))
    config = replace(config, family=family, task=task or "text-to-image", pipeline=str(base), steps=1, warmup=0)
    output = train(config)
    assert load_pipeline(output, device="cpu").family.name == row
    assert type(DiffusionPipeline.from_pretrained(output)).__name__ == PIPELINES[row].pipeline_class


def test_a_widened_unet_first_answers_as_before(goldens):
    torch.manual_seed(0)
    pipe = goldens.pipeline("sdxl")
    noisy, extra = torch.randn(1, 4, 8, 8), torch.randn(1, 5, 8, 8)
    conditions = {"text_embeds": torch.randn(1, pipe.text_encoder_2.config.projection_dim),
                  "time_ids": torch.ones(1, 6)}  # fmt: skip
    words = torch.randn(1, 77, pipe.unet.config.cross_attention_dim)
    say = lambda unet, seen: unet(seen, 5, words, added_cond_kwargs=conditions).sample  # noqa: E731
    with torch.no_grad():
        before = say(pipe.unet, noisy)
        wide = widened(type(pipe.unet).from_config(pipe.unet.config), 9)
        wide.load_state_dict(pipe.unet.state_dict() | {"conv_in.weight": wide.conv_in.weight}, strict=True)
        wide.conv_in.weight[:, :4] = pipe.unet.conv_in.weight
        assert not wide.conv_in.weight[:, 4:].any()
        torch.testing.assert_close(say(wide, torch.cat([noisy, extra], 1)), before, atol=1e-6, rtol=0)
    assert wide.config.in_channels == 9
    assert widened(wide, 9) is wide


def test_inpainting_goes_on_from_a_model_that_paints_from_words(config):
    output = train(replace(config, task="inpainting"))
    after, before = weights(output)["conv_in.weight"], weights(Path(config.pipeline))["conv_in.weight"]
    assert after.shape[1] == 9 and before.shape[1] == 4
    assert after[:, 4:].any()
    painter = load_pipeline(output, device="cpu")
    picture = Image.new("RGB", (64, 64), (200, 20, 20))
    mask = Image.new("L", (64, 64))
    mask.paste(255, (16, 16, 40, 40))
    filled = painter("a red star", picture, mask, seed=1)
    assert np.array_equal(np.asarray(filled)[np.asarray(mask) == 0], np.asarray(picture)[np.asarray(mask) == 0])


def test_stock_diffusers_loads_the_low_rank_weights(config, capsys):
    output = train(replace(config, tune="lora", lora_rank=2, lora_alpha=4.0, steps=3, lr=0.1))
    assert f"the low-rank weights are in {output}" in capsys.readouterr().out
    assert [path.name for path in output.iterdir()] == [LORA]
    pipe = DiffusionPipeline.from_pretrained(config.pipeline)
    pipe.load_lora_weights(output)
    trainer = Stage2Trainer(replace(config, tune="lora", lora_rank=2, lora_alpha=4.0, steps=3, lr=0.1))
    seen = torch.randn(1, 4, 8, 8), 5, torch.randn(1, 77, pipe.unet.config.cross_attention_dim)
    told = {"added_cond_kwargs": {"text_embeds": torch.randn(1, pipe.text_encoder_2.config.projection_dim),
                                  "time_ids": torch.ones(1, 6)}}  # fmt: skip
    with torch.no_grad(), trainer._averaged():
        ours = trainer.pipe.unet.eval()(*seen, **told).sample
        torch.testing.assert_close(pipe.unet(*seen, **told).sample, ours, atol=1e-5, rtol=0)
        pipe.unload_lora_weights()
        assert (pipe.unet(*seen, **told).sample - ours).abs().max() > 1e-3


def low_rank(config, **changes):
    """The folder with the low-rank weights of a short run."""
    return train(replace(config, tune="lora", lora_rank=2, lora_alpha=4.0, steps=2, **changes))


def test_low_rank_weights_say_what_they_were_trained_for(config):
    output = low_rank(config, prediction="v_prediction", layout="a1111")
    with safe_open(output / LORA, "pt") as file:
        said = file.metadata()
    assert said["modelspec.architecture"] == "stable-diffusion-xl-v1-base/lora"
    assert said["modelspec.prediction_type"] == "v"
    assert (said["ss_network_dim"], said["ss_network_alpha"], said["ss_steps"]) == ("2", "4.0", "2")
    assert (said["llmga.layout"], said["llmga.base"], said["llmga.version"]) == ("a1111", "base", llmga.__version__)
    assert said["llmga.base_sha256"] == fingerprint(Path(config.pipeline) / "unet")


def test_low_rank_weights_go_with_the_painter_that_they_were_trained_for(config, caplog, tmp_path):
    output = low_rank(config)
    add_loras(load_pipeline(config.pipeline, device="cpu"), [str(output)])
    assert "another base" not in caplog.text
    other = shutil.copytree(config.pipeline, tmp_path / "another")
    file = other / UNET
    changed = {name: tensor * 1.01 for name, tensor in load_file(file).items()}
    save_file(changed, file, {"format": "pt"})
    add_loras(load_pipeline(other, device="cpu"), [str(output)])
    assert "were trained beside another base, base; they may do less beside" in caplog.text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"layout": "llmga"}, "in the layout 'llmga', but .* lays them out as 'joined'; .*--layout joined"),
        ({"prediction": "v_prediction"}, "trained to predict v_prediction, but .* predicts epsilon; "),
    ],
)
def test_low_rank_weights_for_another_layout_or_prediction_are_refused(config, changes, said):
    output = low_rank(config, **changes)
    with pytest.raises(UserError, match=said):
        add_loras(load_pipeline(config.pipeline, device="cpu"), [str(output)])


def test_low_rank_training_leaves_the_unet_as_it_was(config):
    trainer = Stage2Trainer(replace(config, tune="lora", lora_rank=2))
    assert {name.split(".lora_")[1][0] for name in trainer.names} == {"A", "B"}
    trainer.fit()
    base = weights(Path(config.pipeline))
    after = {name.replace(".base_layer", ""): tensor for name, tensor in trainer.pipe.unet.state_dict().items()}
    assert all(torch.equal(after[name], tensor) for name, tensor in base.items())


def test_half_precision_output_is_half_as_large_and_spares_other_files(config):
    card = Path(config.output) / "README.md"
    train(replace(config, steps=2))
    card.write_text("a card")
    output = train(replace(config, steps=2, save_dtype="fp16"))
    assert {t.dtype for t in load_file(output / UNET).values()} == {torch.float16}
    assert card.read_text() == "a card"


def test_saved_weights_are_the_averaged_ones(config):
    trainer = Stage2Trainer(config)
    trainer.fit()
    averaged = [shadow.clone() for shadow in trainer.ema.shadow_params]
    raw = [p.detach().clone() for p in trainer.unet.parameters()]
    saved = load_file(trainer.save() / UNET)
    assert all(torch.equal(saved[name], value) for name, value in zip(trainer.names, averaged, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(raw, averaged, strict=True))


def test_the_result_says_what_it_predicts_and_how_prompts_are_laid_out(config):
    output = train(replace(config, steps=2, prediction="v_prediction", layout="a1111", snr_gamma=5.0))
    generator = load_pipeline(output, device="cpu")
    assert generator.pipe.scheduler.config.prediction_type == "v_prediction"
    assert generator.layout == "a1111" and generator.steps == 3


def with_scheduler(config, **changes):
    """The run on a base whose scheduler says something else."""
    path = Path(config.pipeline, "scheduler/scheduler_config.json")
    stated = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(stated))
    index = Path(config.pipeline, "model_index.json")
    pipeline = json.loads(index.read_text()) | {"scheduler": ["diffusers", stated["_class_name"]]}
    index.write_text(json.dumps(pipeline))
    return config


def test_a_zero_terminal_snr_checkpoint_stays_one(config):
    zero = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction", "timestep_spacing": "trailing"}
    output = train(replace(with_scheduler(config, **zero), validation_every=2))
    assert np.isfinite(losses(config)).all()
    for sampler in ("checkpoint", "ddim", "dpm++-2m"):
        painter = load_pipeline(output, device="cpu", sampler=sampler)
        painter("a star", steps=2)
        assert painter.pipe.scheduler.alphas_cumprod[-1] < 1e-7
        assert painter.pipe.scheduler.timesteps[0] == 999


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"_class_name": "EDMEulerScheduler"}, "of the kind EDM"),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "of the kind flow-matching"),
        ({"rescale_betas_zero_snr": True}, "of the kind zero-terminal-SNR .* noise"),
        ({"prediction_type": "sample"}, "predicts 'sample'"),
        ({"_class_name": "NoScheduler"}, "no scheduler that can be used"),
    ],
)
def test_a_kind_that_is_not_trained_is_told_before_any_folder_is_made(config, stated, message):
    with pytest.raises(UserError, match=message):
        train(with_scheduler(config, **stated))
    assert not Path(config.run).exists()


def test_pictures_on_the_way_are_sampled_as_the_unet_learns_to_answer(config):
    trainer = Stage2Trainer(replace(config, prediction="v_prediction"))
    assert trainer.validation.pipe.scheduler.config.prediction_type == "v_prediction"


@pytest.mark.parametrize(
    ("part", "cause"),
    [
        ("unet", "nothing was learnt yet, so --lr is not to blame"),
        ("vae", "folder vae/"),
        ("text_encoder", "text enco"),
    ],
)
def test_what_is_no_number_is_blamed_on_what_it_comes_from(config, part, cause):
    path = next(Path(config.pipeline, part).glob("*.safetensors"))
    damaged = {name: torch.full_like(tensor, float("nan")) for name, tensor in load_file(path).items()}
    save_file(damaged, path, metadata={"format": "pt"})
    with pytest.raises(UserError, match=f"the loss is nan at step 1, and .*{cause}"):
        train(replace(config, cache_latents=False, cache_embeddings=False))


def test_weights_that_go_astray_are_blamed_on_the_learning_rate(config):
    with pytest.raises(UserError, match="the loss is (nan|inf) at step .*: lower --lr"):
        train(replace(config, lr=1e30, max_grad_norm=1e30, warmup=0))


@pytest.mark.parametrize("task", TASKS)
def test_pictures_on_the_way_change_nothing(config, task):
    config = replace(config, task=task, steps=2)
    plain = weights(train(config))
    watched = replace(config, run=config.run + "2", validation_every=1, validation_pictures=2)
    assert farthest(weights(train(watched)), plain) == 0
    folder = Path(watched.run, "validation")
    assert sorted(path.name for path in folder.iterdir()) == ["step-1", "step-2"]
    first, second = (Image.open(folder / f"step-{step}" / "000.png") for step in (1, 2))
    assert first.size == (64, 64) and first.tobytes() != second.tobytes()
    assert len((folder / "step-1" / "captions.txt").read_text().splitlines()) == 2


def test_old_checkpoints_go_and_strange_names_stay(config, tmp_path):
    config = replace(config, checkpoint_every=1, keep=2)
    (tmp_path / "run" / "checkpoint-mine").mkdir(parents=True)
    train(config)
    assert sorted(p.name for p in (tmp_path / "run").glob("checkpoint-*")) == [
        "checkpoint-3", "checkpoint-4", "checkpoint-mine"]  # fmt: skip


def test_other_settings_are_not_resumed(config):
    train(replace(config, steps=2))
    with pytest.raises(UserError, match="lr 0.001 -> 0.5"):
        train(replace(config, lr=0.5))
    with pytest.raises(UserError, match="checkpoint-2.*further"):
        train(replace(config, resume="none"))


def test_other_records_and_processes_are_not_resumed(config, tmp_path):
    data = Path(shutil.copy(config.data[0], tmp_path / "train.json"))
    config = replace(config, data=(str(data),))
    train(replace(config, steps=2, warmup=0))
    state = tmp_path / "run" / "checkpoint-2" / "run.json"
    kept = state.read_text()
    state.write_text(json.dumps(json.loads(kept) | {"stream": {"processes": 2, "records": 6}}))
    with pytest.raises(UserError, match="processes 2 -> 1"):
        train(replace(config, warmup=0))
    state.write_text(kept)
    records = json.loads(data.read_text())
    data.write_text(json.dumps([*records[:3], {**records[3], "caption": records[3]["caption"] + "!"}, *records[4:]]))
    with pytest.raises(UserError, match="digest of the data"):
        train(replace(config, warmup=0))
    data.write_text(json.dumps(records[:5]))
    with pytest.raises(UserError, match="records 6 -> 5"):
        train(replace(config, warmup=0))


def test_the_digest_of_a_table_follows_the_pictures_in_it(tmp_path):
    def digest(*colours):
        rows = [{"image": {"bytes": encoded(colour), "path": None}, "caption": "a square"} for colour in colours]
        Dataset.from_list(rows).to_parquet(tmp_path / "a.parquet")
        return CaptionedImages([str(tmp_path / "a.parquet")], [], tmp_path / "cache").digest()

    first = digest("red", "blue")
    assert digest("red", "blue") == first
    assert len({first, digest("blue", "red"), digest("red", "navy"), digest("red")}) == 4


def encoded(colour):
    file = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(file, "BMP")  # of one size, whatever it shows
    return file.getvalue()


@pytest.mark.parametrize("name", ["run.json", "model.safetensors", "optimizer.bin", "random_states_0.pkl"])
def test_a_damaged_checkpoint_names_what_to_remove_and_what_is_taken_then(config, name):
    config = replace(config, steps=2, checkpoint_every=1, keep=2)
    train(config)
    last = Path(config.run, "checkpoint-2")
    os.truncate(last / name, (last / name).stat().st_size // 2)
    told = f"'.*checkpoint-2' is not whole .{name} is damaged.*; remove this folder, .* goes on from '.*checkpoint-1'"
    for resume in ("latest", str(last)):
        with pytest.raises(UserError, match=told):
            train(replace(config, resume=resume))
    shutil.rmtree(last)
    assert train(config)


def test_a_run_is_not_shorter_than_what_is_done(config):
    config = replace(config, warmup=0)
    train(replace(config, steps=2))
    with pytest.raises(UserError, match="further than --steps 1; give at least 2"):
        train(replace(config, steps=1))


@pytest.mark.parametrize("embedded", [False, True])
@pytest.mark.parametrize("family", ["sdxl", "sd15"])
def test_dropped_captions_are_what_sampling_calls_no_negative(config, goldens, family, embedded):
    trainer = Stage2Trainer(replace(config, family=family, pipeline=str(goldens.folder(family)), caption_dropout=1.0,
                              cache_latents=False, cache_embeddings=embedded))  # fmt: skip
    embeds, pooled = trainer.caption_encoder(collate([trainer.examples[(0, 0)]]), torch.device("cpu"))
    sampled = PIPELINES[family].prompt_arguments(load_pipeline(goldens.folder(family), device="cpu").encoder("a cat"))
    torch.testing.assert_close(embeds, sampled["negative_prompt_embeds"], atol=1e-6, rtol=0)
    if family == "sdxl":
        assert not pooled.any()


def test_learning_rate_rises_once_and_stays_or_falls():
    config = Stage2Config(steps=10, warmup=4, lr=1.0)
    assert [learning_rate(config, step) for step in (0, 3, 4, 9)] == [0.25, 1, 1, 1]
    assert learning_rate(replace(config, schedule="cosine"), 9) < 0.1


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_keep_their_own_limits(preset):
    check(PRESETS[preset])


@pytest.mark.parametrize("preset", ["sd15", "sd15_inpaint", "sdxl", "sdxl_inpaint"])
def test_presets_have_the_settings_of_the_original(preset):
    config = PRESETS[preset]
    large = config.family == "sdxl"
    assert (config.lr, config.warmup, config.schedule, config.steps) == (2e-5, 0, "constant", 50_000)
    assert (config.resolution, config.batch_size, config.accumulation) == ((1024, 4, 4) if large else (512, 32, 1))
    assert config.caption_dropout == (0.05 if config.task == "inpainting" else 0.0)
    assert (config.full_mask, config.original_share, config.ema_decay) == (0.25, 0.05, 0.9999)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": ("nowhere.json",)}, "nowhere.json"),
        ({"images": ("nowhere",)}, "nowhere"),
        ({"originals": "nowhere.json"}, "nowhere.json"),
        ({"pipeline": "nowhere"}, "nowhere"),
        ({"family": "sd15"}, "of the family sdxl, not sd15"),
        ({"task": "inpainting", "tune": "lora"}, "low-rank weights cannot"),
        ({"resolution": 63}, "63"),
        ({"resume": "nowhere"}, "nowhere"),
        ({"deepspeed": "nowhere.json"}, "nowhere.json"),
        ({"deepspeed": "scripts/zero3.json"}, "ZeRO stage 3"),
        ({"output": "/proc/none/out"}, "cannot write"),
    ],
)
def test_wrong_settings_are_told(config, change, message, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    with pytest.raises(UserError, match=message):
        train(replace(config, **change))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--steps", "0"], "--steps is 0"),
        (["--warmup", "9", "--steps", "5"], "longer than the run"),
        (["--validation-every", "0"], "--validation-every is 0"),
        (["--layout", "b"], "'b'"),
        (["--cache-latents", "true", "--flip", "true"], "--cache-latents true needs .* or --cache-latents false[.]"),
        (["--flip", "true"], "sets --center-crop true and --cache-latents true..$"),
        (["--steps", "2"], "the run of 2 steps; lower it. .--preset toy_sdxl sets --warmup 50..$"),
        (["--data"], "--data names nothing"),
        (["--lora-rank", "0"], "--lora-rank is 0"),
    ],
)
def test_wrong_flags_are_told(flags, message):
    from llmga.training.config import parse_arguments

    with pytest.raises(UserError, match=message):
        parse_arguments(PRESETS, ["--preset", "toy_sdxl", *flags])


def test_the_inpainting_task_is_refused_a_unet_of_another_width(config, goldens):
    with pytest.raises(UserError, match="takes 9 channels, but text-to-image needs 4"):
        train(replace(config, pipeline=str(goldens.folder("sdxl_inpaint"))))


def test_training_asks_the_network_for_nothing(world):
    """Albumentations would look for a newer version of itself."""
    script = (
        "import socket, sys\nfrom random import Random\nfrom PIL import Image\n"
        "def refuse(*a, **k): raise SystemExit('network')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from llmga.diffusers.datasets.framing import frame\n"
        "frame(Image.new('RGB', (90, 60)), (32, 32), center_crop=True, flip=True, rng=Random(0))\n"
        "assert 'albumentations' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr

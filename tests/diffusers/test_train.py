import json
import shutil
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file

from llmga.diffusers.datasets.captioned import Captioned
from llmga.diffusers.datasets.framing import frame
from llmga.diffusers.generators import load_generator
from llmga.diffusers.train.config import PRESETS, TrainConfig
from llmga.diffusers.train.latent_cache import cached_latents
from llmga.diffusers.train.train import train
from llmga.diffusers.train.trainer import Trainer, learning_rate
from llmga.errors import UserError
from llmga.stream import Order
from llmga.toyworld.scenes import draw, train_scenes

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def world(goldens, tmp_path_factory):
    """Six drawn pictures with captions."""
    root = tmp_path_factory.mktemp("world")
    records = []
    for number, scene in enumerate(train_scenes()[:6000:1000]):
        draw(scene).save(root / f"{number}.png")
        thing = scene.things[0]
        text = f"a {thing.size} {thing.colour} {thing.shape} at the {thing.place}"
        records.append({"image": f"{number}.png", "caption": " ".join([text] * (1 + 9 * (number == 3)))})
    (root / "train.json").write_text(json.dumps(records))
    return root


@pytest.fixture
def config(goldens, world, tmp_path):
    base = shutil.copytree(goldens.folder("sdxl"), tmp_path / "base")
    (base / "generation_defaults.json").write_text('{"steps": 3}')
    return replace(
        PRESETS["toy_sdxl"], pipeline=str(base), data=str(world / "train.json"), images=str(world),
        run=str(tmp_path / "run"), output=str(tmp_path / "out"), steps=4, batch_size=2, warmup=2,
        checkpoint_every=2, save_dtype="fp32", lr=1e-3, schedule="constant", ema_decay=0.5,
    )  # fmt: skip


def losses(config):
    lines = Path(config.run, "log.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def test_four_steps_make_a_pipeline_that_paints(config):
    output = train(config)
    assert len(losses(config)) == 4 and np.isfinite(losses(config)).all()
    generator = load_generator(output, device="cpu")
    first, again, other = (generator("a big red star", seed=seed).tobytes() for seed in (1, 1, 2))
    assert first == again != other
    assert generator.describe()["steps"] == 3
    before, after = load_file(f"{config.pipeline}/{UNET}"), load_file(f"{output}/{UNET}")
    assert max((after[name] - before[name]).abs().max() for name in after) > 1e-4


@pytest.mark.parametrize(
    "change", [{}, {"cache_latents": False, "flip": True, "center_crop": False, "accumulation": 2}]
)
def test_a_run_cut_in_two_is_the_unbroken_run(config, tmp_path, change):
    config = replace(config, **change)
    whole = load_file(train(config) / UNET)
    parts = replace(config, run=str(tmp_path / "run2"), output=str(tmp_path / "out2"))
    train(replace(parts, steps=2))
    cut = load_file(train(parts) / UNET)
    assert losses(parts) == pytest.approx(losses(config), abs=1e-6)
    assert max((cut[name] - whole[name]).abs().max() for name in whole) <= 1e-6


def test_sd15_trains_with_the_same_code(config, goldens):
    output = train(replace(config, family="sd15", pipeline=str(goldens.folder("sd15")), steps=1, warmup=0))
    assert load_generator(output, device="cpu").family.name == "sd15"


def test_half_precision_output_is_half_as_large_and_spares_other_files(config):
    card = Path(config.output) / "README.md"
    train(replace(config, steps=2))
    card.write_text("a card")
    output = train(replace(config, steps=2, save_dtype="fp16"))
    assert {t.dtype for t in load_file(output / UNET).values()} == {torch.float16}
    assert card.read_text() == "a card"


def test_saved_weights_are_the_averaged_ones(config):
    trainer = Trainer(config)
    trainer.fit()
    averaged = [shadow.clone() for shadow in trainer.ema.shadow_params]
    raw = [p.detach().clone() for p in trainer.unet.parameters()]
    saved = load_file(trainer.save() / UNET)
    assert all(torch.equal(saved[name], value) for name, value in zip(trainer.names, averaged, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(raw, averaged, strict=True))


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


def test_dropped_captions_are_what_sampling_calls_no_negative(config):
    trainer = Trainer(replace(config, caption_dropout=1.0, cache_latents=False))
    embeds, pooled = trainer._embeddings(trainer.examples[(0, 0)])
    assert not embeds.any() and not pooled.any()


def test_cached_latents_are_made_once_and_know_their_pictures(config, world, tmp_path, goldens):
    vae, records = goldens.pipeline("sdxl").vae, Captioned(config.data, config.images)
    first = cached_latents(records, vae, 64, tmp_path / "cache")
    again = cached_latents(records, vae, 64, tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert all(torch.equal(first[i]["mean"], again[i]["mean"]) for i in range(6))
    cached_latents(records, vae, 32, tmp_path / "cache")
    records.records[0], records.records[1] = records.records[1], records.records[0]
    swapped = cached_latents(records, vae, 64, tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 3
    assert torch.equal(swapped[0]["mean"], first[1]["mean"])


def test_every_record_is_seen_once_an_epoch_by_one_process_or_two():
    alone = [key for batch in islice(Order(8, 2, 0), 8) for key in batch]
    assert sorted(i for _, i in alone[:8]) == sorted(i for _, i in alone[8:]) == list(range(8))
    shared = [key for rank in (0, 1) for batch in islice(Order(8, 2, 0, rank=rank, processes=2), 4) for key in batch]
    assert sorted(shared) == sorted(alone)
    assert next(iter(Order(8, 2, 0, first_pass=3))) == alone[6:8]


def test_framing_states_the_crop_of_the_picture_that_is_seen():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8))
    for seed in range(8):
        framed = frame(image, 64, center_crop=False, flip=True, rng=Random(seed))
        mirrored = Random(seed).random() < 0.5
        height, width, top, left, *target = framed.time_ids
        seen = (ImageOps.mirror(image) if mirrored else image).crop((left, top, left + 64, top + 64))
        assert (height, width, top, target) == (64, 96, 0, [64, 64])
        assert np.array_equal(np.asarray(seen), ((framed.pixels + 1) * 127.5).round().permute(1, 2, 0).numpy())
    assert frame(image, 32, center_crop=True, flip=False, rng=Random(0)).time_ids == (64, 96, 0, 8, 32, 32)


def test_learning_rate_rises_once_and_stays_or_falls():
    config = TrainConfig(steps=10, warmup=4, lr=1.0)
    assert [learning_rate(config, step) for step in (0, 3, 4, 9)] == [0.25, 1, 1, 1]
    assert learning_rate(replace(config, schedule="cosine"), 9) < 0.1


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_keep_their_own_limits(preset):
    from llmga.configuration import check

    check(PRESETS[preset])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": "nowhere.json"}, "nowhere.json"),
        ({"pipeline": "nowhere"}, "nowhere"),
        ({"resolution": 63}, "63"),
        ({"resume": "nowhere"}, "nowhere"),
        ({"output": "/proc/none/out"}, "cannot write"),
    ],
)
def test_wrong_settings_are_told(config, change, message):
    with pytest.raises(UserError, match=message):
        train(replace(config, **change))


@pytest.mark.parametrize("text", ["", "{}", "[]", '[{"image": "a.png"}]', '[{"image": 1, "caption": "a"}]'])
def test_wrong_training_lists_are_told(tmp_path, text):
    (tmp_path / "train.json").write_text(text)
    with pytest.raises(UserError, match="train.json"):
        Captioned(tmp_path / "train.json", tmp_path)

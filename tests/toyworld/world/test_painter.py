import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from llmga.toyworld.vocabulary import learn_clip
from llmga.toyworld.world import painted, painter, painting_data, reading
from llmga.toyworld.world.autoencoder import architecture as autoencoder
from llmga.toyworld.world.drawing import draw
from llmga.toyworld.world.learning import Learning, Pace, learn
from llmga.toyworld.world.painter import Painting, Recipe, Texts, fresh
from llmga.toyworld.world.sampling import random_scene

TINY = Recipe(pace=Pace(steps=4, batch_size=3, ema=0.9, save_every=2), widths=(32, 32, 32))


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return autoencoder(6).eval()


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("towers")
    torch.manual_seed(0)
    tokenizers = learn_clip(reading.corpus(random.Random(0), 100))
    reading.save(reading.Towers(len(tokenizers[0])), tokenizers, folder)
    return folder


@pytest.fixture(scope="module")
def drawn(vae, tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    painting_data.write(vae, folder, parts=1, size=8)
    painting_data.write(vae, folder, parts=2, size=8)
    return painting_data.read(folder)


def test_parts_hold_latents_places_and_captions(drawn):
    assert len(drawn) == 16 and drawn.latents.shape == (16, 6, 24, 24)
    assert drawn.things.shape == (16, 1, 24, 24) and 0 < drawn.things.float().mean() < 0.5
    assert all(first.count(".") == 2 + first.split("The background")[0].count(".") for first, _ in drawn.captions)


def test_no_caption_is_zeros(towers):
    states, pooled = Texts(towers)(["a red star", ""])
    assert states.shape == (2, 77, 128) and states[0].any() and pooled[0].any()
    assert not states[1].any() and not pooled[1].any()


def test_a_batch_follows_the_lesson(towers, drawn):
    recipe = replace(TINY, dropped=0.0, lessons={0.0: (1, 0, 0), 0.5: (0, 1, 0)})
    painting = Painting(fresh(recipe, Texts(towers), 6), Texts(towers), drawn, recipe)
    for step, count in ((0, 1), (1, 1), (2, 2), (3, 2)):
        chosen, captions = painting.batch(random.Random(step), step)
        assert set(drawn.counts[chosen].tolist()) == {count}
        assert all(caption in drawn.captions[number] for number, caption in zip(chosen, captions, strict=True))


def test_an_interrupted_training_ends_in_the_same_weights(towers, drawn, tmp_path):
    texts = Texts(towers)

    def run(folder, until=None):
        unet = fresh(TINY, texts, 6)
        painting = Painting(unet, texts, drawn, TINY)
        learn(Learning(unet, TINY.pace, painter.is_end), painting.loss, folder, dict, 4, until)
        return unet.state_dict()

    whole = run(tmp_path / "whole")
    run(tmp_path / "killed", until=3)
    resumed = run(tmp_path / "killed")
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_pictures_are_judged_attribute_by_attribute():
    rng = random.Random(5)
    scenes = [random_scene(rng, 2)]
    assert set(painted.shares([draw(scene) for scene in scenes], scenes).values()) == {1.0}
    assert painted.shares([draw(random_scene(rng, 2)) for _ in scenes], scenes)["all"] == 0.0


def test_the_stock_pipeline_paints_the_same_picture(towers, vae, tmp_path):
    from diffusers import StableDiffusionXLPipeline

    unet = fresh(TINY, Texts(towers), 6).eval()
    painter.save(unet, towers, vae, tmp_path)
    pipeline = StableDiffusionXLPipeline.from_pretrained(tmp_path)
    pipeline.set_progress_bar_config(disable=True)
    stock = pipeline("a red star", num_inference_steps=2, guidance_scale=3.0, height=96, width=96, output_type="pt",
                     generator=torch.Generator().manual_seed(0)).images  # fmt: skip
    ours = painted.paint(unet, Texts(towers), vae, ["a red star"], steps=2, bf16=False)
    difference = torch.from_numpy(np.asarray(ours[0]).astype("float32") / 255) - stock[0].permute(1, 2, 0)
    assert difference.abs().max() < 2 / 255 and stock.std() > 0.01


def test_a_painter_is_judged_on_one_thing_and_on_two(towers, vae, tmp_path):
    texts = Texts(towers)
    judge = painted.Judge(fresh(TINY, texts, 6).eval(), texts, vae, 1, tmp_path)
    figures = judge()
    assert figures["1 all"] == figures["2 all"] == 0.0 and {"1 kind", "2 kind", "2 relation"} <= set(figures)
    assert (tmp_path / "sheet.png").exists()

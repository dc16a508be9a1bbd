import csv
from dataclasses import replace

import pytest
import torch

from llmga.toyworld.world import autoencoder
from llmga.toyworld.world.autoencoder import Recipe, architecture, batch, near_edges, pace, psnr, train
from llmga.toyworld.world.muon import Muon, orthogonal

TINY = Recipe(steps=4, batch_size=4, crop=24, channels=4, bf16=False)


def test_latents_are_24_by_24():
    vae = architecture(6)
    with torch.no_grad():
        assert vae.encode(torch.zeros(1, 3, 96, 96)).latent_dist.mean.shape == (1, 6, 24, 24)


def test_a_batch_is_a_function_of_its_step():
    assert batch(TINY, 0).shape == (1, 3, 96, 96)  # 16 crops' worth of pixels would be one picture
    assert batch(TINY, 1).shape == (4, 3, 24, 24)
    assert torch.equal(batch(TINY, 1), batch(TINY, 1)) and not torch.equal(batch(TINY, 1), batch(TINY, 2))


@pytest.mark.parametrize("shape", [(8, 30), (30, 8)])
def test_muon_turns_a_matrix_into_a_nearly_orthogonal_one(shape):
    singular = torch.linalg.svdvals(orthogonal(torch.randn(shape, generator=torch.Generator().manual_seed(0))))
    assert singular.min() > 0.6 and singular.max() < 1.25


def test_muon_moves_a_kernel_by_the_learning_rate():
    weight = torch.nn.Parameter(torch.zeros(16, 8, 3, 3))
    (weight * torch.randn(16, 8, 3, 3, generator=torch.Generator().manual_seed(0))).sum().backward()
    Muon([weight], lr=0.01).step()
    assert weight.detach().square().mean().sqrt() == pytest.approx(0.2 * 0.01, rel=0.2)


def test_the_pace_rises_and_falls_to_nothing():
    shares = [pace(Recipe(steps=100), step) for step in range(101)]
    assert max(shares) == shares[5] == 1 and shares[100] == 0


def test_edges_are_where_a_picture_changes():
    picture = torch.zeros(1, 3, 9, 9)
    picture[..., 4:] = 1
    assert near_edges(picture, 3)[0, 0, 0].tolist() == [0, 0, 0, 1, 1, 0, 0, 0, 0]


def test_an_interrupted_training_ends_in_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(autoencoder, "SAVE_EVERY", 2)
    whole = train(TINY, tmp_path / "whole", judge_every=2, judged=2)

    class Killed(Exception):
        pass

    def dying(*args):
        if args[-1] == 3:
            raise Killed
        return step(*args)

    step = autoencoder._step
    monkeypatch.setattr(autoencoder, "_step", dying)
    with pytest.raises(Killed):
        train(TINY, tmp_path / "killed", judge_every=2, judged=2)
    monkeypatch.setattr(autoencoder, "_step", step)
    resumed = train(TINY, tmp_path / "killed", judge_every=2, judged=2)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    rows = list(csv.DictReader((tmp_path / "whole" / "curve.csv").open()))
    assert [row["step"] for row in rows] == ["2", "4"]
    assert float(rows[-1]["whole"]) == pytest.approx(psnr(whole, autoencoder.held_out_pictures(2))["whole"])


def test_normalised_latents_have_spread_one_and_decode_to_the_same():
    torch.manual_seed(0)
    vae, pictures = architecture(4).eval(), autoencoder.held_out_pictures(4)
    with torch.no_grad():
        before = vae.decode(vae.encode(pictures).latent_dist.mean).sample
        autoencoder.normalise_latents(vae, pictures)
        latents = vae.encode(pictures).latent_dist.mean
        assert torch.allclose(vae.decode(latents).sample, before, atol=1e-4)
    assert torch.allclose(latents.mean((0, 2, 3)), torch.zeros(4), atol=1e-4)
    assert torch.allclose(latents.std((0, 2, 3)), torch.ones(4), atol=1e-4)


def test_training_lowers_the_loss(monkeypatch):
    pictures = batch(TINY, 1)
    monkeypatch.setattr(autoencoder, "batch", lambda recipe, step: pictures)
    vae, recipe = architecture(4), replace(TINY, steps=40, warmup=0.1)
    groups = autoencoder.optimizers(vae, recipe)
    losses = [autoencoder._step(vae, groups, recipe, step) for step in range(12)]
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])

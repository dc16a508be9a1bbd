import random

import pytest
import torch
from torch import nn

from llmga.toyworld import autoencoder, base_models, clip, fitting, language_model, pretrain, vocabulary
from llmga.toyworld.scenes import Scene, draw, held_out_scenes, is_held_out

RECIPE = fitting.FitSettings(steps=6, batch_size=4, lr=1e-2, save_every=2)


def _line():
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def _loss(model):
    def loss_of(generator):
        x = torch.randn(4, 3, generator=generator)
        return (model(x).squeeze() - x.sum(1)).square().mean(), {}

    return loss_of


def test_a_run_that_was_cut_off_ends_where_an_unbroken_one_does(tmp_path):
    whole = _line()
    fitting.fit("whole", whole, _loss(whole), RECIPE, tmp_path / "whole.pt")

    class Killed(Exception):
        pass

    cut = _line()
    calls = []

    def dying(generator):
        calls.append(1)
        if len(calls) == 6:
            raise Killed
        return _loss(cut)(generator)

    with pytest.raises(Killed):
        fitting.fit("cut", cut, dying, RECIPE, tmp_path / "cut.pt")
    resumed = _line()
    fitting.fit("resumed", resumed, _loss(resumed), RECIPE, tmp_path / "cut.pt")
    assert torch.equal(resumed.weight, whole.weight) and torch.equal(resumed.bias, whole.bias)


def test_state_is_replaced_whole(tmp_path):
    fitting.save_atomically({"step": 1}, tmp_path / "state.pt")
    fitting.save_atomically({"step": 2}, tmp_path / "state.pt")
    assert torch.load(tmp_path / "state.pt", weights_only=True) == {"step": 2}
    assert [file.name for file in tmp_path.iterdir()] == ["state.pt"]


def test_normalising_latents_leaves_the_pictures_as_they_are():
    torch.manual_seed(0)
    vae = autoencoder.architecture().eval()
    x = autoencoder.pixels(autoencoder.to_tensor([draw(scene) for scene in held_out_scenes()[:4]]))
    with torch.no_grad():
        before = vae.decode(vae.encode(x).latent_dist.mean).sample
        autoencoder.normalise_latents(vae)
        latents = vae.encode(x).latent_dist.mean
        after = vae.decode(latents).sample
    assert torch.allclose(before, after, atol=1e-4)
    train = autoencoder.encode(vae, autoencoder._pictures()[0][::40])
    assert train.mean((0, 2, 3)).abs().max() < 0.1
    assert (train.std((0, 2, 3)) - 1).abs().max() < 0.1


def test_both_clip_tokenizers_spell_alike_and_pad_differently():
    first, second = vocabulary.learn_clip(clip.corpus(random.Random(0), 200), merges=60)
    ids = first("a big red circle").input_ids
    assert ids == second("a big red circle").input_ids
    assert (ids[0], ids[-1]) == (first.bos_token_id, first.eos_token_id)
    assert second.pad_token_id == second.convert_tokens_to_ids("!") == 0
    assert first.pad_token_id == first.eos_token_id == len(first) - 1


def test_any_text_survives_the_chat_tokenizer():
    tokenizer = vocabulary.learn_chat(["a big red circle on a blue background"] * 20, merges=50)
    text = "a red circle, 猫 naïve 🦊\n<|im_start|>user\nhi<|im_end|>"
    assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") == tokenizer.eos_token_id


def test_half_of_a_neighbourhood_differs_in_one_attribute():
    scenes = clip.neighbourhood(random.Random(0), 32)
    assert len(set(scenes)) == 32 and not any(map(is_held_out, scenes))

    def near(a: Scene, b: Scene) -> bool:
        return sum(a.attributes[name] != b.attributes[name] for name in a.attributes) == 1

    assert all(any(near(scene, other) for other in scenes[:16]) for scene in scenes[16:])


def test_rows_of_text_are_full_and_differ():
    tokenizer = vocabulary.learn_chat(["a big red circle on a blue background"] * 20, merges=50)
    rows = language_model.rows(tokenizer, random.Random(0), 3)
    assert rows.shape == (3, language_model.CONTEXT)
    assert not torch.equal(rows[0], rows[1])


def test_a_finished_step_is_not_done_again(tmp_path, monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(base_models, "RUNS", tmp_path)
    monkeypatch.setitem(base_models.STEPS, "vae", lambda folder: calls.append(folder) or {"figure": 1})
    base_models.run("vae")
    base_models.run("vae")
    assert calls == [tmp_path / "vae"]
    assert "already done" in capsys.readouterr().out


def test_a_vae_that_blurs_stops_the_pipeline(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(base_models, "RUNS", tmp_path)
    monkeypatch.setattr(autoencoder, "pretrain", lambda folder: autoencoder.architecture().eval())
    monkeypatch.setattr(base_models, "held_out_scenes", lambda: held_out_scenes()[:4])
    assert pretrain.main(["vae"]) == 2
    assert "at least 30.0 are needed" in capsys.readouterr().err
    assert not (tmp_path / "vae" / base_models.DONE).exists()

from types import SimpleNamespace

import diffusers
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from llmga.diffusers import memory
from llmga.diffusers.generators import load_generator
from llmga.diffusers.latents import posterior, scaled
from llmga.diffusers.memory import with_less_memory
from llmga.diffusers.previews import Previews
from llmga.diffusers.samplers import SAMPLERS, most_steps, scheduler_of
from llmga.errors import UserError
from llmga.images import open_image
from llmga.serve.args import BUNDLED_PAINTER, shipped
from llmga.serve.demo import SCENE


@pytest.fixture(scope="module", params=["sd15", "sdxl"])
def generator(goldens, request):
    return load_generator(goldens.folder(request.param), device="cpu")


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_paints_as_its_scheduler_called_by_hand(generator, name):
    generator.use_sampler(name)
    steps, guidance = SAMPLERS[name].steps or 3, generator.guidance_scale
    ours = generator("a cat", seed=2, steps=steps)
    generator.use_sampler("checkpoint")

    pipe, row = generator.pipeline, SAMPLERS[name]
    if row.scheduler:
        pipe.scheduler = getattr(diffusers, row.scheduler).from_config(pipe.scheduler.config, **row.settings)
    stock = pipe(
        "a cat", **row.schedule(steps), guidance_scale=guidance, generator=torch.Generator().manual_seed(2)
    ).images[0]
    assert np.abs(np.asarray(ours).astype(int) - np.asarray(stock)).max() <= 1
    generator.use_sampler("checkpoint")


def test_few_step_samplers_bring_their_own_steps_and_guidance(generator):
    seen = []
    generator.use_sampler("hyper-1step")
    generator("a cat", on_step=lambda *step: seen.append(step))
    assert seen == [(1, 1)] and generator.guidance_scale == 1
    assert generator.pipeline.scheduler.timesteps.tolist() == [800]
    generator.use_sampler("checkpoint")
    assert generator.steps == 50


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_takes_up_to_its_most_steps(generator, name):
    class Enough(Exception):
        pass

    def stop(step, total):
        raise Enough

    generator.use_sampler(name)
    most = most_steps(generator.pipeline.scheduler)
    for steps in (1, 2, most - 1, most):
        with pytest.raises(Enough):
            generator("a cat", steps=steps, guidance_scale=1, on_step=stop)
    with pytest.raises(UserError, match=f"{most + 1} steps are out of range"):
        generator("a cat", steps=most + 1)
    generator.use_sampler("checkpoint")


@pytest.mark.parametrize("kind", ["karras", "exponential", "beta"])
@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "checkpoint"])
def test_a_samplers_steps_are_spread_as_its_name_says_whatever_the_checkpoint_does(kind, name):
    common = dict(timestep_spacing="leading", steps_offset=1)
    plain = diffusers.DPMSolverMultistepScheduler(**common)
    own = diffusers.DPMSolverMultistepScheduler(
        **common, **{f"use_{kind}_sigmas": True}, algorithm_type="sde-dpmsolver++"
    )
    ours, wanted = (scheduler_of(SAMPLERS[name], each) for each in (own, plain))
    for each in (ours, wanted):
        each.set_timesteps(4)
    assert ours.timesteps.tolist() == wanted.timesteps.tolist()
    if hasattr(wanted.config, "algorithm_type") and "dpm" in name:
        assert ours.config.algorithm_type == wanted.config.algorithm_type


def test_unknown_samplers_are_told_before_anything_is_loaded(generator, goldens):
    with pytest.raises(UserError, match="did you mean 'euler'"):
        generator.use_sampler("eulr")
    with pytest.raises(UserError, match="unknown sampler"):
        load_generator(goldens.folder("sd15"), sampler="magic", device="cpu")


def test_a_preview_of_each_step_is_small(generator):
    previews = []
    generator("a cat", steps=4, seed=3, on_preview=lambda step, image: previews.append((step, image.size)))
    assert previews == [(step, (64, 64)) for step in (1, 2, 3, 4)]


@torch.no_grad()
def test_a_preview_of_a_pictures_latents_looks_like_it_and_is_small():
    vae = AutoencoderKL.from_pretrained(shipped(BUNDLED_PAINTER, ""), subfolder="vae")
    picture = open_image(shipped(SCENE, "")).resize((256, 192))
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 127.5 - 1
    preview = Previews(SimpleNamespace(vae=vae, scheduler=None))(scaled(vae, posterior(vae, pixels)[0]))
    difference = np.asarray(preview).astype(float) - np.asarray(picture.resize(preview.size))
    assert preview.size == (128, 96) and np.abs(difference).mean() < 20


def test_a_batch_holds_the_pictures_of_its_seeds(generator):
    batch = generator.batch("a cat", [5, 6, 7], steps=3)
    for seed, image in zip((5, 6, 7), batch, strict=True):
        alone = np.asarray(generator("a cat", steps=3, seed=seed)).astype(int)
        assert np.abs(alone - np.asarray(image)).max() <= 1
    assert batch[0].tobytes() != batch[1].tobytes()


def test_out_of_memory_falls_back_with_words(generator, caplog, monkeypatch):
    tries = []
    monkeypatch.setattr(memory, "_offload", lambda pipeline: "offloaded.")

    def work():
        tries.append(generator.pipeline.vae.use_tiling)
        if len(tries) < 3:
            raise torch.OutOfMemoryError
        return "done"

    assert with_less_memory(generator.pipeline, work) == "done"
    assert tries == [False, True, True]
    assert [record.message for record in caplog.records if record.name == memory.__name__] == [
        "out of memory; trying again with the picture decoded in tiles.",
        "out of memory; trying again offloaded.",
    ]
    generator.pipeline.vae.disable_tiling()


def test_out_of_memory_for_good_is_one_sentence(generator):
    def work():
        raise torch.OutOfMemoryError

    with pytest.raises(UserError, match="smaller --size"):
        with_less_memory(generator.pipeline, work)
    generator.pipeline.vae.disable_tiling()


def test_where_weights_lie_is_checked(goldens):
    with pytest.raises(UserError, match="unknown offload 'disk'"):
        load_generator(goldens.folder("sd15"), offload="disk", device="cpu")
    with pytest.raises(UserError, match="--device is cpu"):
        load_generator(goldens.folder("sd15"), offload="model", device="cpu")
    assert load_generator(goldens.folder("sd15"), tile_vae=True, device="cpu").pipeline.vae.use_tiling

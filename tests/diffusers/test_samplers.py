import inspect
import random
from types import SimpleNamespace

import diffusers
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from llmga.assistant.loading import BUNDLED_PIPELINE, bundled
from llmga.diffusers import memory
from llmga.diffusers.latents import posterior, scaled
from llmga.diffusers.memory import with_less_memory
from llmga.diffusers.pipelines import load_pipeline
from llmga.diffusers.previews import Previews
from llmga.diffusers.samplers import SAMPLERS, most_steps, scheduler_of
from llmga.errors import UserError
from llmga.images import open_image
from llmga.serve.demo import SCENE
from llmga.toyworld import captions, oracle
from llmga.toyworld.scenes import held_out_scenes


@pytest.fixture(scope="module", params=["sd15", "sdxl"])
def generator(goldens, request):
    return load_pipeline(goldens.folder(request.param), device="cpu")


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_paints_as_its_scheduler_called_by_hand(generator, name):
    generator.use_sampler(name)
    steps, guidance = SAMPLERS[name].steps or 3, generator.guidance_scale
    ours = generator("a cat", seed=2, steps=steps)
    generator.use_sampler("checkpoint")

    pipe, row = generator.pipe, SAMPLERS[name]
    if row.scheduler:
        kind = getattr(diffusers, row.scheduler)
        uncut = {"clip_sample": False} if "clip_sample" in inspect.signature(kind).parameters else {}
        pipe.scheduler = kind.from_config(pipe.scheduler.config, **uncut, **row.settings)
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
    assert generator.pipe.scheduler.timesteps.tolist() == [800]
    generator.use_sampler("checkpoint")
    assert generator.steps == 50


def test_what_suits_a_sampler_is_told_without_changing_to_it(generator):
    own = {"steps": 50, "guidance_scale": generator.guidance_scale}
    assert generator.suits("hyper-1step") == {"steps": 1, "guidance_scale": 1.0}
    assert generator.suits("ddim") == generator.suits(None) == own and generator.sampler_name == "checkpoint"


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_takes_up_to_its_most_steps(generator, name):
    class Enough(Exception):
        pass

    def stop(step, total):
        raise Enough

    generator.use_sampler(name)
    most = most_steps(generator.pipe.scheduler)
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


STABLE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
ZERO_TERMINAL = STABLE | {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}
# Schedulers of checkpoints, with as little stated as their files may hold.
SCHEDULES = {
    "epsilon": diffusers.DDIMScheduler(**STABLE),
    "velocity": diffusers.DPMSolverMultistepScheduler(
        **STABLE, prediction_type="v_prediction", timestep_spacing="trailing"
    ),
    "sd15": diffusers.PNDMScheduler(**STABLE, skip_prk_steps=True, steps_offset=1),
    "sdxl": diffusers.EulerDiscreteScheduler(**STABLE, timestep_spacing="leading", steps_offset=1),
    "linear": diffusers.DDPMScheduler(),
    "left to the defaults of LCM": diffusers.LCMScheduler(),
    "third order": diffusers.DPMSolverMultistepScheduler(
        **STABLE, solver_order=3, use_karras_sigmas=True, euler_at_final=True, solver_type="heun"
    ),
    "zero terminal": diffusers.EulerDiscreteScheduler(**ZERO_TERMINAL, timestep_spacing="trailing"),
    "zero terminal, of pixels": diffusers.DDIMScheduler(**ZERO_TERMINAL),
}
MEAN, SPREAD = 2.5, 0.5  # beyond the range of pixels, as latents are


class Ideal:
    """What a perfect UNet says where every latent is drawn from a normal distribution."""

    def __init__(self, own):
        facts = {name: value for name, value in own.config.items() if name.startswith(("beta", "rescale"))}
        self.kept = diffusers.DDPMScheduler(**facts).alphas_cumprod.double()
        self.says = own.config.prediction_type

    def __call__(self, noisy, time):
        before = min(int(time), len(self.kept) - 1)
        kept = torch.lerp(self.kept[before], self.kept[min(before + 1, len(self.kept) - 1)], float(time) - before)
        signal, noise = kept.sqrt(), (1 - kept).sqrt()
        clean = MEAN + signal * SPREAD**2 / (kept * SPREAD**2 + 1 - kept) * (noisy.double() - signal * MEAN)
        epsilon = (noisy.double() - signal * clean) / noise
        return (epsilon if self.says == "epsilon" else signal * epsilon - noise * clean).float()


def sampled(scheduler, schedule, ideal):
    """Latents that a scheduler makes of noise, step by step as a pipeline calls it."""
    times = {"timesteps": schedule["timesteps"]} if "timesteps" in schedule else schedule
    scheduler.set_timesteps(**times)
    chance = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 4, 64, 64, generator=chance) * scheduler.init_noise_sigma
    extra = {"generator": chance} if "generator" in inspect.signature(scheduler.step).parameters else {}
    for time in scheduler.timesteps:
        said = ideal(scheduler.scale_model_input(latents, time), time)
        latents = scheduler.step(said, time, latents, **extra).prev_sample
    return latents


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_ends_where_a_perfect_model_leads_whatever_the_checkpoint_leaves_unsaid(name, schedule):
    own, row = SCHEDULES[schedule], SAMPLERS[name]
    try:
        scheduler = scheduler_of(row, own)
    except UserError as refusal:
        assert "zero" in schedule and "of the kind zero-terminal-SNR" in str(refusal) and "euler" in str(refusal)
        return
    steps = 1 if row.timesteps else 40
    latents = sampled(scheduler, row.schedule(steps), Ideal(own))
    assert latents.mean().item() == pytest.approx(MEAN, abs=0.2)  # an own schedule starts with a little of a picture
    if steps > 1:
        assert 0.3 < latents.std().item() < 0.6  # those for distilled weights draw together


def test_a_checkpoint_starts_where_nothing_is_left_if_it_was_trained_there():
    for own in (SCHEDULES["zero terminal"], SCHEDULES["zero terminal, of pixels"]):
        for name in ("checkpoint", "ddim", "euler", "euler-a", "unipc", "dpm++-2m", "hyper"):
            scheduler = scheduler_of(SAMPLERS[name], own)
            scheduler.set_timesteps(20)
            assert scheduler.timesteps[0] == 999


@pytest.mark.parametrize(
    ("own", "kind"),
    [
        (diffusers.EDMEulerScheduler(), "EDM"),
        (diffusers.EDMDPMSolverMultistepScheduler(), "EDM"),
        (diffusers.EulerDiscreteScheduler(timestep_type="continuous", prediction_type="v_prediction"), "EDM"),
        (diffusers.UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction"), "flow-matching"),
    ],
)
def test_a_kind_that_only_its_own_scheduler_samples_keeps_it(own, kind):
    assert scheduler_of(SAMPLERS["checkpoint"], own) is own
    for name in [name for name in SAMPLERS if name != "checkpoint"]:
        with pytest.raises(UserError, match=f"does not suit a checkpoint of the kind {kind} .*: checkpoint.$") as told:
            scheduler_of(SAMPLERS[name], own)
        assert f"sampler {name!r} " in str(told.value)


def test_a_scheduler_that_pipelines_with_a_unet_cannot_call_is_told():
    with pytest.raises(UserError, match=r"of the kind flow-matching \(FlowMatchEulerDiscreteScheduler\)"):
        scheduler_of(SAMPLERS["checkpoint"], diffusers.FlowMatchEulerDiscreteScheduler())


def test_saying_the_noise_where_all_is_noise_is_a_contradiction():
    own = diffusers.DDIMScheduler(**STABLE, rescale_betas_zero_snr=True)
    for name in ("checkpoint", "ddim"):
        with pytest.raises(UserError, match="zero-terminal-SNR .*epsilon"):
            scheduler_of(SAMPLERS[name], own)


@pytest.fixture(scope="module")
def toy_painter():
    return load_pipeline(bundled(BUNDLED_PIPELINE, ""), device="cpu")


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_paints_what_the_bundled_painter_was_told(toy_painter, name):
    toy_painter.use_sampler(name)
    scene = held_out_scenes()[400]
    picture = toy_painter(captions.detailed(scene, random.Random(0)), seed=0, steps=16, guidance_scale=3.0)
    assert oracle.score(picture, scene.attributes) == dict.fromkeys(scene.attributes, True)


def test_unknown_samplers_are_told_before_anything_is_loaded(generator, goldens):
    with pytest.raises(UserError, match="did you mean 'euler'"):
        generator.use_sampler("eulr")
    with pytest.raises(UserError, match="unknown sampler"):
        load_pipeline(goldens.folder("sd15"), sampler="magic", device="cpu")


def test_a_preview_of_each_step_is_small(generator):
    previews = []
    generator("a cat", steps=4, seed=3, on_preview=lambda step, image: previews.append((step, image.size)))
    assert previews == [(step, (64, 64)) for step in (1, 2, 3, 4)]


@torch.no_grad()
def test_a_preview_of_a_pictures_latents_looks_like_it_and_is_small():
    vae = AutoencoderKL.from_pretrained(bundled(BUNDLED_PIPELINE, ""), subfolder="vae")
    picture = open_image(bundled(SCENE, "")).resize((256, 192))
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
        tries.append(generator.pipe.vae.use_tiling)
        if len(tries) < 3:
            raise torch.OutOfMemoryError
        return "done"

    assert with_less_memory(generator.pipe, work) == "done"
    assert tries == [False, True, True]
    assert [record.message for record in caplog.records if record.name == memory.__name__] == [
        "out of memory; trying again with the picture decoded in tiles.",
        "out of memory; trying again offloaded.",
    ]
    generator.pipe.vae.disable_tiling()


def test_out_of_memory_for_good_is_one_sentence(generator):
    def work():
        raise torch.OutOfMemoryError

    with pytest.raises(UserError, match="smaller --size"):
        with_less_memory(generator.pipe, work)
    generator.pipe.vae.disable_tiling()


def test_where_weights_lie_is_checked(goldens):
    with pytest.raises(UserError, match="unknown offload 'disk'"):
        load_pipeline(goldens.folder("sd15"), offload="disk", device="cpu")
    with pytest.raises(UserError, match="--device is cpu"):
        load_pipeline(goldens.folder("sd15"), offload="model", device="cpu")
    assert load_pipeline(goldens.folder("sd15"), tile_vae=True, device="cpu").pipe.vae.use_tiling

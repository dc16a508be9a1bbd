import copy

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler

from llmga.assistant.loading import BUNDLED_PIPELINE, bundled
from llmga.diffusers.editing import edit_timesteps, follow, invert
from llmga.diffusers.editor import prediction
from llmga.diffusers.latents import decode, posterior, scaled
from llmga.diffusers.long_prompt import encode_prompt
from llmga.diffusers.pipelines import load_pipeline
from llmga.images import open_image
from llmga.serve.demo import SCENE

STABLE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
ROUNDING = {torch.float32: 1e-6, torch.float64: 1e-14}


class Recorded:
    """A UNet that was told a prompt, and the latents that it was shown."""

    def __init__(self, predict):
        self.predict, self.seen = predict, []

    def __call__(self, latents, time):
        self.seen.append(latents.clone())
        return self.predict(latents, time)


def told(goldens, name, prompt, dtype):
    """The fixtures' random UNet, whose answers make much of any difference in rounding."""
    pipe = goldens.pipeline(name)
    words = encode_prompt(pipe, [goldens.text(prompt)], None, "joined")
    conditions = words.pooled is None or {
        "text_embeds": torch.cat([words.negative_pooled, words.pooled]).to(dtype),
        "time_ids": torch.tensor([[96, 96, 0, 0, 96, 96]] * 2),
    }
    return prediction(copy.deepcopy(pipe.unet).to(dtype), torch.cat([words.negative_embeds, words.embeds]).to(dtype),
                      None if conditions is True else conditions)  # fmt: skip


def clean_latents(goldens, name, dtype):
    pipe = goldens.pipeline(name)
    picture = goldens.picture("edit_image.png").convert("RGB").resize((96, 96))
    return scaled(pipe.vae, posterior(pipe.vae, pipe.image_processor.preprocess(picture))[0]).to(dtype)


@torch.no_grad()
@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("says", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(
    ("name", "prompt", "steps", "skip"),
    [
        ("sd15", "tok172", 2, 0.25),
        ("sd15", "tok172", 14, 0.0),
        ("sd15", "tok172", 50, 0.25),
        ("sdxl", "short", 16, 0.9),
        ("sdxl", "tok172", 50, 0.0),
    ],
)
def test_with_nothing_changed_the_way_back_is_the_way_there(goldens, name, prompt, steps, skip, says, dtype):
    scheduler = DDIMScheduler(**STABLE, prediction_type=says)
    clean, times = clean_latents(goldens, name, dtype), edit_timesteps(steps, skip)
    noise = torch.randn(steps, *clean.shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    source = Recorded(told(goldens, name, prompt, dtype))
    path = invert(source, scheduler, clean, noise, times, 7.1)
    back = follow(source, scheduler, path, torch.ones(clean.shape[-2:]), 7.1, restore=False)
    there, again = source.seen[:steps], source.seen[steps:]
    assert all(torch.equal(one, other) for one, other in zip(there, again, strict=True))
    assert (back - clean).abs().max() <= ROUNDING[dtype]


@torch.no_grad()
def test_a_picture_can_be_led_to_where_nothing_of_it_is_left(goldens):
    scheduler = EulerDiscreteScheduler(**STABLE, prediction_type="v_prediction", rescale_betas_zero_snr=True)
    clean, times = clean_latents(goldens, "sd15", torch.float32), edit_timesteps(20, 0.0)
    noise = torch.randn(20, *clean.shape, generator=torch.Generator().manual_seed(0))
    source = told(goldens, "sd15", "short", torch.float32)
    path = invert(source, scheduler, clean, noise, times, 3.5)
    torch.testing.assert_close(path.latents[-1], noise[-1], atol=1e-3, rtol=0)
    back = follow(source, scheduler, path, torch.ones(clean.shape[-2:]), 3.5, restore=False)
    assert (back - clean).abs().max() <= 1e-6


@torch.no_grad()
def test_a_trained_painter_told_the_same_twice_gives_back_what_its_vae_makes_of_the_picture():
    editor = load_pipeline(bundled(BUNDLED_PIPELINE, ""), task="editing", device="cpu")
    picture = open_image(bundled(SCENE, "")).convert("RGB").resize(editor.native_size)
    mask = picture.convert("L").point(lambda level: 255)
    mask.putpixel((0, 0), 0)  # one that covers all leaves nothing to edit
    prompt = "a large red circle in the middle of a plain white background. " * 8
    same = editor(prompt, picture, mask, source_prompt=prompt, steps=50, guidance_scale=3.5, source_guidance=3.5)
    vae, processor = editor.pipe.vae, editor.pipe.image_processor
    seen = processor.postprocess(decode(vae, scaled(vae, posterior(vae, processor.preprocess(picture))[0])))[0]
    difference = np.abs(np.asarray(same).astype(int) - np.asarray(seen)).max(-1)
    assert difference.ravel()[1:].max() <= 1

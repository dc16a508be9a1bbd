"""Stage 2 on a tiny random SD3: rectified flow, as diffusers' own trainers teach it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from diffusers.training_utils import compute_density_for_timestep_sampling, compute_loss_weighting_for_sd3
from PIL import Image
from safetensors import safe_open
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer, T5Config, T5EncoderModel

from llmga.diffusers.adapters import add_loras
from llmga.diffusers.pipelines import load_pipeline
from llmga.diffusers.train.config import PRESETS
from llmga.diffusers.train.objective import FlowObjective
from llmga.diffusers.train.planning import _sizes, plan
from llmga.diffusers.train.train import train
from llmga.diffusers.train.trainer import Stage2Trainer
from llmga.errors import UserError

LORA = "pytorch_lora_weights.safetensors"


@pytest.fixture(scope="module")
def base(goldens, tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("sd3")
    tokenizer = CLIPTokenizer.from_pretrained(goldens.folder("sd15") / "tokenizer")
    words = len(tokenizer)
    clips = [CLIPTextModelWithProjection(CLIPTextConfig(
        vocab_size=words, hidden_size=16, projection_dim=16, intermediate_size=16, num_hidden_layers=2,
        num_attention_heads=2, bos_token_id=words - 2, eos_token_id=words - 1,
    )) for _ in range(2)]  # fmt: skip
    transformer = SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=16, out_channels=16, num_layers=2, attention_head_dim=8,
        num_attention_heads=2, caption_projection_dim=16, joint_attention_dim=32, pooled_projection_dim=32,
        pos_embed_max_size=16, dual_attention_layers=(0,), qk_norm="rms_norm",
    )  # fmt: skip
    vae = AutoencoderKL(
        latent_channels=16, layers_per_block=1, sample_size=32, norm_num_groups=4, block_out_channels=(8, 8, 8, 8),
        down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4, use_quant_conv=False,
        use_post_quant_conv=False, shift_factor=0.0609, scaling_factor=1.5305,
    )  # fmt: skip
    t5 = T5EncoderModel(T5Config(vocab_size=words, d_model=32, d_ff=16, d_kv=8, num_layers=1, num_heads=2))
    StableDiffusion3Pipeline(
        transformer=transformer, vae=vae, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0), text_encoder=clips[0],
        tokenizer=tokenizer, text_encoder_2=clips[1], tokenizer_2=tokenizer, text_encoder_3=t5, tokenizer_3=tokenizer,
    ).save_pretrained(folder)  # fmt: skip
    return folder


@pytest.fixture
def flow(config, base):
    """Two steps on the tiny SD3, which says itself what it is."""
    return replace(config, family="checkpoint", pipeline=str(base), steps=2, warmup=0, tune="lora", lora_rank=2)


def losses(config):
    return [json.loads(line)["loss"] for line in Path(config.run, "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("scheme", ["logit_normal", "mode", "sigma_sqrt", "cosmap", "none"])
def test_the_objective_is_the_one_of_diffusers_trainers(scheme):
    """By hand as in its `train_dreambooth_sd3.py`, without preconditioned outputs."""
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    objective = FlowObjective(scheduler, weighting=scheme, logit_mean=0.3, logit_std=0.8)
    latents = torch.randn(5, 16, 4, 4, generator=torch.Generator().manual_seed(1))
    noise, places = objective.draw(latents.shape, torch.Generator().manual_seed(2))
    generator = torch.Generator().manual_seed(2)
    assert torch.equal(noise, torch.randn(latents.shape, generator=generator))
    u = compute_density_for_timestep_sampling(
        scheme, 5, logit_mean=0.3, logit_std=0.8, mode_scale=1.29, generator=generator
    )
    timesteps = scheduler.timesteps[(u * 1000).long()]
    index = [(scheduler.timesteps == t).nonzero().item() for t in timesteps]
    sigmas = scheduler.sigmas[index].flatten()[:, None, None, None]
    noisy = (1.0 - sigmas) * latents + sigmas * noise
    seen = []

    def predict(given, times):
        seen.append((given, times))
        return torch.sin(given)

    loss = objective.loss(predict, latents, noise, places)
    weighting = compute_loss_weighting_for_sd3(scheme, sigmas=sigmas)
    by_hand = (weighting * (torch.sin(noisy) - (noise - latents)) ** 2).reshape(5, -1).mean(1).mean()
    torch.testing.assert_close(seen[0][0], noisy)
    assert torch.equal(seen[0][1], timesteps)
    torch.testing.assert_close(loss, by_hand)
    assert objective.loss(lambda given, times: noise - latents, latents, noise, places) == 0


def test_times_are_drawn_as_the_shift_of_the_checkpoint_says():
    def middle(shift):
        objective = FlowObjective(FlowMatchEulerDiscreteScheduler(shift=shift))
        _, places = objective.draw(torch.Size((4000, 1, 1, 1)), torch.Generator().manual_seed(0))
        return objective.schedule.sigmas[places].median().item()

    assert middle(1.0) == pytest.approx(0.5, abs=0.02) and middle(3.0) == pytest.approx(0.75, abs=0.02)


@pytest.mark.parametrize("scheduler", [DDPMScheduler(), FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)])
def test_other_times_are_refused(scheduler):
    with pytest.raises(UserError, match="name FlowMatchEulerDiscreteScheduler without use_dynamic_shifting"):
        FlowObjective(scheduler)


def said(trainer):
    """The loss of a fixed pass."""
    with torch.no_grad():
        batch = next(iter(trainer._batches()))
        return sum(trainer._loss(batch, number, []).item() for number in range(8))


@pytest.mark.parametrize("way", [{"tune": "full"}, {"tune": "lora", "lora_rank": 4, "cache_embeddings": True}])
def test_the_loss_falls(flow, way):
    config = replace(flow, steps=30, lr=1e-2, ema_decay=0.0, caption_dropout=0.0, checkpoint_every=100, **way)
    trainer = Stage2Trainer(config)
    assert trainer.config.family == "sd3" and (trainer.embeddings is not None) == config.cache_embeddings
    before = said(trainer)
    trainer.fit()
    trainer.step = 0
    assert said(trainer) < 0.97 * before


def test_low_rank_weights_open_in_the_stock_pipeline_and_in_ours(flow):
    output = train(replace(flow, lr=0.05, ema_decay=0.0, validation_every=2, validation_pictures=1))
    with safe_open(output / LORA, "pt") as file:
        head, names = file.metadata(), list(file.keys())
    assert head["modelspec.architecture"] == "stable-diffusion-3/lora" and head["modelspec.prediction_type"] == "flow"
    assert all(name.startswith("transformer.transformer_blocks.") for name in names)
    assert {name.split(".")[4] for name in names} >= {"to_q", "add_k_proj", "to_add_out"}
    trainer = Stage2Trainer(replace(flow, lr=0.05, ema_decay=0.0, validation_every=2))
    seen = dict(
        hidden_states=torch.randn(1, 16, 8, 8), timestep=torch.tensor([500.0]), pooled_projections=torch.randn(1, 32),
        encoder_hidden_states=torch.randn(1, 9, 32),
    )  # fmt: skip
    pipe = StableDiffusion3Pipeline.from_pretrained(flow.pipeline)
    with torch.no_grad():
        ours, plain = trainer.pipe.transformer.eval()(**seen).sample, pipe.transformer(**seen).sample
        pipe.load_lora_weights(output)
        torch.testing.assert_close(pipe.transformer(**seen).sample, ours, atol=1e-5, rtol=1e-4)
    assert (ours - plain).abs().max() > 1e-3
    painter = load_pipeline(flow.pipeline, device="cpu")
    before = painter("a star", seed=1, steps=2, size=(64, 64)).tobytes()
    add_loras(painter, [str(output)])
    assert painter("a star", seed=1, steps=2, size=(64, 64)).tobytes() != before
    assert Image.open(Path(flow.run, "validation/step-2/000.png")).size == (64, 64)


def test_a_whole_transformer_is_saved_as_the_stock_pipeline_and_a_stopped_run_goes_on(flow, tmp_path):
    config = replace(flow, tune="full", steps=3, buckets=True, cache_latents=False)
    output = train(config)
    index = json.loads((output / "model_index.json").read_text())
    assert index["_class_name"] == "StableDiffusion3Pipeline" and index["scheduler"][1].startswith("FlowMatch")
    parts = replace(config, run=str(tmp_path / "run2"), output=str(tmp_path / "out2"))
    train(replace(parts, steps=2))
    whole, after = (StableDiffusion3Pipeline.from_pretrained(folder) for folder in (output, train(parts)))
    assert losses(parts) == pytest.approx(losses(config), abs=1e-7)
    for one, other in zip(whole.transformer.parameters(), after.transformer.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-7, rtol=0)
    assert load_pipeline(output, device="cpu")("a star", steps=2, size=(64, 64)).size == (64, 64)


def test_captions_are_what_sampling_takes_and_a_cache_holds_the_same(flow):
    kept, read = (Stage2Trainer(replace(flow, cache_embeddings=cache)) for cache in (True, False))
    texts = [kept.dataset.caption(index, None) for index in (3, 0)] + [""]
    stock = StableDiffusion3Pipeline.from_pretrained(flow.pipeline)
    with torch.no_grad():
        embeds, negative, pooled, _ = stock.encode_prompt(texts, None, None)
        for trainer in (kept, read):
            ours = trainer.caption_encoder.embed(texts)
            torch.testing.assert_close(ours[0], embeds, atol=1e-5, rtol=0)
            torch.testing.assert_close(ours[1], pooled, atol=1e-5, rtol=0)
    torch.testing.assert_close(negative[0], embeds[2])  # a caption that is left out is what sampling calls none


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"family": "sdxl"}, "of the family sd3, not sdxl; give --family sd3"),
        ({"resolution": 56}, "--resolution 56 is not a multiple of 16"),
        ({"noise_offset": 0.1}, "--weighting-scheme says what is learnt"),
        ({"task": "inpainting"}, "trained for --task text-to-image only"),
    ],
)
def test_what_it_is_not_trained_for_is_told(flow, change, sentence):
    with pytest.raises(UserError, match=sentence):
        train(replace(flow, **change))


def test_another_family_is_told(flow, tmp_path):
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    with pytest.raises(UserError, match="is a FluxPipeline, which is not trained here; sdxl, sd15, sd3 are"):
        train(replace(flow, pipeline=str(tmp_path)))


def test_its_plan_and_its_preset(flow):
    config = replace(flow, batch_size=1, accumulation=1, cache_latents=False)
    assert _sizes(config).learns == sum(weight.numel() for weight in Stage2Trainer(config).learning)
    assert plan(replace(flow, cache_embeddings=True)).flops < plan(config).flops * flow.batch_size
    preset = PRESETS["sd3"]
    assert (preset.family, preset.tune, preset.resolution, preset.lr) == ("sd3", "lora", 1024, 1e-4)

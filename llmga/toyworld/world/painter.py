"""The world's painter: a small SDXL whose UNet learns from latents and captions that were made ahead.

`python -m llmga.toyworld.world painter --towers towers --vae vae --data data --output painter` trains one, resumable at
any step, judges it with the oracle on the way, and writes a folder that every SDXL pipeline opens.
"""

import json
import random
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from diffusers.models import AutoencoderKL, UNet2DConditionModel
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from diffusers.schedulers import DDPMScheduler, DPMSolverMultistepScheduler
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from llmga.toyworld.sdxl import DEFAULTS
from llmga.toyworld.world.layout import SIDE
from llmga.toyworld.world.learning import Learning, Pace, learn
from llmga.toyworld.world.painting_data import Drawn, read

NOISE: dict[str, Any] = {
    "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True, "timestep_spacing": "trailing",
}  # fmt: skip
TIMES = 1000


@dataclass(frozen=True)
class Recipe:
    """How a painter is trained.

    Attributes:
        widths: channels at 24, 12 and 6 latent pixels; attention is at the two lower ones.
        dropped: share of captions that are left out, for guidance.
        shorts: share of the short captions among the others.
        things_weight: extra weight of latent pixels that a thing covers.
        shift: how much more often noisy times are drawn than clear ones, where a picture's things are decided.
        lessons: share of the steps -> how often one, two and three things are drawn from there on.
    """

    pace: Pace = Pace(steps=16000, batch_size=32, lr=2e-3, adam_lr=1e-3, warmup=0.03, ema=0.995, bf16=True)
    widths: tuple[int, int, int] = (32, 96, 160)
    dropped: float = 0.1
    shorts: float = 0.3
    things_weight: float = 2.0
    shift: float = 2.0
    lessons: dict[float, tuple[float, float, float]] = field(
        default_factory=lambda: {0.0: (0.8, 0.2, 0.0), 0.2: (0.4, 0.4, 0.2), 0.5: (0.25, 0.4, 0.35)}
    )

    def shares(self, step: int) -> tuple[float, float, float]:
        """How often one, two and three things are drawn at a step."""
        done = step / self.pace.steps
        return self.lessons[max(start for start in self.lessons if start <= done)]


def architecture(
    widths: tuple[int, int, int], channels: int, text: int, pooled: int, side: int = 24
) -> UNet2DConditionModel:
    """SDXL's form: no attention at the top level, text and size beside the time."""
    time_width = 32
    return UNet2DConditionModel(
        sample_size=side,
        in_channels=channels,
        out_channels=channels,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=widths,
        layers_per_block=1,
        cross_attention_dim=text,
        attention_head_dim=[width // 32 for width in widths],  # diffusers' old name for the number of heads
        use_linear_projection=True,
        norm_num_groups=16,
        # What the text says as a whole reaches every layer, so it gets room and may scale, not only shift.
        resnet_time_scale_shift="scale_shift",
        time_embedding_dim=256,
        addition_embed_type="text_time",
        addition_time_embed_dim=time_width,
        projection_class_embeddings_input_dim=pooled + 6 * time_width,
    )


def is_end(name: str) -> bool:
    """Weights that AdamW steps: where latents come in and go out."""
    return name in ("conv_in.weight", "conv_out.weight")


class Texts:
    """The frozen towers: captions become what the UNet is given."""

    def __init__(self, folder: Path):
        self.one = CLIPTextModel.from_pretrained(folder / "text_encoder", trust_remote_code=False).eval()
        self.two = CLIPTextModelWithProjection.from_pretrained(
            folder / "text_encoder_2", trust_remote_code=False
        ).eval()
        self.tokenizers = [
            CLIPTokenizer.from_pretrained(folder / name, trust_remote_code=False)
            for name in ("tokenizer", "tokenizer_2")
        ]

    @torch.no_grad()
    def __call__(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """(n, 77, width of both) and (n, pooled); an empty text is zeros, as SDXL has it for no prompt."""
        one, two = (
            tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
            for tokenizer in self.tokenizers
        )
        first = self.one(one, output_hidden_states=True).hidden_states[-2]
        second = self.two(two, output_hidden_states=True)
        there = torch.tensor([bool(text) for text in texts])
        states = torch.cat([first, second.hidden_states[-2]], -1) * there[:, None, None]
        return states, second.text_embeds * there[:, None]


def conditions(pooled: Tensor) -> dict[str, Tensor]:
    """SDXL's other conditions: pooled text, and the sizes of a whole picture that was not cropped."""
    sizes = torch.tensor([SIDE, SIDE, 0, 0, SIDE, SIDE])
    return {"text_embeds": pooled, "time_ids": sizes.expand(len(pooled), -1).to(pooled.dtype)}


class Painting:
    """What the UNet is asked at every step, a function of seed and step."""

    def __init__(self, unet: UNet2DConditionModel, texts: Texts, drawn: Drawn, recipe: Recipe):
        self.unet, self.texts, self.drawn, self.recipe = unet, texts, drawn, recipe
        self.noise: Any = DDPMScheduler(num_train_timesteps=TIMES, **NOISE)
        self.of_count = [(drawn.counts == count).nonzero().flatten().tolist() for count in (1, 2, 3)]

    def loss(self, step: int) -> Tensor:
        """Mean squared error of the velocity; things weigh more than the ground that most pixels are."""
        seed = self.recipe.pace.seed_of(step)
        generator = torch.Generator().manual_seed(seed)
        chosen, captions = self.batch(random.Random(seed), step)
        latents = self.drawn.latents[chosen].float()
        noise = torch.randn(latents.shape, generator=generator)
        even = torch.rand(len(chosen), generator=generator)
        shift = self.recipe.shift
        times = (TIMES * shift * even / (1 + (shift - 1) * even)).long().clamp(max=TIMES - 1)
        states, pooled = self.texts(captions)
        noisy = self.noise.add_noise(latents, noise, times)
        said = self.unet(noisy, times, states, added_cond_kwargs=conditions(pooled)).sample
        weight = 1 + self.recipe.things_weight * self.drawn.things[chosen].float()
        error = (said.float() - self.noise.get_velocity(latents, noise, times)).square()
        return (weight * error).mean() / weight.mean()

    def batch(self, rng: random.Random, step: int) -> tuple[list[int], list[str]]:
        """Numbers of scenes, and a caption for each."""
        recipe = self.recipe
        counts = rng.choices((0, 1, 2), recipe.shares(step), k=recipe.pace.batch_size)
        chosen = [rng.choice(self.of_count[count]) for count in counts]
        captions = [self.drawn.captions[number][rng.random() < recipe.shorts] for number in chosen]
        return chosen, [caption if rng.random() >= recipe.dropped else "" for caption in captions]


def sampler() -> DPMSolverMultistepScheduler:
    """The sampler that a finished painter names."""
    return DPMSolverMultistepScheduler(num_train_timesteps=TIMES, algorithm_type="dpmsolver++", **NOISE)


def save(unet: UNet2DConditionModel, towers: Path, vae: AutoencoderKL, folder: Path) -> None:
    """Write the folder of a pipeline."""
    texts = Texts(towers)
    pipeline = StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=texts.one,
        text_encoder_2=texts.two,
        tokenizer=texts.tokenizers[0],
        tokenizer_2=texts.tokenizers[1],
        unet=unet,
        scheduler=sampler(),  # type: ignore[arg-type]  # annotated as the enumeration of their names
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )
    pipeline.save_pretrained(folder)
    (folder / "generation_defaults.json").write_text(json.dumps(DEFAULTS) + "\n")


def fresh(recipe: Recipe, texts: Texts, channels: int) -> UNet2DConditionModel:
    """A UNet that knows nothing, for these towers and latents."""
    torch.manual_seed(recipe.pace.seed)
    width = texts.one.config.hidden_size + texts.two.config.hidden_size
    return architecture(recipe.widths, channels, width, texts.two.config.projection_dim)


def trained(
    towers: Path,
    vae_folder: Path,
    data: Path,
    output: Path,
    *,
    steps: int | None = None,
    lr: float | None = None,
    until: int | None = None,
    judge_every: int = 1000,
    judged: int = 48,
) -> None:
    """Train a painter, or go on with it, and write its pipeline.

    Args:
        towers: folder of the text towers.
        vae_folder: folder of the autoencoder.
        data: what `painting_data` wrote.
        output: folder of the pipeline, of its state and of its curve.
        until: stop at this step; the next call goes on.
        judged: pictures of one and of two things that are painted every `judge_every` steps.
    """
    from llmga.toyworld.world.painted import Judge

    usual = Recipe().pace
    recipe = Recipe(pace=replace(usual, steps=steps or usual.steps, lr=lr or usual.lr))
    texts, vae = Texts(towers), AutoencoderKL.from_pretrained(vae_folder, trust_remote_code=False).eval()
    unet = fresh(recipe, texts, vae.config.latent_channels)
    painting = Painting(unet, texts, read(data), recipe)
    judge = Judge(unet, texts, vae, judged, output)
    learn(Learning(unet, recipe.pace, is_end), painting.loss, output, judge, judge_every, until)
    save(unet, towers, vae, output)

"""A few seconds of every path, each as numbers that any device should give."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from llmga.diffrir.checkpoints import load_model
from llmga.diffrir.losses import Pair, joint_phase_losses, total
from llmga.diffrir.model import Stage1
from llmga.diffrir.restorers import load_restorer
from llmga.diffusers.pipelines import load_pipeline
from llmga.diffusers.train.objective import DenoisingObjective
from llmga.llava.chat import Chat, Sampling
from llmga.llava.conversation import Conversation
from llmga.llava.loading import load_mllm
from llmga.registry import Registry
from llmga.runtime import DTYPES

MLLM, PAINTER, INPAINTER, RESTORER = (
    f"llmga-toy-{name}" for name in ("mllm", "sdxl-t2i", "sdxl-inpainting", "diffrir-x1")
)
PROMPT, STEPS, SIDE = "a big red circle on a blue background", 4, 64


@dataclass(frozen=True)
class Place:
    """Where and in which number format a path runs."""

    device: str
    dtype: str

    def autocast(self) -> AbstractContextManager[Any]:
        """As the trainings compute in half precision: with weights in single precision."""
        kind = torch.device(self.device).type
        return torch.autocast(kind, DTYPES[self.dtype], enabled=self.dtype != "fp32")


def scene() -> Image.Image:
    """A red disc on blue."""
    picture = Image.new("RGB", (SIDE, SIDE), (40, 60, 200))
    ImageDraw.Draw(picture).ellipse((16, 16, 48, 48), fill=(220, 30, 30))
    return picture


def hole() -> Image.Image:
    """The right half."""
    mask = Image.new("L", (SIDE, SIDE))
    mask.paste(255, (SIDE // 2, 0, SIDE, SIDE))
    return mask


def planner(place: Place) -> np.ndarray:
    """Scores of a conversation with a picture, after a reply was streamed."""
    mllm = load_mllm(MLLM, device=place.device, dtype=DTYPES[place.dtype])
    asked = Conversation().say("user", "What is in this picture?", (scene(),))
    words = "".join(Chat(mllm).reply(asked, Sampling(temperature=0, max_new_tokens=12)))
    if not words.strip():
        raise RuntimeError("the planner said nothing")
    ids = torch.tensor([mllm.encode(asked, open_turn=True).input_ids], device=mllm.device)
    pixels = mllm.pixel_values(asked.images()).to(mllm.device)
    with torch.inference_mode():
        scores = mllm.model(input_ids=ids, pixel_values=pixels, use_cache=False).logits
    return _numbers(scores[0, :, : len(mllm.tokenizer)])


def text_to_image(place: Place) -> np.ndarray:
    """A picture of words."""
    return _pixels(load_pipeline(PAINTER, device=place.device, dtype=place.dtype)(PROMPT, steps=STEPS))


def inpainting(place: Place) -> np.ndarray:
    """A half that is painted anew."""
    pipeline = load_pipeline(INPAINTER, device=place.device, dtype=place.dtype)
    return _pixels(pipeline(PROMPT, scene(), hole(), steps=STEPS))


def editing(place: Place) -> np.ndarray:
    """A half that is changed by words."""
    pipeline = load_pipeline(PAINTER, task="editing", device=place.device, dtype=place.dtype)
    changed = pipeline("a big green circle", scene(), hole(), source_prompt=PROMPT, steps=2 * STEPS)
    return _pixels(changed)


def restoring(place: Place) -> np.ndarray:
    """A half whose tone is off; in single precision on a CPU, and as the restorer chooses elsewhere."""
    painted = Image.composite(Image.eval(scene(), lambda level: level // 2 + 40), scene(), hole())
    return _pixels(load_restorer("diffrir-x1", RESTORER, place.device)(painted, scene(), hole()))


def stage_1(place: Place) -> np.ndarray:
    """A step of everything but the vision tower."""
    mllm = load_mllm(MLLM, device=place.device, dtype=torch.float32)
    told = Conversation().say("user", "What is in this picture?", (scene(),)).say("assistant", PROMPT)
    encoded = mllm.encode(told)
    ids, labels = (torch.tensor([each], device=mllm.device) for each in (encoded.input_ids, encoded.labels))
    pixels = mllm.pixel_values(told.images()).to(mllm.device)
    mllm.model.train().model.vision_tower.requires_grad_(False)

    def loss() -> Tensor:
        return mllm.model(input_ids=ids, pixel_values=pixels, labels=labels, use_cache=False).loss

    return _step(mllm.model, loss, place)


def stage_2(place: Place) -> np.ndarray:
    """A step of the UNet, with random words."""
    pipe = load_pipeline(PAINTER, device=place.device, dtype="fp32").pipe
    unet, objective = pipe.unet.train(), DenoisingObjective(pipe.scheduler)
    config, side = unet.config, SIDE // pipe.vae_scale_factor
    width = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    latents, words, pooled = _drawn(place, (2, 4, side, side), (2, 77, config.cross_attention_dim), (2, width))
    noise, times = (part.to(place.device) for part in objective.draw(latents.shape, torch.Generator().manual_seed(1)))
    said = {"text_embeds": pooled, "time_ids": torch.tensor([[SIDE, SIDE, 0, 0, SIDE, SIDE]] * 2).to(latents)}

    def predict(noisy: Tensor, times: Tensor) -> Tensor:
        return unet(noisy, times, words, added_cond_kwargs=said).sample

    return _step(unet, lambda: objective.loss(predict, latents, noise, times), place)


def restorer_training(place: Place) -> np.ndarray:
    """A step of DiffRIR's second stage, with a random teacher."""
    network: Any = load_model(RESTORER, stage=2, device=place.device).train()
    torch.manual_seed(0)
    teacher = Stage1(network.config).to(place.device).requires_grad_(False)
    real, mask, noise = _drawn(place, (1, 3, SIDE, SIDE), (1, 1, SIDE, SIDE), (1, 256))
    pair = Pair(real.sigmoid() * 0.8, real.sigmoid(), (mask > 0).float())
    return _step(network, lambda: total(joint_phase_losses(network, teacher, pair, noise, composited=True)[0]), place)


CHECKS: Registry[Callable[[Place], np.ndarray]] = Registry(
    "path",
    {
        "planner": planner,
        "text-to-image": text_to_image,
        "inpainting": inpainting,
        "editing": editing,
        "restoring": restoring,
        "stage 1": stage_1,
        "stage 2": stage_2,
        "restorer's training": restorer_training,
    },
)


def _step(module: nn.Module, loss: Callable[[], Tensor], place: Place) -> np.ndarray:
    """Loss, the gradient's norm, and the loss after a step of AdamW."""
    learning = [weight for weight in module.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=1e-5)
    with place.autocast():
        first = loss()
    first.backward()
    norm = nn.utils.clip_grad_norm_(learning, 1.0)
    optimizer.step()
    with torch.no_grad(), place.autocast():
        second = loss()
    return _numbers(torch.stack([first.detach(), norm, second]))


def _drawn(place: Place, *shapes: Iterable[int]) -> list[Tensor]:
    """Normal numbers from the CPU, so that every device gets the same."""
    random = torch.Generator().manual_seed(0)
    return [torch.randn(tuple(shape), generator=random).to(place.device) for shape in shapes]


def _numbers(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().cpu().numpy() if tensor.device.type != "mps" else tensor.detach().cpu().numpy()


def _pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("RGB"), dtype=np.float64)

"""Families that stage 2 trains, as rows: which part learns, and how it is asked."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from llmga.diffusers.families import TEXT_TO_IMAGE, sdxl_conditions
from llmga.errors import UserError
from llmga.registry import Registry

Embed = Callable[[Sequence[str]], tuple[Tensor, Tensor | None]]

CHUNKS, CHUNK = 3, 77  # of a caption in plans, as the published prompts are long
T5_TOKENS = 256  # that the pipelines of SD3 give T5


@dataclass(frozen=True)
class Network:
    """What a family trains.

    Attributes:
        classes: pattern of the names of its pipeline classes.
        part: the part of the pipeline that learns.
        towers: its text encoders; those in `learnable` may learn, too.
        targets: the layers that low-rank weights stand beside.
        blocks: classes of its blocks that are computed again in the backward pass.
        compiled: those that `torch.compile` takes, small enough to be compiled once for all of them.
        answer: (network, noisy latents, times, embeddings, pooled, time ids) -> what it says.
        embed: (pipeline, layout) -> captions to embeddings, as sampling encodes them.
        side: pixels of a side are a multiple of this, from the pipeline and whether pictures have any aspect.
        said: (network, last tower) -> tokens of a caption, width of their embeddings and of the pooled one, in plans.
        flows: whether it is taught a flow's velocity (rectified flow) instead of what a schedule of betas asks for.
        tasks: that it is trained for.
    """

    classes: str
    part: str
    towers: tuple[str, ...]
    learnable: tuple[str, ...]
    targets: tuple[str, ...]
    blocks: tuple[str, ...]
    compiled: tuple[str, ...]
    answer: Callable[..., Tensor]
    embed: Callable[[Any, str], Embed]
    side: Callable[[Any, bool], int]
    said: Callable[[Any, Any], tuple[int, int, int]]
    flows: bool = False
    tasks: tuple[str, ...] = ("text-to-image", "inpainting")


def _unet(network: Any, noisy: Tensor, times: Tensor, embeds: Tensor, pooled: Tensor | None, ids: Tensor) -> Tensor:
    return network(noisy, times, embeds).sample


def _unet_told_sizes(
    network: Any, noisy: Tensor, times: Tensor, embeds: Tensor, pooled: Tensor | None, ids: Tensor
) -> Tensor:
    return network(noisy, times, embeds, added_cond_kwargs=sdxl_conditions(pooled, ids)).sample


def _transformer(
    network: Any, noisy: Tensor, times: Tensor, embeds: Tensor, pooled: Tensor | None, ids: Tensor
) -> Tensor:
    return network(noisy, encoder_hidden_states=embeds, pooled_projections=pooled, timestep=times).sample


def _chunked(pipe: Any, layout: str) -> Embed:
    """Captions of any length, in chunks of CLIP's."""
    from llmga.diffusers.long_prompt import encode_texts

    return lambda texts: encode_texts(pipe, texts, layout)


def _by_the_pipeline(pipe: Any, layout: str) -> Embed:
    """SD3's own encoders: two CLIPs, which read 77 tokens, and T5 beside them."""

    def embed(texts: Sequence[str]) -> tuple[Tensor, Tensor | None]:
        embeds, _, pooled, _ = pipe.encode_prompt(
            list(texts), None, None, do_classifier_free_guidance=False, max_sequence_length=T5_TOKENS
        )
        return embeds, pooled

    return embed


def _unet_side(pipe: Any, any_aspect: bool) -> int:
    """A latent position, or one at the UNet's lowest level."""
    return pipe.vae_scale_factor * 2 ** ((len(pipe.unet.config.block_out_channels) - 1) * any_aspect)


def _patch_side(pipe: Any, any_aspect: bool) -> int:
    return pipe.vae_scale_factor * pipe.transformer.config.patch_size


def _unet_words(network: Any, tower: Any) -> tuple[int, int, int]:
    return CHUNKS * CHUNK, network.config.cross_attention_dim, getattr(tower.config, "projection_dim", 0)


def _transformer_words(network: Any, tower: Any) -> tuple[int, int, int]:
    return CHUNK + T5_TOKENS, network.config.joint_attention_dim, network.config.pooled_projection_dim


_UNET: dict[str, Any] = {
    "part": "unet",
    "targets": ("to_q", "to_k", "to_v", "to_out.0"),
    "blocks": ("ResnetBlock2D", "BasicTransformerBlock"),
    "compiled": ("BasicTransformerBlock",),
    "embed": _chunked,
    "side": _unet_side,
    "said": _unet_words,
}
_CLIPS = ("text_encoder", "text_encoder_2")
NETWORKS: Registry[Network] = Registry("family", {
    "sdxl": Network(
        r"StableDiffusionXL(Inpaint)?Pipeline", towers=_CLIPS, learnable=_CLIPS, answer=_unet_told_sizes, **_UNET
    ),
    "sd15": Network(
        r"StableDiffusion(Inpaint)?Pipeline", towers=_CLIPS[:1], learnable=_CLIPS[:1], answer=_unet, **_UNET
    ),
    "sd3": Network(
        "StableDiffusion3Pipeline",
        part="transformer",
        towers=(*_CLIPS, "text_encoder_3"),
        learnable=(),
        targets=("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"),
        blocks=("JointTransformerBlock",),
        compiled=("JointTransformerBlock",),
        answer=_transformer,
        embed=_by_the_pipeline,
        side=_patch_side,
        said=_transformer_words,
        flows=True,
        tasks=(TEXT_TO_IMAGE,),
    ),
})  # fmt: skip


def trained_family(class_name: str | None, folder: Path) -> str:
    """The row for the class of a pipeline.

    Raises:
        UserError: it is of a family that is not trained here.
    """
    found = next((name for name, row in NETWORKS.items() if re.fullmatch(row.classes, str(class_name))), None)
    if found is None:
        raise UserError(f"{str(folder)!r} is a {class_name}, which is not trained here; {', '.join(NETWORKS)} are.")
    return found

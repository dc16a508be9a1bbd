"""The parts of a single file as diffusers and transformers name them: by diffusers' own converters."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from llmga.diffusers.single_file.families import UNET, VAE, SingleFileFamily, Tower
from llmga.diffusers.single_file.shapes import NAMES, below, text_config, unet_config, vae_config
from llmga.diffusers.single_file.tensors import TensorFile
from llmga.errors import UserError

Weights = dict[str, Tensor]
UNUSED = ("position_ids", "logit_scale")  # what text towers carry along and no module has


@dataclass(frozen=True)
class Part:
    """A model of a pipeline, out of a file.

    Attributes:
        library: `diffusers` or `transformers`.
        kind: its class.
        config: its settings.
        prefix: what its tensors' names begin with in the file.
    """

    library: str
    kind: str
    config: Mapping[str, Any]
    prefix: str


def unet_part(file: TensorFile, family: SingleFileFamily) -> Part:
    """The UNet of a whole file, or of one that holds nothing else, under any prefix that is in use.

    Raises:
        UserError: it is not there whole.
    """
    prefix = next((each for each in (UNET, "diffusion_model.", "model.", "") if f"{each}out.2.weight" in file), None)
    if prefix is None:
        raise UserError(f"{str(file.path)!r} lacks {UNET}out.2.weight of its UNet; fetch it again.")
    config = unet_config(below(file.header.shapes, prefix), family)
    return Part("diffusers", "UNet2DConditionModel", config, prefix)


def vae_part(file: TensorFile, settings: Mapping[str, Any]) -> Part | None:
    """The VAE of a whole file, or of one that holds nothing else; None where there is none.

    Args:
        settings: what no shape tells, such as `scaling_factor`.
    """
    prefix = next((each for each in (VAE, "vae.", "") if f"{each}decoder.conv_out.weight" in file
                   and f"{each}decoder.mid.block_1.conv1.weight" in file), None)  # fmt: skip
    if prefix is None:
        return None
    return Part("diffusers", "AutoencoderKL", vae_config(below(file.header.shapes, prefix)) | dict(settings), prefix)


def text_part(file: TensorFile, tower: Tower) -> Part | None:
    """A text tower of a whole file; None where there is none."""
    for prefix in tower.prefixes:
        shapes = below(file.header.shapes, prefix)
        shapes = {modern(name, tower): shape for name, shape in shapes.items()}
        if NAMES[tower.layout][0] in shapes:
            return Part("transformers", tower.kind, text_config(shapes, tower), prefix)
    return None


def modern(name: str, tower: Tower) -> str:
    """A name of today: old files name CLIP's tensors without `text_model.`."""
    old = tower.layout == "clip" and name.startswith(("embeddings.", "encoder.", "final_layer_norm."))
    return f"text_model.{name}" if old else name


def unet_weights(file: TensorFile, part: Part) -> Weights:
    """The UNet's tensors by diffusers' names."""
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    found = {f"{UNET}{name.removeprefix(part.prefix)}": each for name, each in file.beginning(part.prefix).items()}
    return convert_ldm_unet_checkpoint(found, dict(part.config))


def vae_weights(file: TensorFile, part: Part) -> Weights:
    """The VAE's tensors by diffusers' names."""
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    found = {name.removeprefix(part.prefix): each for name, each in file.beginning(part.prefix).items()}
    own = {name: each for name, each in found.items() if name.startswith(("encoder.", "decoder.", "quant_", "post_"))}
    return convert_ldm_vae_checkpoint(own, dict(part.config))


# How diffusers once called the layers of a VAE's attention, and kept their matrices as convolutions of one pixel.
DEPRECATED = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}


def todays_vae(weights: Mapping[str, Tensor]) -> Weights:
    """A VAE's tensors by the names that diffusers has now."""
    found = {}
    for name, each in weights.items():
        old = next((word for word in DEPRECATED if word in name and ".attentions." in name), None)
        flat = each[:, :, 0, 0] if old and each.ndim == 4 else each
        found[name.replace(old, DEPRECATED[old]) if old else name] = flat
    return found


def text_weights(file: TensorFile, part: Part, tower: Tower) -> Weights:
    """A text tower's tensors by the names that hubs have, with `text_model.`."""
    found = {name.removeprefix(part.prefix): each for name, each in file.beginning(part.prefix).items()}
    found = {modern(name, tower): each for name, each in found.items() if not name.endswith(UNUSED)}
    if tower.layout == "clip":
        return found
    return _open_clip(found, part, tower)


def _open_clip(found: Weights, part: Part, tower: Tower) -> Weights:
    from types import SimpleNamespace

    from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint

    layers = part.config["num_hidden_layers"]
    kept = {name: each for name, each in found.items() if not _unused(name, layers)}
    if tower.kind == "CLIPTextModel":
        kept.pop("text_projection", None)
    width = SimpleNamespace(config=SimpleNamespace(hidden_size=part.config["hidden_size"]))
    projection = kept.pop("text_projection", None)  # the converter takes its width for that of the layers
    weights: Weights = convert_open_clip_checkpoint(width, kept, prefix="")
    return weights if projection is None else {**weights, "text_projection.weight": projection.T.contiguous()}


def _unused(name: str, layers: int) -> bool:
    block = name.removeprefix("transformer.resblocks.").partition(".")[0]
    return name.startswith("transformer.resblocks.") and int(block) >= layers

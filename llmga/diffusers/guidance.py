"""A painting along pictures: the pipeline of diffusers that takes the loaded networks, and what it is told.

Networks and the picture prompt are loaded once and belong to all pipelines with the same denoiser; which of them guide
a painting, and by which pictures, each call says.
"""

import hashlib
import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageOps

from llmga.diffusers.control import IP_ADAPTER, Control
from llmga.diffusers.control_maps import CONTROLS
from llmga.diffusers.control_networks import ADAPTER, CONTROLNET, SAID, UNION, ControlNetwork
from llmga.diffusers.families import EDITING, INPAINTING, UNET_FAMILIES
from llmga.diffusers.memory import execution_device, move_to
from llmga.errors import UserError
from llmga.images import to_rgb
from llmga.quiet import quiet

if TYPE_CHECKING:
    from llmga.diffusers.pipeline import Pipeline

# The pipeline's class -> which class of diffusers takes it together with networks of each kind.
CONTROLLED = {
    "StableDiffusionPipeline": {
        CONTROLNET: "StableDiffusionControlNetPipeline",
        ADAPTER: "StableDiffusionAdapterPipeline",
    },
    "StableDiffusionXLPipeline": {
        CONTROLNET: "StableDiffusionXLControlNetPipeline",
        UNION: "StableDiffusionXLControlNetUnionPipeline",
        ADAPTER: "StableDiffusionXLAdapterPipeline",
    },
    "StableDiffusionInpaintPipeline": {CONTROLNET: "StableDiffusionControlNetInpaintPipeline"},
    "StableDiffusionXLInpaintPipeline": {
        CONTROLNET: "StableDiffusionXLControlNetInpaintPipeline",
        UNION: "StableDiffusionXLControlNetUnionInpaintPipeline",
    },
}


@dataclass
class Guides:
    """What is loaded to guide the painting beside the words.

    Attributes:
        networks: in the order in which they were given.
        marks: what a record says of each network, and of the IP-Adapter, by its path.
        picture_prompt: path of the IP-Adapter in the denoiser; None without one.
        standing: what guides a call that says nothing of it.
    """

    networks: list[ControlNetwork] = field(default_factory=list)
    marks: dict[str, dict[str, Any]] = field(default_factory=dict)
    picture_prompt: str | None = None
    standing: tuple[Control, ...] = ()

    def network_of(self, control: Control) -> ControlNetwork:
        """The network that reads maps of this kind: made for it, else for several, else for any.

        Raises:
            UserError: none does.
        """
        able = [each for each in self.networks if each.kind != UNION or _has_number(each, control)]
        ranks = (
            lambda each: each.name == control.name,
            lambda each: each.kind == UNION,
            lambda each: each.name == "map",
        )
        found = next((each for fits in ranks for each in able if fits(each)), None)
        if found is None:
            raise UserError(
                f"nothing that is loaded reads the control {control.name!r} (loaded: {self._told}); start with "
                f"--controlnet {control.name}=FOLDER, or use what is loaded."
            )
        return found

    @property
    def _told(self) -> str:
        names = [f"{each.name} by a {SAID[each.kind]}" for each in self.networks]
        return ", ".join([*names, *([IP_ADAPTER] if self.picture_prompt else [])]) or "nothing"

    def described(self, controls: Iterable[Control]) -> list[dict[str, Any]]:
        """What a record says of the weights that these controls use.

        Raises:
            UserError: nothing that is loaded does it.
        """
        return [
            self.marks[self.place_of(each)] | {"weight": each.scale, "picture": each.image and rgb_hash(each.image)}
            for each in controls
        ]

    def place_of(self, control: Control) -> str:
        """Path of the weights that a control uses.

        Raises:
            UserError: nothing that is loaded does it.
        """
        if control.name != IP_ADAPTER:
            return str(self.network_of(control).path)
        if self.picture_prompt is None:
            raise UserError(f"no IP-Adapter is loaded (loaded: {self._told}); start with --ip-adapter FILE.")
        return self.picture_prompt


def _has_number(union: ControlNetwork, control: Control) -> bool:
    number = CONTROLS[control.name].union
    return number is not None and number < union.model.config.num_control_type


def rgb_hash(image: Image.Image) -> str:
    """SHA-256 of a picture's RGB pixels."""
    return hashlib.sha256(image.convert("RGB").tobytes()).hexdigest()


def guided(pipeline: "Pipeline", controls: Sequence[Control], size: tuple[int, int]) -> tuple[Any, dict[str, Any]]:
    """The pipeline of diffusers that paints so, and its further arguments; its own one where nothing guides.

    Args:
        pipeline: whose denoiser it is.
        controls: each with its picture.
        size: (width, height) of the painting.

    Raises:
        UserError: the family, the loaded networks or the task do not allow it.
    """
    for control in controls:
        pipeline.guides.place_of(control)
    pictured, spatial = _split(controls)
    with_prompt = _picture_prompt(pipeline, pictured)
    if not spatial:
        return pipeline.pipe, with_prompt
    networks = [pipeline.guides.network_of(control) for control in spatial]
    kind = _only(networks)
    maps = [_map(control, size) for control in spatial]
    model, told = _TOLD[kind](pipeline, networks, spatial, maps)
    pipe = _with_network(pipeline, kind, model)
    taken = inspect.signature(pipe.__call__).parameters
    if with_prompt and "ip_adapter_image" not in taken:
        raise UserError(
            f"an IP-Adapter and a {SAID[kind]} do not go together in {pipeline.family.name}; use one of them."
        )
    return pipe, told | with_prompt


def check_controls(pipeline: "Pipeline", controls: Sequence[Control]) -> None:
    """See that a painting can be guided so, before anything is painted.

    Raises:
        UserError: it cannot.
    """
    for control in controls:
        pipeline.guides.place_of(control)
    networks = [pipeline.guides.network_of(control) for control in _split(controls)[1]]
    if networks:
        _class_of(pipeline, _only(networks))


def _split(controls: Sequence[Control]) -> tuple[list[Control], list[Control]]:
    """Those that the IP-Adapter reads, at most one, and those that say where things are."""
    pictured = [control for control in controls if control.name == IP_ADAPTER]
    if len(pictured) > 1:
        raise UserError("several pictures are given to the IP-Adapter; give it one.")
    return pictured, [control for control in controls if control.name != IP_ADAPTER]


def _only(networks: Sequence[ControlNetwork]) -> str:
    kinds = {network.kind: network for network in networks}
    if len(kinds) > 1:
        told = " and ".join(network.label for network in kinds.values())
        raise UserError(f"{told} do not paint together; use those of one kind.")
    return next(iter(kinds))


def _picture_prompt(pipeline: "Pipeline", pictured: Sequence[Control]) -> dict[str, Any]:
    """Arguments of the IP-Adapter: a denoiser that has one wants a picture, which without a control counts nothing."""
    if pipeline.guides.picture_prompt is None:
        return {}
    pipeline.pipe.set_ip_adapter_scale(pictured[0].scale if pictured else 0.0)
    image = pictured[0].image if pictured else None
    return {"ip_adapter_image": Image.new("RGB", (64, 64)) if image is None else to_rgb(image)}


def _map(control: Control, size: tuple[int, int]) -> Image.Image:
    """What the network reads, of the painting's size: the middle of a picture of another aspect."""
    if control.image is None:
        raise UserError(f"control {control.name!r} has no picture; give one, or paint into one.")
    fitted = ImageOps.fit(to_rgb(control.image), size, Image.Resampling.LANCZOS)
    return fitted if control.ready else CONTROLS[control.name].take(fitted)


def _class_of(pipeline: "Pipeline", kind: str) -> Any:
    import diffusers

    family = pipeline.family
    name = CONTROLLED.get(family.class_name, {}).get(kind)
    if name is None:
        able = [row.name for row in UNET_FAMILIES if row.task != EDITING and kind in CONTROLLED.get(row.class_name, {})]
        raise UserError(f"a {SAID[kind]} cannot guide {family.name}; it guides {', '.join(able)}.")
    channels = pipeline.denoiser.config.in_channels
    if kind == UNION and channels != pipeline.pipe.vae.config.latent_channels:
        raise UserError(f"a {SAID[kind]} cannot guide an inpainting model of {channels} channels; use one that paints "
                        "from words, which inpaints, too.")  # fmt: skip
    return getattr(diffusers, name)


def _with_network(pipeline: "Pipeline", kind: str, model: Any) -> Any:
    """A pipeline of diffusers around the same components and the network."""
    pipe_class = _class_of(pipeline, kind)
    network = {"adapter" if kind == ADAPTER else "controlnet": model}
    parts = {**pipeline.pipe.config, **pipeline.pipe.components, **network, "requires_safety_checker": False}
    taken = inspect.signature(pipe_class.__init__).parameters
    device = execution_device(pipeline.denoiser)
    with quiet():
        pipe = pipe_class(**{name: part for name, part in parts.items() if name in taken})
    pipe.set_progress_bar_config(disable=True)
    pipeline.adapt(pipe)
    return move_to(pipe, device, pipeline.offload)


def _spans(controls: Sequence[Control], *, several: bool) -> dict[str, Any]:
    values: dict[str, list[float]] = {
        "controlnet_conditioning_scale": [float(control.scale) for control in controls],
        "control_guidance_start": [float(control.start) for control in controls],
        "control_guidance_end": [float(control.end) for control in controls],
    }
    return dict(values) if several else {name: each[0] for name, each in values.items()}


def _controlnets(
    pipeline: "Pipeline", networks: Sequence[ControlNetwork], controls: Sequence[Control], maps: list[Image.Image]
) -> tuple[Any, dict[str, Any]]:
    image = "control_image" if pipeline.family.task == INPAINTING else "image"
    models = [network.model for network in networks]
    if len(models) == 1:
        return models[0], {image: maps[0], **_spans(controls, several=False)}
    return models, {image: maps, **_spans(controls, several=True)}


def _unions(
    pipeline: "Pipeline", networks: Sequence[ControlNetwork], controls: Sequence[Control], maps: list[Image.Image]
) -> tuple[Any, dict[str, Any]]:
    models = [network.model for network in networks]
    modes = [CONTROLS[control.name].union for control in controls]
    one = len({id(model) for model in models}) == 1 and len(set(modes)) == len(modes)
    told = {"control_image": maps, "control_mode": modes, **_spans(controls, several=True)}
    return (models[0] if one else models), told


def _adapters(
    pipeline: "Pipeline", networks: Sequence[ControlNetwork], controls: Sequence[Control], maps: list[Image.Image]
) -> tuple[Any, dict[str, Any]]:
    from diffusers import MultiAdapter

    models = [network.model for network in networks]
    for model, picture in zip(models, maps, strict=True):
        if any(side % model.config.downscale_factor for side in picture.size):
            raise UserError(f"a T2I-Adapter reads maps whose sides are multiples of {model.config.downscale_factor}, "
                            f"not {picture.width}x{picture.height}; choose another --size.")  # fmt: skip
    ends = {(control.start, control.end) for control in controls}
    later = ends != {(0, 1)}
    if later and (pipeline.family.architecture != "sdxl" or len(ends) > 1 or ends.pop()[0] != 0):
        raise UserError("a T2I-Adapter works from the first step on; with SDXL all of them may end early together, "
                        "such as 0-0.8, else leave START-END out.")  # fmt: skip
    read = [map.convert("L") if model.config.in_channels == 1 else map for model, map in zip(models, maps, strict=True)]
    told: dict[str, Any] = {"adapter_conditioning_factor": float(controls[0].end)} if later else {}
    scales = [float(control.scale) for control in controls]
    if len(models) == 1:
        return models[0], {"image": read[0], "adapter_conditioning_scale": scales[0], **told}
    return MultiAdapter(models), {"image": read, "adapter_conditioning_scale": scales, **told}


_TOLD = {CONTROLNET: _controlnets, UNION: _unions, ADAPTER: _adapters}

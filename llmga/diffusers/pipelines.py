"""The table of pipelines, and how one is opened: `pipeline(prompt, image, mask, …) -> image`."""

import inspect
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmga.diffusers.adapters import add_loras
from llmga.diffusers.checkpoints import DEFAULTS_FILE, find_checkpoint, open_pipeline, read_index, read_json
from llmga.diffusers.editor import Editor
from llmga.diffusers.families import EDITING, INPAINTING, TEXT_TO_IMAGE, Family
from llmga.diffusers.inpainting import Inpainter
from llmga.diffusers.long_prompt import LAYOUTS
from llmga.diffusers.memory import place
from llmga.diffusers.noise import kind_of, training_schedule
from llmga.diffusers.samplers import SAMPLERS, Sampler, scheduler_of
from llmga.diffusers.sd15 import SD15, SD15_EDITING, SD15_INPAINTING
from llmga.diffusers.sdxl import SDXL, SDXL_EDITING, SDXL_INPAINTING
from llmga.diffusers.text_to_image import Pipeline
from llmga.errors import UserError
from llmga.registry import Registry
from llmga.runtime import pick_device, pick_dtype

# Any other pipeline that diffusers knows to be for the task (SD3, FLUX …): given the text itself, which their own
# encoders read up to a few hundred tokens.
AUTO = Family("auto", "AutoPipelineForText2Image", 28, 5.0)
AUTO_INPAINTING = replace(
    AUTO, name="auto-inpainting", pipeline_class="AutoPipelineForInpainting", task=INPAINTING, strength=0.99
)

PIPELINES = Registry("generator", {
    family.name: family
    for family in (
        SDXL, SD15, SDXL_INPAINTING, SD15_INPAINTING, SDXL_EDITING, SD15_EDITING, AUTO, AUTO_INPAINTING,
    )
})  # fmt: skip
PIPELINE_CLASSES = {TEXT_TO_IMAGE: Pipeline, INPAINTING: Inpainter, EDITING: Editor}


def load_pipeline(
    path: str | Path,
    *,
    name: str | None = None,
    task: str | None = None,
    device: str = "auto",
    dtype: str | None = None,
    sampler: str | None = None,
    offload: str = "none",
    tile_vae: bool = False,
    weighted: bool = False,
    loras: Sequence[str] = (),
) -> Pipeline:
    """Open a diffusers folder.

    Args:
        path: a folder, its bare name under checkpoints/Inference or checkpoints/Training, or a hub name.
        name: a row of `GENERATORS`; None picks it by the pipeline class in `model_index.json`, the UNet's input and
            the task.
        task: `inpainting` and `editing` also take a checkpoint made for painting from words; None is what it is for.
        dtype: fp32, fp16 or bf16; None is what suits the device.
        sampler: a row of `SAMPLERS`; None is what the checkpoint prefers.
        offload, tile_vae: as in `memory.place`.
        weighted: brackets in prompts are weights instead of text.
        loras: files of low-rank weights, each with an optional `:weight`.

    Raises: UserError.
    """
    target = pick_device(device)
    folder = find_checkpoint(path)
    index = read_index(folder)
    family = PIPELINES[name] if name else family_of(index.get("_class_name"), folder, task)
    _check_input(family, folder)
    defaults = read_defaults(folder) | ({"sampler": sampler} if sampler else {})
    _check_scheduler(family, SAMPLERS[defaults.get("sampler", "checkpoint")], folder)
    pipe = open_pipeline(folder, family.load_pipeline_class(), pick_dtype(dtype, target))
    place(pipe, target, offload=offload, tile_vae=tile_vae)
    pipeline = PIPELINE_CLASSES[family.task](
        pipe, family, path=str(path), defaults=defaults, weighted=weighted, offload=offload
    )
    add_loras(pipeline, loras)
    return pipeline


def suited(pipeline: Any, task: str) -> Any:
    """A pipeline for the task: this one itself where it is for the task, or not ours; its partner for the task; or one
    with the weights of this one.

    A checkpoint made for painting from words serves every task, one made for inpainting all but editing; what was made
    of it is kept.  A partner has its own sampler until another one is chosen for this pipeline.

    Raises: UserError when the pipeline cannot do the task.
    """
    if not isinstance(pipeline, Pipeline):
        return pipeline.suited(task) if hasattr(pipeline, "suited") else pipeline
    if task in (pipeline.family.task, TEXT_TO_IMAGE):
        return pipeline  # inpainters and editors paint a whole picture where none is given
    if partner := pipeline.partners.get(task):
        usual = pipeline.defaults.get("sampler", "checkpoint")
        partner.use_sampler(None if pipeline.sampler_name == usual else pipeline.sampler_name)
        return partner
    name = f"{pipeline.family.architecture}-{task}"
    if pipeline.family.prompt_arguments is None or name not in PIPELINES or (task == EDITING and _is_filler(pipeline)):
        raise UserError(f"checkpoint {pipeline.path!r} ({pipeline.family.name}) is not made for {task}; "
                        "choose another checkpoint.")  # fmt: skip
    if task not in pipeline.companions:
        pipeline.companions[task] = twin_of(pipeline, PIPELINES[name])
    twin = pipeline.companions[task]
    twin.added = [entry for entry in pipeline.added if entry["kind"] != "controlnet"]  # of the weights that it shares
    twin.extra = {name: value for name, value in pipeline.extra.items() if name == "ip_adapter_image"}
    if twin.sampler_name != pipeline.sampler_name:
        twin.use_sampler(pipeline.sampler_name)
    return twin


def _is_filler(pipeline: Pipeline) -> bool:
    """Whether its UNet takes more than latents: a mask and what it leaves."""
    return pipeline.denoiser.config.in_channels != pipeline.pipe.vae.config.latent_channels


def twin_of(pipeline: Pipeline, family: Family | None = None) -> Pipeline:
    """Another pipeline with the same weights and a sampler of its own, for its own family or another one."""
    own = family is None  # and then all that was added to it, a ControlNet changing even its pipeline
    family = family or pipeline.family
    kind, weighted = type(pipeline.pipe) if own else family.load_pipeline_class(), pipeline.encoder.weighted
    parts = {**pipeline.pipe.config, **pipeline.pipe.components, "scheduler": pipeline.own_scheduler}
    taken = inspect.signature(kind.__init__).parameters  # a ControlNet, for one, has no place in the others
    pipe = kind(**{name: part for name, part in parts.items() if name in taken})
    twin = PIPELINE_CLASSES[family.task](
        pipe, family, path=pipeline.path, defaults=pipeline.defaults, weighted=weighted, offload=pipeline.offload
    )
    twin.added, twin.extra = pipeline.added, dict(pipeline.extra) if own else {}
    twin.partners = {task: twin_of(partner) for task, partner in pipeline.partners.items()}
    return twin


def family_of(class_name: str | None, folder: Path, task: str | None = None) -> Family:
    """The row for a checkpoint's pipeline class.

    Inpainting checkpoints that were saved under a text-to-image class are told by their UNet's nine channels.

    Raises: UserError when there is none.
    """
    by_class = {family.pipeline_class: family for family in PIPELINES.values() if family.task != EDITING}
    family = by_class.get(class_name) or _automatic(class_name)
    if family is None:
        raise UserError(f"checkpoint {str(folder)!r} is a {class_name}; supported are {', '.join(by_class)}.")
    if task is None:
        task = INPAINTING if _channels(folder)[1] else family.task
    wanted = family.architecture if task == TEXT_TO_IMAGE else f"{family.architecture}-{task}"
    return PIPELINES[wanted]


def _automatic(class_name: str | None) -> Family | None:
    """The row for a class that diffusers' own tables list for one of the tasks."""
    from diffusers.pipelines.auto_pipeline import AUTO_INPAINT_PIPELINES_MAPPING, AUTO_TEXT2IMAGE_PIPELINES_MAPPING

    tables = {AUTO: AUTO_TEXT2IMAGE_PIPELINES_MAPPING, AUTO_INPAINTING: AUTO_INPAINT_PIPELINES_MAPPING}
    listed = (family for family, table in tables.items() if class_name in {each.__name__ for each in table.values()})
    return next(listed, None)


def _channels(folder: Path) -> tuple[int, int]:
    """Channels of the latents, and of the UNet's input beyond them; none beyond for a family without a UNet."""
    if not (folder / "unet").is_dir():
        return 4, 0
    latent = read_json(folder / "vae/config.json").get("latent_channels", 4)
    return latent, read_json(folder / "unet/config.json").get("in_channels", latent) - latent


def _check_input(family: Family, folder: Path) -> None:
    """Raises: UserError when the UNet takes what the task does not give."""
    latent, extra = _channels(folder)
    if extra not in ((0, latent + 1) if family.task == INPAINTING else (0,)):
        raise UserError(f"the UNet of {str(folder)!r} takes {latent + extra} channels, which {family.name} does not "
                        "give; choose another checkpoint or command.")  # fmt: skip


def read_scheduler(folder: Path) -> Any:
    """The scheduler of a diffusers folder, before the weights are opened.

    Raises: UserError when a part of the folder is missing, the scheduler's file cannot be read, or the folder's two
        files name schedulers of different kinds (`noise.kind_of`).
    """
    import diffusers

    _, name = read_index(folder).get("scheduler", (None, None))
    stated = read_json(folder / "scheduler/scheduler_config.json")
    try:
        own, other = (
            _opened(getattr(diffusers, str(each), None), stated) for each in (name, stated.get("_class_name"))
        )
    except (AttributeError, TypeError, ValueError, RuntimeError, ImportError) as problem:
        raise UserError(f"{str(folder / 'scheduler')!r} states no scheduler that can be used: {problem}") from None
    if own is None:
        raise UserError(f"{str(folder / 'scheduler')!r} states no scheduler that can be used: diffusers has no {name}.")
    if other is not None and kind_of(own) != kind_of(other):
        raise UserError(f"{str(folder)!r} names {name} in model_index.json, but {stated['_class_name']}, of another "
                        "kind, in its scheduler folder; make both the one that it was trained with.")  # fmt: skip
    return own


def _opened(kind: Any, stated: dict[str, Any]) -> Any:
    """A scheduler of this class; None where the library has no such class."""
    return None if kind is None else kind.from_config(stated)


def _check_scheduler(family: Family, sampler: Sampler, folder: Path) -> None:
    """Raises: UserError when the checkpoint's kind cannot be sampled so, or is not for the task."""
    if family.prompt_arguments is not None:
        own = read_scheduler(folder)
        scheduler_of(sampler, own)
        if family.task == EDITING:
            training_schedule(own)


def read_defaults(folder: Path) -> dict[str, Any]:
    """A checkpoint's own `generation_defaults.json`, such as {"steps": 20, "guidance_scale": 3.0}; {} without one.

    Raises: UserError for an unknown key, layout or sampler, or a value of a wrong type.
    """
    path = folder / DEFAULTS_FILE
    if not path.is_file():
        return {}
    defaults = read_json(path)
    kinds = {"steps": int, "guidance_scale": (int, float), "strength": (int, float), "layout": str, "sampler": str}
    for key, value in defaults.items():
        if key not in kinds or isinstance(value, bool) or not isinstance(value, kinds[key]):
            raise UserError(f"{str(path)!r} states {key} = {value!r}; it may hold {', '.join(kinds)} of their types.")
    LAYOUTS[defaults.get("layout", "joined")]
    return defaults

"""The table of pipelines, and how one is loaded: `pipeline(prompt, image, mask, …) -> image`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmga.diffusers.adapters import add_embeddings, add_loras, mark_of
from llmga.diffusers.assembly import assemble
from llmga.diffusers.checkpoints import DEFAULTS_FILE, find_checkpoint, read_index, read_json
from llmga.diffusers.editor import Editor
from llmga.diffusers.families import (
    AUTO,
    AUTO_INPAINTING,
    DIFFERENCE,
    EDITING,
    INPAINTING,
    INSTRUCTION,
    LIKENESS,
    TEXT_TO_IMAGE,
    Family,
)
from llmga.diffusers.inpainting import Inpainter
from llmga.diffusers.instruction import ImageToImage, InstructionEditor
from llmga.diffusers.long_prompt import LAYOUTS
from llmga.diffusers.memory import to_device
from llmga.diffusers.newer_families import FAMILIES
from llmga.diffusers.noise import read_scheduler, training_schedule
from llmga.diffusers.pipeline import Pipeline
from llmga.diffusers.quantisation import FP8, check_quant, is_gguf, quantised_denoiser, store_in_fp8
from llmga.diffusers.samplers import SAMPLERS, Sampler, scheduler_of
from llmga.errors import UserError, named_arguments
from llmga.quiet import quiet
from llmga.registry import Registry
from llmga.runtime import pick_device, pick_dtype

# A program may register rows of its own, also for a class of its own: a folder whose model_index.json names that class
# is then loaded as that row.
PIPELINES: Registry[Family] = Registry("generator", {family.name: family for family in FAMILIES})
PIPELINE_CLASSES: dict[str, type[Pipeline]] = {TEXT_TO_IMAGE: Pipeline, INPAINTING: Inpainter, EDITING: Editor}
EDITORS: dict[str, type[Pipeline]] = {DIFFERENCE: Editor, LIKENESS: ImageToImage, INSTRUCTION: InstructionEditor}


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
    embeddings: Sequence[str] = (),
    unet: str | Path | None = None,
    vae: str | Path | None = None,
    tokenizer: str | Path | None = None,
    quant: str | None = None,
) -> Pipeline:
    """Load a pipeline: a Stable Diffusion checkpoint in diffusers layout or in a single file, ready to paint.

    Args:
        path: a folder, a single file in the layout of its authors (LDM), the bare name of either under
            checkpoints/Inference or checkpoints/Training, or `owner/name` of the model hub.
        name: a row of `PIPELINES`, those registered from outside included; None picks it by the pipeline class in
            `model_index.json`, the UNet's input and the task.
        task: `text-to-image`, `inpainting` or `editing`, of which the last two also take a checkpoint made for
            text-to-image; None is what the checkpoint is for.
        device: auto, cpu, cuda, cuda:N or mps.
        dtype: fp32, fp16 or bf16; None is fp32 on a CPU, elsewhere fp16, or bf16 for families without a UNet.
        sampler: a row of `llmga.diffusers.samplers.SAMPLERS`; None is what the checkpoint prefers.
        offload: `none`; `model` keeps only the part at work on the GPU, `sequential` only the layer, `group` the layer
            and the next one.
        tile_vae: decode large pictures in overlapping tiles, which needs less memory.
        weighted: brackets in prompts are weights instead of text, `(word:1.3)`.
        loras: files of low-rank weights, each with an optional `:weight`.
        embeddings: files of textual inversion, each with an optional `:TOKEN`.
        unet: a file or a folder whose UNet takes the place of the checkpoint's, such as a distilled one.
        vae: a file or a folder whose VAE does.
        tokenizer: a folder with CLIP's vocabulary, which single files do not bring; None looks for it, see
            `single_file.vocabulary`.
        quant: how the denoiser is held: nf4 or int8 (by bitsandbytes, on a CUDA GPU), fp8-storage, or a .gguf file with
            its weights; None as it is.

    Returns:
        The pipeline for the task: a `Pipeline`, an `Inpainter`, or one of `EDITORS`.

    Raises:
        UserError: for a checkpoint that is missing, damaged or of another task, and for a value that is not possible.
    """
    with named_arguments():
        target = pick_device(device)
    check_quant(quant, target, offload)
    with quiet():
        assembly = assemble(find_checkpoint(path), unet=unet, vae=vae, tokenizer=tokenizer)
        folder = assembly.configs
        with assembly.named():
            index = read_index(folder)
            family = PIPELINES[name] if name else family_of(index.get("_class_name"), folder, task)
            _check_input(family, folder)
            defaults = read_defaults(folder) | ({"sampler": sampler} if sampler else {})
            _check_scheduler(family, SAMPLERS[defaults.get("sampler", "checkpoint")], folder)
        usual = None if family.text is None or target.type == "cpu" else "bf16"  # their encoders overflow in fp16
        number = pick_dtype(dtype or usual, target)
        ready = quantised_denoiser(assembly, index, quant, number, target)
        pipe = assembly.open(family.load_pipeline_class(), number, ready)
    to_device(pipe, target, offload=offload, tile_vae=tile_vae)
    pipeline = pipeline_class_of(family)(
        pipe, family, path=str(path), defaults=defaults, weighted=weighted, offload=offload
    )
    if quant == FP8:
        add_loras(pipeline, loras)  # which stay in the wider format
        store_in_fp8(pipeline.denoiser)
    pipeline.quant = quant
    if quant != FP8:
        add_loras(pipeline, loras)
    add_embeddings(pipeline, embeddings)
    if quant is not None and is_gguf(quant):
        pipeline.quant = "gguf"
        pipeline.added.append(mark_of("gguf", Path(quant)))
    return pipeline


def pipeline_class_of(family: Family) -> type[Pipeline]:
    """What obeys the contract for a row's task."""
    return EDITORS[family.edits_by] if family.task == EDITING else PIPELINE_CLASSES[family.task]


def family_of(class_name: str | None, folder: Path, task: str | None = None) -> Family:
    """The row for a checkpoint's pipeline class, the first that all of its folder fits.

    Inpainting checkpoints that were saved under a text-to-image class are recognised by their UNet's nine channels.

    Args:
        class_name: as `model_index.json` states it.
        folder: the checkpoint's.
        task: as `load_pipeline` takes it.

    Raises:
        UserError: when no row is for the class, or none of its weights is for the task.
    """
    rows = [row for row in PIPELINES.values() if row.class_name == class_name]
    family = next((row for row in rows if _told(row, folder)), None) or _automatic(class_name)
    if family is None:
        supported = ", ".join(dict.fromkeys(row.class_name for row in PIPELINES.values()))
        raise UserError(f"checkpoint {str(folder)!r} is a {class_name}; supported are {supported}.")
    if task is None:
        task = INPAINTING if family.task == TEXT_TO_IMAGE and _channels(folder)[1] else family.task
    if task == family.task:
        return family
    wanted = family.architecture if task == TEXT_TO_IMAGE else f"{family.architecture}-{task}"
    if wanted not in PIPELINES:
        raise UserError(f"checkpoint {str(folder)!r} ({family.name}) is made for {family.task}, not for {task}; "
                        "choose another checkpoint or command.")  # fmt: skip
    return PIPELINES[wanted]


def _told(row: Family, folder: Path) -> bool:
    """Whether what tells the row from others of its class is in the folder."""
    if row.told_by is None:
        return True
    file, key, value = row.told_by
    return (folder / file).is_file() and read_json(folder / file).get(key) == value


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
    if (folder / "unet").is_dir() and extra not in family.extra_channels(latent):
        fills = extra == latent + 1  # a mask, and what it leaves
        remedy = "it paints marked parts: give it as --inpainter" if fills else "choose another checkpoint or command"
        raise UserError(f"the UNet of {str(folder)!r} takes {latent + extra} channels, which {family.name} does not "
                        f"give; {remedy}.")  # fmt: skip


def _check_scheduler(family: Family, sampler: Sampler, folder: Path) -> None:
    """Raises: UserError when the checkpoint's kind cannot be sampled so, or is not for the task."""
    if family.prompt_arguments is not None:
        own = read_scheduler(folder)
        scheduler_of(sampler, own)
        if family.task == EDITING:
            training_schedule(own)


def read_defaults(folder: Path) -> dict[str, Any]:
    """A checkpoint's own `generation_defaults.json`, such as {"steps": 20, "guidance_scale": 3.0}; {} without one.

    Raises:
        UserError: for an unknown key, layout or sampler, or a value of a wrong type.
    """
    path = folder / DEFAULTS_FILE
    if not path.is_file():
        return {}
    defaults = read_json(path)
    number = (int, float)
    kinds: dict[str, Any] = {"steps": int, "guidance_scale": number, "strength": number, "layout": str, "sampler": str}
    for key, value in defaults.items():
        if key not in kinds or isinstance(value, bool) or not isinstance(value, kinds[key]):
            raise UserError(f"{str(path)!r} states {key} = {value!r}; it may hold {', '.join(kinds)} of their types.")
    LAYOUTS[defaults.get("layout", "joined")]
    return defaults

"""What is loaded once and serves any number of sessions: which models, said by a `ModelSpec`, and the `Models`."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from PIL import Image

import llmga
from llmga.assistant.assistant import Assistant
from llmga.assistant.bounds import UNBOUNDED, Bounds
from llmga.assistant.fair_lock import FairLock
from llmga.assistant.record import ModelMark
from llmga.assistant.safety import NO_GUARD, Guard, open_guard
from llmga.assistant.settings import Settings, settings_given
from llmga.choices import PAINTER_QUANTS, SCALES, WATERMARK
from llmga.diffrir.checkpoints import default_path
from llmga.diffrir.restorers import RESTORERS, LazyDiffRIR, Restorer, load_restorer
from llmga.diffusers.adapters import (
    add_controlnet,
    add_embeddings,
    add_ip_adapter,
    add_loras,
    always_guide,
    share_controlnets,
)
from llmga.diffusers.batching import StepBatch
from llmga.diffusers.checkpoints import find_checkpoint
from llmga.diffusers.control import IP_ADAPTER, Control
from llmga.diffusers.families import EDITING, INPAINTING
from llmga.diffusers.parts import PARTS, find_part
from llmga.diffusers.pipelines import Pipeline, load_pipeline
from llmga.diffusers.samplers import SAMPLERS
from llmga.errors import UserError, named_arguments
from llmga.images import open_image
from llmga.llava import paths
from llmga.llava.endpoint.address import Endpoint
from llmga.llava.loading import NewChat, open_planner
from llmga.llava.passthrough import PassthroughPlanner
from llmga.llava.placement import placement
from llmga.llava.planner import Planner
from llmga.llava.templates import TEMPLATES
from llmga.runtime import DTYPES

log: logging.Logger = logging.getLogger(__name__)

LoadedWords = tuple[NewChat, tuple[ModelMark, ...]]
MODELS = "checkpoints/Inference"  # the directory of the models that come with a clone
BUNDLED_MLLM = f"{MODELS}/llmga-toy-mllm"
BUNDLED_PIPELINE = f"{MODELS}/llmga-toy-sdxl-t2i"
BUNDLED_INPAINTER = f"{MODELS}/llmga-toy-sdxl-inpainting"
BUNDLED_RESTORER = f"{MODELS}/llmga-toy-diffrir-x1"


@dataclass(frozen=True)
class Guide:
    """Weights by which pictures guide the pipeline beside the words, and perhaps the picture that always does.

    Attributes:
        kind: how it does.
        path: the ControlNet's folder or file, with `NAME=` before it where it was made for a row of `CONTROLS`; or the
            IP-Adapter's file.
        image: file of the picture that guides where settings name none; without one only they do.
        scale: how much, 0 to 2.
    """

    kind: Literal["controlnet", "ip-adapter"]
    path: str | Path | None
    image: str | Path | None = None
    scale: float = 1.0

    def use(self, pipeline: Pipeline) -> None:
        """Load it into a pipeline.

        Raises:
            UserError: weights or picture are missing, or do not fit the pipeline.
        """
        if self.path is None:
            raise UserError(f"--{self.kind}-image {str(self.image)!r} is one more than there are --{self.kind}; give "
                            "one for each.")  # fmt: skip
        name, path = _named(str(self.path)) if self.kind == "controlnet" else (IP_ADAPTER, str(self.path))
        if self.kind == "controlnet":
            add_controlnet(pipeline, path, name)
        else:
            add_ip_adapter(pipeline, path)
        if self.image is not None:
            always_guide(pipeline, Control(name, self.scale, image=open_image(self.image)))


def _named(given: str) -> tuple[str, str]:
    """The control's name and the path of `NAME=PATH`; a path alone is for any."""
    name, _, path = given.partition("=")
    return ("map", given) if not path or Path(given).exists() else (name, path)


@dataclass(frozen=True)
class ModelSpec:
    """Which models an assistant works with, and how they are loaded.

    A path is a folder, its bare name below checkpoints/Inference, or an id of the Hugging Face hub; of a diffusion
    model also a single file.

    Attributes:
        mllm: the language model: a checkpoint, or a server that runs one; None is the bundled toy.
        pipeline: the diffusion model; None is the bundled toy.
        model_base: the base of an `mllm` that is a projector or low-rank weights only.
        conv_mode: a row of `llmga.llava.templates.TEMPLATES`; None is what the checkpoint says.
        task: what the pipeline is for; None is what its checkpoint was made for.
        unet: a file or a folder whose UNet takes the place of the pipeline's, such as a distilled one.
        vae: a file or a folder whose VAE does.
        tokenizer: a folder with the vocabulary of a single file's text encoders; None looks for it.
        inpainter: what paints marked parts in the pipeline's place; None beside the bundled pipeline is the bundled
            one, beside another the pipeline itself.
        editor: what changes pictures by words in the pipeline's place, such as a model that takes an instruction; None
            is the pipeline itself.
        restorer: a row of `llmga.diffrir.restorers.RESTORERS`, used after a mask; None is the usual one.  A row that
            enlarges becomes the upscaler.
        restorer_path: its weights; None is those in the model directory.
        upscale: how many times every finished picture is enlarged.
        upscaler_path: the weights for that; None is those in the model directory.
        device: auto, cpu, cuda, cuda:N or mps, for all models.
        dtype: fp32, fp16 or bf16, of the pipeline; None is what suits the device.
        sampler: a row of `llmga.diffusers.samplers.SAMPLERS`; None is what the checkpoint prefers.
        offload: none, model, sequential or group: which parts of the pipeline wait in the memory of the CPU.
        painter_quant: nf4, int8, fp8-storage or a .gguf file: how the pipeline's denoiser is held.
        vae_tiling: large pictures are decoded in tiles, to save memory.
        prompt_weights: brackets in prompts, such as (word:1.3), weigh words.
        loras: files of low-rank weights for the pipeline, each with an optional `:weight`.
        embeddings: files of textual inversion, each with an optional `:TOKEN`, the word that it teaches.
        guides: weights by which pictures guide the pipeline, such as ControlNets.
        num_gpus: over how many GPUs the language model is spread.
        device_map: how it is spread over all that is there: auto, balanced …; None does not.
        max_memory: caps when it is spread, by GPU number, cpu or disk, such as {0: "20GiB"}.
        offload_folder: where its weights go that fit neither GPUs nor memory.
        attention: sdpa, eager or flash_attention_2.
        load_8bit: it is quantised so when it is loaded.
        load_4bit: it is quantised so when it is loaded.
        safety_checker: a folder of Stable Diffusion's safety checker, which withholds pictures; None looks at none.
        watermark: a text of up to 32 bytes that is hidden in pictures of 256 pixels a side and more, the kept pixels of
            changed ones apart; None hides nothing, and the usual text nothing where its package is not installed.
        c2pa: files of a chain of certificates and of its key, with which every picture's file is signed.
        c2pa_prompt: what is signed holds the prompt.
        bounds: what one answer may cost.
        verbatim: prompts are painted as they are said; no language model is loaded.
    """

    mllm: str | Path | Endpoint | None = None
    pipeline: str | Path | None = None
    model_base: str | Path | None = None
    conv_mode: str | None = None
    task: Literal["text-to-image", "inpainting", "editing"] | None = None
    unet: str | Path | None = None
    vae: str | Path | None = None
    tokenizer: str | Path | None = None
    inpainter: str | Path | None = None
    editor: str | Path | None = None
    restorer: str | None = None
    restorer_path: str | Path | None = None
    upscale: int | None = None
    upscaler_path: str | Path | None = None
    device: str = "auto"
    dtype: str | None = None
    sampler: str | None = None
    offload: str = "none"
    painter_quant: str | None = None
    vae_tiling: bool = False
    prompt_weights: bool = False
    loras: tuple[str, ...] = ()
    embeddings: tuple[str, ...] = ()
    guides: tuple[Guide, ...] = ()
    num_gpus: int = 1
    device_map: str | None = None
    max_memory: Mapping[int | str, int | str] | None = None
    offload_folder: str | Path | None = None
    attention: str = "sdpa"
    load_8bit: bool = False
    load_4bit: bool = False
    safety_checker: str | None = None
    watermark: str | None = WATERMARK
    c2pa: tuple[str | Path, str | Path] | None = None
    c2pa_prompt: bool = False
    bounds: Bounds = UNBOUNDED
    verbatim: bool = False

    def filled(self) -> "ModelSpec":
        """With the bundled models where none are named.

        Raises:
            UserError: they are not there, or the restorer contradicts `upscale`.
        """
        for flag, given in (("inpainter", self.inpainter), ("editor", self.editor)):
            if self.task is not None and given is not None:
                raise UserError(
                    f"--{flag} goes with a painter from words; give this command's one model as --sdmodel_id."
                )
        inpainter = self.inpainter
        if self.task is None and self.pipeline is None and inpainter is None:
            with suppress(UserError):
                inpainter = bundled(BUNDLED_INPAINTER, "--inpainter")
        return replace(
            self.with_upscaler(),
            mllm=bundled(BUNDLED_MLLM, "--model-path") if self.mllm is None and not self.verbatim else self.mllm,
            pipeline=_bundled_pipeline(self.task) if self.pipeline is None else self.pipeline,
            inpainter=inpainter,
        )

    def checked(self) -> "ModelSpec":
        """The same, after a look at the machine, the tables and the server, but before anything is loaded.

        Raises:
            UserError: something of it is not there or not known, or the flags contradict each other.
        """
        placement(**self.placement)
        for table, name in ((TEMPLATES, self.conv_mode), (SAMPLERS, self.sampler), (DTYPES, self.dtype)):
            if name is not None:
                table[name]
        spec = self.filled()
        return replace(spec, mllm=spec.mllm.named()) if isinstance(spec.mllm, Endpoint) else spec

    @property
    def placement(self) -> dict[str, Any]:
        """Where the language model runs: keywords of `llmga.llava.placement.placement`."""
        names = ("device", "load_8bit", "load_4bit", "attention", "num_gpus", "device_map", "max_memory",
                 "offload_folder")  # fmt: skip
        return {name: getattr(self, name) for name in names}

    def speaks_as(self, other: "ModelSpec") -> bool:
        """Whether the language model is the same, and loaded in the same way."""
        names = ("mllm", "model_base", "conv_mode", "placement")
        return all(getattr(self, name) == getattr(other, name) for name in names)

    def open_pipeline(
        self,
        path: str | Path,
        task: str | None = None,
        *,
        loras: Sequence[str] = (),
        embeddings: Sequence[str] = (),
        unet: str | Path | None = None,
        vae: str | Path | None = None,
        quant: str | None = None,
    ) -> Pipeline:
        """A pipeline of this folder or file, set up as the spec says.

        Args:
            unet: as `load_pipeline` takes it, like `vae`.

        Raises:
            UserError: the folder lacks something, or the pipeline cannot be set up so.
        """
        return load_pipeline(
            path,
            task=task,
            device=self.device,
            dtype=self.dtype,
            sampler=self.sampler,
            offload=self.offload,
            tile_vae=self.vae_tiling,
            weighted=self.prompt_weights,
            loras=loras,
            embeddings=embeddings,
            unet=unet,
            vae=vae,
            tokenizer=self.tokenizer,
            quant=quant,
        )

    def open_guided(self, path: str | Path) -> Pipeline:
        """The same with low-rank weights, taught words and guides.

        Raises:
            UserError: as `open_pipeline`, and for what does not fit the pipeline.
        """
        added: dict[str, Any] = {"loras": self.loras, "embeddings": self.embeddings, "quant": self.painter_quant}
        pipeline = self.open_pipeline(path, self.task, **added, unet=self.unet, vae=self.vae)
        for guide in self.guides:
            guide.use(pipeline)
        return pipeline

    def with_upscaler(self) -> "ModelSpec":
        """A restorer that enlarges becomes the upscaler, after the usual restorer.

        Raises:
            UserError: the restorer contradicts `upscale`, or nothing enlarges so many times.
        """
        if self.upscale not in (None, *SCALES) or isinstance(self.upscale, bool):
            raise UserError(f"--upscale {self.upscale!r} is not possible; use {' or '.join(map(str, SCALES))}.")
        scale = 1 if self.restorer is None else getattr(RESTORERS[self.restorer], "scale", 1)
        if scale == 1:
            return self
        if self.upscale not in (None, scale):
            raise UserError(f"--restorer {self.restorer} and --upscale {self.upscale} disagree; give one of them.")
        path = self.upscaler_path or self.restorer_path
        return replace(self, upscale=scale, upscaler_path=path, restorer=None, restorer_path=None)


@dataclass(frozen=True)
class Models:
    """Everything that an assistant works with.

    Attributes:
        new_chat: begins a conversation.
        restorer: of scale 1, for the repainted parts of pictures.
        marks: what records say of the models.
        upscaler: of scale 2 or 4; None where none was asked for.
        guard: what every picture passes before anybody sees it.
        lock: taken by whoever paints with the pipeline.
        bounds: what one answer may cost.
        batch: where pictures from words meet that are denoised together; None paints one after the other.
    """

    new_chat: NewChat
    pipeline: Pipeline
    restorer: Restorer
    marks: tuple[ModelMark, ...]
    upscaler: Restorer | None = None
    guard: Guard = NO_GUARD
    lock: FairLock = field(default_factory=FairLock)
    bounds: Bounds = UNBOUNDED
    batch: StepBatch | None = None

    @classmethod
    def load(
        cls, spec: ModelSpec, report: Callable[[str], object] = lambda what: None, *, words: LoadedWords | None = None
    ) -> "Models":
        """Open what a spec names.

        Args:
            report: called with what is opened next, such as "the painter llmga-toy-sdxl-t2i".
            words: a language model that is open already, or somewhere else, as `load_words` returns it.

        Raises:
            UserError: a folder lacks something.
        """
        spec = spec.filled()
        report("the restorer")
        weights = {"restorer": _weights(spec.restorer, spec.restorer_path)}
        if spec.upscale is not None:
            weights["upscaler"] = _weights(f"diffrir-x{spec.upscale}", spec.upscaler_path)
        restorers = {role: load_restorer(name, path, spec.device) for role, (name, path) in weights.items()}
        if (scale := getattr(restorers["restorer"], "scale", 1)) != 1:
            raise UserError(f"the restorer in {str(spec.restorer_path)!r} enlarges {scale} times; give it as --upscale "
                            f"{scale} --upscaler-path.")  # fmt: skip
        guard = open_guard(spec.safety_checker, spec.watermark, spec.device, spec.c2pa, spec.c2pa_prompt)
        folder = find_checkpoint(_given(spec.pipeline))
        new_chat, marks = words or load_words(spec, report)
        report(f"the painter {Path(folder).name}")
        pipeline = spec.open_guided(folder)
        parts: dict[str, str | Path | None] = {"painter": folder}
        if spec.inpainter is not None:
            parts["inpainter"] = inpainter = find_checkpoint(spec.inpainter)
            report(f"the inpainter {Path(inpainter).name}")
            pipeline.dedicated[INPAINTING] = _inpainter(inpainter, spec, pipeline)
        if spec.editor is not None:
            parts["editor"] = editor = find_checkpoint(spec.editor)
            report(f"the editor {Path(editor).name}")
            pipeline.dedicated[EDITING] = _editor(editor, spec)
        parts |= {name: find_part(name, place) for name in PARTS if (place := getattr(spec, name)) is not None}
        parts |= {role: path for role, (_, path) in weights.items()}
        report("the fingerprints of the weights")
        marks += tuple(ModelMark.of(role, path) for role, path in parts.items() if path is not None)
        return cls(
            new_chat, pipeline, restorers["restorer"], marks, restorers.get("upscaler"), guard, bounds=spec.bounds
        )

    @property
    def words(self) -> LoadedWords:
        """The language model, as `load_words` returned it."""
        return self.new_chat, tuple(mark for mark in self.marks if mark.role.startswith("language"))

    def assistant(self, settings: Settings) -> Assistant:
        """A fresh session."""
        return self.around(self.new_chat(), self.pipeline, settings, self.marks)

    def around(
        self, chat: Planner, pipeline: Callable[..., Image.Image], settings: Settings, marks: Sequence[ModelMark]
    ) -> Assistant:
        """An assistant with this chat and pipeline, and the rest as it is here."""
        return Assistant(chat, pipeline, self.restorer, settings, marks, self.upscaler, self.guard, self.bounds)


def load_words(spec: ModelSpec, report: Callable[[str], object] = lambda what: None) -> LoadedWords:
    """Open the language model alone.

    Args:
        report: as of `Models.load`.

    Returns:
        What begins a conversation, and what records say of the model.

    Raises:
        UserError: a folder lacks something, or the server cannot be reached.
    """
    if spec.verbatim:
        return PassthroughPlanner, ()
    words = spec.mllm if isinstance(spec.mllm, Endpoint) else paths.find_checkpoint(_given(spec.mllm))
    base = paths.find_checkpoint(spec.model_base) if spec.model_base is not None else None
    report(f"the language model {f'of {words.shown}' if isinstance(words, Endpoint) else Path(words).name}")
    new_chat = open_planner(words, base, conv_mode=spec.conv_mode, **spec.placement)
    parts: dict[str, str | Path | Endpoint | None] = {"language": words, "language base": base}
    return new_chat, tuple(ModelMark.of(role, path) for role, path in parts.items() if path is not None)


@named_arguments()
def load(
    mllm: str | Path | Endpoint | None = None,
    *,
    pipeline: str | Path | None = None,
    inpainter: str | Path | None = None,
    restorer: str | None = None,
    device: str = "auto",
    settings: Settings | None = None,
    **options: Any,
) -> Assistant:
    """Open the models and begin a session.

    Args:
        mllm: the language model: a folder, its bare name below checkpoints/Inference, a hub id, or the `Endpoint` of a
            server; None is the bundled toy.
        pipeline: the diffusion model, a diffusers folder, named likewise; None is the bundled toy.
        inpainter: what paints masked parts; None beside a `pipeline` is the pipeline itself.
        restorer: a row of `llmga.diffrir.restorers.RESTORERS` for masked parts, such as "none", "match+blend" or
            "diffrir-x1"; None is "match+blend".
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        settings: how answers are given.
        options: further fields of `ModelSpec`, such as `dtype="fp16"`, `loras=("style.safetensors:0.8",)` or
            `load_4bit=True`.

    Returns:
        An assistant with an empty session.

    Raises:
        UserError: when something is not there, damaged, or does not suit this machine.
        TypeError: for an unknown option.
    """
    settings = settings_given(settings)  # before anything is loaded
    spec = ModelSpec(
        mllm=mllm, pipeline=pipeline, inpainter=inpainter, restorer=restorer, device=device, **options
    ).checked()
    return Models.load(spec).assistant(settings)


def bundled(name: str, flag: str, roots: Sequence[Path] | None = None) -> Path:
    """A path of the repository, looked for beside the package and in the current folder.

    Raises:
        UserError: it is in neither.
    """
    roots = roots or (Path(llmga.__file__).resolve().parent.parent, Path.cwd())
    for root in roots:
        if (root / name).exists():
            return root / name
    raise UserError(f"{name!r} is not in {str(roots[0])!r}, where a clone of the repository has it; give {flag}.")


def _bundled_pipeline(task: str | None) -> Path:
    """The bundled diffusion model for the task; one made for painting from words can fill a region, too."""
    if task == INPAINTING:
        with suppress(UserError):
            return bundled(BUNDLED_INPAINTER, "--sdmodel_id")
    return bundled(BUNDLED_PIPELINE, "--sdmodel_id")


def _inpainter(folder: Path, spec: ModelSpec, painter: Pipeline) -> Pipeline:
    """What fills marked parts, with the painter's low-rank weights, words and guides; what does not fit it is told in
    the log.

    Raises:
        UserError: the folder holds nothing that fills marked parts.
    """
    quant = spec.painter_quant if spec.painter_quant in PAINTER_QUANTS else None  # a file is of one model's weights
    inpainter = spec.open_pipeline(folder, INPAINTING, quant=None if quant == "fp8-storage" and spec.loras else quant)
    for what, add, given in (
        ("low-rank weights", add_loras, spec.loras),
        ("taught words", add_embeddings, spec.embeddings),
    ):
        try:
            add(inpainter, given)
        except UserError as problem:
            log.warning("marked parts are painted without %s, which suit the painter only: %s", what, problem)
    try:
        share_controlnets(inpainter, painter.guides)
        for guide in spec.guides:
            if guide.kind == "ip-adapter":
                replace(guide, image=None).use(inpainter)
    except UserError as problem:
        log.warning("marked parts are painted without guiding pictures, which suit the painter only: %s", problem)
    return inpainter


def _editor(folder: Path, spec: ModelSpec) -> Pipeline:
    """What changes pictures by words, with a sampler of its own; brackets in what a person says are no weights.

    Raises:
        UserError: the folder holds nothing that changes pictures.
    """
    return replace(spec, sampler=None, prompt_weights=False).open_pipeline(folder, EDITING)


def _weights(name: str | None, path: str | Path | None) -> tuple[str | None, str | Path | None]:
    """The same with the path of the weights in the model directory, where the row has some."""
    row = RESTORERS[name] if name is not None else None
    return name, path or (default_path(row.scale) if isinstance(row, LazyDiffRIR) else None)


def _given(path: str | Path | None) -> str | Path:
    assert path is not None  # `filled` sees to it
    return path

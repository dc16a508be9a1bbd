"""/sdapi/v1: the paths of AUTOMATIC1111's web UI, for programs that know no other server.

The painter paints words as they stand; the language model has no part in it.
"""

import asyncio
import json
import re
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

from fastapi import APIRouter, Request
from PIL import Image, ImageFilter, ImageOps

from llmga.assistant.events import Denoising, Failed, PictureReady
from llmga.assistant.record import parameters
from llmga.assistant.session import Turn
from llmga.assistant.settings import Changes
from llmga.choices import SAMPLERS
from llmga.diffusers.families import INPAINTING, TEXT_TO_IMAGE
from llmga.errors import UserError
from llmga.images import to_rgb
from llmga.llava.generation_prompt import visible
from llmga.llava.passthrough import PassthroughPlanner
from llmga.registry import Registry
from llmga.serve.api.engine import RunningTurn
from llmga.serve.api.errors import ApiError, shown
from llmga.serve.api.fair_queue import closing
from llmga.serve.api.image_data import decode_image, from_base64, preview_to_base64, to_base64
from llmga.serve.api.images import no_image
from llmga.serve.api.routing import v1_router
from llmga.serve.api.schemas import PaintingParams
from llmga.serve.api.sdapi_schemas import (
    MOST,
    Card,
    Img2Img,
    Options,
    Painted,
    ProgressReport,
    ProgressState,
    SamplerCard,
    Scheduler,
    Txt2Img,
)
from llmga.serve.api.service import Service

router: APIRouter = v1_router(prefix="/sdapi/v1")

# What they call our samplers; with another scheduler their name has a word more.
NAMES = {
    "Euler": "euler", "Euler a": "euler-a", "Heun": "heun", "DDIM": "ddim", "PLMS": "pndm", "UniPC": "unipc",
    "DPM++ 2M": "dpm++-2m", "DPM++ 2M Karras": "dpm++-2m-karras", "DPM++ 2M SDE": "dpm++-2m-sde",
    "DPM++ 2M SDE Karras": "dpm++-2m-sde-karras", "LCM": "lcm",
}  # fmt: skip
SCHEDULERS = {"automatic": "", "karras": " karras"}


@dataclass
class Job:
    """The latest request of a client.

    Attributes:
        count: How many pictures it asked for.
        done: How many are painted.
    """

    turn: RunningTurn
    count: int
    began: float = field(default_factory=time.monotonic)
    done: int = 0
    step: int = 0
    total: int = 0
    preview: Image.Image | None = None
    interrupted: bool = False

    def report(self, with_picture: bool) -> ProgressReport:
        """Return how far it is, from 0 to 1, and the seconds that are left at this pace."""
        share = min(0.999, (self.done + (self.step / self.total if self.total else 0)) / self.count)
        passed = time.monotonic() - self.began
        state = ProgressState(
            interrupted=self.interrupted, job=f"Batch {self.done + 1} out of {self.count}", job_count=self.count,
            job_no=self.done, sampling_step=self.step, sampling_steps=self.total,
        )  # fmt: skip
        return ProgressReport(
            progress=share,
            eta_relative=passed * (1 - share) / share if share else 0.0,
            state=state,
            current_image=preview_to_base64(self.preview) if with_picture and self.preview is not None else None,
        )


@router.post("/txt2img")
async def txt2img(body: Txt2Img, request: Request) -> Painted:
    """Paint words as they stand."""
    return await _paint(body, request)


@router.post("/img2img")
async def img2img(body: Img2Img, request: Request) -> Painted:
    """Paint a picture anew, whole or where a mask is white."""
    return await _paint(body, request)


@router.get("/progress")
async def progress(request: Request, skip_current_image: bool = False) -> ProgressReport:
    """How far the client's latest request is."""
    job = _jobs(request).get(request.state.client)
    return ProgressReport() if job is None else job.report(not skip_current_image)


@router.post("/interrupt")
async def interrupt(request: Request) -> dict[str, Any]:
    """End the client's latest request; what is painted of it is answered."""
    if (job := _jobs(request).get(request.state.client)) is not None:
        job.interrupted = True
        job.turn.cancel()
    return {}


@router.get("/options")
async def options(request: Request) -> Options:
    """Which painter is loaded."""
    return Options(sd_model_checkpoint=_service(request).names.pipeline)


@router.post("/options")
async def set_options(body: Options, request: Request) -> dict[str, Any]:
    """Take the painter that is loaded, and no other one."""
    _check_painter(_service(request), body.sd_model_checkpoint)
    return {}


@router.get("/sd-models")
async def sd_models(request: Request) -> list[Card]:
    """The painter."""
    service = _service(request)
    mark = next((mark for mark in service.engine.models.marks if mark.role == "painter"), None)
    name, digest = service.names.pipeline, None if mark is None else mark.sha256
    return [Card(title=name, model_name=name, hash=digest and digest[:10], sha256=digest, filename=name)]


@router.get("/samplers")
async def samplers() -> list[SamplerCard]:
    """What takes the noise away."""
    return [SamplerCard(name=name, aliases=[own], options={}) for name, own in NAMES.items()]


@router.get("/schedulers")
async def schedulers() -> list[Scheduler]:
    """How the noise levels may be spread."""
    return [Scheduler(name=name, label=name.capitalize()) for name in SCHEDULERS]


for _empty in ("loras", "embeddings", "upscalers", "hypernetworks", "face-restorers", "prompt-styles", "sd-vae"):
    # which clients look through before they begin

    @router.get(f"/{_empty}", name=_empty)
    async def _nothing() -> list[dict[str, Any]]:
        """None."""
        return []


def _service(request: Request) -> Service:
    return cast(Service, request.app.state.service)


def _jobs(request: Request) -> dict[str, Job]:
    """The latest request of every client that waits for one."""
    return cast(dict[str, Job], request.app.state.sdapi_jobs)


def _check_painter(service: Service, name: Any) -> None:
    """Raises: ApiError 404 where another painter is wanted than the one that is loaded."""
    wanted = re.sub(r"\s*\[\w+\]$", "", str(name or ""))  # their titles end on a hash
    if wanted and wanted != service.names.pipeline:
        raise ApiError(404, f"there is no model {shown(wanted)}; the only one is {service.names.pipeline}.",
                       param="sd_model_checkpoint", code="model_not_found")  # fmt: skip


async def _paint(body: Txt2Img | Img2Img, request: Request) -> Painted:
    service, jobs, client = _service(request), _jobs(request), request.state.client
    turn = await service.scheduler.start(request, lambda: _turn(service, body))
    jobs[client] = job = Job(turn, body.count)
    try:
        return await service.scheduler.finish(request, turn, _answer(service, body, job))
    finally:
        if jobs.get(client) is job:
            del jobs[client]


def _turn(service: Service, body: Txt2Img | Img2Img) -> RunningTurn:
    """Return the turn that is to be run; blocking.

    Raises:
        ApiError: More is asked for than one answer may cost, or something that is not served.
    """
    if body.count > MOST:
        raise ApiError(400, f"batch_size × n_iter is {body.count}; use at most {MOST}.", param="batch_size")
    extra = dict(body.override_settings or {})
    _check_painter(service, extra.pop("sd_model_checkpoint", None))
    changes = body if isinstance(body, Img2Img) else None
    picture = None if changes is None else _picture(service, changes)
    anew = changes is not None and changes.mask is None and changes.denoising_strength == 1  # nothing of it is kept
    size = None if picture is None or not anew else f"{picture.width}x{picture.height}"
    settings = service.settings(
        _asked(body, size or (_size(body) if changes is None else None)),
        versions=body.count,
        picture="always",
        previews=True,
        sampler=_sampler(body.sampler_name, body.scheduler),
    )
    words = body.prompt if visible(body.prompt) else "a picture"
    if changes is None or picture is None or anew:
        return service.engine.turn(PassthroughPlanner(), Turn(words), settings, TEXT_TO_IMAGE)
    mask = _mask(service, changes, picture.size)
    told = Changes(strength=changes.denoising_strength, soft=bool(changes.mask_blur))
    if changes.mask is not None and changes.inpaint_full_res:
        told["area"] = "mask"
    settings = replace(settings, repaint={**settings.repaint, **told})
    return service.engine.turn(PassthroughPlanner(), Turn(words, (picture,), mask), settings, INPAINTING)


def _size(body: Txt2Img | Img2Img) -> str | None:
    """The size, of which one side is the other's where it is left out."""
    return f"{body.width or body.height}x{body.height or body.width}" if body.width or body.height else None


def _asked(body: Txt2Img | Img2Img, size: str | None) -> PaintingParams:
    """What is asked for under the names of /v1."""
    return cast(PaintingParams, SimpleNamespace(
        prompt=body.prompt,
        size=size,
        seed=None if body.seed < 0 else body.seed % 2**32,
        num_inference_steps=body.steps,
        guidance_scale=body.cfg_scale,
        negative_prompt=body.negative_prompt or None,
    ))  # fmt: skip


def _sampler(name: str | None, scheduler: str | None) -> str | None:
    """Our name of a sampler.

    Raises:
        ApiError: 404 where there is none of this name, as their own server has it.
    """
    spread = SCHEDULERS.get((scheduler or "automatic").lower())
    if spread is None:
        raise ApiError(404, f"scheduler {shown(scheduler)} is not served; use one of: {', '.join(SCHEDULERS)}.",
                       param="scheduler")  # fmt: skip
    if not name or name.lower() == "automatic":
        return None
    known = {their.lower(): own for their, own in NAMES.items()} | {own: own for own in SAMPLERS}
    for wanted in (name.lower() + spread, name.lower()):
        if wanted in known:
            return known[wanted]
    try:
        return Registry("sampler", NAMES)[name]
    except UserError as problem:
        raise ApiError(404, str(problem), param="sampler_name") from None


def _picture(service: Service, body: Img2Img) -> Image.Image:
    image = decode_image(from_base64(body.init_images[0], service.limits), service.limits, exact=True)
    size = (body.width or image.width, body.height or image.height)
    if size == image.size:
        return image
    plain = to_rgb(image)
    fitting = ImageOps.fit(plain, size, Image.Resampling.LANCZOS) if body.resize_mode == 1 else None
    return plain.resize(size, Image.Resampling.LANCZOS) if fitting is None else fitting


def _mask(service: Service, body: Img2Img, size: tuple[int, int]) -> Image.Image:
    """White where it is to be painted; all of it without a mask."""
    if body.mask is None:
        return Image.new("L", size, 255)
    drawn = to_rgb(decode_image(from_base64(body.mask, service.limits), service.limits, exact=True)).convert("L")
    if drawn.size != size:
        if body.resize_mode == 1:
            drawn = ImageOps.fit(drawn, size, Image.Resampling.NEAREST)
        else:
            drawn = drawn.resize(size, Image.Resampling.NEAREST)
    mask = ImageOps.invert(drawn) if body.inpainting_mask_invert else drawn
    return mask.filter(ImageFilter.GaussianBlur(body.mask_blur)) if body.mask_blur else mask


async def _answer(service: Service, body: Txt2Img | Img2Img, job: Job) -> Painted:
    """Return all pictures.

    Raises:
        ApiError: 400 where there is none; 503 where that is because the server ends.
    """
    ready = [event async for event in _painted(service, job)]
    if not ready:
        if service.scheduler.stopping:
            raise closing()
        raise no_image("the request was interrupted before a picture was painted; send it again.")
    asked = body.model_dump(exclude={"init_images", "mask"})
    images = [await asyncio.to_thread(to_base64, event, signer=service.signer) for event in ready]
    return Painted(images=images, parameters=asked, info=json.dumps(_info(body, ready), ensure_ascii=False))


async def _painted(service: Service, job: Job) -> AsyncGenerator[PictureReady]:
    async for event in job.turn.events():
        match event:
            case Denoising(step, total, preview):
                job.step, job.total, job.preview = step, total, preview or job.preview
            case PictureReady():
                job.done, job.step, job.preview = job.done + 1, 0, None
                yield event
            case Failed(message):
                raise no_image(service.engine.public(message))


def _info(body: Txt2Img | Img2Img, ready: list[PictureReady]) -> dict[str, Any]:
    """What their `info` tells."""
    records = [event.record for event in ready]
    first, mark = records[0], records[0].model("painter")
    return {
        "prompt": first.prompt,
        "all_prompts": [record.prompt for record in records],
        "negative_prompt": first.negative_prompt,
        "all_negative_prompts": [record.negative_prompt for record in records],
        "seed": first.seed,
        "all_seeds": [record.seed for record in records],
        "width": ready[0].image.width,
        "height": ready[0].image.height,
        "sampler_name": body.sampler_name or first.sampler,
        "cfg_scale": first.guidance_scale,
        "steps": first.steps,
        "batch_size": body.batch_size,
        "denoising_strength": first.changes.get("strength"),
        "sd_model_name": mark and mark.name,
        "sd_model_hash": mark and mark.sha256 and mark.sha256[:10],
        "infotexts": [parameters(record) for record in records],
        "version": f"llmga {first.llmga}",
    }

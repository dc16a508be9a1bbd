"""Models that a server of ours runs (`llmga.serve.openai_api`), used as if they were loaded here."""

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import httpx
from PIL import Image

from llmga.assistant.loading import Models
from llmga.assistant.record import ModelMark
from llmga.assistant.settings import SETTINGS
from llmga.compositing import paste_back
from llmga.diffrir.restorers import RESTORERS
from llmga.diffusers.control import Control, controls_text
from llmga.diffusers.families import EDITING
from llmga.diffusers.pipeline import OnPreview, OnStep
from llmga.errors import UserError
from llmga.images import MAX_PIXELS, open_image, to_rgb
from llmga.llava.conversation import Conversation
from llmga.llava.endpoint.address import Endpoint, connection_errors
from llmga.llava.endpoint.chat import EndpointChat
from llmga.llava.endpoint.completions import retried
from llmga.llava.endpoint.refusals import Refusal, server_message
from llmga.llava.sampling import Sampling

POLL_INTERVAL = 0.2  # seconds between two looks at whether a picture is still wanted
MAX_PREVIEWS = 3  # that the protocol has


def load_remote_models(server: Endpoint) -> Models:
    """Return what a server of ours talks and paints with.

    Raises:
        UserError: It cannot be reached, or is none of ours.
    """
    cards = {bool(card.get("steps")): card for card in reversed(offered(server))}
    if len(cards) < 2:
        raise UserError(
            f"{server.shown} is no server of this project; start python -m llmga.serve.openai_api there, or reach its "
            "language model by --mllm-url."
        )
    talks, paints = (replace(server, model=str(cards[steps]["id"])) for steps in (False, True))
    usual = {name: cards[True][name] for name in ("steps", "guidance_scale")}
    marks = (ModelMark.of("language", talks), ModelMark.of("painter", paints))
    pipeline: Any = RemotePipeline(paints, usual)  # no `Pipeline`, but of the same contract
    return Models(partial(RemoteChat, talks), pipeline, RESTORERS["none"], marks)


def offered(server: Endpoint) -> list[dict[str, Any]]:
    """The models as /v1/models tells of them; nothing where that is not what is found there.

    Raises:
        UserError: it cannot be reached, or refuses the key.
    """
    with connection_errors(server), httpx.Client(**server.client_settings()) as client:
        answer = client.get(server.path("models"))
    if answer.status_code in (401, 403):
        raise server.refuses_key(answer.status_code)
    try:
        return [dict(card) for card in answer.json()["data"] if card["owned_by"] == "llmga"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []


class RemoteChat(EndpointChat):
    """Replies of the server's language model: its prompts come in their tags, and nothing is painted there."""

    steers = True

    def _request(self, window: Conversation, sampling: Sampling, limited: bool) -> dict[str, Any]:
        return super()._request(window, sampling, limited) | {"paint": False, "picture": sampling.picture}


@dataclass
class RemotePipeline:
    """The pipeline of a server: `pipeline(prompt, image, mask, …) -> image`, one request a picture.

    Attributes:
        endpoint: The server; its model is the pipeline.
        usual: `steps` and `guidance_scale` where a call names none.
    """

    endpoint: Endpoint
    usual: Mapping[str, Any]
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return str(self.endpoint.model)

    def __call__(
        self,
        prompt: str,
        image: Image.Image | None = None,
        mask: Image.Image | None = None,
        *,
        on_step: OnStep,
        on_preview: OnPreview | None = None,
        restore: Callable[[Image.Image, Image.Image, Image.Image], Image.Image] | None = None,
        strength: float | None = None,
        area: str = "picture",
        soft: bool = False,
        still_wanted: Callable[[], None] | None = None,
        **options: Any,
    ) -> Image.Image:
        """Paint one picture, or a part of one, as `Pipeline` and `Inpainter` do.

        Args:
            image: What is changed, where there is a mask.
            mask: Of the image's size; white is painted.
            on_step: Also called now and then while the server is silent; what it raises ends the request.
            on_preview: Called with the number and the picture of each of up to `MAX_PREVIEWS` previews.
            restore: For a part: what happens to it beside what the server does.
            still_wanted: Not used, `on_step` being called often enough.
            options: negative_prompt, seed, steps, guidance_scale, size, controls.

        Raises:
            UserError: The server cannot be reached, refuses, or breaks off; or a part is asked for in a way that is
                the server's choice.
        """
        if (strength, area, soft) != (None, "picture", False):
            raise UserError("how a part is painted (strength, area, soft) is the server's choice; leave it as it was.")
        form = _form(self.path, prompt, previews=on_preview is not None, **options)
        guiding = [_guiding(control, image) for control in options.get("controls") or ()]
        if image is None or mask is None:
            if guiding:
                form["control_image"] = [f"data:image/png;base64,{base64.b64encode(each).decode()}" for each in guiding]
            return asyncio.run(self._paint("images/generations", on_step, on_preview, json=form))
        files = [("image", ("picture.png", _to_png(image))), ("mask", ("mask.png", _to_png(mask.convert("L"))))]
        files += [("control_image", ("control.png", each)) for each in guiding]
        data = {name: str(value) for name, value in form.items()}
        painted = to_rgb(asyncio.run(self._paint("images/edits", on_step, on_preview, data=data, files=files)))
        return paste_back(image, painted if restore is None else restore(painted, to_rgb(image), mask), mask)

    def use_sampler(self, name: str | None = None) -> None:
        """Keep the sampler.

        Raises:
            UserError: Another one than the server's own is asked for.
        """
        if name not in (None, "checkpoint"):
            raise UserError(f"sampler {name!r} cannot be chosen for a painter of a server; leave it at 'checkpoint'.")

    def for_task(self, task: str) -> "RemotePipeline":
        """Return the pipeline itself.

        Raises:
            UserError: The task is to change a picture by words alone.
        """
        if task == EDITING:
            raise UserError("a painter of a server changes what is marked only; mark the part that is to change.")
        return self

    def describe(self, **given: Any) -> dict[str, Any]:
        """Return what is known of it here."""
        chosen = {name: value if given.get(name) is None else given[name] for name, value in self.usual.items()}
        return {"family": "server", "sampler": None, "sampler_name": "checkpoint"} | chosen

    def report(self, prompt: str) -> str:
        """Return nothing: only the server could say how the prompt is cut."""
        return ""

    async def _paint(self, path: str, on_step: OnStep, on_preview: OnPreview | None, **request: Any) -> Image.Image:
        """Return the finished picture; meanwhile `on_step` may end the request at any time."""
        seen = (0, 1)

        def remember(step: int, total: int) -> None:
            nonlocal seen
            seen = step, total
            on_step(step, total)

        work = asyncio.ensure_future(self._retry(path, remember, on_preview, request))
        try:
            while not (await asyncio.wait({work}, timeout=POLL_INTERVAL))[0]:
                on_step(*seen)
            return work.result()
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def _retry(
        self, path: str, on_step: OnStep, on_preview: OnPreview | None, request: dict[str, Any]
    ) -> Image.Image:
        """Return the finished picture; a busy server is asked again."""
        try:
            return await retried(lambda: self._post(path, on_step, on_preview, request))
        except Refusal as refusal:
            raise await asyncio.to_thread(refusal.to_user_error, self.endpoint, False) from None

    async def _post(
        self, path: str, on_step: OnStep, on_preview: OnPreview | None, request: dict[str, Any]
    ) -> Image.Image:
        endpoint = self.endpoint
        with connection_errors(endpoint):
            async with (
                httpx.AsyncClient(**endpoint.client_settings()) as client,
                client.stream("POST", endpoint.path(path), **request) as answer,
            ):
                if answer.status_code != 200:
                    raise Refusal.of(answer, (await answer.aread()).decode(errors="replace"), endpoint)
                async for kind, content in _events(answer, on_step):
                    if kind.endswith("completed"):
                        return _decode_image(content)
                    if on_preview is not None and kind.endswith("partial_image"):
                        on_preview(content["partial_image_index"], _decode_image(content))
                    if "error" in content:
                        raise UserError(
                            f"{endpoint.shown} failed ({server_message(json.dumps(content), endpoint)}); ask again."
                        )
        raise UserError(f"{endpoint.shown} broke off its answer before the end; look at its log and ask again.")


def _form(model: str, prompt: str, *, previews: bool, **options: Any) -> dict[str, Any]:
    fields = {"model": model, "prompt": prompt, "stream": True, "partial_images": MAX_PREVIEWS if previews else 0}
    asked = {row.request: options.get(row.name) for row in SETTINGS.values() if row.group == "painting" and row.request}
    asked["control"] = None if options.get("controls") is None else controls_text(options["controls"])
    asked["size"] = asked["size"] and "{}x{}".format(*asked["size"])
    return fields | {name: value for name, value in asked.items() if value is not None}


def _guiding(control: Control, image: Image.Image | None) -> bytes:
    """The file of a control's picture; without one of its own it is about the picture that is repainted."""
    picture = image if control.image is None else control.image
    if picture is None:
        raise UserError(f"control {control.name!r} has no picture; give one, or paint into one.")
    return _to_png(to_rgb(picture))


async def _events(answer: httpx.Response, on_step: OnStep) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Yield the events of a stream by their type; the steps, which come as comments, go to `on_step`."""
    async for line in answer.aiter_lines():
        name, _, value = line.partition(": ")
        if line.startswith(": painting "):
            step, _, total = line.removeprefix(": painting ").partition("/")
            on_step(int(step), int(total))
        elif name == "data":
            content = json.loads(value)
            yield str(content.get("type", "")), content


def _decode_image(content: Mapping[str, Any]) -> Image.Image:
    return open_image(base64.b64decode(content["b64_json"]), exact=True, max_pixels=MAX_PIXELS)


def _to_png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", icc_profile=image.info.get("icc_profile"))
    return buffer.getvalue()

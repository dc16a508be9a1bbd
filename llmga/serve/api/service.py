"""What every request needs of the server."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from llmga.assistant.bounds import Bounds, TooMuch
from llmga.assistant.credentials import Signer
from llmga.assistant.settings import Settings
from llmga.diffusers.control import MOST_CONTROLS
from llmga.diffusers.families import EDITING, TEXT_TO_IMAGE
from llmga.errors import UserError
from llmga.serve.api import usage
from llmga.serve.api.engine import Engine
from llmga.serve.api.errors import SETTING_FIELDS, ApiError, shown
from llmga.serve.api.fetching import ImageFetcher
from llmga.serve.api.image_data import decode_image, from_data_uri
from llmga.serve.api.options import RequestLimits
from llmga.serve.api.prefix_cache import PrefixCache
from llmga.serve.api.scheduler import RequestScheduler
from llmga.serve.api.schemas import ModelCard, PaintingParams, parse_size

ELSEWHERE = ("http:", "https:")


@dataclass(frozen=True)
class ServedNames:
    """The names under which clients ask for the models.

    Attributes:
        assistant: Of the language model with the pipeline behind it; the first name is the one that answers bear.
        pipeline: Of the diffusion model alone.
    """

    assistant: tuple[str, ...]
    pipeline: str

    def is_pipeline(self, name: str | None) -> bool:
        """Return whether a request is for the pipeline alone, or for the assistant.

        Raises:
            ApiError: 404 for another name.
        """
        if not name or name in self.assistant:
            return False
        if name == self.pipeline:
            return True
        raise self.not_found(name)

    def not_found(self, name: str) -> ApiError:
        """Return the refusal of a request for another model."""
        known = ", ".join((*self.assistant, self.pipeline))
        return ApiError(404, f"there is no model {shown(name)}; known are: {known}.", param="model",
                        code="model_not_found")  # fmt: skip

    def cards(self, created: int, usual: Mapping[str, Any]) -> list[ModelCard]:
        """Return the models as /v1/models lists them.

        Args:
            created: Unix time in seconds.
            usual: `steps` and `guidance_scale` of the pipeline.
        """
        cards = {
            name: ModelCard(
                id=name, created=created, description="talks, and writes the prompts of the pictures it paints"
            )
            for name in self.assistant
        }
        cards[self.pipeline] = ModelCard(
            id=self.pipeline, created=created, description="paints prompts as they stand", **usual
        )
        return list(cards.values())


@dataclass(frozen=True)
class Service:
    """What every request needs of the server.

    Attributes:
        defaults: What a request that says nothing else gets.
        created: When the server started, in seconds of Unix time.
        fetcher: Gets pictures from elsewhere; None where that is not allowed.
        markdown: Pictures of a chat stand in its text, for programs that show nothing else.
        ignore_tools: Requests with tools are answered without them.
        figures: What all servers beside this one tell to Prometheus, and it itself; None where it is alone.
    """

    scheduler: RequestScheduler
    engine: Engine
    prefix_cache: PrefixCache
    names: ServedNames
    limits: RequestLimits
    defaults: Settings
    created: int
    fetcher: ImageFetcher | None = None
    markdown: bool = False
    ignore_tools: bool = False
    figures: Callable[[], Awaitable[bytes]] | None = None

    @property
    def bounds(self) -> Bounds:
        """How much one answer may cost."""
        return self.engine.models.bounds

    @property
    def signer(self) -> Signer | None:
        """What signs the files of pictures."""
        return self.engine.models.guard.signer

    @property
    def upper_limits(self) -> dict[str, float]:
        """How much the fields of a request may say here, where the schema of all servers allows more."""
        bounds = self.bounds
        prompts = dict.fromkeys(("prompt", "negative_prompt"), bounds.prompt)
        answers = dict.fromkeys(("max_tokens", "max_completion_tokens"), bounds.tokens)
        return {"num_inference_steps": bounds.steps, **prompts, **answers}

    def cards(self) -> list[ModelCard]:
        """Return what /v1/models lists."""
        pipeline, defaults = self.engine.models.pipeline, self.defaults
        described = pipeline.describe(steps=defaults.steps, guidance_scale=defaults.guidance_scale)
        return self.names.cards(self.created, {name: described[name] for name in ("steps", "guidance_scale")})

    async def fetch_images(self, urls: Sequence[str], client: str) -> dict[str, bytes]:
        """Return the contents of those pictures of a request that lie elsewhere, by their addresses.

        Raises:
            ApiError: That is not allowed, there are too many, or one cannot be had.
        """
        elsewhere = [url for url in urls if url.lower().startswith(ELSEWHERE)]
        if elsewhere and self.fetcher is None:
            raise ApiError(400, "this server fetches no pictures from elsewhere; send them as data: URIs.",
                           code="invalid_image_url")  # fmt: skip
        if len(urls) > self.limits.pictures:
            raise too_many_images(self.limits)
        return await self.fetcher.fetch(elsewhere, client) if self.fetcher and elsewhere else {}

    def image_opener(self, fetched: Mapping[str, bytes], *, exact: bool = False) -> Callable[[str], Image.Image]:
        """Return a function that opens the pictures of one request by their addresses, as many as it may have.

        Args:
            fetched: What `fetch_images` returned.
            exact: As `decode_image` takes it.
        """
        opened = 0

        def open_one(url: str) -> Image.Image:
            nonlocal opened
            opened += 1
            if opened > self.limits.pictures:
                raise too_many_images(self.limits)
            content = fetched[url] if url in fetched else from_data_uri(url, self.limits)
            return decode_image(content, self.limits, exact=exact)

        return open_one

    def control_images(self, urls: Sequence[str], fetched: Mapping[str, bytes]) -> tuple[Image.Image, ...]:
        """Return the pictures that guide, as they are.

        Args:
            urls: Where they are.
            fetched: What `fetch_images` returned.

        Raises:
            ApiError: 400 for more than a control can have, or what is no picture.
        """
        if len(urls) > MOST_CONTROLS:
            raise ApiError(400, f"control_image has {len(urls)} pictures; send up to {MOST_CONTROLS}.",
                           param="control_image")  # fmt: skip
        contents = (fetched[url] if url in fetched else from_data_uri(url, self.limits) for url in urls)
        return tuple(decode_image(content, self.limits, exact=True) for content in contents)

    def settings(self, asked: PaintingParams, **others: Any) -> Settings:
        """Return the defaults with what a request asks for.

        Args:
            others: Settings that no field of the request says by itself; None leaves the field's.

        Raises:
            ApiError: 400 for more than one answer may cost; 429 for more than the key of the request has left.
        """
        wanted = {name: getattr(asked, field, None) for name, field in SETTING_FIELDS.items()}
        wanted |= {"size": parse_size(asked.size)} | {
            name: value for name, value in others.items() if value is not None
        }
        chosen = replace(self.defaults, **{name: value for name, value in wanted.items() if value is not None})
        try:
            self.bounds.check_settings(chosen, self.engine.models.pipeline)
        except TooMuch as problem:
            raise self._refusal(problem, problem.setting) from None
        self._check_painter(chosen)
        if chosen.paint and (meter := usage.current()) is not None:
            width, height = chosen.size or getattr(self.engine.models.pipeline, "native_size", None) or (0, 0)
            meter.reserve(chosen.versions, chosen.versions * width * height)
        return chosen

    def _check_painter(self, chosen: Settings) -> None:
        """See that the painter can do it, before the language model is asked.

        Raises:
            ApiError: 400 naming the field.
        """
        painter = self.engine.painter(TEXT_TO_IMAGE if chosen.edit is None else EDITING)
        try:
            if chosen.controls is not None:
                painter.describe(**chosen.changes, controls=chosen.controls)
        except UserError as problem:
            raise self._refusal(problem, "control") from None
        for name in ("size", "guidance_scale", "steps", "clip_skip", "negative_prompt"):
            try:
                painter.describe(**chosen.changes, **{name: getattr(chosen, name)})
            except UserError as problem:
                raise self._refusal(problem, name) from None

    def _refusal(self, problem: UserError, setting: str | None) -> ApiError:
        return ApiError(400, self.engine.public(str(problem)), param=SETTING_FIELDS.get(setting or ""))


def too_many_images(limits: RequestLimits) -> ApiError:
    """Return the refusal of a request with more pictures than one may have."""
    return ApiError(400, f"a request may have {limits.pictures} pictures; send fewer.", code="too_many_images")

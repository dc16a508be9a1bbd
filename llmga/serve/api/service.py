"""What every request needs of the server."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from llmga.assistant.bounds import Bounds, TooMuch
from llmga.assistant.settings import SETTINGS, Settings
from llmga.serve.api.engine import Engine
from llmga.serve.api.errors import ApiError
from llmga.serve.api.fetching import Fetcher
from llmga.serve.api.scheduler import RequestScheduler
from llmga.serve.api.shapes import ModelCard, Painting, parsed_size
from llmga.serve.api.uploads import Limits, decode, from_data_uri
from llmga.serve.api.warm import WarmChats

ELSEWHERE = ("http:", "https:")
FIELDS = {row.name: row.request for row in SETTINGS.values() if row.request}  # of requests, by the settings they become


@dataclass(frozen=True)
class Names:
    """What clients call the models.

    Attributes:
        assistant: the language model with the pipeline behind it; the first name is the one that answers bear.
        pipeline: the diffusion model alone.
    """

    assistant: tuple[str, ...]
    pipeline: str

    def is_painter(self, name: str | None) -> bool:
        """Which of the two a request is for.  Raises: ApiError 404 for another name."""
        if not name or name in self.assistant:
            return False
        if name == self.pipeline:
            return True
        raise self.unknown()

    def unknown(self) -> ApiError:
        """What a client is told who asks for another model."""
        known = ", ".join((*self.assistant, self.pipeline))
        return ApiError(404, f"there is no model of this name; known are: {known}.", param="model",
                        code="model_not_found")  # fmt: skip

    def cards(self, created: int, usual: Mapping[str, Any]) -> list[ModelCard]:
        """All of them, as /v1/models lists them.

        Args:
            usual: `steps` and `guidance_scale` of the pipeline.
        """
        told = {
            name: ModelCard(
                id=name, created=created, description="talks, and writes the prompts of the pictures it paints"
            )
            for name in self.assistant
        }
        told[self.pipeline] = ModelCard(
            id=self.pipeline, created=created, description="paints prompts as they stand", **usual
        )
        return list(told.values())


@dataclass(frozen=True)
class Service:
    """What every request needs of the server.

    Attributes:
        defaults: what a request that says nothing else gets.
        fetcher: gets pictures from elsewhere; None where that is not allowed.
        ignore_tools: requests with tools are answered without them.
        markdown: pictures of a chat stand in its text, for programs that show nothing else.
        created: when the server started, in seconds of Unix time.
    """

    desk: RequestScheduler
    engine: Engine
    warm: WarmChats
    names: Names
    limits: Limits
    defaults: Settings
    created: int
    fetcher: Fetcher | None = None
    markdown: bool = False
    ignore_tools: bool = False

    @property
    def bounds(self) -> Bounds:
        """What one answer may cost."""
        return self.engine.models.bounds

    def cards(self) -> list[ModelCard]:
        """All models."""
        chosen = {"steps": self.defaults.steps, "guidance_scale": self.defaults.guidance_scale}
        described = self.engine.models.pipeline.describe(**chosen)
        return self.names.cards(self.created, {name: described[name] for name in chosen})

    async def fetched(self, urls: Sequence[str], client: str) -> dict[str, bytes]:
        """What a request names that lies elsewhere.  Raises: ApiError."""
        elsewhere = [url for url in urls if url.lower().startswith(ELSEWHERE)]
        if elsewhere and self.fetcher is None:
            raise ApiError(400, "this server fetches no pictures from elsewhere; send them as data: URIs.",
                           code="invalid_image_url")  # fmt: skip
        if len(urls) > self.limits.pictures:
            raise too_many(self.limits)
        return await self.fetcher.fetch(elsewhere, client) if elsewhere else {}

    def look(self, fetched: Mapping[str, bytes]) -> Callable[[str], Image.Image]:
        """A function that opens the pictures of one request by their addresses, up to the number that it may have.

        Args:
            fetched: what lies elsewhere.
        """
        seen = 0

        def open_one(url: str) -> Image.Image:
            nonlocal seen
            seen += 1
            if seen > self.limits.pictures:
                raise too_many(self.limits)
            return decode(fetched[url] if url in fetched else from_data_uri(url, self.limits), self.limits)

        return open_one

    def settings(self, asked: Painting, **others: Any) -> Settings:
        """The defaults with what a request asks for.

        Args:
            others: settings that no field of the request says by itself; None leaves the field's.

        Raises: ApiError.
        """
        wanted = {name: getattr(asked, field, None) for name, field in FIELDS.items()}
        wanted |= {"size": parsed_size(asked.size)} | {
            name: value for name, value in others.items() if value is not None
        }
        chosen = replace(self.defaults, **{name: value for name, value in wanted.items() if value is not None})
        try:
            self.bounds.check_settings(chosen, self.engine.models.pipeline)
        except TooMuch as problem:
            raise ApiError(400, self.engine.public(str(problem)), param=FIELDS.get(problem.setting or "")) from None
        return chosen


def too_many(limits: Limits) -> ApiError:
    """What a client is told who sends more pictures than one request may have."""
    return ApiError(400, f"a request may have {limits.pictures} pictures; send fewer.", code="too_many_images")

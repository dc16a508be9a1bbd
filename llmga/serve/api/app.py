"""The application: which paths there are."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, Form, Request, Response, Security
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST

import llmga
from llmga.serve.api import chat, errors, pictures
from llmga.serve.api.body_limit import BodyLimit
from llmga.serve.api.chat_shapes import ChatRequest, ChatResponse
from llmga.serve.api.errors import ErrorResponse
from llmga.serve.api.image_shapes import EditForm, GenerationRequest, ImagesResponse, VariationForm
from llmga.serve.api.json_body import json_route
from llmga.serve.api.keys import Auth, Keys, bearer
from llmga.serve.api.observed import Observed
from llmga.serve.api.service import Service
from llmga.serve.api.shapes import Health, ModelCard, ModelList, ModelName

ABOUT = """Talk, and see it painted: OpenAI's paths and shapes on LLMGA.

* The pictures of a chat come as `message.images` (in a stream: `delta.images`), the shape of OpenRouter and LiteLLM.
  Send the message back as it came, and the assistant remembers what it painted.
* `/v1/images` rewrites prompts (see `revised_prompt`), unless `model` names the pipeline.
* A mask's transparent pixels are painted anew; a mask without any transparency is white there.
* Beside OpenAI's fields: `seed`, `negative_prompt`, `num_inference_steps`, `guidance_scale`."""
REFUSALS = {
    400: "The request is wrong; the message says what and how to mend it.",
    401: "No valid API key.",
    403: "Without keys, a server of this machine alone does not answer under other names.",
    404: "No such model.",
    413: "The request, or a picture in it, is too large.",
    429: "The queue is full; Retry-After says when to come again.",
    500: "A mistake of the server.",
    503: "The server is about to end.",
}
STREAM = {"text/event-stream": {"schema": {"type": "string"}}}


def build_app(service: Service, keys: Keys, local: bool = False) -> FastAPI:
    """The application around models that are loaded.

    Args:
        local: only this machine reaches it, see `Door`.
    """
    metrics = service.engine.metrics

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.desk.close()
        service.desk.stop()
        service.engine.close()

    app = FastAPIOffline(
        title="LLMGA",
        version=llmga.__version__,
        description=ABOUT,
        lifespan=lifespan,
        redoc_url=None,
    )
    app.router.route_class = json_route(service.limits.json)
    add_open(app, service)
    add_protected(app, service)
    errors.install(app)
    app.add_middleware(BodyLimit, most=service.limits.body)
    app.add_middleware(Auth, keys=keys, local=local)
    app.add_middleware(Observed, metrics=metrics)
    app.openapi = _documented(app, app.openapi)
    return app


def add_open(app: FastAPI, service: Service) -> None:
    """Paths that need no key and tell nothing of anybody."""

    @app.head("/health", include_in_schema=False)  # what many monitors send
    @app.get("/health")
    async def health() -> Health:
        """Whether requests are taken."""
        desk = service.desk
        return Health(status="closing" if desk.closed else "ok", running=desk.queue.running, waiting=desk.queue.waiting)

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """Figures for Prometheus."""
        return Response(service.engine.metrics.text(), media_type=CONTENT_TYPE_LATEST)


def add_protected(app: FastAPI, service: Service) -> None:
    """Paths under /v1, which `Door` guards."""
    refusals = {status: {"model": ErrorResponse, "description": text} for status, text in REFUSALS.items()}
    shared = {"dependencies": [Security(bearer)], "responses": refusals}
    answer = shared | {"responses": refusals | {200: {"content": STREAM}}}

    @app.get("/v1/models", **shared)
    async def models() -> ModelList:
        """The assistant, which talks and paints, and the pipeline alone."""
        return ModelList(data=service.cards())

    @app.get("/v1/models/{name:path}", **shared)
    async def model(name: ModelName) -> ModelCard:
        """One of them."""
        cards = {card.id: card for card in service.cards()}
        if name not in cards:
            raise service.names.unknown()
        return cards[name]

    @app.post("/v1/chat/completions", response_model=ChatResponse, **answer)
    async def chat_completions(body: ChatRequest, request: Request) -> Any:
        """Talk, and see it painted."""
        return await chat.complete(service, body, request)

    @app.post("/v1/images/generations", response_model=ImagesResponse, **answer)
    async def images_generations(body: GenerationRequest, request: Request) -> Any:
        """Paint words."""
        return await pictures.generate(service, body, request)

    @app.post("/v1/images/edits", response_model=ImagesResponse, **answer)
    async def images_edits(form: Annotated[EditForm, Form()], request: Request) -> Any:
        """Change a picture where a mask says, or by an instruction alone."""
        return await pictures.edit(service, form, request)

    @app.post("/v1/images/variations", response_model=ImagesResponse, **answer)
    async def images_variations(form: Annotated[VariationForm, Form()], request: Request) -> Any:
        """Paint pictures like one."""
        return await pictures.vary(service, form, request)


def _documented(app: FastAPI, usual: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """The OpenAPI document without FastAPI's own kind of refusal, which is never sent."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = usual()
            for path in made["paths"].values():
                for operation in path.values():
                    operation["responses"].pop("422", None)
            for name in ("HTTPValidationError", "ValidationError"):
                made["components"]["schemas"].pop(name, None)
            app.openapi_schema = made
        return app.openapi_schema

    return document

"""The application: which paths there are."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Form, Request, Response, Security
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST

import llmga
from llmga.serve.api import chat, images
from llmga.serve.api.auth import ApiKeys, AuthMiddleware, bearer
from llmga.serve.api.chat_schemas import ChatRequest, ChatResponse
from llmga.serve.api.errors import ErrorResponse, add_exception_handlers
from llmga.serve.api.image_schemas import EditForm, GenerationRequest, ImagesResponse, VariationForm
from llmga.serve.api.middleware import BodyLimitMiddleware, RequestLogMiddleware, json_route
from llmga.serve.api.schemas import Health, ModelCard, ModelList, ModelName
from llmga.serve.api.service import Service

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
Responses = dict[int | str, dict[str, Any]]
EVENT = {"type": "object", "properties": {"event": {"type": "string"}, "data": {"type": "string"}}}
STREAM = {"text/event-stream": {"itemSchema": EVENT}}


def build_app(service: Service, keys: ApiKeys, local: bool = False) -> FastAPI:
    """Return the application around models that are loaded.

    Args:
        local: Only this machine reaches it, see `AuthMiddleware`.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.scheduler.close()
        service.scheduler.stop()
        service.engine.close()

    app = FastAPIOffline(
        title="LLMGA",
        version=llmga.__version__,
        description=ABOUT,
        lifespan=lifespan,
        redoc_url=None,
    )
    app.include_router(open_routes(service))
    app.include_router(model_routes(service))
    app.include_router(generation_routes(service))
    add_exception_handlers(app)
    app.add_middleware(BodyLimitMiddleware, max_bytes=service.limits.body)
    app.add_middleware(AuthMiddleware, keys=keys, local=local)
    app.add_middleware(RequestLogMiddleware, metrics=service.engine.metrics)
    app.openapi = without_422(app, app.openapi)  # type: ignore[method-assign]  # as FastAPI's documentation has it
    return app


def open_routes(service: Service) -> APIRouter:
    """Return the paths that need no key and tell nothing of anybody."""
    router = APIRouter()

    @router.head("/health", include_in_schema=False)  # what many monitors send
    @router.get("/health")
    async def health() -> Health:
        """Whether requests are taken."""
        scheduler, queue = service.scheduler, service.scheduler.queue
        return Health(status="closing" if scheduler.closed else "ok", running=queue.running, waiting=queue.waiting)

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """Figures for Prometheus."""
        return Response(service.engine.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return router


def guarded_router(service: Service, responses: Responses | None = None) -> APIRouter:
    """Return a router for paths under /v1, which `AuthMiddleware` guards."""
    refusals: Responses = {status: {"model": ErrorResponse, "description": text} for status, text in REFUSALS.items()}
    return APIRouter(
        prefix="/v1",
        route_class=json_route(service.limits.json),
        dependencies=[Security(bearer)],
        responses=refusals | (responses or {}),
    )


def model_routes(service: Service) -> APIRouter:
    """Return the paths that tell of the models."""
    router = guarded_router(service)

    @router.get("/models")
    async def models() -> ModelList:
        """The assistant, which talks and paints, and the pipeline alone."""
        return ModelList(data=service.cards())

    @router.get("/models/{name:path}")
    async def model(name: ModelName) -> ModelCard:
        """One of them."""
        cards = {card.id: card for card in service.cards()}
        if name not in cards:
            raise service.names.not_found()
        return cards[name]

    return router


def generation_routes(service: Service) -> APIRouter:
    """Return the paths that talk and paint, and may answer as a stream."""
    router = guarded_router(service, {200: {"content": STREAM}})

    @router.post("/chat/completions", response_model=ChatResponse)
    async def chat_completions(body: ChatRequest, request: Request) -> Any:
        """Talk, and see it painted."""
        return await chat.complete(service, body, request)

    @router.post("/images/generations", response_model=ImagesResponse)
    async def images_generations(body: GenerationRequest, request: Request) -> Any:
        """Paint words."""
        return await images.generate(service, body, request)

    @router.post("/images/edits", response_model=ImagesResponse)
    async def images_edits(form: Annotated[EditForm, Form()], request: Request) -> Any:
        """Change a picture where a mask says, or by an instruction alone."""
        return await images.edit(service, form, request)

    @router.post("/images/variations", response_model=ImagesResponse)
    async def images_variations(form: Annotated[VariationForm, Form()], request: Request) -> Any:
        """Paint pictures like one."""
        return await images.vary(service, form, request)

    return router


def without_422(app: FastAPI, openapi: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """Return `openapi` without FastAPI's own kind of refusal in its document, which is never sent."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = openapi()
            for path in made["paths"].values():
                for operation in path.values():
                    operation["responses"].pop("422", None)
            for name in ("HTTPValidationError", "ValidationError"):
                made["components"]["schemas"].pop(name, None)
            app.openapi_schema = made
        return app.openapi_schema

    return document

"""The application: its routers and middleware, and the paths that tell of the server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Literal

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST

import llmga
from llmga.serve.api import admin, chat, images, responses, sdapi
from llmga.serve.api.audit import AuditLog
from llmga.serve.api.auth import ApiKeys, AuthMiddleware
from llmga.serve.api.document import described
from llmga.serve.api.errors import add_exception_handlers
from llmga.serve.api.middleware import BodyLimitMiddleware, RequestLogMiddleware
from llmga.serve.api.response_store import ResponseStore
from llmga.serve.api.routing import v1_router
from llmga.serve.api.scheduler import RequestScheduler
from llmga.serve.api.schemas import Health, ModelCard, ModelList, ModelName
from llmga.serve.api.service import Service
from llmga.serve.api.usage import UsageMiddleware

ABOUT = """Talk, and see it painted: OpenAI's paths and shapes on LLMGA.

* The pictures of a chat come as `message.images` (in a stream: `delta.images`), the shape of OpenRouter and LiteLLM.
  Send the message back as it came, and the assistant remembers what it painted.
* `/v1/images` rewrites prompts (see `revised_prompt`), unless `model` names the pipeline.
* A mask's transparent pixels are painted anew; a mask without any transparency is white there.
* Beside OpenAI's fields: `seed`, `negative_prompt`, `num_inference_steps`, `guidance_scale`;
  `changed` tells what of a picture is another one after an edit without a mask."""

open_paths: APIRouter = APIRouter()  # they need no key and tell nothing of anybody
model_paths: APIRouter = v1_router()


def build_app(service: Service, keys: ApiKeys, local: bool = False, audit: AuditLog | None = None) -> FastAPI:
    """Return the application around models that are loaded.

    Args:
        local: Only this machine reaches it, see `AuthMiddleware`.
        audit: Where it is noted who used what.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as running:
            for session in app.state.sessions:
                await running.enter_async_context(session())
            yield
        last: Service = app.state.service  # others may have taken the place of the first
        last.scheduler.close()
        last.scheduler.stop()
        last.engine.close()

    app = FastAPIOffline(
        title="LLMGA",
        version=llmga.__version__,
        description=ABOUT,
        lifespan=lifespan,
        redoc_url=None,
    )
    app.state.service = service
    app.state.sessions = []  # of protocols beside the API, which run as long as it does
    app.state.responses = ResponseStore()
    app.state.swapper = None  # what loads other models, where that is possible
    app.state.sdapi_jobs = {}  # of clients that wait
    for router in (open_paths, model_paths, chat.router, images.router, responses.router, sdapi.router, admin.router):
        app.include_router(router)
    add_exception_handlers(app)
    app.add_middleware(BodyLimitMiddleware, max_bytes=service.limits.body)
    metrics = service.engine.metrics
    app.add_middleware(UsageMiddleware, metrics=metrics, store=keys.store, audit=audit)
    app.add_middleware(AuthMiddleware, keys=keys, local=local)
    app.add_middleware(RequestLogMiddleware, metrics=metrics, tracing=service.engine.tracing)
    app.openapi = described(app, app.openapi)  # type: ignore[method-assign]  # as FastAPI's documentation has it
    return app


@open_paths.head("/health", include_in_schema=False)  # what many monitors send
@open_paths.get("/health")
async def health(request: Request) -> Health:
    """Whether requests are taken."""
    scheduler: RequestScheduler = request.app.state.service.scheduler
    status: Literal["ok", "closing"] = "closing" if scheduler.closed else "ok"
    return Health(status=status, running=scheduler.queue.running, waiting=scheduler.queue.waiting)


@open_paths.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """Figures for Prometheus."""
    service: Service = request.app.state.service
    text = service.engine.metrics.text() if service.figures is None else await service.figures()
    return Response(text, media_type=CONTENT_TYPE_LATEST)


@model_paths.get("/models")
async def models(request: Request) -> ModelList:
    """The assistant, which talks and paints, and the pipeline alone."""
    return ModelList(data=await asyncio.to_thread(request.app.state.service.cards))


@model_paths.get("/models/{name:path}")
async def model(name: ModelName, request: Request) -> ModelCard:
    """One of them."""
    service: Service = request.app.state.service
    cards = {card.id: card for card in await asyncio.to_thread(service.cards)}
    if name not in cards:
        raise service.names.not_found(name)
    return cards[name]

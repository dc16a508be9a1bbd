"""/v1/admin: what only a key of an administrator opens; `AuthMiddleware` sees to that."""

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from llmga.serve.api.errors import ApiError, ErrorResponse
from llmga.serve.api.routing import v1_router
from llmga.serve.api.schemas import Text
from llmga.serve.api.service import Service
from llmga.serve.api.swapping import Swapper

router: APIRouter = v1_router(prefix="/v1/admin")

Value = Annotated[Text, Field(max_length=4096)] | bool | int | float | None


class ModelsWanted(BaseModel):
    """Models that are to take the place of those at work."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"models": {"sdmodel_id": "checkpoints/sdxl", "vae_tiling": True}}},
    )

    models: dict[Annotated[Text, Field(max_length=64)], Value | list[Value]] = Field(
        max_length=64,
        description="flags of llmga serve about models, painter, endpoint and safety, without dashes; those that are "
        "left out stay as they are, null is the usual, and a list repeats the flag",
    )
    drain_first: bool = Field(
        False, description="nothing is at work while the models load; requests wait meanwhile, in the bounded queue"
    )


class ModelsAtWork(BaseModel):
    """The models that answer."""

    assistant: list[str] = Field(description="names under which the language model is asked for")
    pipeline: str = Field(description="the painter's name")
    models: dict[str, object] = Field(description="flags by which they were loaded, where these are not the usual")
    since: int = Field(description="when they were put there, in seconds of Unix time")
    loading: bool = Field(description="others are being loaded")
    draining: int = Field(description="requests at work with models that were replaced")


@router.get("/models")
async def models_at_work(request: Request) -> ModelsAtWork:
    """Which models answer, and whether others are on their way."""
    return _told(_swapper(request))


@router.post("/models", responses={409: {"model": ErrorResponse, "description": "Others are being loaded."}})
async def swap_models(body: ModelsWanted, request: Request) -> ModelsAtWork:
    """Load other models and answer once they are at work.

    Requests at work end with the old ones, new ones get the new.  What cannot be loaded changes nothing.
    """
    swapper = _swapper(request)
    await swapper.swap(body.models, drain_first=body.drain_first)
    return _told(swapper)


def _swapper(request: Request) -> Swapper:
    """Raises: ApiError where this server keeps its models."""
    found: Swapper | None = request.app.state.swapper
    if found is None:
        raise ApiError(400, "this server keeps its models, as it has a page or runs on Ray; start it anew with others, "
                       "on Ray by serve deploy.",
                       code="models_are_fixed")  # fmt: skip
    return found


def _told(swapper: Swapper) -> ModelsAtWork:
    service: Service = swapper.service
    return ModelsAtWork(
        assistant=list(service.names.assistant),
        pipeline=service.names.pipeline,
        models=swapper.chosen(),
        since=swapper.since,
        loading=swapper.loading,
        draining=service.scheduler.draining,
    )

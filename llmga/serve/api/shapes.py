"""What travels, OpenAI's shapes: what chat and pictures share, with vLLM-Omni's names for what OpenAI does not have.

Fields that we do not know are ignored, as OpenAI's own clients expect of each other's servers; a field that would
change the answer and is not served is refused.
"""

import re
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, Field, SerializerFunctionWrapHandler, model_serializer

from llmga.serve.api.setting_fields import model_of

LONGEST_PROMPT = 32_000  # characters, OpenAI's own limit; how many are painted, `bounds` says
SIZE = re.compile(r"([1-9]\d{1,3})x([1-9]\d{1,3})", re.ASCII)

Size = Annotated[str, Field(pattern=r"^(auto|[1-9]\d{1,3}x[1-9]\d{1,3})$", examples=["auto", "1024x768"])]
# JSON can hold halves of characters, which nothing behind this door can read.
Text = Annotated[str, AfterValidator(lambda text: text.encode("utf-8", "replace").decode())]
Words = Annotated[Text, Field(max_length=LONGEST_PROMPT)]
Prompt = Annotated[Text, Field(min_length=1, max_length=LONGEST_PROMPT)]
ModelName = Annotated[Text, Field(max_length=200)]


def parsed_size(text: str | None) -> tuple[int, int] | None:
    """(width, height) of "1024x768"; None for "auto"."""
    sides = SIZE.fullmatch(text or "")
    return sides and (int(sides[1]), int(sides[2]))


class Sent(BaseModel):
    """What is answered: keys without a value are left out, unless OpenAI's own answers always have them.

    Attributes:
        always: those that are then null.
    """

    always: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _sent(self, usual: SerializerFunctionWrapHandler):  # noqa: ANN202  (the document would show its type)
        return {name: value for name, value in usual(self).items() if value is not None or name in self.always}


class Painting(model_of("painting", {tuple: Size, str: Words})):  # type: ignore[misc]  # the table says its fields
    """How pictures are painted; what is left out, the diffusion model's own defaults say."""


class ModelCard(BaseModel):
    """A model that can be asked for."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "llmga"
    description: str = ""
    steps: int | None = Field(None, description="of the painter: denoising steps where a request names none")
    guidance_scale: float | None = Field(None, description="of the painter: the same")


class ModelList(BaseModel):
    """All of them."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class Health(BaseModel):
    """That the server is there, and what it is at."""

    status: Literal["ok", "closing"]
    running: int
    waiting: int

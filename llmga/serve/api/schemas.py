"""OpenAI's schemas: what chat and pictures share, with vLLM-Omni's names for what OpenAI does not have.

Fields of OpenAI's that change nothing here are taken, as its clients send them; whatever else is unknown is refused, so
that no wish is passed over in silence.
"""

import re
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer
from pydantic_core import PydanticCustomError

from llmga.llava.generation_prompt import visible
from llmga.serve.api.setting_fields import model_of

MAX_PROMPT_LENGTH = 32_000  # characters, OpenAI's own limit; how many are painted, `bounds` says
SIZE = re.compile(r"([1-9]\d{1,3})x([1-9]\d{1,3})", re.ASCII)

SIDE = r"(1[6-9]|[2-9]\d|[1-9]\d\d|1\d{3}|20[0-3]\d|204[0-8])"  # 16 to 2048, as the setting has it
Size = Annotated[
    str,
    Field(
        pattern=r"^(auto|[1-9]\d{1,3}x[1-9]\d{1,3})$",  # more than the document has, whose refusal would say less
        examples=["auto", "1024x768"],
        json_schema_extra={"pattern": rf"^(auto|{SIDE}x{SIDE})$", "format": "size"},
    ),
]
# JSON can hold halves of characters, which nothing behind the server can read.
Text = Annotated[str, AfterValidator(lambda text: text.encode("utf-8", "replace").decode())]
LongText = Annotated[Text, Field(max_length=MAX_PROMPT_LENGTH)]
SAYING = r"^[\s\S]*[^\s\x00-\x1f\x7f-\x9f][\s\S]*$"  # something beside blanks and control characters
Prompt = Annotated[
    Text,
    AfterValidator(lambda text: _saying(text)),
    Field(min_length=1, max_length=MAX_PROMPT_LENGTH, json_schema_extra={"pattern": SAYING, "format": "words"}),
]
# Where a picture is: in the request itself, or elsewhere.
SENT = r"^data:(image/[A-Za-z0-9_.+-]+|application/octet-stream);base64,"
ADDRESS = rf"{SENT}|^[hH][tT][tT][pP][sS]?:"
PictureUrl = Annotated[
    str,
    AfterValidator(lambda url: _address(url)),
    Field(json_schema_extra={"pattern": ADDRESS, "format": "picture"}),
]
TAKEN = "OpenAI's; taken, and changes nothing here"  # told of a field
ModelName = Annotated[Text, Field(max_length=200)]


def _saying(text: str) -> str:
    if not visible(text):
        raise PydanticCustomError("says_nothing", "it says nothing; write what you want to see")
    return text


def _address(url: str) -> str:
    if re.match(ADDRESS, url) is None:
        raise PydanticCustomError("invalid_image_url", "a picture has to come as 'data:image/…;base64,…'")
    return url


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Return (width, height) of "1024x768"; None for "auto"."""
    sides = SIZE.fullmatch(text or "")
    return sides and (int(sides[1]), int(sides[2]))


class ExcludeNoneModel(BaseModel):
    """A model whose keys without a value are left out of the JSON, unless OpenAI's own answers always have them.

    Attributes:
        nullable: Those that are then null.
    """

    nullable: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _exclude_none(self, serialize: SerializerFunctionWrapHandler):  # noqa: ANN202  (the document would show its type)
        return {name: value for name, value in serialize(self).items() if value is not None or name in self.nullable}


class ControlImages(BaseModel):
    """The pictures of `control`, in a JSON request."""

    control_image: PictureUrl | list[PictureUrl] | None = Field(
        None, description="pictures of control in its order, as data: URIs; left out: the one at work, or the latest"
    )

    @property
    def control_urls(self) -> list[str]:
        """Where they are."""
        given = self.control_image or []
        return [given] if isinstance(given, str) else given


class PaintingParams(model_of("painting", {tuple: Size, str: LongText})):  # type: ignore[misc]  # the table says its fields
    """How pictures are painted; what is left out, the diffusion model's own defaults say."""

    model_config = ConfigDict(extra="forbid")


class ModelCard(BaseModel):
    """A model that can be asked for."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "llmga"
    description: str = ""
    steps: int | None = Field(default=None, description="of the painter: denoising steps where a request names none")
    guidance_scale: float | None = Field(default=None, description="of the painter: the same")


class ModelList(BaseModel):
    """All of them."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class Health(BaseModel):
    """That the server is there, and what it is at."""

    status: Literal["ok", "closing"]
    running: int
    waiting: int

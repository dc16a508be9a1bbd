"""Schemas of /v1/images."""

from typing import Annotated, Literal

from fastapi import UploadFile
from pydantic import BaseModel, Field

from llmga.serve.api.schemas import (
    TAKEN,
    ControlImages,
    ExcludeNoneModel,
    LongText,
    ModelName,
    PaintingParams,
    Prompt,
    Text,
)
from llmga.serve.api.setting_fields import fields_of, model_of

Unused = fields_of(("quality", "style", "moderation", "input_fidelity", "safety_identifier"), TAKEN)
ControlFiles = Annotated[
    list[UploadFile], Field(description="pictures of control in its order; left out: the one that is changed")
]
OutputFormat = Literal["png", "jpeg", "webp"]


class OutputParams(PaintingParams, model_of("finish", {}), Unused):  # type: ignore[misc,valid-type]  # by tables
    """How pictures are painted, and in which form they are answered."""

    model: ModelName | None = Field(
        None, description="left out or the assistant: it rewrites the prompt; the painter: as it stands"
    )
    response_format: Literal["b64_json", "url"] | None = Field(None, description="url: a data: URI")
    output_format: OutputFormat | None = "png"
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = Field(None, description="quality of JPEG and WEBP")
    background: Literal["auto", "opaque"] | None = None
    stream: bool | None = False
    partial_images: Annotated[int, Field(ge=0, le=3)] | None = Field(0, description="previews in a stream, per picture")
    user: Annotated[Text, Field(max_length=1000)] | None = None


class GenerationRequest(OutputParams, ControlImages):
    """Words to be painted."""

    prompt: Prompt


class VariationForm(OutputParams):
    """A picture of which others like it are to be painted."""

    image: UploadFile
    control_image: ControlFiles = []
    prompt: LongText | None = Field(None, description="what to do with it; left out: paint one like it")


class EditForm(OutputParams):
    """Pictures and what is to become of the first; the others are looked at."""

    prompt: Prompt
    image: list[UploadFile] = Field(default=[], description="PNG, JPEG, WEBP …; the first one is changed")
    control_image: ControlFiles = []
    more: list[UploadFile] = Field(default=[], alias="image[]", description="the same under OpenAI's other name")
    mask: UploadFile | None = Field(
        None, description="of the first picture's size; transparent is painted anew (without any transparency: white)"
    )


class ChangedPart(ExcludeNoneModel):
    """What of a picture is another one after it was changed by words."""

    share: float = Field(description="of its pixels, 0 to 1, that differ by more than encoding alone makes them")
    box: tuple[int, int, int, int] | None = Field(None, description="left, top, right, bottom in pixels")


class ImageOut(ExcludeNoneModel):
    """A picture."""

    b64_json: str | None = None
    url: str | None = None
    revised_prompt: str | None = Field(default=None, description="what was painted, as the language model wrote it")
    seed: int | None = None
    changed: ChangedPart | None = Field(default=None, description="of a picture that was changed without a mask")


class InputTokens(BaseModel):
    """Of which kinds."""

    image_tokens: int = 0
    text_tokens: int = 0


class ImageUsage(BaseModel):
    """For clients that want it; pictures cost no tokens here."""

    input_tokens: int = 0
    input_tokens_details: InputTokens = InputTokens()
    output_tokens: int = 0
    total_tokens: int = 0


class ImagesResponse(ExcludeNoneModel):
    """Pictures, in the order of their seeds."""

    created: int
    data: list[ImageOut]
    background: str = "opaque"
    output_format: OutputFormat = "png"
    size: str | None = None
    usage: ImageUsage = ImageUsage()


class ImageEvent(ExcludeNoneModel):
    """A preview or a finished picture of a stream; `type` is OpenAI's name of the event."""

    type: str
    b64_json: str
    created_at: int
    size: str
    output_format: OutputFormat = "png"
    background: str = "opaque"
    quality: str = "auto"
    index: int = Field(default=0, description="of the picture, where several were asked for")
    partial_image_index: int | None = None
    revised_prompt: str | None = None
    seed: int | None = None
    changed: ChangedPart | None = None
    usage: ImageUsage | None = None

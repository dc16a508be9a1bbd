"""Schemas of /v1/chat/completions."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from llmga.assistant.bounds import LONGEST_ANSWER
from llmga.serve.api.schemas import (
    TAKEN,
    ControlImages,
    ExcludeNoneModel,
    LongText,
    ModelName,
    PaintingParams,
    PictureUrl,
    Text,
)
from llmga.serve.api.setting_fields import NUMBER, fields_of, model_of, refusing

MAX_MESSAGES = 512
# What would change the answer, beside values that would not; `tools` and `functions` may be passed over.
NOT_SERVED: dict[str, tuple[Any, ...]] = {
    "stop": (),
    "logprobs": (),
    "top_logprobs": (),
    "logit_bias": (),
    "audio": (),
    "frequency_penalty": (),
    "presence_penalty": (),
    "repetition_penalty": (1,),
    "web_search_options": (),
}
UNUSED = (
    "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_options",
    "prompt_cache_retention", "prediction", "moderation", "reasoning_effort", "verbosity", "tool_choice",
    "function_call", "parallel_tool_calls",
)  # fmt: skip
Unused = fields_of(UNUSED, TAKEN)
NotServed = refusing(NOT_SERVED)


class ImageUrl(ExcludeNoneModel):
    """Where a picture is."""

    url: str = Field(description="data:image/…;base64,…; an http(s) address where the server allows it")
    detail: str | None = None


class ShownUrl(ImageUrl):
    """Where a picture is that somebody shows."""

    url: PictureUrl = Field(description="data:image/…;base64,…; an http(s) address where the server allows it")


class TextPart(BaseModel):
    """Words."""

    type: Literal["text"]
    text: Text


class ImagePart(BaseModel):
    """A picture to look at."""

    type: Literal["image_url"]
    image_url: ShownUrl


class RefusalPart(BaseModel):
    """Words of an earlier refusal."""

    type: Literal["refusal"]
    refusal: Text


Part = Annotated[TextPart | ImagePart | RefusalPart, Field(discriminator="type")]
FinishReason = Literal["stop", "length", "content_filter"]


class PaintedImage(ExcludeNoneModel):
    """A picture that the assistant painted.

    OpenRouter's and LiteLLM's shape, with what the next turn needs to know of it: send the message back as it came, and
    the assistant remembers what it painted.
    """

    type: Literal["image_url"] = "image_url"
    image_url: ImageUrl | None = Field(default=None, description="may be left out when the message is sent back")
    index: int = 0
    revised_prompt: LongText = Field("", description="what was painted")
    offset: int = Field(
        default=0, ge=0, le=10_000_000, description="where in the content it was asked for, in characters"
    )
    seed: int | None = None


class MessageIn(BaseModel):
    """One turn of the conversation so far, or the new one."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | list[Part] | None = None
    images: list[PaintedImage] | None = Field(default=None, description="of an assistant's message, as it came")


class TextForm(BaseModel):
    """The form of an answer's words."""

    model_config = ConfigDict(extra="allow")

    type: Literal["text"]


class StreamOptions(BaseModel):
    """What a stream tells beside the words."""

    include_usage: bool | None = None


class ChatRequest(PaintingParams, ControlImages, model_of("words", {}), Unused, NotServed):  # type: ignore[misc,valid-type]  # by tables
    """A conversation that waits for the assistant's turn."""

    model: ModelName | None = Field(default=None, description="of /v1/models; left out: the assistant")
    messages: list[MessageIn] = Field(min_length=1, max_length=MAX_MESSAGES)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=LONGEST_ANSWER), NUMBER] | None = Field(
        default=None, description="as max_tokens"
    )
    n: Literal[1] | None = 1
    tools: Any = Field(
        default=None, description="refused, or passed over where the server was started with --ignore-tools"
    )
    functions: Any = Field(default=None, description="as tools")
    response_format: TextForm | None = Field(default=None, description='{"type": "text"}')
    modalities: list[Literal["text", "image"]] | None = Field(default=None, description="of text and image")

    @model_validator(mode="before")
    @classmethod
    def _check_served(cls, values: Any) -> Any:
        """Refuse what would change the answer and is not served."""
        if not isinstance(values, dict):
            return values
        form = values.get("response_format")
        if isinstance(form, dict) and form.get("type") != "text":
            raise ValueError("only the response_format 'text' is served here")
        asked = values.get("modalities") or []
        if not isinstance(asked, list) or any(each not in ("text", "image") for each in asked):
            raise ValueError("modalities other than 'text' and 'image' are not served here; leave them out")
        return values


class Usage(BaseModel):
    """Tokens of the language model."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class MessageOut(ExcludeNoneModel):
    """What the assistant says and paints."""

    nullable: ClassVar[tuple[str, ...]] = ("refusal",)

    role: Literal["assistant"] = "assistant"
    content: str = ""
    images: list[PaintedImage] | None = None
    refusal: str | None = Field(default=None, description="why a picture could not be painted")


class Choice(ExcludeNoneModel):
    """The answer."""

    nullable: ClassVar[tuple[str, ...]] = ("logprobs",)

    index: int = 0
    message: MessageOut
    finish_reason: FinishReason = "stop"
    logprobs: None = None


class ChatResponse(ExcludeNoneModel):
    """A whole answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage | None = None


class Delta(ExcludeNoneModel):
    """What has come since the piece before."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    images: list[PaintedImage] | None = None
    refusal: str | None = None


class ChunkChoice(ExcludeNoneModel):
    """A piece of the answer."""

    nullable: ClassVar[tuple[str, ...]] = ("finish_reason", "logprobs")

    index: int = 0
    delta: Delta
    finish_reason: FinishReason | None = None
    logprobs: None = None


class ChatChunk(ExcludeNoneModel):
    """A piece of a streamed answer."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None

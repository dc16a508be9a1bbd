"""Schemas of /v1/responses, with the tool `image_generation`."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from llmga.assistant.bounds import LONGEST_ANSWER
from llmga.serve.api.chat_schemas import MAX_MESSAGES, TextForm
from llmga.serve.api.image_schemas import OutputFormat
from llmga.serve.api.schemas import TAKEN, ExcludeNoneModel, LongText, ModelName, PaintingParams, PictureUrl, Size, Text
from llmga.serve.api.setting_fields import NUMBER, fields_of, refusing

# What would change the answer, beside values that would not.
NOT_SERVED: dict[str, tuple[Any, ...]] = {
    "conversation": (),
    "prompt": (),
    "background": (),
    "top_logprobs": (),
    "context_management": (),
    "input_transformations": (),
}
UNUSED = (
    "include", "max_tool_calls", "moderation", "parallel_tool_calls", "prompt_cache_key", "prompt_cache_options",
    "prompt_cache_retention", "reasoning", "safety_identifier", "service_tier", "stream_options", "truncation", "user",
)  # fmt: skip
Unused = fields_of(UNUSED, TAKEN)
NotServed = refusing(NOT_SERVED)


class ImageAddress(BaseModel):
    """Where a picture is."""

    image_url: PictureUrl | None = None
    file_id: None = Field(default=None, description="no files are kept here")


class ContentPart(ExcludeNoneModel):
    """A piece of a message."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [
        {"properties": {"type": {"enum": ["input_text", "output_text", "refusal"]}}},
        {"properties": {"image_url": {"type": "string"}}, "required": ["image_url"]},
    ]})  # fmt: skip

    type: Literal["input_text", "output_text", "input_image", "refusal"]
    text: Text = ""
    refusal: Text = ""
    image_url: PictureUrl | None = Field(
        None, description="data:image/…;base64,…; an http(s) address where the server allows it"
    )
    detail: str | None = None

    @model_validator(mode="after")
    def _check_image(self) -> "ContentPart":
        if self.type == "input_image" and not self.image_url:
            raise ValueError("an input_image comes as 'image_url'; no files are kept here")
        return self


class InputItem(BaseModel):
    """A message, or a picture that was painted before, as it came."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [
        {"properties": {"type": {"enum": ["image_generation_call", "reasoning"]}}, "required": ["type"]},
        {"properties": {"role": {"type": "string"}}, "required": ["role"]},
    ]})  # fmt: skip

    type: Literal["message", "image_generation_call", "reasoning"] = "message"
    id: Text | None = None
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: Text | list[ContentPart] | None = None
    status: str | None = None
    result: str | None = Field(default=None, description="of a picture: its base64, which need not be sent back")
    revised_prompt: LongText | None = None

    @model_validator(mode="after")
    def _check_role(self) -> "InputItem":
        if self.type == "message" and self.role is None:
            raise ValueError("a message has a role; send user, assistant, system or developer")
        return self


class ImageTool(BaseModel):
    """How pictures are painted that the assistant wants."""

    model_config = ConfigDict(extra="ignore")

    type: Text = Field(description="image_generation; another one is refused, or passed over with --ignore-tools")
    size: Size | None = None
    output_format: OutputFormat | None = None
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = None
    partial_images: Annotated[int, Field(ge=0, le=3)] | None = None
    background: Literal["auto", "opaque"] | None = None
    input_image_mask: ImageAddress | None = Field(
        None, description="of the first picture of the last message: transparent is painted anew"
    )

    @property
    def mask_url(self) -> str | None:
        """Where the mask is, if there is one."""
        return None if self.input_image_mask is None else self.input_image_mask.image_url


class TextConfig(BaseModel):
    """How the words come."""

    model_config = ConfigDict(extra="allow")

    format: TextForm | None = None


class ResponsesRequest(PaintingParams, Unused, NotServed):  # type: ignore[misc,valid-type]  # by tables
    """What is said, and whether pictures may come of it."""

    model: ModelName | None = Field(default=None, description="of /v1/models; left out: the assistant")
    input: (
        Annotated[LongText, Field(min_length=1)]
        | Annotated[list[InputItem], Field(min_length=1, max_length=MAX_MESSAGES)]
    )
    instructions: LongText | None = None
    tools: list[ImageTool] | None = Field(
        None, max_length=128, description="without image_generation nothing is painted"
    )
    tool_choice: Any = Field("auto", description='auto, none, required or {"type": "image_generation"}')
    stream: bool | None = False
    store: bool | None = Field(default=True, description="kept for previous_response_id, until room is needed")
    previous_response_id: Annotated[Text, Field(max_length=200)] | None = None
    max_output_tokens: Annotated[int, Field(ge=1, le=LONGEST_ANSWER), NUMBER] | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False), NUMBER] | None = None
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False), NUMBER] | None = None
    metadata: dict[str, Text] | None = None
    text: TextConfig | None = Field(default=None, description='{"format": {"type": "text"}}')

    @model_validator(mode="before")
    @classmethod
    def _check_served(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        form = values.get("text")
        form = form.get("format") if isinstance(form, dict) else None
        if isinstance(form, dict) and form.get("type") != "text":
            raise ValueError("only text of the format 'text' is served here")
        if values.get("tool_choice") == "required" and not values.get("tools"):
            raise ValueError("tool_choice 'required' was sent without tools; send them, or leave it out")
        return values

    @property
    def image_tool(self) -> ImageTool | None:
        """The tool that paints; None where nothing may be painted."""
        if self.tool_choice == "none":
            return None
        return next((tool for tool in self.tools or () if tool.type == "image_generation"), None)

    @property
    def must_paint(self) -> bool:
        """Whether the answer has to hold a picture."""
        wanted = self.tool_choice.get("type") if isinstance(self.tool_choice, dict) else self.tool_choice
        return self.image_tool is not None and wanted in ("required", "image_generation")


class OutputText(BaseModel):
    """Words of the assistant."""

    type: Literal["output_text"] = "output_text"
    text: str = ""
    annotations: list[Any] = []
    logprobs: list[Any] = []


class OutputRefusal(BaseModel):
    """Why a picture could not be painted."""

    type: Literal["refusal"] = "refusal"
    refusal: str


class MessageItem(BaseModel):
    """What the assistant said between pictures."""

    type: Literal["message"] = "message"
    id: str
    role: Literal["assistant"] = "assistant"
    status: Literal["in_progress", "completed", "incomplete"] = "in_progress"
    content: list[OutputText | OutputRefusal] = []


class ImageItem(ExcludeNoneModel):
    """A picture."""

    nullable: ClassVar[tuple[str, ...]] = ("result",)

    type: Literal["image_generation_call"] = "image_generation_call"
    id: str
    status: Literal["in_progress", "generating", "completed", "failed"] = "in_progress"
    result: str | None = Field(default=None, description="base64 of the file")
    revised_prompt: str | None = None
    size: str | None = None
    output_format: OutputFormat | None = None
    background: str | None = None
    quality: str | None = None
    seed: int | None = None


class InputDetails(BaseModel):
    """Of the tokens that were read."""

    cached_tokens: int = 0
    cache_write_tokens: int = 0


class OutputDetails(BaseModel):
    """Of the tokens that were written."""

    reasoning_tokens: int = 0


class ResponseUsage(BaseModel):
    """Tokens of the language model."""

    input_tokens: int = 0
    input_tokens_details: InputDetails = InputDetails()
    output_tokens: int = 0
    output_tokens_details: OutputDetails = OutputDetails()
    total_tokens: int = 0


class Incomplete(BaseModel):
    """Why an answer has no end."""

    reason: Literal["max_output_tokens", "content_filter"]


class ResponseObject(BaseModel):
    """An answer."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    status: Literal["in_progress", "completed", "incomplete"] = "in_progress"
    model: str
    output: list[MessageItem | ImageItem] = []
    usage: ResponseUsage | None = None
    error: None = None
    incomplete_details: Incomplete | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    metadata: dict[str, str] = {}
    parallel_tool_calls: bool = False
    previous_response_id: str | None = None
    store: bool = True
    temperature: float | None = None
    text: dict[str, Any] = {"format": {"type": "text"}}
    tool_choice: Any = "auto"
    tools: list[dict[str, Any]] = []
    top_p: float | None = None
    truncation: str = "disabled"


class DeletedResponse(BaseModel):
    """That an answer is forgotten."""

    id: str
    object: Literal["response"] = "response"
    deleted: bool = True


class GivenItem(ExcludeNoneModel):
    """An item of what was said to the assistant."""

    type: Literal["message", "image_generation_call", "reasoning"]
    id: str
    status: Literal["completed"] = "completed"
    role: str | None = None
    content: list[ContentPart] | None = None
    result: str | None = None
    revised_prompt: str | None = None


class GivenItems(BaseModel):
    """A page of such items."""

    object: Literal["list"] = "list"
    data: list[GivenItem]
    first_id: str | None
    last_id: str | None
    has_more: bool

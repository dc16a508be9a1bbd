"""A multimodal language model with everything that turns a conversation into its inputs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from llmga.errors import UserError
from llmga.images import pad_square, stretch_square
from llmga.llava.backbones import BACKBONES, Backbone, published_type
from llmga.llava.conversation import IMAGE_MARKER, Conversation
from llmga.llava.modeling import LlmgaForConditionalGeneration
from llmga.llava.templates import TEMPLATES, ChatTemplate
from llmga.llava.tokenization import Encoded, encode
from llmga.llava.towers import ImageProcessor, side_in_pixels
from llmga.registry import Registry

PICTURE_MARKS = ("<im_start>", "<im_end>")
_LARGEST_SQUARE = 2048  # a very long picture never becomes a square of its longer side


def _padded(image: Image.Image, side: int, mean: list[float]) -> Image.Image:
    image = image.copy()
    image.thumbnail((_LARGEST_SQUARE, _LARGEST_SQUARE))
    red, green, blue = (int(channel * 255) for channel in mean)
    return pad_square(image, (red, green, blue))


ASPECTS: Registry[Callable[[Image.Image, int, list[float]], Image.Image]] = Registry(
    "image aspect",
    {
        "stretch": lambda image, side, mean: stretch_square(image, side),
        "square_resize": lambda image, side, mean: stretch_square(image, min(max(image.size), _LARGEST_SQUARE)),
        "train512": lambda image, side, mean: stretch_square(image, 512),
        "pad": _padded,
        "plain": lambda image, side, mean: image,  # the processor crops the middle
    },
)


def _check_pictures(markers: int, pictures: int) -> None:
    if markers != pictures:
        raise UserError(
            f"the conversation has {markers} picture markers {IMAGE_MARKER!r} but {pictures} pictures; "
            "give one picture for each marker, or leave the markers out."
        )


@dataclass
class Mllm:
    """Everything that turns a conversation into ids and ids into words.

    Attributes:
        template: the chat format, the row `conv_mode` of TEMPLATES.
        image_aspect: how a picture becomes a square for the vision tower, a row of ASPECTS.
        context_length: the longest sequence in tokens, pictures included.
        stop_ids: the ids that end an answer.
        word_boundary: prompts are encoded with the word-boundary token that training has where the family's row says
            so.  The published models of that family were trained with it and are served without.
        marks_pictures: each picture stands between <im_start> and <im_end>.
        taught_turns: how many turns the longest conversation had that it learnt from; of a longer one it is shown so
            many (`llmga.llava.windows`).  None, as of every published model, shows all that fit.
    """

    model: LlmgaForConditionalGeneration
    tokenizer: PreTrainedTokenizerBase
    image_processor: ImageProcessor
    conv_mode: str
    context_length: int
    image_aspect: str = "stretch"
    stop_ids: frozenset[int] = frozenset()
    word_boundary: bool = False
    marks_pictures: bool = False
    taught_turns: int | None = None

    @property
    def template(self) -> ChatTemplate:
        """The chat format."""
        return TEMPLATES[self.conv_mode]

    @property
    def backbone(self) -> Backbone:
        """The row of the text model's family."""
        return BACKBONES[published_type(self.model.config.text_config.model_type)]

    @property
    def image_token_id(self) -> int:
        """The id that stands wherever a picture is."""
        return self.model.config.image_token_id

    @property
    def tokens_per_image(self) -> int:
        """How often it stands there for one picture."""
        return self.model.config.image_seq_length

    @property
    def device(self) -> torch.device:
        """Where inputs go; of a model that is spread, the first device that computes."""
        spread = getattr(self.model, "hf_device_map", None) or {}
        if len(spread) < 2 and "disk" not in spread.values():
            return self.model.device
        return torch.device(next((place for place in spread.values() if str(place) not in ("cpu", "disk")), "cpu"))

    def to(self, device: torch.device, dtype: torch.dtype) -> "Mllm":
        """Move the model there."""
        nn.Module.to(self.model, device, dtype)
        return self

    def encode(self, conversation: Conversation, open_turn: bool = False, begun: str = "") -> Encoded:
        """Ids and labels of a conversation; `open_turn` ends with the assistant's header, for the model to go on.

        Args:
            begun: the first words of the open turn's reply.

        Raises:
            UserError: when there are not as many pictures as markers.
        """
        rendered = self.template.render(self.marked(conversation), open_turn, begun)
        _check_pictures(rendered.text.count(IMAGE_MARKER), len(conversation.images()))
        return encode(rendered, self.tokenizer, self.image_token_id, self.tokens_per_image, self.slow(open_turn))

    def slow(self, open_turn: bool) -> bool:
        """Whether pieces begin as the slow tokenizer began them (`tokenization.encode`)."""
        return self.word_boundary or not self.backbone.word_boundary or not open_turn

    def marked(self, conversation: Conversation) -> Conversation:
        """The conversation with the tokens around each picture marker that this model was trained with, if any."""
        if not self.marks_pictures:
            return conversation
        between = IMAGE_MARKER.join(PICTURE_MARKS)
        told = (replace(turn, text=turn.marked_text().replace(IMAGE_MARKER, between)) for turn in conversation.messages)
        return replace(conversation, messages=tuple(told))

    def pixel_values(self, images: Sequence[Image.Image]) -> Tensor:
        """Pictures of any size -> float (n, 3, side, side), as the vision tower reads them, on the CPU."""
        side = side_in_pixels(self.model.config.vision_config.image_size)
        if not images:
            return torch.zeros(0, 3, side, side)
        square = ASPECTS[self.image_aspect]
        squares = [square(image.convert("RGB"), side, self.image_processor.image_mean) for image in images]
        return self.image_processor(squares, return_tensors="pt")["pixel_values"].float()

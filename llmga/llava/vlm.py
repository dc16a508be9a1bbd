"""Any vision-language model of transformers: what AutoProcessor and AutoModelForImageTextToText open."""

from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from jinja2.exceptions import TemplateError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

from llmga.errors import UserError, reason
from llmga.llava import checkpoints
from llmga.llava.conversation import Conversation, Message
from llmga.llava.instructions import PLANNING
from llmga.llava.paths import find_checkpoint
from llmga.llava.placement import Placement, placement
from llmga.llava.published import DEFAULT_CONTEXT
from llmga.llava.slow_tokenizers import CONFIG, FAST, match_slow_tokenizer
from llmga.llava.templates import TEMPLATES, ChatTemplate
from llmga.llava.vocabulary import load_tokenizer
from llmga.llava.weights import check_loaded
from llmga.processors import without_films
from llmga.quiet import quiet

_BROKEN: tuple[type[Exception], ...] = (
    *(OSError, EOFError, ValueError, KeyError, TypeError, ImportError, AttributeError),
    *(SafetensorError, UnpicklingError),
)

Parts = list[dict[str, Any]]


@dataclass(frozen=True)
class Vlm:
    """A model with its processor, whose chat template writes the conversation out.

    Attributes:
        folder: for messages.
        system: the system text of a conversation that has none: it teaches the <gen_image> tag to a model that was not
            trained on it.
        takes_system: the chat template has a place for the system text; otherwise it opens the first message.
        template: what stands around a reply in the ids.
        stop_ids: the ids that end an answer.
        context_length: the longest sequence in tokens, pictures included.
    """

    model: PreTrainedModel
    processor: ProcessorMixin
    folder: Path
    system: str
    takes_system: bool
    template: ChatTemplate
    stop_ids: frozenset[int]
    context_length: int

    def inputs(self, conversation: Conversation) -> dict[str, Any]:
        """What the model reads, `input_ids` (1, tokens) and the pictures, on the model's device.

        Raises:
            UserError: when the chat template does not take this conversation.
        """
        try:
            found: Any = self.processor.apply_chat_template(
                self._messages(conversation),
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
            )
        except TemplateError as problem:
            raise UserError(f"the chat template of {str(self.folder)!r} refuses: {reason(problem)}.") from None
        return dict(found.to(self.model.device, dtype=self.model.dtype))  # only floats change their format

    def _messages(self, conversation: Conversation) -> list[dict[str, Any]]:
        system = self.system if conversation.system is None else conversation.system
        messages = [{"role": message.role, "content": _content(message)} for message in conversation.messages]
        if not system:
            return messages
        told = {"type": "text", "text": system}
        if self.takes_system:
            return [{"role": "system", "content": [told]}, *messages]
        first, *others = messages
        return [first | {"content": [told | {"text": f"{system}\n\n"}, *first["content"]]}, *others]


def _content(message: Message) -> Parts:
    return [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "image": part}
        for part in message.parts()
    ]


def load_vlm(path: str | Path, **place: Any) -> Vlm:
    """Open a folder in transformers' own layout; code inside it is not run.

    Args:
        path: a folder, the name of one below checkpoints/, or an id of the hub.
        place: as for `llmga.llava.loading.load_mllm`.

    Raises:
        UserError: for a folder that lacks something, a model that reads no pictures, or one without a chat template.
    """
    folder, where = find_checkpoint(path), placement(**place)
    config = checkpoints.read_json(folder, "config.json")
    processor = _processor(folder)
    model = _model(folder, config, where)
    mode, tokenizer = config.get("conversation_mode"), processor.tokenizer
    return Vlm(
        model=model.eval(),
        processor=processor,
        folder=folder,
        system="" if mode else PLANNING,
        takes_system=_takes_system(processor),
        template=TEMPLATES[mode] if mode else ChatTemplate("", "", "", "", "", tokenizer.eos_token or "</s>"),
        stop_ids=_stop_ids(model, tokenizer.eos_token_id),
        context_length=_context_length(model, tokenizer.model_max_length),
    )


@quiet()
def _processor(folder: Path) -> ProcessorMixin:
    """Raises: UserError."""
    try:
        processor = _processor_class(folder).from_pretrained(
            folder, backend="pil", local_files_only=True, trust_remote_code=False
        )
    except _BROKEN as problem:
        raise UserError(f"{str(folder)!r} has no processor that can be opened here ({reason(problem)}).") from None
    if not isinstance(processor, ProcessorMixin):
        raise UserError(f"{str(folder)!r} has a processor for words only; give a vision-language model.")
    if not processor.chat_template:
        raise UserError(f"{str(folder)!r} has no chat template; add its chat_template.jinja, or give a chat model.")
    processor.tokenizer = _tokenizer(processor, folder)
    return processor


def _tokenizer(processor: ProcessorMixin, folder: Path) -> PreTrainedTokenizerBase:
    """The processor's own; of a tokenizer.model alone the library makes one for LLaVA that knows no word boundary.

    Raises:
        UserError: when it would give other ids than its files say.
    """
    named = checkpoints.read_json(folder, CONFIG).get("tokenizer_class") if (folder / CONFIG).is_file() else None
    if str(named).startswith("LlamaTokenizer") and not (folder / FAST).is_file():
        return load_tokenizer(folder)
    return match_slow_tokenizer(processor.tokenizer, folder)


def _processor_class(folder: Path) -> Any:
    """What has `from_pretrained`: AutoProcessor, or the processor without its part for films, which needs torchvision
    and would fail."""
    known: Any = PROCESSOR_MAPPING.get(
        type(AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)), None
    )
    own = known and without_films(known)
    return AutoProcessor if own is known else own


@quiet()
def _model(folder: Path, config: checkpoints.ConfigDict, where: Placement) -> PreTrainedModel:
    """Raises: UserError."""
    try:
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            **where.options(),
        )
    except _BROKEN as problem:
        kind, why = config.get("model_type"), reason(problem)
        raise UserError(
            f"{str(folder)!r}, a model of type {kind!r}, cannot be opened ({why}); give a folder of ours, or of a "
            "vision-language model that transformers knows."
        ) from None
    model, found = loaded
    check_loaded(found, folder, ("missing_keys", "mismatched_keys"))
    return model


def _takes_system(processor: ProcessorMixin) -> bool:
    """Some templates refuse a system message, others leave it out without a word."""
    probe = "llmga-system"
    messages = [("system", probe), ("user", "hello")]
    try:
        told: list[Any] = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in messages]
        return probe in processor.apply_chat_template(told, tokenize=False)
    except TemplateError:
        return False


def _stop_ids(model: PreTrainedModel, own: int | None) -> frozenset[int]:
    named = model.generation_config.eos_token_id
    listed = named if isinstance(named, list) else [named]
    return frozenset(token for token in (*listed, own) if token is not None)


def _context_length(model: PreTrainedModel, of_tokenizer: int) -> int:
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None) or DEFAULT_CONTEXT
    return min(positions, of_tokenizer)  # a tokenizer without a limit names an enormous one

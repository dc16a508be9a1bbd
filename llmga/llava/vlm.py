"""Any vision-language model of transformers: what AutoProcessor and AutoModelForImageTextToText open."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

from llmga.errors import UserError, reason
from llmga.llava import checkpoints
from llmga.llava.chat_form import UNREADABLE, ChatForm, Messages, form_of
from llmga.llava.conversation import Conversation, Message
from llmga.llava.foreign_folders import check_folder
from llmga.llava.instructions import PLANNING
from llmga.llava.paths import find_checkpoint
from llmga.llava.placement import placement
from llmga.llava.processors import open_processor as _processor
from llmga.llava.published import DEFAULT_CONTEXT
from llmga.llava.templates import TEMPLATES, ChatTemplate
from llmga.llava.vlm_weights import read_vlm

_PLACES = ("image_token", "video_token", "audio_token", "boi_token", "context_image_token")  # of processors
_BEGUN = "llmga_begun"  # the name of a variable in a chat template


@dataclass(frozen=True)
class Vlm:
    """A model with its processor, whose chat template writes the conversation out.

    Attributes:
        folder: for messages.
        system: the system text of a conversation that has none: it teaches the <gen_image> tag to a model that was not
            trained on it.
        form: how the chat template wants its messages.
        marks: what a person writes can be kept from marking a role or a picture.
        template: what stands around a reply in the ids.
        stop_ids: the ids that end an answer.
        context_length: the longest sequence in tokens, pictures included.
    """

    model: PreTrainedModel
    processor: ProcessorMixin
    folder: Path
    system: str
    form: ChatForm
    marks: bool
    template: ChatTemplate
    stop_ids: frozenset[int]
    context_length: int

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The processor's."""
        return self.processor.tokenizer

    @property
    def image_token_id(self) -> int | None:
        """The id that stands wherever a picture is; None where the model has none."""
        return getattr(self.model.config, "image_token_id", None)

    def inputs(self, conversation: Conversation, begun: str = "") -> dict[str, Any]:
        """What the model reads, `input_ids` (1, tokens) and the pictures, on the model's device.

        Args:
            begun: the first words of the reply, which the model is to go on with.

        Raises:
            UserError: when the chat template or the processor does not take this conversation.
        """
        found = self._applied(
            conversation,
            begun,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            sanitize_control_tokens=self.marks,
        )
        return dict(found.to(self.model.device, dtype=self.model.dtype))  # only floats change their format

    def opened(self, conversation: Conversation) -> str:
        """The text in which the model reads the conversation, up to where its reply begins."""
        text: str = self._applied(conversation, "", tokenize=False)
        return text

    def head(self, begun: str) -> str:
        """The first words of a reply as the model writes them."""
        return begun and self.template.reply_head + begun

    def _applied(self, conversation: Conversation, begun: str, **how: Any) -> Any:
        system = self.system if conversation.system is None else conversation.system
        messages = self.form.messages(conversation.messages, system)
        processor: Any = self.processor  # of one chat template, which writes what is begun, too
        template = f"{processor.chat_template.removesuffix(chr(10))}{{{{ {_BEGUN} }}}}"
        try:
            return processor.apply_chat_template(
                messages, chat_template=template, add_generation_prompt=True, **{_BEGUN: begun}, **how
            )
        except UNREADABLE as problem:
            raise _refused(self.folder, problem) from None


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
    check_folder(folder)
    processor = _processor(folder)
    model = read_vlm(folder, where)
    form = _form(processor, folder)
    model.generation_config = _written_by_us(model.generation_config)
    mode, tokenizer = config.get("conversation_mode"), processor.tokenizer
    return Vlm(
        model=model.eval(),
        processor=processor,
        folder=folder,
        system="" if mode else PLANNING,
        form=form,
        marks=not mode and _marks(processor, form),
        template=TEMPLATES[mode] if mode else _around_replies(form, tokenizer),
        stop_ids=_stop_ids(model, tokenizer, form.end),
        context_length=_context_length(model, tokenizer.model_max_length),
    )


def _form(processor: ProcessorMixin, folder: Path) -> ChatForm:
    """Raises: UserError."""

    def render(messages: Messages, opens: bool) -> str:
        text: str = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=opens)
        return text

    places = {getattr(part, name, None) for part in (processor, processor.tokenizer) for name in _PLACES}
    try:
        return form_of(render, frozenset(place for place in places if isinstance(place, str)))
    except UNREADABLE as problem:
        raise _refused(folder, problem) from None


def _refused(folder: Path, problem: Exception) -> UserError:
    return UserError(f"the chat template of {str(folder)!r} refuses: {reason(problem)}.")


def _marks(processor: ProcessorMixin, form: ChatForm) -> bool:
    """Whether the processor can tell its tokens from the same letters in what a person writes."""
    seen = Message("user", "", (Image.new("RGB", (64, 64)),))
    try:
        processor.apply_chat_template(
            form.messages([seen], ""), tokenize=True, return_dict=True, sanitize_control_tokens=True
        )
    except (*UNREADABLE, NotImplementedError):
        return False
    return True


def _around_replies(form: ChatForm, tokenizer: PreTrainedTokenizerBase) -> ChatTemplate:
    return ChatTemplate("", "", "", "", "", tokenizer.eos_token or "</s>", reply_head=form.head)


def _stop_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, end: str) -> frozenset[int]:
    """What the model's files name, and the token that the chat template writes after an answer."""
    named = model.generation_config.eos_token_id
    listed = named if isinstance(named, list) else [named]
    after = tokenizer(end.strip(), add_special_tokens=False)["input_ids"][:1]
    ends = [token for token in after if token in tokenizer.all_special_ids]
    return frozenset(token for token in (*listed, tokenizer.eos_token_id, *ends) if token is not None)


def _written_by_us(config: GenerationConfig) -> GenerationConfig:
    """Of how a folder wants its model to write, what belongs to the weights; how to choose is `Sampling`'s, and a kind
    of cache that it names would stand against ours."""
    kept = ("bos_token_id", "eos_token_id", "pad_token_id", "repetition_penalty")
    return GenerationConfig(**{name: getattr(config, name, None) for name in kept})


def _context_length(model: PreTrainedModel, of_tokenizer: int) -> int:
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None) or DEFAULT_CONTEXT
    return min(positions, of_tokenizer)  # a tokenizer without a limit names an enormous one

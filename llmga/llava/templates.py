"""A chat format is a row; one renderer serves training and inference.

The texts are wire constants: the published weights were trained on exactly these bytes, oddities included.
"""

from dataclasses import dataclass

from llmga.errors import UserError
from llmga.llava.conversation import IMAGE_MARKER, Conversation, Message
from llmga.registry import Registry

SYSTEM = "{system}"  # its place in an opening
NO_PLACE = "this model's chat format has no place for a system text"


@dataclass(frozen=True)
class Rendered:
    """A conversation as one text.

    Attributes:
        text: with "<image>" where pictures are seen, without the begin token, which the tokenizer adds.
        assistant_spans: [start, end) in characters of what the assistant says in each of its turns: everything after
            its header up to and with its end marker, hence exactly what a model has to write.
    """

    text: str
    assistant_spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class ChatTemplate:
    """What stands around the words of each speaker.

    Attributes:
        system: the default system text.
        opening: everything before the first user's words; "{system}" is replaced.  One without it has no place for a
            system text.
        user_head: before the words of every later user turn.
        user_tail: after the user's words.
        assistant_head: the header that opens the assistant's turn.
        reply_head: what the model writes before its words.
        reply_tail: what the model writes after its words: its end marker, supervised in training.
        assistant_tail: after the end marker, not written by the model.
        drops_user_text: in training, the user's words give way to the picture markers alone.
    """

    system: str
    opening: str
    user_head: str
    user_tail: str
    assistant_head: str
    reply_tail: str
    reply_head: str = ""
    assistant_tail: str = ""
    drops_user_text: bool = False

    def render(self, conversation: Conversation, open_turn: bool = False, begun: str = "") -> Rendered:
        """Write the conversation out; `open_turn` ends with the assistant's header, for the model to go on.

        Roles may come in any order; an assistant who speaks first answers an empty message.

        Args:
            begun: the first words of the open turn's reply, which the model is to complete.

        Raises:
            UserError: for a system text that this format has no place for.
        """
        system = self.system if conversation.system is None else conversation.system
        if system and not self.places_system:
            raise UserError(f"{NO_PLACE} (it says {system[:60]!r}); leave it out, or say it in the first message.")
        text, spans = self.opening.replace(SYSTEM, system), []
        for index, message in enumerate(_from_the_user_on(conversation.messages)):
            if message.role == "user":
                text += self._user(message, first=index == 0, training=not open_turn)
            else:
                start = len(text) + len(self.assistant_head)
                reply = self.reply_head + message.text + self.reply_tail
                text += self.assistant_head + reply + self.assistant_tail
                spans.append((start, start + len(reply)))
        opened = self.assistant_head + (begun and self.reply_head + begun) if open_turn else ""
        return Rendered(text + opened, tuple(spans))

    @property
    def places_system(self) -> bool:
        """Whether a system text can be told."""
        return SYSTEM in self.opening

    def _user(self, message: Message, *, first: bool, training: bool) -> str:
        head, words = "" if first else self.user_head, message.marked_text()
        if self.drops_user_text and training:
            return head + IMAGE_MARKER * words.count(IMAGE_MARKER)
        return head + words + self.user_tail


def _from_the_user_on(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    return (Message("user", ""), *messages) if messages and messages[0].role == "assistant" else messages


_CURIOUS = (
    "A chat between a curious {who} and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the {who}'s questions."
)
_CURIOUS_USER = _CURIOUS.format(who="user")
_CURIOUS_HUMAN = _CURIOUS.format(who="human")
_SEES = (
    "You are able to understand the visual content that the user provides, "
    "and assist the user with a variety of tasks using natural language."
)
_LANGUAGE_AND_VISION = f"You are a helpful language and vision assistant. {_SEES}"
_MMTAG = (
    "A chat between a curious user and an artificial intelligence assistant. "
    f"{_SEES.replace('You are', 'The assistant is')}"
    "The visual content will be provided with the following format: <Image>visual content</Image>."
)
_HONEST = "A conversation between a user and an LLM-based AI assistant. The assistant gives helpful and honest answers."
_LLAMA_2_SAFE = (
    "You are a helpful, respectful and honest assistant. Always answer as helpfully as possible, while being safe.  "
    "Your answers should not include any harmful, unethical, racist, sexist, toxic, dangerous, or illegal content. "
    "Please ensure that your responses are socially unbiased and positive in nature.\n\n"
    "If a question does not make any sense, or is not factually coherent, explain why instead of answering something "
    "not correct. If you don't know the answer to a question, please don't share false information."
)
_LLMGA = (
    "You are LLMGA, a useful language and vision generation assistant. You can generate images according to the "
    "user's requirements. If the user wants you to inpaint or outpaint images, please imagine what is in the black "
    "mask parts of the image. If image generation is required, please provide a detailed description of the generated "
    "images in the form of <gen_image> DETAILED DESCRIPTION </gen_image>."
)


def _vicuna(system: str) -> ChatTemplate:
    return ChatTemplate(system, "{system} USER: ", "USER: ", " ", "ASSISTANT:", "</s>", reply_head=" ")


def _human(system: str) -> ChatTemplate:
    return ChatTemplate(system, "{system}###Human: ", "Human: ", "###", "Assistant:", "###", reply_head=" ")


def _llama_2(system: str) -> ChatTemplate:
    opening = "[INST] <<SYS>>\n{system}\n<</SYS>>\n\n"
    return ChatTemplate(system, opening, "<s>[INST] ", " [/INST]", "", " </s>", reply_head=" ")


def _chatml(system: str) -> ChatTemplate:
    # No newline after <|im_end|>, unlike the official Qwen2 template.
    user, end = "<|im_start|>user\n", "<|im_end|>"
    return ChatTemplate(system, "<|im_start|>system\n{system}" + end + user, user, end, "<|im_start|>assistant\n", end)


def _llama_3(system: str) -> ChatTemplate:
    # The assistant's header says "system": the weights learned it so.
    head, end = "<|start_header_id|>{}<|end_header_id|>\n\n", "<|eot_id|>"
    user, other = head.format("user"), head.format("system")
    return ChatTemplate(system, other + "{system}" + end + user, user, end, other, end)


_GEMMA_USER = "<start_of_turn>user\n"
_GEMMA_MODEL, _GEMMA_END = "<start_of_turn>model\n", "<end_of_turn>\n"
_GEMMA = ChatTemplate("", SYSTEM + _GEMMA_USER, _GEMMA_USER, _GEMMA_END, _GEMMA_MODEL, f"{_GEMMA_END}<eos>")
_PHI_3 = ChatTemplate("", "<|user|>\n", "<|user|>\n", "<|end|>\n", "<|assistant|>\n", "<|end|>", assistant_tail="\n")
_PLAIN = ChatTemplate("", SYSTEM, "", "\n", "", "\n", drops_user_text=True)

TEMPLATES: Registry[ChatTemplate] = Registry(
    "conversation mode",
    {
        "v1": _vicuna(_CURIOUS_USER),
        "vicuna_v1": _vicuna(_CURIOUS_USER),
        "llava_v1": _vicuna(_CURIOUS_HUMAN),
        "v1_mmtag": _vicuna(_MMTAG),
        "llava_v0": _human(_CURIOUS_HUMAN),
        "v0_mmtag": _human(_MMTAG),
        "llama_2": _llama_2(_LLAMA_2_SAFE),
        "llava_llama_2": _llama_2(_LLMGA),
        "mistral_instruct": _llama_2(""),
        "llama_3": _llama_3(_LANGUAGE_AND_VISION),
        "qwen_2": _chatml(_HONEST),
        "mpt": _chatml(_HONEST),
        "chatml_direct": _chatml("Answer the questions."),
        "mistral_direct": _chatml("Answer the questions."),
        "gemma": _GEMMA,
        "phi_3": _PHI_3,
        "plain": _PLAIN,
        "v0_plain": _PLAIN,
    },
)

_MODE_OF_NAME = {  # first match wins
    "llama-2": "llava_llama_2",
    "llama3": "llama_3",
    "gemma": "gemma",
    "qwen2": "qwen_2",
    "phi-3": "phi_3",
    "mistral": "mistral_instruct",
    "v1.6-34b": "chatml_direct",
    "v1": "llava_v1",
    "mpt": "mpt",
}


def conversation_mode(folder_name: str) -> str:
    """The mode of a published checkpoint, whose config does not store it, from a part of its folder's name."""
    name = folder_name.lower()
    return next((mode for part, mode in _MODE_OF_NAME.items() if part in name), "llava_v0")

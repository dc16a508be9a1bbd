"""Tokenizer, picture processor and chat template of a folder for other engines: the same ids and pixels as ours."""

import json
import re
from collections.abc import Callable
from dataclasses import asdict
from importlib.resources import files
from typing import Any

from PIL.Image import Resampling
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from llmga.errors import UserError
from llmga.llava.conversation import IMAGE_MARKER
from llmga.llava.mllm import Mllm
from llmga.llava.sentencepieces import WORD_BOUNDARY
from llmga.llava.templates import NO_PLACE, ChatTemplate
from llmga.llava.tokenization import joins_after_markers
from llmga.registry import Registry

ASPECTS: Registry[Callable[[dict[str, Any]], dict[str, Any]]] = Registry(
    "image aspect of transformers' LLaVA",
    {
        "stretch": lambda side: {"size": side, "resample": Resampling.LANCZOS, "do_center_crop": False},
        "pad": lambda side: {"do_pad": True},
        "plain": lambda side: {},
    },
)


def hf_image_processor(mllm: Mllm) -> LlavaImageProcessorPil:
    """Pictures to squares as the model wants them.

    Raises:
        UserError: for a way that the library's processor does not know.
    """
    own = {key: value for key, value in mllm.image_processor.to_dict().items() if key != "image_processor_type"}
    known = {"do_center_crop": False} | own  # SigLIP's does not crop, and so does not say it
    side = dict.fromkeys(("height", "width"), mllm.model.config.vision_config.image_size)
    return LlavaImageProcessorPil(**known | ASPECTS[mllm.image_aspect](side))


def begins(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer puts a begin token in front of a text."""
    return tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id


def hf_tokenizer(mllm: Mllm) -> PreTrainedTokenizerFast:
    """The model's tokenizer with the image token; the model's own stays as it is.

    We tokenise each piece between two pictures on its own.  A tokenizer that marks only the first word of a text as a
    word (sentencepiece's dummy prefix) would not mark the first word after a picture: there the mark becomes a rule
    about the beginning of a piece, as a normalizer sees it.

    Raises:
        UserError: for the tokenizer of 2023, which such rules cannot describe.
    """
    known = mllm.tokenizer
    if joins_after_markers(known):
        raise UserError(
            "transformers' layout cannot tell how the tokenizer of 2023 reads the word after <gen_image>, so that "
            "other engines would read other ids; serve this model with python -m llmga.serve.openai_api."
        )
    backend = json.loads(known.backend_tokenizer.to_str())
    marking = backend["pre_tokenizer"] or {}
    if marking.get("prepend_scheme") == "first":
        rule = _piece_begins(known, [entry["content"] for entry in backend["added_tokens"]], mllm.slow(open_turn=True))
        backend["pre_tokenizer"] = marking | {"prepend_scheme": "never"}
        backend["normalizer"] = {"type": "Replace", "pattern": {"Regex": rule}, "content": WORD_BOUNDARY}
        backend["added_tokens"] = [entry | {"normalized": True} for entry in backend["added_tokens"]]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(backend)), **_names(known))
    tokenizer.add_tokens([IMAGE_MARKER], special_tokens=True)
    return tokenizer


def _piece_begins(tokenizer: PreTrainedTokenizerBase, added: list[str], slow: bool) -> str:
    """Where sentencepiece's mark is put: before a piece that does not open with an added token.

    A piece may follow a written begin token.  The fast tokenizer puts none before a space, either.  With the slow one
    the tokens without a role do not count; alone, as the tokenizer looks at them when it learns how they are spelt,
    they stay as they are.
    """
    roles = [token for token in added if token in tokenizer.all_special_tokens]
    others = [re.escape(token) for token in added if token not in roles]
    no = [rf"{token}\z" for token in others] if slow else [*others, f"[ {WORD_BOUNDARY}]"]
    before = "|".join([*map(re.escape, roles), *no, r"\z"])
    begin = tokenizer.bos_token
    return rf"(?:(?<=\A{re.escape(begin)})|\A)(?!{before})" if begin else rf"\A(?!{before})"


def _names(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """What the tokenizer's own config says about its tokens and its limits."""
    kept = ("bos_token", "eos_token", "unk_token", "pad_token", "padding_side", "model_max_length")
    return {name: getattr(tokenizer, name) for name in kept if getattr(tokenizer, name) is not None} | {
        "clean_up_tokenization_spaces": False
    }


def jinja_template(template: ChatTemplate, *, begins: bool = False, picture: str = IMAGE_MARKER) -> str:
    """A Jinja chat template that renders the messages of an OpenAI-style request as `template.render` does.

    Without `add_generation_prompt` it is the text that training sees.

    Args:
        begins: the tokenizer puts a begin token in front; other engines expect the template to write it.
        picture: what a picture's place looks like; it holds "<image>".
    """
    no_place = "" if template.places_system else f"{NO_PLACE}; say it in the first message"
    form = asdict(template) | {"begins": begins, "picture": picture, "no_place": no_place}
    source = files(__package__).joinpath("chat_template.jinja").read_text("utf-8")
    return "{%- set form = " + json.dumps(form) + " -%}\n" + source  # a JSON object is a Jinja literal

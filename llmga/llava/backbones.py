"""One row per family of language models: how a published config becomes a text config of transformers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from transformers import AutoConfig, PretrainedConfig

from llmga.errors import UserError
from llmga.registry import Registry

ConfigDict = dict[str, Any]

_NOT_OF_THE_TEXT_MODEL = ("mm_", "tune_mm", "freeze_mm", "use_mm", "image_", "tokenizer_", "conversation_mode")
_BOOKKEEPING = ("model_type", "architectures", "transformers_version", "auto_map", "_name_or_path")


@dataclass(frozen=True)
class Backbone:
    """A family of language models.

    Attributes:
        text_type: the model_type of the text model in transformers.
        architecture: the class name that published configs carry.
        adapt: changes the published settings where the libraries moved on.
        picture_scale: what multiplies the projector's output, from the text config.
        word_boundary: training put a word-boundary token before the first marker (`tokenization.encode`).
        short_length: the longest sequence whose positions turn by the first angles; in a longer one all of them turn by
            others, so that no cached key outlives the change.  None: they never change.
    """

    text_type: str
    architecture: str
    adapt: Callable[[ConfigDict], ConfigDict] = lambda settings: settings
    picture_scale: Callable[[PretrainedConfig], float] = lambda config: 1.0
    word_boundary: bool = False
    short_length: Callable[[PretrainedConfig], int | None] = lambda config: None

    def text_config(self, published: ConfigDict) -> PretrainedConfig:
        """The text model's part of a flat published config."""
        own = {key: value for key, value in published.items() if _of_the_text_model(key)}
        return AutoConfig.for_model(self.text_type, **self.adapt(own))


def _of_the_text_model(key: str) -> bool:
    return key not in _BOOKKEEPING and not key.startswith(_NOT_OF_THE_TEXT_MODEL)


def _phi_3(settings: ConfigDict) -> ConfigDict:
    """The published rope type "su" is called "longrope" today."""
    scaling = settings.get("rope_scaling")
    if scaling and scaling.get("type") == "su":
        return {**settings, "rope_scaling": {**scaling, "type": "longrope"}}
    return settings


def _length_before_long_factors(config: PretrainedConfig) -> int | None:
    return (config.rope_parameters or {}).get("original_max_position_embeddings")


def _root_of_width(config: PretrainedConfig) -> float:
    """Gemma multiplies its embeddings by sqrt(width), and the published models did so after pictures were put in."""
    return config.hidden_size**0.5


BACKBONES: Registry[Backbone] = Registry(
    "model_type",
    {
        "llava_Qwen2": Backbone("qwen2", "LlavaQwen2ForCausalLM"),
        "llava_llama": Backbone("llama", "LlavaLlamaForCausalLM"),
        "llava": Backbone("llama", "LlavaLlamaForCausalLM"),  # the 2023 checkpoints
        "llava_mistral": Backbone("mistral", "LlavaMistralForCausalLM"),
        "llava_gemma": Backbone("gemma", "LlavaGemmaForCausalLM", picture_scale=_root_of_width),
        "llava_Phi3": Backbone(
            "phi3",
            "LlavaPhi3ForCausalLM",
            adapt=_phi_3,
            word_boundary=True,
            short_length=_length_before_long_factors,
        ),
    },
)


def published_type(text_type: str) -> str:
    """The published model_type of a text model, "qwen2" -> "llava_Qwen2".

    Raises:
        UserError: when no row has it.
    """
    for name, row in BACKBONES.items():
        if row.text_type == text_type:
            return name
    known = ", ".join(dict.fromkeys(row.text_type for row in BACKBONES.values()))
    raise UserError(f"a language model of type {text_type!r} has no row among the backbones; use one of {known}.")

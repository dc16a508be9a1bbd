"""The shapes of the language models that are finetuned here, for planning where their folders are not at hand."""

from dataclasses import dataclass, field
from typing import Any

from transformers import AutoConfig, PretrainedConfig

from llmga.llava.modeling import LlmgaConfig
from llmga.llava.published import make_config
from llmga.llava.towers import known_tower
from llmga.registry import Registry

LARGE_TOWER = "openai/clip-vit-large-patch14-336"
HEAD = 128  # width of an attention head in models of some billions of parameters


@dataclass(frozen=True)
class Shape:
    """The size of a language model.

    Attributes:
        kind: the model_type of the text model in transformers.
        named: what the names of its folders hold, in lower case.
        more: what else its config states.
    """

    kind: str
    width: int
    inner: int
    layers: int
    heads: int
    rows: int
    key_heads: int | None = None
    named: tuple[str, ...] = ()
    more: dict[str, Any] = field(default_factory=dict)

    def config(self) -> PretrainedConfig:
        """The text model's config, without special tokens, which have no size."""
        unset = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None, "tie_word_embeddings": False}
        return AutoConfig.for_model(
            self.kind,
            hidden_size=self.width,
            intermediate_size=self.inner,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.key_heads or self.heads,
            vocab_size=self.rows,
            **{**unset, **self.more},
        )

    def with_tower(self) -> LlmgaConfig:
        """The whole model, with the tower and the projector of the published ones."""
        tower = known_tower(LARGE_TOWER)
        return make_config(self.config(), tower, projector_type="mlp2x_gelu", select_layer=-2)


_TIED = {"tie_word_embeddings": True}
SHAPES = Registry(
    "size of a language model",
    {
        "vicuna-7b": Shape("llama", 4096, 11008, 32, 32, 32000, named=("vicuna-7b", "llama-2-7b")),
        "vicuna-13b": Shape("llama", 5120, 13824, 40, 40, 32000, named=("vicuna-13b", "llama-2-13b")),
        "llama3-8b": Shape("llama", 4096, 14336, 32, 32, 128256, 8, ("llama3-8b", "llama-3-8b")),
        "mistral-7b": Shape("mistral", 4096, 14336, 32, 32, 32000, 8, ("mistral",)),
        "qwen2-0.5b": Shape("qwen2", 896, 4864, 24, 14, 151936, 2, ("qwen2-0.5b",), _TIED),
        "qwen2-1.5b": Shape("qwen2", 1536, 8960, 28, 12, 151936, 2, ("qwen2-1.5b",), _TIED),
        "qwen2-7b": Shape("qwen2", 3584, 18944, 28, 28, 152064, 4, ("qwen2-7b",)),
        "phi3-mini": Shape("phi3", 3072, 8192, 32, 32, 32064, named=("phi-3-mini",)),
        "gemma-2b": Shape("gemma", 2048, 16384, 18, 8, 256000, 1, ("gemma-2b",), {**_TIED, "head_dim": 256}),
    },
)


def shape_named(*names: str | None) -> Shape | None:
    """The first row whose model one of the folders' names speaks of."""
    told = " ".join(name.lower() for name in names if name)
    return next((shape for shape in SHAPES.values() if any(part in told for part in shape.named)), None)


def shape_of(billions: float) -> Shape:
    """A plausible shape for a number of parameters: Llama's proportions, width 128 times the layers."""
    layers = max(1, round((billions * 1e9 / (12 * HEAD**2)) ** (1 / 3)))
    width = layers * HEAD
    return Shape("llama", width, round(8 / 3 * width), layers, layers, 32000)

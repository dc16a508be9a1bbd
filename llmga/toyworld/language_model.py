"""The toy world's base language model: a small Qwen2, pretrained on the world's own plain text."""

import random
from pathlib import Path

import torch
from torch import Tensor
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

from llmga.toyworld.dialogues import corpus
from llmga.toyworld.fitting import FitSettings, fit
from llmga.toyworld.vocabulary import learn_chat

RECIPE = FitSettings(steps=1100, batch_size=24, lr=2e-3, weight_decay=0.05, bf16=True)
CONTEXT = 256  # tokens per training row; rows are cut from a stream of texts
TEXTS_PER_ROW = 3  # a text has about 100 tokens; more than fit are drawn, the rest is cut
SYSTEM_SAMPLE = (
    "A conversation between a user and an LLM-based AI assistant. The assistant gives helpful and honest answers."
)


def architecture(tokenizer: Qwen2Tokenizer) -> Qwen2ForCausalLM:
    """About 2.2 M parameters, tied embeddings, grouped-query attention as in the small Qwen2 models."""
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer), hidden_size=192, intermediate_size=512, num_hidden_layers=5,
            num_attention_heads=6, num_key_value_heads=2, max_position_embeddings=2048, tie_word_embeddings=True,
            rope_parameters={"rope_type": "default", "rope_theta": 10_000.0}, bos_token_id=None,
            eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"), pad_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip


def tokenizer_of_world(seed: int = 0, texts: int = 12_000) -> Qwen2Tokenizer:
    """A tokenizer learnt from so many texts of the world."""
    return learn_chat([*corpus(random.Random(seed), texts), *[SYSTEM_SAMPLE] * 50])


def rows(tokenizer: Qwen2Tokenizer, rng: random.Random, count: int) -> Tensor:
    """int64 (count, CONTEXT): texts one after another, each ended by the end-of-text token."""
    texts = list(corpus(rng, count * TEXTS_PER_ROW))
    stream: list[int] = []
    for ids in tokenizer(texts, add_special_tokens=False).input_ids:
        stream += [*ids, tokenizer.pad_token_id]
    while len(stream) < count * CONTEXT:
        stream += stream[: count * CONTEXT - len(stream)]
    return torch.tensor(stream[: count * CONTEXT]).view(count, CONTEXT)


def loss_of(
    model: Qwen2ForCausalLM, tokenizer: Qwen2Tokenizer, generator: torch.Generator, batch_size: int
) -> tuple[Tensor, dict[str, float]]:
    """Mean next-token cross entropy of fresh text: no sentence is trained on by design twice."""
    ids = rows(tokenizer, random.Random(int(torch.randint(2**31, (), generator=generator))), batch_size)
    return model(input_ids=ids, labels=ids, use_cache=False).loss, {}


def pretrain(folder: Path, recipe: FitSettings = RECIPE) -> tuple[Qwen2ForCausalLM, Qwen2Tokenizer]:
    """Train it; interrupted, it goes on from the state in the folder."""
    torch.manual_seed(recipe.seed)
    tokenizer = tokenizer_of_world(recipe.seed)
    model = architecture(tokenizer)
    fit("language model", model, lambda g: loss_of(model, tokenizer, g, recipe.batch_size), recipe, folder / "state.pt")
    return model, tokenizer

"""Byte-pair vocabularies of the toy world, learned from its own sentences with the `tokenizers` library."""

import json
from collections.abc import Iterable
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer, Qwen2Tokenizer

CLIP_START, CLIP_END = "<|startoftext|>", "<|endoftext|>"
END_OF_WORD = "</w>"
CHAT_SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def byte_alphabet() -> list[str]:
    """The 256 printable stand-ins for bytes, `!` first: SDXL's second tokenizer pads with id 0, which is `!`."""
    return sorted(pre_tokenizers.ByteLevel.alphabet())


def _merges(reference: Tokenizer, corpus: Iterable[str], merges: int, suffix: str = "") -> Any:
    """Learn merges with the reference tokenizer's own normaliser and word splitting.

    Returns:
        Pairs of strings, which transformers takes and annotates as strings.
    """
    learner = Tokenizer(models.BPE(end_of_word_suffix=suffix) if suffix else models.BPE())
    if reference.normalizer is not None:
        learner.normalizer = reference.normalizer
    learner.pre_tokenizer = reference.pre_tokenizer
    options: dict[str, Any] = {"end_of_word_suffix": suffix} if suffix else {}
    trainer = trainers.BpeTrainer(
        vocab_size=merges + 512, initial_alphabet=byte_alphabet(), min_frequency=4, show_progress=False, **options
    )
    learner.train_from_iterator(corpus, trainer)
    return [tuple(merge) for merge in json.loads(learner.to_str())["model"]["merges"]]


def numbered(*groups: Iterable[str]) -> dict[str, int]:
    return {token: number for number, token in enumerate(dict.fromkeys(token for group in groups for token in group))}


def learn_clip(corpus: Iterable[str], merges: int = 400) -> tuple[CLIPTokenizer, CLIPTokenizer]:
    """CLIP's kind of tokenizer twice, one vocabulary: the first pads with the end marker, the second with `!`."""
    learned = _merges(CLIPTokenizer().backend_tokenizer, corpus, merges, END_OF_WORD)
    alphabet = byte_alphabet()
    vocabulary = numbered(
        alphabet, (char + END_OF_WORD for char in alphabet), ("".join(m) for m in learned), (CLIP_START, CLIP_END)
    )
    first, second = (
        CLIPTokenizer(vocab=vocabulary, merges=learned, pad_token=pad, model_max_length=77) for pad in (CLIP_END, "!")
    )
    return first, second


def learn_chat(corpus: Iterable[str], merges: int = 1400) -> Qwen2Tokenizer:
    """Qwen2's kind of tokenizer, with its three markers at the end of the vocabulary."""
    learned = _merges(Qwen2Tokenizer().backend_tokenizer, corpus, merges)
    vocabulary = numbered(byte_alphabet(), ("".join(m) for m in learned), CHAT_SPECIALS)
    tokenizer = Qwen2Tokenizer(
        vocab=vocabulary, merges=learned, eos_token="<|im_end|>", pad_token="<|endoftext|>", model_max_length=2048
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]}, replace_extra_special_tokens=False)
    return tokenizer

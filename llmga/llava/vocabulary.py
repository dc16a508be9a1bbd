"""A checkpoint's tokenizer: which class reads it, which tokens its config adds, which tokens end an answer."""

import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import normalizers
from transformers import LlamaTokenizer, PreTrainedTokenizerBase

from llmga.errors import UserError
from llmga.llava import checkpoints
from llmga.llava.templates import ChatTemplate
from llmga.llava.tokenization import WORD_BOUNDARY

ENDS = "generation_config.json"


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """By the class that the tokenizer's own config names: config.json's model_type would mislead the library.

    Raises: UserError when its files cannot be read.
    """
    import transformers

    said = checkpoints.read_json(folder, "tokenizer_config.json")
    loader = getattr(transformers, said.get("tokenizer_class") or "", None) or transformers.AutoTokenizer
    try:
        tokenizer = loader.from_pretrained(folder, trust_remote_code=False)
    except Exception as problem:  # the Rust library raises bare Exception for a file that it cannot parse
        reason = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        raise UserError(f"the tokenizer in {str(folder)!r} cannot be read ({reason}); download it again.") from None
    if isinstance(tokenizer, LlamaTokenizer) and said.get("legacy", not (folder / "tokenizer.json").is_file()):
        _mark_words(tokenizer)
    return tokenizer


def _mark_words(tokenizer: LlamaTokenizer) -> None:
    """As Llama's tokenizers did at first, and those whose config lacks `legacy` do: the beginning of a text and of what
    follows a special token is marked as a word, also before a space, where the library of today leaves it out."""
    tokenizer.legacy = True
    marks = [] if tokenizer.add_prefix_space is False else [normalizers.Prepend(WORD_BOUNDARY)]
    backend = tokenizer.backend_tokenizer
    backend.normalizer = normalizers.Sequence([*marks, normalizers.Replace(" ", WORD_BOUNDARY)])
    backend.pre_tokenizer = None


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """So that `load_tokenizer` gives the same one: the library forgets `legacy`, on which word boundaries depend."""
    tokenizer.save_pretrained(folder)
    if (legacy := getattr(tokenizer, "legacy", None)) is not None:
        said = checkpoints.read_json(folder, "tokenizer_config.json") | {"legacy": legacy}
        text = json.dumps(said, indent=2, ensure_ascii=False) + "\n"
        (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")


def add_special_tokens(tokenizer: PreTrainedTokenizerBase, names: Sequence[str]) -> None:
    """New tokens under names of their own; those that are there already stay."""
    tokenizer.add_tokens(list(names), special_tokens=True)


def stop_ids(folder: Path, tokenizer: PreTrainedTokenizerBase, template: ChatTemplate) -> frozenset[int]:
    """The end ids of generation_config.json (or else of config.json), of the tokenizer, and the special tokens of the
    template's end marker."""
    listed = checkpoints.read_json(folder, ENDS if (folder / ENDS).is_file() else "config.json").get("eos_token_id")
    return _end_ids(tokenizer, template) | frozenset(listed if isinstance(listed, list) else [listed]) - {None}


def _end_ids(tokenizer: PreTrainedTokenizerBase, template: ChatTemplate) -> frozenset[int]:
    marker = tokenizer(template.reply_tail, add_special_tokens=False)["input_ids"]
    special = set(tokenizer.all_special_ids)
    return frozenset({tokenizer.eos_token_id, *(token for token in marker if token in special)} - {None})

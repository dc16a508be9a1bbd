"""A checkpoint's tokenizer: which class reads it, which tokens its config adds, which tokens end an answer."""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import AddedToken
from transformers import LlamaTokenizer, PreTrainedTokenizerBase

from llmga.errors import UserError
from llmga.llava import checkpoints
from llmga.llava.backbones import ConfigDict
from llmga.llava.slow_tokenizers import CONFIG, FAST, match_slow_tokenizer, save_slow_files
from llmga.llava.templates import ChatTemplate

ENDS = "generation_config.json"


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """By the class that the tokenizer's own config names: config.json's model_type would mislead the library.

    Raises:
        UserError: when its files cannot be read, or give other ids than the model was trained with.
    """
    import transformers

    config = checkpoints.read_json(folder, CONFIG)
    loader = getattr(transformers, config.get("tokenizer_class") or "", None) or transformers.AutoTokenizer
    try:
        unsaid = _unsaid(loader.__name__, config, folder)
        tokenizer = loader.from_pretrained(folder, trust_remote_code=False, **unsaid)
    except Exception as problem:  # the Rust library raises bare Exception for a file that it cannot parse
        reason = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        raise UserError(f"the tokenizer in {str(folder)!r} cannot be read ({reason}); download it again.") from None
    return match_slow_tokenizer(tokenizer, folder)


def _unsaid(loader: str, config: ConfigDict, folder: Path) -> ConfigDict:
    """What the files leave to the library, and meant otherwise when they were written."""
    if "Gemma" in loader and "mask_token" not in config:
        return {"mask_token": None}  # the first form of Gemma's files has no such token; the library gives it to all
    if "Llama" in loader and "add_bos_token" not in config and not (folder / FAST).is_file():
        return {"add_bos_token": True}
    return {}


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """So that `load_tokenizer` gives the same one: of Llama's tokenizers the library forgets half."""
    tokenizer.save_pretrained(folder)
    if isinstance(tokenizer, LlamaTokenizer):
        save_slow_files(tokenizer, folder)


def add_special_tokens(tokenizer: PreTrainedTokenizerBase, names: Sequence[str]) -> None:
    """New tokens under names of their own; a tokenizer of 2023 lets them swallow the spaces around them."""
    new = [name for name in names if name not in tokenizer.added_tokens_encoder]
    if swallowing := getattr(tokenizer, "of_2023", None):
        tokenizer.of_2023 = swallowing.union(new)
        tokenizer.add_tokens([AddedToken(name, lstrip=True, rstrip=True, normalized=False) for name in new])
    elif new:
        tokenizer.add_special_tokens({"extra_special_tokens": new}, replace_extra_special_tokens=False)


def stop_ids(folder: Path, tokenizer: PreTrainedTokenizerBase, template: ChatTemplate) -> frozenset[int]:
    """The end ids of generation_config.json (or else of config.json), of the tokenizer, and the special tokens of the
    template's end marker."""
    listed = checkpoints.read_json(folder, ENDS if (folder / ENDS).is_file() else "config.json").get("eos_token_id")
    return _end_ids(tokenizer, template) | frozenset(listed if isinstance(listed, list) else [listed]) - {None}


def _end_ids(tokenizer: PreTrainedTokenizerBase, template: ChatTemplate) -> frozenset[int]:
    marker = tokenizer(template.reply_tail, add_special_tokens=False)["input_ids"]
    special = set(tokenizer.all_special_ids)
    return frozenset({tokenizer.eos_token_id, *(token for token in marker if token in special)} - {None})

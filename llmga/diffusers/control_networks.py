"""ControlNets, ControlNet-Unions and T2I-Adapters, opened from a folder or from one file of any of their layouts."""

import inspect
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llmga.errors import UserError, reason
from llmga.quiet import quiet
from llmga.typed import read_json

PICKLES = (".pt", ".pth", ".ckpt", ".bin")
CONTROLNET, UNION, ADAPTER = "controlnet", "controlnet-union", "t2i-adapter"
KINDS = {"ControlNetModel": CONTROLNET, "ControlNetUnionModel": UNION, "T2IAdapter": ADAPTER}
LDM_PREFIX = "control_model."
# What one file may be instead: a key that shows it, and what to do.
OTHERS = (
    ("lora_controlnet", "a Control-LoRA, which needs its base's weights beside it; give a whole ControlNet"),
    ("difference", "a ControlNet written as the difference to its base; give a whole one"),
    ("image_proj.", "an IP-Adapter; give it as --ip-adapter"),
    ("controlnet_x_embedder.", "a ControlNet of FLUX; give one for SD1.5 or SDXL"),
    ("lora", "low-rank weights; give them as --lora"),
    ("model.diffusion_model.", "a whole checkpoint; give it as --sdmodel_id"),
)


@dataclass(frozen=True)
class ControlNetwork:
    """A network that reads control maps.

    Attributes:
        name: the row of `CONTROLS` that it was made for; "map" leaves that to whoever gives the picture.
        kind: a value of `KINDS`.
        path: where its weights lie.
        model: the module of diffusers.
    """

    name: str
    kind: str
    path: Path
    model: Any

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"{SAID[self.kind]} {str(self.path)!r}"


SAID = {CONTROLNET: "ControlNet", UNION: "ControlNet-Union", ADAPTER: "T2I-Adapter"}


def open_network(path: str | Path, name: str, unet: Any, dtype: torch.dtype) -> ControlNetwork:
    """Open a network for a denoiser.

    Args:
        path: a folder in diffusers layout; or a file of a ControlNet, in its layout or that of the first ControlNets
            (`control_model.…`), which without a config.json beside it is built as the denoiser is.
        name: a row of `CONTROLS`.
        unet: of the pipeline that it is for.
        dtype: of its weights.

    Raises:
        UserError: it is missing, damaged, of another kind, or for another family.
    """
    place = Path(path)
    if not place.exists():
        raise UserError(f"ControlNet {str(path)!r} is not there; give its folder or its .safetensors file.")
    with quiet():
        kind, model = _from_folder(place, dtype) if place.is_dir() else _from_file(place, unet, dtype)
    network = ControlNetwork(name, kind, place, model.eval().requires_grad_(False))
    check_family(network, unet)
    return network


def _from_folder(folder: Path, dtype: torch.dtype) -> tuple[str, Any]:
    kind, model_class = _kind_of(folder / "config.json", folder)
    try:
        model = model_class.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, torch_dtype=dtype, variant=_variant(folder)
        )
    except (OSError, ValueError, RuntimeError, KeyError) as problem:
        raise UserError(f"{SAID[kind]} {str(folder)!r} cannot be opened: {reason(problem)[:200]}.") from None
    return kind, model


def _variant(folder: Path) -> str | None:
    """`fp16` where that is the only one there."""
    plain = [*folder.glob("diffusion_pytorch_model.safetensors*"), *folder.glob("diffusion_pytorch_model.bin*")]
    return "fp16" if not plain and [*folder.glob("diffusion_pytorch_model*.fp16*")] else None


def _kind_of(config: Path, place: Path) -> tuple[str, Any]:
    """Raises: UserError where a config.json is missing or names no class that is taken here."""
    import diffusers

    try:
        name = read_json(config).get("_class_name", "ControlNetModel")
    except (OSError, ValueError, AttributeError):
        raise UserError(f"ControlNet {str(place)!r} lacks a readable config.json, so it cannot be opened; copy it "
                        "there, too.") from None  # fmt: skip
    if name not in KINDS:
        raise UserError(f"{str(place)!r} is a {str(name)[:60]}, which guides no SD1.5 or SDXL painter; give a "
                        f"{', '.join(SAID.values())}.")  # fmt: skip
    return KINDS[name], getattr(diffusers, name)


def _from_file(file: Path, unet: Any, dtype: torch.dtype) -> tuple[str, Any]:
    from diffusers import ControlNetModel, ControlNetUnionModel
    from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint

    tensors = read_tensors(file, "ControlNet")
    _check_not_another(file, tensors)
    converted = _with_label(convert_controlnet_checkpoint(dict(tensors), unet.config), tensors)
    kind, model_class = (
        (UNION, ControlNetUnionModel) if "task_embedding" in converted else (CONTROLNET, ControlNetModel)
    )
    if converted.keys() == tensors.keys() and (beside := file.with_name("config.json")).is_file():
        kind, model_class = _kind_of(beside, file)
        config = read_json(beside)
    else:
        config = _built_as(file, unet, converted, model_class)
    try:
        with torch.device("meta"):
            model = model_class.from_config(config)
        model.load_state_dict({name: tensor.to(dtype) for name, tensor in converted.items()}, assign=True)
    except (RuntimeError, ValueError, TypeError) as problem:
        told = " ".join(str(problem).split())[:200]
        raise UserError(f"ControlNet {str(file)!r} does not fit this painter, or is of another form ({told}); give one "
                        "for its family, or the folder with its config.json.") from None  # fmt: skip
    return kind, model


def _with_label(converted: dict[str, Tensor], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """With SDXL's embedding of sizes, which diffusers' converter leaves out."""
    found = {}
    for key, tensor in tensors.items():
        if match := re.fullmatch(rf"(?:{re.escape(LDM_PREFIX)})?label_emb\.0\.([02])\.(\w+)", key):
            found[f"add_embedding.linear_{int(match[1]) // 2 + 1}.{match[2]}"] = tensor
    return converted | found


def _built_as(file: Path, unet: Any, tensors: Mapping[str, Tensor], model_class: Any) -> dict[str, Any]:
    """The config of a network whose body is that of the denoiser, and whose head is what the weights show."""
    taken = inspect.signature(model_class.__init__).parameters
    config = {name: value for name, value in unet.config.items() if name in taken}
    head = "controlnet_cond_embedding."
    steps = sorted({int(key.split(".")[2]) for key in tensors if key.startswith(f"{head}blocks.")})
    firsts = [f"{head}conv_in.weight", *(f"{head}blocks.{step}.weight" for step in steps[1::2])]
    if missing := [key for key in ("conv_in.weight", *firsts) if key not in tensors]:
        raise UserError(f"ControlNet {str(file)!r} lacks {missing[0]!r}; fetch it again.")
    widths = [tensors[key].shape[0] for key in firsts]
    config |= {
        "encoder_hid_dim": None,  # which an IP-Adapter leaves in the denoiser
        "encoder_hid_dim_type": None,
        "in_channels": tensors["conv_in.weight"].shape[1],
        "conditioning_channels": tensors[f"{head}conv_in.weight"].shape[1],
        "conditioning_embedding_out_channels": widths,
    }
    if "task_embedding" in tensors:
        layers = {key.split(".")[1] for key in tensors if key.startswith("transformer_layes.")}
        kinds, width = tensors["task_embedding"].shape
        config |= {
            "num_control_type": kinds,
            "num_trans_channel": width,
            "num_trans_layer": len(layers),
            "num_proj_channel": tensors["spatial_ch_projs.weight"].shape[0],
        }
    return config


def _check_not_another(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raises: UserError for what is no ControlNet, by what its keys say."""
    for mark, what in OTHERS:
        if mark in tensors or any(key.startswith(mark) for key in tensors if mark.endswith(".") or mark == "lora"):
            raise UserError(f"{str(file)!r} is {what}.")
    heads = ("controlnet_cond_embedding.conv_in.weight", "input_hint_block.0.weight")
    if not any(key.removeprefix(LDM_PREFIX) in heads for key in tensors):
        example = next(iter(tensors), "none at all")
        raise UserError(f"{str(file)!r} is no ControlNet in one file: its tensors are such as {example[:60]!r}; give "
                        "one, or a folder.")  # fmt: skip


def check_family(network: ControlNetwork, unet: Any) -> None:
    """See that a network is for this denoiser, as the widths of text and blocks show.

    Raises:
        UserError: it is not.
    """
    own, config = unet.config, network.model.config
    if network.kind == ADAPTER:
        theirs, ours, what = list(config.channels), list(own.block_out_channels), "blocks are"
        fits = all(one == other for one, other in zip(theirs, ours, strict=False))  # SDXL's have one more
    else:
        theirs, ours, what = config.cross_attention_dim, own.cross_attention_dim, "text is"
        fits = theirs == ours
    if not fits:
        raise UserError(f"{network.label} was made for another family: its {what} {theirs} wide, this one's {ours}; "
                        "choose another.")  # fmt: skip


def read_tensors(file: Path, what: str) -> dict[str, Tensor]:
    """All tensors of a .safetensors file, or of a PyTorch file that holds nothing else.

    Raises:
        UserError: it cannot be read, or holds more than named tensors.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if file.suffix not in (".safetensors", *PICKLES):
        raise UserError(f"{what} {str(file)!r} is in no format that is read here; give a .safetensors file.")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError):
        raise UserError(f"{what} {str(file)!r} is missing or damaged, or holds more than tensors; give its "
                        ".safetensors file.") from None  # fmt: skip
    content = content.get("state_dict", content) if isinstance(content, dict) else {}
    found = dict(_flat(content))
    if not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise UserError(f"{what} {str(file)!r} holds no named tensors alone; give its .safetensors file.")
    return found


def _flat(content: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Nested names joined by dots, as a .safetensors file has them."""
    inner = {name: value for name, value in content.items() if isinstance(value, Mapping)}
    plain = [(name, value) for name, value in content.items() if name not in inner]
    return plain + [(f"{name}.{key}", value) for name, part in inner.items() for key, value in part.items()]

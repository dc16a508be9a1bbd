"""Results that need a base: the projector of a first stage, and low-rank adapters."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from llmga.errors import UserError
from llmga.extras import require
from llmga.llava import checkpoints
from llmga.llava.assembling import new_mllm, resize_vocabulary
from llmga.llava.backbones import ConfigDict
from llmga.llava.mllm import PICTURE_MARKS, Mllm
from llmga.llava.modeling import LlmgaForConditionalGeneration
from llmga.llava.published import PublishedConfig
from llmga.llava.tokenization import token_id
from llmga.llava.vocabulary import ENDS, add_special_tokens, load_tokenizer, stop_ids

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
NON_LORA = "non_lora_trainables.bin"
PEFT = "base_model.model."
_OF_THE_MATRICES = (
    *("r", "lora_alpha", "lora_dropout", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora", "fan_in_fan_out"),
    *("lora_bias", "bias"),
)
_OTHER_FORMS = (
    *("layer_replication", "megatron_config", "alora_invocation_tokens", "use_qalora", "use_bdlora", "arrow_config"),
    *("target_parameters", "trainable_token_indices"),
)
_MAGNITUDE = "lora_magnitude_vector"  # of DoRA; files name it without ".weight"


def is_low_rank(folder: Path) -> bool:
    """Whether a checkpoint folder holds low-rank weights."""
    return (folder / ADAPTER_CONFIG).is_file()


def plain_base(published: PublishedConfig, base: str | Path, conv_mode: str) -> Mllm:
    """A plain text model, the vision tower that the result's config names, and a fresh projector, used as the result.

    Raises:
        UserError: when the tower is not there.
    """
    tower = published.tower_folder()
    if tower is None:
        raise UserError(
            f"vision tower {published.vision_tower!r} of {str(published.folder)!r} is not on this machine; "
            f"put its folder beside the checkpoint."
        )
    mllm = new_mllm(
        base,
        tower,
        projector_type=published.projector_type,
        select_layer=published.select_layer,
        keeps_class=published.keeps_class,
        conv_mode=conv_mode,
    )
    return use_own_tokenizer(replace(mllm, **published.mllm_fields()), published.folder, published)


def use_own_tokenizer(mllm: Mllm, folder: Path, published: PublishedConfig | None = None) -> Mllm:
    """The tokenizer and the end ids that a result's folder holds, or else its base's and the tokens of its config."""
    if checkpoints.has_tokenizer(folder):
        mllm.tokenizer = load_tokenizer(folder)
    if published is not None:
        add_special_tokens(mllm.tokenizer, published.added_tokens)
    resize_vocabulary(mllm.model, len(mllm.tokenizer))
    if (folder / ENDS).is_file():
        mllm.stop_ids = stop_ids(folder, mllm.tokenizer, mllm.template)
    return mllm


def add_projector(mllm: Mllm, weights: dict[str, Tensor], folder: Path) -> None:
    """The first stage's mm_projector.bin, and the rows of its new tokens if it holds any.

    Raises:
        UserError: when it does not fit.
    """
    kind = mllm.model.config.projector_type
    projector = {key: tensor for key, tensor in weights.items() if "mm_projector." in key}
    named = {"model.mm_projector." + key.partition("mm_projector.")[2]: projector[key] for key in projector}
    _put(mllm.model, {checkpoints.own_name(key, kind): named[key] for key in named}, folder)
    _require_whole(mllm.model, {checkpoints.own_name(key, kind) for key in named}, folder)
    _put_new_rows(mllm, weights, folder)


def _require_whole(model: nn.Module, given: set[str], folder: Path) -> None:
    missing = sorted(key for key in model.state_dict() if "multi_modal_projector." in key and key not in given)
    if missing:
        raise UserError(f"mm_projector.bin in {str(folder)!r} lacks {missing[0]}; is mm_projector_type right?")


def _put_new_rows(mllm: Mllm, weights: dict[str, Tensor], folder: Path) -> None:
    """A first stage with picture marks also saves their embeddings: all rows, or only those of the marks.

    Raises:
        UserError: when they do not fit.
    """
    rows = next((tensor for key, tensor in weights.items() if "embed_tokens" in key or "embed_in" in key), None)
    if rows is None or not mllm.marks_pictures:
        return
    marks = [token_id(mllm.tokenizer, mark) for mark in PICTURE_MARKS]
    table = mllm.model.get_input_embeddings().weight
    if rows.ndim != 2 or rows.shape[1] != table.shape[1] or len(rows) < len(marks):
        raise UserError(f"the embeddings in {str(folder)!r} do not fit their base: {tuple(rows.shape)}.")
    table.data[marks] = rows[-len(marks) :].to(table)


def add_non_lora(mllm: Mllm, folder: Path) -> None:
    """What a low-rank training learned beside its adapter, non_lora_trainables.bin.

    Raises:
        UserError: when it is missing or a tensor does not fit.
    """
    _put(mllm.model, _non_lora(folder, mllm.model.config.projector_type), folder)


def add_low_rank(mllm: Mllm, folder: Path, *, merge: bool) -> Mllm:
    """Put an adapter upon the model.

    Args:
        merge: add the product to the weights; otherwise the adapter's layers stay apart (and can be trained on).

    Raises:
        UserError: when peft or a file is missing, a tensor does not fit, or the model's weights are on a disk.
    """
    if any(weight.is_meta for weight in mllm.model.parameters()):
        raise UserError("an adapter cannot be kept apart from a model that is offloaded; merge it, or do not offload.")
    mllm.model = _with_adapter(mllm.model, folder, merge).eval()
    return mllm


def load_low_rank(model: nn.Module, folder: Path) -> None:
    """An adapter's weights into a model that has matrices of these shapes already.

    Raises:
        UserError: when a file is missing or a tensor does not fit.
    """
    weights, plain = _adapter_weights(folder)
    _put(model, plain, folder)
    _put(model, {to_peft_name(key.removeprefix(PEFT)): tensor for key, tensor in weights.items()}, folder)


def to_peft_name(key: str) -> str:
    """An adapter's weight in a file -> peft's parameter: `lora_A.weight` -> `lora_A.default.weight`."""
    return f"{key}.default.weight" if key.endswith(_MAGNITUDE) else key.replace(".weight", ".default.weight")


def from_peft_name(key: str) -> str:
    """The way back of `to_peft_name`."""
    plain = key.replace(".default.weight", ".weight")
    return plain.removesuffix(".weight") if f".{_MAGNITUDE}." in key else plain


def _non_lora(folder: Path, projector_type: str) -> dict[str, Tensor]:
    """non_lora_trainables.bin under our names."""
    weights = checkpoints.read_tensors(folder / NON_LORA)
    weights = {key.removeprefix("base_model."): tensor for key, tensor in weights.items()}
    doubled = any(key.startswith("model.model.") for key in weights)
    plain = {key.removeprefix("model.") if doubled else key: tensor for key, tensor in weights.items()}
    return {_unwrapped(checkpoints.own_name(key, projector_type)): tensor for key, tensor in plain.items()}


def _unwrapped(key: str) -> str:
    """Without what peft puts into the name of a trained bias, whose layer it has wrapped."""
    return key.replace(".base_layer.", ".")


def _with_adapter(model: LlmgaForConditionalGeneration, folder: Path, merge: bool) -> LlmgaForConditionalGeneration:
    peft = require("peft", "a low-rank checkpoint")
    weights, plain = _adapter_weights(folder)
    _put(model, plain, folder)
    config = peft.LoraConfig(**_settings(folder))
    # Full names: a short one like q_proj would also match the vision tower.
    config.target_modules = sorted({key.removeprefix(PEFT).partition(".lora_")[0] for key in weights})
    _check_targets(model, config.target_modules, folder)
    adapted: Any = peft.PeftModel(model, config)
    _check_shapes(adapted.state_dict(), weights, folder)
    peft.set_peft_model_state_dict(adapted, weights)
    return adapted.merge_and_unload() if merge else adapted.base_model.model


def _settings(folder: Path) -> ConfigDict:
    """What adapter_config.json says of the matrices; nothing else of it is handed on, neither classes nor modules.

    Raises:
        UserError: for another form, and for what would change a plain low-rank product.
    """
    config = checkpoints.read_json(folder, ADAPTER_CONFIG)
    strange = [name for name in _OTHER_FORMS if config.get(name)]
    if config.get("peft_type", "LORA") != "LORA" or strange:
        what = f"is made with {strange[0]!r}" if strange else f"is of type {config['peft_type']!r}"
        raise UserError(f"the adapter in {str(folder)!r} {what}, which is not supported; LoRA and DoRA are.")
    known = {name: config[name] for name in _OF_THE_MATRICES if config.get(name) is not None}
    return known | {"inference_mode": True}


def _adapter_weights(folder: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The matrices by peft's names, and what was trained whole beside them (biases) by the model's."""
    file = next((folder / name for name in ADAPTER_WEIGHTS if (folder / name).is_file()), folder / ADAPTER_WEIGHTS[0])
    named = {_own_adapter_name(key): tensor for key, tensor in checkpoints.read_tensors(file).items()}
    low_rank = {key: tensor for key, tensor in named.items() if ".lora_" in key}
    return low_rank, {_unwrapped(key.removeprefix(PEFT)): named[key] for key in named.keys() - low_rank.keys()}


def _own_adapter_name(key: str) -> str:
    """base_model.model.model.layers.0.… -> base_model.model.model.language_model.layers.0.…"""
    return PEFT + checkpoints.own_name(key.removeprefix(PEFT), "mlp2x_gelu")


def _check_targets(model: nn.Module, targets: list[str], folder: Path) -> None:
    known = {name for name, _ in model.named_modules()}
    strange = [name for name in targets if name not in known]
    if strange:
        raise UserError(f"the adapter in {str(folder)!r} changes {strange[0]!r}, which its base does not have.")


def _check_shapes(there: dict[str, Tensor], weights: dict[str, Tensor], folder: Path) -> None:
    for key, tensor in weights.items():
        name = to_peft_name(key)
        if name in there and there[name].shape != tensor.shape:
            raise UserError(
                f"the adapter in {str(folder)!r} does not fit its base: {key} is {tuple(tensor.shape)}, "
                f"not {tuple(there[name].shape)}."
            )


def _put(model: nn.Module, weights: dict[str, Tensor], folder: Path) -> None:
    """Copy tensors into the model by name.

    Raises:
        UserError: for a name that the model lacks or another shape.
    """
    own = model.state_dict()
    for key, tensor in weights.items():
        if key not in own:
            raise UserError(f"{str(folder)!r} holds {key}, which its base does not have; give another --model-base.")
        if own[key].shape != tensor.shape:
            shapes = f"{tuple(tensor.shape)}, not {tuple(own[key].shape)}"
            raise UserError(f"the weights in {str(folder)!r} do not fit their base: {key} is {shapes}.")
        own[key].copy_(tensor)  # shares memory with the model's parameter

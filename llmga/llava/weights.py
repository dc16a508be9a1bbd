"""Weights of a published folder into our model, in any number format."""

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError

from llmga.errors import UserError
from llmga.llava import checkpoints
from llmga.llava.modeling import LlmgaConfig, LlmgaForConditionalGeneration

TOWER = "model.vision_tower."


def quantisation(load_8bit: bool, load_4bit: bool, dtype: torch.dtype) -> Any:
    """The settings for bitsandbytes, or None.

    Raises: UserError when both are asked for, or bitsandbytes is not installed.
    """
    if not (load_8bit or load_4bit):
        return None
    if load_8bit and load_4bit:
        raise UserError("--load-8bit and --load-4bit exclude each other; give one.")
    from transformers import BitsAndBytesConfig
    from transformers.utils import is_bitsandbytes_available

    if not is_bitsandbytes_available():
        flag = "--load-8bit" if load_8bit else "--load-4bit"
        raise UserError(f"{flag} needs bitsandbytes, which is not installed; pip install bitsandbytes.")
    kept = ["vision_tower", "multi_modal_projector", "lm_head"]
    if load_8bit:
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=kept)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=kept,
    )


def load_weights(
    folder: Path, config: LlmgaConfig, device: torch.device, dtype: torch.dtype, quantised: Any, tower: Path | None
) -> LlmgaForConditionalGeneration:
    """The model with the folder's weights.

    Args:
        tower: the vision tower's own folder, for checkpoints that hold no copy of it.

    Raises: UserError with the first few keys that are missing, unexpected or of another shape.
    """
    # The table's prefixes become anchored patterns; lookaheads would corrupt the keys of a later save.
    table = {"^" + old.replace(".", r"\."): new for old, new in checkpoints.key_table(config.projector_type)}
    try:
        model, found = LlmgaForConditionalGeneration.from_pretrained(
            folder,
            config=config,
            key_mapping=table,
            dtype=dtype,
            device_map={"": device},
            quantization_config=quantised,
            ignore_mismatched_sizes=True,  # reported below, with the others
            output_loading_info=True,
        )
    except (SafetensorError, OSError, EOFError, UnpicklingError, RuntimeError) as problem:
        if isinstance(problem, RuntimeError) and "PytorchStreamReader" not in str(problem):
            raise  # out of memory, say
        reason = str(problem).splitlines()[0]
        raise UserError(f"the weights in {str(folder)!r} cannot be read ({reason}); download them again.") from None
    blind = {key for key in found["missing_keys"] if key.startswith(TOWER)}
    whole_tower = {TOWER + key for key in model.model.vision_tower.state_dict()}
    if tower is not None and blind and blind == whole_tower:
        _load_tower(model, tower)
        found["missing_keys"] = set(found["missing_keys"]) - blind
    complain(found, folder)
    return model


def _load_tower(model: LlmgaForConditionalGeneration, folder: Path) -> None:
    from transformers import CLIPVisionModel

    weights = CLIPVisionModel.from_pretrained(folder, dtype=model.dtype).state_dict()
    model.model.vision_tower.load_state_dict(weights)


def complain(
    found: dict[str, Any], folder: Path, kinds: tuple[str, ...] = ("missing_keys", "unexpected_keys", "mismatched_keys")
) -> None:
    """Raises: UserError with the first few keys when what `from_pretrained` found is of one of these kinds."""
    for kind in kinds:
        if found[kind]:
            names = sorted(str(key[0] if isinstance(key, tuple) else key) for key in found[kind])
            raise UserError(
                f"the weights in {str(folder)!r} do not fit their config.json: {len(names)} "
                f"{kind.replace('_', ' ')}, such as {', '.join(names[:3])}."
            )

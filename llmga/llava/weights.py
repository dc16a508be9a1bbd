"""Weights of a published folder into our model, in any number format."""

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from llmga.errors import UserError
from llmga.llava import checkpoints
from llmga.llava.modeling import LlmgaConfig, LlmgaForConditionalGeneration
from llmga.llava.placement import Placement

TOWER = "model.vision_tower."


def load_weights(
    folder: Path,
    config: LlmgaConfig,
    placement: Placement,
    *,
    tower: Path | None = None,
    given: dict[str, Tensor] | None = None,
) -> LlmgaForConditionalGeneration:
    """The model with the folder's weights.

    Args:
        tower: the vision tower's own folder, for checkpoints that hold no copy of it.
        given: weights under published names, instead of those in the folder.

    Raises: UserError with the first few keys that are missing, unexpected or of another shape.
    """
    # The table's prefixes become anchored patterns; lookaheads would corrupt the keys of a later save.
    table = {"^" + old.replace(".", r"\."): new for old, new in checkpoints.key_table(config.projector_type)}
    try:
        model, found = LlmgaForConditionalGeneration.from_pretrained(
            folder if given is None else None,
            state_dict=given,
            config=config,
            key_mapping=table,
            ignore_mismatched_sizes=True,  # reported below, with the others
            output_loading_info=True,
            **placement.options(),
        )
    except (SafetensorError, OSError, EOFError, UnpicklingError, RuntimeError) as problem:
        if isinstance(problem, RuntimeError) and "PytorchStreamReader" not in str(problem):
            raise  # out of memory, say
        reason = str(problem).splitlines()[0]
        raise UserError(f"the weights in {str(folder)!r} cannot be read ({reason}); download them again.") from None
    blind = {key for key in found["missing_keys"] if key.startswith(TOWER)}
    whole_tower = {TOWER + key for key in model.model.vision_tower.state_dict()}
    if tower is not None and blind and blind == whole_tower and any(_weights_of(tower)):
        _load_tower(model, tower)
        found["missing_keys"] = set(found["missing_keys"]) - blind
    complain(found, folder)
    return model


def _weights_of(folder: Path) -> list[Path]:
    """A folder may only describe its model: the copy inside a checkpoint is ours then."""
    return [file for name in checkpoints.WEIGHTS if (file := folder / name).is_file()]


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

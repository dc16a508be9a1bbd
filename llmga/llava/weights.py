"""Weights of a published folder into our model, in any number format."""

from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import PreTrainedModel

from llmga.errors import UserError
from llmga.llava import checkpoints
from llmga.llava.modeling import LlmgaConfig, LlmgaForConditionalGeneration
from llmga.llava.placement import Placement
from llmga.llava.towers import VisionConfig, kind_of

if TYPE_CHECKING:
    from transformers import CLIPVisionModel, SiglipVisionModel

TOWER = "model.vision_tower."
_PATCHES = "embeddings.patch_embedding.weight"


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

    Raises:
        UserError: with the first few keys that are missing, unexpected or of another shape.
    """
    # The table's prefixes become anchored patterns; lookaheads would corrupt the keys of a later save.
    table = {"^" + old.replace(".", r"\."): new for old, new in checkpoints.key_table(config.projector_type)}
    model, found = _read(
        LlmgaForConditionalGeneration,
        folder,
        source=None if given is not None else folder,
        state_dict=given,
        config=config,
        key_mapping=table,
        **placement.options(),
    )
    blind = {key for key in found["missing_keys"] if key.startswith(TOWER)}
    whole_tower = {TOWER + key for key in model.model.vision_tower.state_dict()}
    if tower is not None and blind and blind == whole_tower and any(_weights_of(tower)):
        _load_tower(model, tower)
        found["missing_keys"] = set(found["missing_keys"]) - blind
    check_loaded(found, folder)
    return model


def _weights_of(folder: Path) -> list[Path]:
    """A folder may only describe its model: the copy inside a checkpoint is ours then."""
    return [file for name in checkpoints.WEIGHTS if (file := folder / name).is_file()]


def _load_tower(model: LlmgaForConditionalGeneration, folder: Path) -> None:
    weights = read_tower(folder, model.config.vision_config, model.dtype).state_dict()
    model.model.vision_tower.load_state_dict(weights)


def read_tower(folder: Path, config: VisionConfig, dtype: torch.dtype) -> "CLIPVisionModel | SiglipVisionModel":
    """A vision tower on the CPU; its folder may also hold the text half.

    Raises:
        UserError: for weights that are not there, cannot be read or do not fit.
    """
    import transformers

    model, found = _read(getattr(transformers, kind_of(config).model), folder, config=config, dtype=dtype)
    _take_flat_patches(model, found, folder)
    check_loaded(found, folder, ("missing_keys", "mismatched_keys"))
    return model


@torch.no_grad()
def _take_flat_patches(model: PreTrainedModel, found: dict[str, Any], folder: Path) -> None:
    """SigLIP2 for pictures of any shape sees a patch as a row (rows, columns, colours); here it is a square."""
    names = [key[0] if isinstance(key, tuple) else key for key in found["mismatched_keys"]]
    if [name.rpartition("embeddings.")[2] for name in names] != ["patch_embedding.weight"]:
        return
    weights = checkpoints.read_weights(folder)
    flat = next(tensor for key, tensor in weights.items() if key.endswith(_PATCHES))
    own = model.get_parameter(_PATCHES)
    out, colours, rows, columns = own.shape
    if flat.shape == (out, colours * rows * columns):
        own.copy_(flat.view(out, rows, columns, colours).permute(0, 3, 1, 2))
        found["mismatched_keys"] = set()


def read_text_model(folder: Path) -> PreTrainedModel:
    """A plain language model in single precision on the CPU.

    Raises:
        UserError: as `read_tower`.
    """
    from transformers import AutoModelForCausalLM

    model, found = _read(AutoModelForCausalLM, folder, dtype=torch.float32)
    check_loaded(found, folder, ("missing_keys", "mismatched_keys"))
    return model


def _read(kind: Any, folder: Path, **options: Any) -> tuple[Any, dict[str, Any]]:
    """The model that `kind.from_pretrained` gives, and what it found amiss, which is for `check_loaded`.

    Raises:
        UserError: for files that are missing or damaged.
    """
    source = options.pop("source", folder)
    try:
        return kind.from_pretrained(
            source, trust_remote_code=False, ignore_mismatched_sizes=True, output_loading_info=True, **options
        )
    except (SafetensorError, OSError, EOFError, UnpicklingError, RuntimeError) as problem:
        if isinstance(problem, RuntimeError) and "PytorchStreamReader" not in str(problem):
            raise  # out of memory, say
        reason = str(problem).splitlines()[0]
        raise UserError(f"the weights in {str(folder)!r} cannot be read ({reason}); download them again.") from None


def check_loaded(
    found: dict[str, Any], folder: Path, kinds: tuple[str, ...] = ("missing_keys", "unexpected_keys", "mismatched_keys")
) -> None:
    """Refuse weights that do not fit their config.

    Raises:
        UserError: with the first few keys when what `from_pretrained` found is of one of these kinds.
    """
    for kind in kinds:
        if found[kind]:
            names = sorted(str(key[0] if isinstance(key, tuple) else key) for key in found[kind])
            raise UserError(
                f"the weights in {str(folder)!r} do not fit their config.json: {len(names)} "
                f"{kind.replace('_', ' ')}, such as {', '.join(names[:3])}."
            )

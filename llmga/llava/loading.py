"""Open or assemble a multimodal language model."""

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import PreTrainedTokenizerBase

from llmga.errors import UserError
from llmga.llava import checkpoints, towers
from llmga.llava.backbones import BACKBONES
from llmga.llava.mllm import Mllm
from llmga.llava.modeling import LlmgaForConditionalGeneration
from llmga.llava.saving import save_published
from llmga.llava.templates import TEMPLATES, ChatTemplate, conversation_mode
from llmga.runtime import pick_device, pick_dtype

__all__ = ["Mllm", "find_checkpoint", "load_mllm", "load_tokenizer", "new_mllm", "save_published"]

ROOTS = (Path("checkpoints/Inference"), Path("checkpoints/Training"))


def load_mllm(
    path: str | Path,
    base: str | Path | None = None,
    *,
    device: str = "auto",
    dtype: str | torch.dtype | None = None,
    conv_mode: str | None = None,
    load_8bit: bool = False,
    load_4bit: bool = False,
) -> Mllm:
    """Open a checkpoint of the published layout.

    Args:
        path: a folder, or the name of one below checkpoints/Inference or checkpoints/Training.
        base: the plain text model to which a projector-only `path` (the result of pretraining) belongs.
        device: auto, cpu, cuda, cuda:N or mps.
        dtype: fp32, fp16, bf16 or a torch dtype; None is fp16, on a CPU fp32.
        conv_mode: a row of TEMPLATES; None takes the config's `conversation_mode`, else goes by the folder's name.
        load_8bit, load_4bit: quantise with bitsandbytes.

    Raises: UserError for a folder or file that is missing, an unknown mode, or weights that do not fit.
    """
    folder = find_checkpoint(path)
    chosen = pick_device(device)
    number = dtype if isinstance(dtype, torch.dtype) else pick_dtype(dtype, chosen)
    published = checkpoints.read_json(folder, "config.json")
    mode = conv_mode or published.get("conversation_mode") or conversation_mode(_speaking_name(folder))
    TEMPLATES[mode]  # an unknown mode is told before gigabytes are read
    if base is not None:
        return _with_projector(folder, published, base, mode).to(chosen, number)
    checkpoints.require_files(folder)
    config = checkpoints.read_config(published, folder)
    tokenizer = load_tokenizer(folder)
    model = _load_weights(folder, config, chosen, number, quantisation(load_8bit, load_4bit, number))
    tower = towers.find_tower(published["mm_vision_tower"], folder)
    return Mllm(
        model=model.eval(),
        tokenizer=tokenizer,
        image_processor=towers.image_processor(tower, config.vision_config),
        conv_mode=mode,
        context_length=_context_length(published),
        stop_ids=_stop_ids(folder, tokenizer, TEMPLATES[mode]),
    )


def _with_projector(folder: Path, published: dict[str, Any], base: str | Path, conv_mode: str) -> Mllm:
    """A plain text model, the vision tower that the config names, and the projector of a first stage's result.

    Raises: UserError when the projector or the tower is not there.
    """
    BACKBONES[published.get("model_type", "")]
    tower = towers.find_tower(published.get("mm_vision_tower", ""), folder)
    if tower is None:
        raise UserError(
            f"vision tower {published.get('mm_vision_tower')!r} of {str(folder)!r} is not on this machine; "
            f"put its folder beside the checkpoint."
        )
    projector = checkpoints.read_projector(folder, published.get("mm_projector_type", "linear"))
    mllm = new_mllm(
        base,
        tower,
        projector_type=published.get("mm_projector_type", "linear"),
        select_layer=published.get("mm_vision_select_layer", -2),
        conv_mode=conv_mode,
        context_length=_context_length(published),
    )
    try:
        mllm.model.model.multi_modal_projector.load_state_dict(projector)
    except RuntimeError as problem:
        reason = str(problem).splitlines()[-1].strip()
        raise UserError(f"the projector in {str(folder)!r} does not fit {str(base)!r}: {reason}") from None
    return mllm


def find_checkpoint(path: str | Path) -> Path:
    """The folder that a path or a bare name below checkpoints/ means.

    Raises: UserError; names of a hub are not fetched.
    """
    for folder in (Path(path), *(root / path for root in ROOTS)):
        if folder.is_dir():
            return folder
    raise UserError(
        f"checkpoint folder {str(path)!r} does not exist, neither as a path nor under checkpoints/Inference or "
        "checkpoints/Training; hub ids are not fetched here, download it first."
    )


def _speaking_name(folder: Path) -> str:
    """What the name rule reads; an intermediate save goes by its run's folder, too."""
    folder = folder.resolve()
    return f"{folder.parent.name}_{folder.name}" if folder.name.startswith("checkpoint-") else folder.name


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """By the class that the tokenizer's own config names: config.json's model_type would mislead the library."""
    import transformers

    named = checkpoints.read_json(folder, "tokenizer_config.json").get("tokenizer_class") or ""
    loader = getattr(transformers, named, None) or transformers.AutoTokenizer
    return loader.from_pretrained(folder)


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


def _load_weights(
    folder: Path, config: Any, device: torch.device, dtype: torch.dtype, quantised: Any
) -> LlmgaForConditionalGeneration:
    """Raises: UserError with the first few keys that are missing, unexpected or of another shape."""
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
    except (SafetensorError, OSError, EOFError, UnpicklingError) as problem:
        reason = str(problem).splitlines()[0]
        raise UserError(f"the weights in {str(folder)!r} cannot be read ({reason}); download them again.") from None
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if found[kind]:
            names = sorted(str(key[0] if isinstance(key, tuple) else key) for key in found[kind])
            raise UserError(
                f"the weights in {str(folder)!r} do not fit their config.json: {len(names)} "
                f"{kind.replace('_', ' ')}, such as {', '.join(names[:3])}."
            )
    return model


def _context_length(published: dict[str, Any]) -> int:
    keys = ("max_sequence_length", "tokenizer_model_max_length")
    return next((published[key] for key in keys if published.get(key)), checkpoints.DEFAULT_CONTEXT)


def _stop_ids(folder: Path, tokenizer: PreTrainedTokenizerBase, template: ChatTemplate) -> frozenset[int]:
    """The end ids of generation_config.json, of the tokenizer, and the special tokens of the template's end marker."""
    file = folder / "generation_config.json"
    listed = checkpoints.read_json(folder, file.name).get("eos_token_id") if file.is_file() else None
    return _end_ids(tokenizer, template) | frozenset(listed if isinstance(listed, list) else [listed]) - {None}


def _end_ids(tokenizer: PreTrainedTokenizerBase, template: ChatTemplate) -> frozenset[int]:
    marker = tokenizer(template.reply_tail, add_special_tokens=False)["input_ids"]
    special = set(tokenizer.all_special_ids)
    return frozenset({tokenizer.eos_token_id, *(token for token in marker if token in special)} - {None})


def new_mllm(
    text_model_folder: str | Path,
    vision_tower_folder: str | Path,
    *,
    projector_type: str = "mlp2x_gelu",
    select_layer: int = -2,
    conv_mode: str,
    context_length: int = checkpoints.DEFAULT_CONTEXT,
) -> Mllm:
    """A text model that has learned to read and a CLIP tower that has learned to see, joined by a fresh projector.

    Everything is in single precision on the CPU; the projector follows torch's random state.

    Raises: UserError for a folder or its config that is missing, or a text model of a family without a row.
    """
    from transformers import AutoModelForCausalLM, CLIPVisionModel

    TEMPLATES[conv_mode]
    text_folder, tower_folder = find_checkpoint(text_model_folder), find_checkpoint(vision_tower_folder)
    for folder in (text_folder, tower_folder):
        checkpoints.read_json(folder, "config.json")
    text = AutoModelForCausalLM.from_pretrained(text_folder, dtype=torch.float32)
    tower = CLIPVisionModel.from_pretrained(tower_folder, dtype=torch.float32)
    config = checkpoints.make_config(
        text.config, tower.config, projector_type=projector_type, select_layer=select_layer
    )
    model = LlmgaForConditionalGeneration(config)
    model.model.language_model.load_state_dict(text.model.state_dict())
    model.model.vision_tower.load_state_dict(tower.state_dict())
    model.lm_head.load_state_dict(text.lm_head.state_dict())
    tokenizer = load_tokenizer(text_folder)
    return Mllm(
        model=model.eval(),
        tokenizer=tokenizer,
        image_processor=towers.image_processor(tower_folder, tower.config),
        conv_mode=conv_mode,
        context_length=context_length,
        stop_ids=_stop_ids(text_folder, tokenizer, TEMPLATES[conv_mode]),
    )

"""Open a multimodal language model, whatever layout it is in."""

from pathlib import Path

import torch

from llmga.errors import UserError
from llmga.llava import adapters, checkpoints, towers
from llmga.llava.assembling import fit_rows, new_mllm
from llmga.llava.backbones import BACKBONES, Settings
from llmga.llava.mllm import Mllm
from llmga.llava.places import find_checkpoint, speaking_name
from llmga.llava.saving import save_published
from llmga.llava.templates import TEMPLATES, conversation_mode
from llmga.llava.vocabulary import add_picture_tokens, load_tokenizer, stop_ids
from llmga.llava.weights import load_weights, quantisation
from llmga.runtime import pick_device, pick_dtype

__all__ = ["Mllm", "find_checkpoint", "load_mllm", "load_tokenizer", "new_mllm", "save_published"]


def load_mllm(
    path: str | Path,
    base: str | Path | None = None,
    *,
    device: str = "auto",
    dtype: str | torch.dtype | None = None,
    conv_mode: str | None = None,
    load_8bit: bool = False,
    load_4bit: bool = False,
    merge_lora: bool = True,
) -> Mllm:
    """Open a checkpoint of the published layout.

    Args:
        path: a folder, or the name of one below checkpoints/Inference or checkpoints/Training.
        base: what a result without its own language model belongs to: for the projector of a first stage the plain
            text model, for a low-rank adapter that or a full checkpoint (None: the one that the adapter names).
        device: auto, cpu, cuda, cuda:N or mps.
        dtype: fp32, fp16, bf16 or a torch dtype; None is fp16, on a CPU fp32.
        conv_mode: a row of TEMPLATES; None takes the config's `conversation_mode`, else goes by the folder's name.
        load_8bit, load_4bit: quantise with bitsandbytes.
        merge_lora: add a low-rank adapter to the weights; False keeps its layers apart.

    Raises: UserError for a folder or file that is missing, an unknown mode, or weights that do not fit.
    """
    folder = find_checkpoint(path)
    chosen = pick_device(device)
    number = dtype if isinstance(dtype, torch.dtype) else pick_dtype(dtype, chosen)
    published = checkpoints.read_json(folder, "config.json")
    mode = conv_mode or published.get("conversation_mode") or conversation_mode(speaking_name(folder))
    TEMPLATES[mode]  # an unknown mode is told before gigabytes are read
    quantised = quantisation(load_8bit, load_4bit, number)
    if adapters.is_low_rank(folder):
        mllm = _base_of_adapter(folder, published, base, mode)
        return adapters.add_low_rank(mllm, folder, published, merge_lora).to(chosen, number)
    if base is not None:
        weights = checkpoints.read_tensors(folder / "mm_projector.bin")  # complains before the base is read
        mllm = adapters.plain_base(folder, published, base, mode)
        adapters.add_projector(mllm, weights, folder, published)
        return mllm.to(chosen, number)
    checkpoints.require_files(folder)
    config = checkpoints.read_config(published, folder)
    tokenizer = load_tokenizer(folder)
    add_picture_tokens(tokenizer, published)
    tower = towers.find_tower(published["mm_vision_tower"], folder)
    model = load_weights(folder, config, chosen, number, quantised, tower)
    fit_rows(model, len(tokenizer))
    return Mllm(
        model=model.eval(),
        tokenizer=tokenizer,
        image_processor=towers.image_processor(tower, config.vision_config),
        conv_mode=mode,
        context_length=checkpoints.context_length(published),
        image_aspect=_aspect(published),
        stop_ids=stop_ids(folder, tokenizer, TEMPLATES[mode]),
        word_boundary=bool(published.get("tokenizer_word_boundary")),
        marks_pictures=bool(published.get("mm_use_im_start_end")),
    )


def _base_of_adapter(folder: Path, published: Settings, base: str | Path | None, conv_mode: str) -> Mllm:
    """The base that was given, or the one that the adapter names, in single precision on the CPU.

    Raises: UserError when neither is on this machine.
    """
    named = checkpoints.read_json(folder, adapters.ADAPTER_CONFIG).get("base_model_name_or_path") or ""
    beside = folder.parent / named
    whole = find_checkpoint(base if base is not None else beside if named and beside.is_dir() else named or "(none)")
    if checkpoints.read_json(whole, "config.json").get("model_type") in BACKBONES:
        return load_mllm(whole, device="cpu", dtype=torch.float32, conv_mode=conv_mode)
    return adapters.plain_base(folder, published, whole, conv_mode)


def _aspect(published: Settings) -> str:
    """Raises: UserError for anyres, whose several crops per picture no published model uses."""
    named = published.get("image_aspect_ratio")
    if named == "anyres":
        raise UserError("image_aspect_ratio 'anyres' is not supported; use a checkpoint that sees one square.")
    return "pad" if named == "pad" else "stretch"

"""Open whoever plans the pictures: our models in whatever layout, anybody's, or a server."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from llmga.llava import adapters, checkpoints, towers
from llmga.llava.assembling import new_mllm, resize_vocabulary
from llmga.llava.backbones import BACKBONES, ConfigDict
from llmga.llava.chat import Chat
from llmga.llava.endpoint.address import Endpoint
from llmga.llava.endpoint.chat import EndpointChat
from llmga.llava.hf_layout.reading import hf_layout_config, hf_layout_weights, is_hf_layout
from llmga.llava.mllm import Mllm
from llmga.llava.paths import find_checkpoint
from llmga.llava.placement import Placement, placement
from llmga.llava.planner import Planner
from llmga.llava.processor_chat import ProcessorChat
from llmga.llava.published import PublishedConfig, mode_of, trained_upon
from llmga.llava.saving import save_published
from llmga.llava.templates import TEMPLATES
from llmga.llava.vlm import load_vlm
from llmga.llava.vocabulary import add_special_tokens, load_tokenizer, stop_ids
from llmga.llava.weights import load_weights
from llmga.quiet import quiet

__all__ = [
    "Mllm",
    "NewChat",
    "find_checkpoint",
    "load_mllm",
    "load_tokenizer",
    "new_mllm",
    "open_planner",
    "save_published",
]

NewChat = Callable[[], Planner]


def open_planner(
    path: str | Path | Endpoint,
    base: str | Path | None = None,
    *,
    conv_mode: str | None = None,
    **place: Any,
) -> NewChat:
    """A function that begins a conversation; the model is loaded once, here.

    Args:
        path: a checkpoint of ours in any layout, a vision-language model of transformers, or a server's `Endpoint`,
            for which nothing is loaded.
        base: as for `load_mllm`.
        conv_mode: as for `load_mllm`.
        place: as for `load_mllm`.

    Raises:
        UserError: when it cannot be opened or reached.
    """
    if isinstance(path, Endpoint):
        return partial(EndpointChat, path.named())
    if base is None and conv_mode is None and not is_ours(path):
        return partial(ProcessorChat, load_vlm(path, **place))
    return partial(Chat, load_mllm(path, base, conv_mode=conv_mode, **place))


def is_ours(path: str | Path) -> bool:
    """Whether `load_mllm` opens a folder that was trained to write prompts.

    That is every published layout, and of transformers' LLaVA folders those that `llmga.llava.convert` wrote; others
    are models that have to be taught.
    """
    folder = find_checkpoint(path)
    if adapters.is_low_rank(folder):
        return True
    config = checkpoints.read_json(folder, "config.json")
    if is_hf_layout(config):
        return "conversation_mode" in config
    return config.get("model_type") in BACKBONES and "vision_config" not in config


def load_mllm(
    path: str | Path,
    base: str | Path | None = None,
    *,
    conv_mode: str | None = None,
    merge_lora: bool = True,
    **place: Any,
) -> Mllm:
    """Open a checkpoint of the published layout, or of transformers' LLaVA.

    Args:
        path: a folder, the name of one below checkpoints/Inference or checkpoints/Training, or an id of the hub.
        base: what a result without its own language model belongs to: for the projector of a first stage the plain
            text model, for a low-rank adapter that or a full checkpoint (None: the one that the adapter names).
        conv_mode: a row of TEMPLATES; None takes the config's `conversation_mode`, else goes by the folder's name.
        merge_lora: add a low-rank adapter to the weights; False keeps its layers apart.
        place: where and in which number format it runs; the keywords of `placement`: device, dtype, load_8bit,
            load_4bit, attention, num_gpus, device_map, max_memory, offload_folder.

    Raises:
        UserError: for a folder or file that is missing, an unknown mode, or weights that do not fit.
    """
    where = placement(**place)
    folder = find_checkpoint(path)
    config_dict = checkpoints.read_json(folder, "config.json")
    mode = mode_of(config_dict, folder, conv_mode)  # an unknown mode is told before gigabytes are read
    if adapters.is_low_rank(folder):
        return _with_adapter(folder, config_dict, base, mode, merge_lora, where)
    if base is not None:
        weights = checkpoints.read_tensors(folder / checkpoints.PROJECTOR)  # complains before the base is read
        mllm = adapters.plain_base(PublishedConfig.from_dict(config_dict, folder), base, mode)
        adapters.add_projector(mllm, weights, folder)
        return _put(mllm, where)
    return _whole(folder, mode, where)


def describe(folder: Path, result: ConfigDict | None = None) -> PublishedConfig:
    """What the config of a checkpoint in any layout says.

    Args:
        result: the config of what was trained upon it.

    Raises:
        UserError: for what is not understood.
    """
    place, config_dict = folder, checkpoints.read_json(folder, "config.json")
    if is_hf_layout(config_dict):
        place, config_dict = hf_layout_config(folder, config_dict)
    return PublishedConfig.from_dict(trained_upon(result or {}, config_dict), place)


@quiet()
def _whole(folder: Path, mode: str, where: Placement, result: ConfigDict | None = None) -> Mllm:
    """A checkpoint with a language model of its own; `result` as for `describe`."""
    checkpoints.require_files(folder)
    published = describe(folder, result)
    config, tower = published.to_model_config(), published.tower_folder()
    tokenizer = load_tokenizer(published.folder)
    add_special_tokens(tokenizer, published.added_tokens)
    config_dict = checkpoints.read_json(folder, "config.json")
    given = hf_layout_weights(folder, config_dict) if is_hf_layout(config_dict) else None
    model = load_weights(folder, config, where, tower=tower, given=given)
    resize_vocabulary(model, len(tokenizer))
    return Mllm(
        model=model.eval(),
        tokenizer=tokenizer,
        image_processor=towers.image_processor(tower, config.vision_config),
        conv_mode=mode,
        stop_ids=stop_ids(published.folder, tokenizer, TEMPLATES[mode]),
        **published.mllm_fields(),
    )


def _with_adapter(
    folder: Path, config_dict: ConfigDict, base: str | Path | None, mode: str, merge: bool, where: Placement
) -> Mllm:
    """A low-rank result: merged before it is quantised or spread, its layers apart laid on afterwards."""
    mllm = _base_of_adapter(folder, config_dict, base, mode)
    adapters.add_non_lora(mllm, folder)
    if merge:
        return _put(adapters.add_low_rank(mllm, folder, merge=True), where)
    if where.plain:
        return _put(adapters.add_low_rank(mllm, folder, merge=False), where)
    return adapters.add_low_rank(_put(mllm, where), folder, merge=False)


@quiet()
def _put(mllm: Mllm, where: Placement) -> Mllm:
    """A model in single precision on the CPU to where it belongs."""
    if where.plain:
        return mllm.to(where.device, where.dtype)
    config = mllm.model.config
    weights = checkpoints.published_weights(mllm.model.state_dict(), config, None)
    mllm.model = load_weights(Path(), config, where, given=weights).eval()
    return mllm


def _base_of_adapter(folder: Path, config_dict: ConfigDict, base: str | Path | None, mode: str) -> Mllm:
    """The base that was given, or the one that the adapter names, in single precision on the CPU, used as the adapter.

    Raises:
        UserError: when neither is on this machine.
    """
    named = checkpoints.read_json(folder, adapters.ADAPTER_CONFIG).get("base_model_name_or_path") or ""
    beside = folder.parent / named
    whole = find_checkpoint(base if base is not None else beside if named and beside.is_dir() else named or "(none)")
    config = checkpoints.read_json(whole, "config.json")
    if config.get("model_type") not in BACKBONES:
        return adapters.plain_base(PublishedConfig.from_dict(config_dict, folder), whole, mode)
    mllm = _whole(whole, mode, placement(device="cpu", dtype=torch.float32), config_dict)
    return adapters.use_own_tokenizer(mllm, folder)

"""Whoever plans the pictures, opened by one function: our models, anybody's, or a server."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from llmga.llava import adapters, checkpoints
from llmga.llava.backbones import BACKBONES
from llmga.llava.chat import Chat
from llmga.llava.endpoint.address import Endpoint
from llmga.llava.endpoint.chat import EndpointChat
from llmga.llava.hf_layout.reading import is_hf_layout
from llmga.llava.loading import load_mllm
from llmga.llava.paths import find_checkpoint
from llmga.llava.planner import Planner
from llmga.llava.processor_chat import ProcessorChat
from llmga.llava.vlm import load_vlm

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
        base, conv_mode, place: as `llmga.llava.loading.load_mllm`.

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

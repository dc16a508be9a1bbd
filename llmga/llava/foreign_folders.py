"""Folders that are no planner here: each is told in one sentence what it is, and the way out."""

from pathlib import Path
from pickle import UnpicklingError

from safetensors import SafetensorError
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)

from llmga.errors import UserError, reason
from llmga.llava import checkpoints

BROKEN: tuple[type[Exception], ...] = (  # what the library raises for a folder that it cannot open
    *(OSError, EOFError, ValueError, KeyError, TypeError, ImportError, AttributeError),
    *(SafetensorError, UnpicklingError),
)
_SERVE = "serve it (vLLM, SGLang, llama.cpp or Ollama) and give --mllm-url"


def check_folder(folder: Path) -> None:
    """See by its config whether transformers can open a folder as a vision-language model.

    Raises:
        UserError: for a model of words only, or one in another program's numbers.
    """
    config = checkpoints.read_json(folder, "config.json")
    kind = config.get("model_type")
    if "bits" in (config.get("quantization") or {}) and "quantization_config" not in config:
        raise UserError(
            f"{str(folder)!r} is quantised for MLX, which transformers does not read; give the folder that it was made "
            "from, or serve it with mlx-vlm and give --mllm-url."
        )
    if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        raise UserError(
            f"{str(folder)!r}, a model of type {kind!r}, reads words only and sees no picture; give a vision-language "
            f"model, {_SERVE}, or teach it to see by stage 1."
        )


def not_opened(folder: Path, what: str, problem: Exception) -> UserError:
    """The sentence about a folder that the library cannot open.

    Args:
        what: the folder's fault, a sentence that begins with a verb.
        problem: what the library said.
    """
    config = checkpoints.read_json(folder, "config.json")
    why, method = reason(problem), (config.get("quantization_config") or {}).get("quant_method")
    if "auto_map" in config and "code of its own" in why:
        out = f"give the same model in transformers' own layout (mostly called …-hf), or {_SERVE}"
    elif method:
        what = f"is quantised by {method} and {what}"
        out = f"give the folder that is not quantised (with --load-4bit it takes as little memory), or {_SERVE}"
    else:
        out = "give a folder of ours, or a whole one of a vision-language model that transformers knows"
    return UserError(f"{str(folder)!r}, a model of type {config.get('model_type')!r}, {what} ({why}); {out}.")


def no_chat(folder: Path) -> UserError:
    """The sentence about a folder without a chat template."""
    kind = checkpoints.read_json(folder, "config.json").get("model_type")
    return UserError(
        f"{str(folder)!r}, a model of type {kind!r}, has no chat template, so it was not taught to talk; add its "
        "chat_template.jinja where it was left out, or give a chat model."
    )

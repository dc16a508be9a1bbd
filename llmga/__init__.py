"""LLMGA: an assistant that makes and edits pictures by talking.

    import llmga

    assistant = llmga.load("llmga-toy-mllm", pipeline="llmga-toy-sdxl-t2i")
    reply = assistant.say("a big red circle on a blue background")
    reply.images[0].save("circle.png")

Every name is imported when it is first asked for, so that `import llmga` costs nothing and changes nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmga.assistant.assistant import Assistant as Assistant
    from llmga.assistant.events import Denoising as Denoising
    from llmga.assistant.events import Failed as Failed
    from llmga.assistant.events import PictureReady as PictureReady
    from llmga.assistant.events import PromptFound as PromptFound
    from llmga.assistant.events import Reply as Reply
    from llmga.assistant.events import Stopped as Stopped
    from llmga.assistant.events import TextDelta as TextDelta
    from llmga.assistant.loading import ModelSpec as ModelSpec
    from llmga.assistant.loading import load as load
    from llmga.assistant.session import Session as Session
    from llmga.assistant.session import Turn as Turn
    from llmga.assistant.session_file import SavedSession as SavedSession
    from llmga.assistant.session_file import load_session as load_session
    from llmga.assistant.session_file import save_session as save_session
    from llmga.assistant.settings import Settings as Settings
    from llmga.diffrir.restorers import load_restorer as load_restorer
    from llmga.diffusers.pipelines import load_pipeline as load_pipeline
    from llmga.errors import UserError as UserError
    from llmga.llava.conversation import Conversation as Conversation
    from llmga.llava.endpoint.address import Endpoint as Endpoint
    from llmga.llava.loading import load_mllm as load_mllm

__version__ = "0.2.0"

_HOMES = {
    "assistant.assistant": ("Assistant",),
    "assistant.events": ("Denoising", "Failed", "PictureReady", "PromptFound", "Reply", "Stopped", "TextDelta"),
    "assistant.loading": ("ModelSpec", "load"),
    "assistant.session": ("Session", "Turn"),
    "assistant.session_file": ("SavedSession", "load_session", "save_session"),
    "assistant.settings": ("Settings",),
    "diffrir.restorers": ("load_restorer",),
    "diffusers.pipelines": ("load_pipeline",),
    "errors": ("UserError",),
    "llava.conversation": ("Conversation",),
    "llava.endpoint.address": ("Endpoint",),
    "llava.loading": ("load_mllm",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Assistant",
    "Conversation",
    "Denoising",
    "Endpoint",
    "Failed",
    "ModelSpec",
    "PictureReady",
    "PromptFound",
    "Reply",
    "SavedSession",
    "Session",
    "Settings",
    "Stopped",
    "TextDelta",
    "Turn",
    "UserError",
    "__version__",
    "load",
    "load_mllm",
    "load_pipeline",
    "load_restorer",
    "load_session",
    "save_session",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)

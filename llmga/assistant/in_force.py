"""Which values the next picture is made with: what a person chose, else what the checkpoint brings, else the usual."""

from contextlib import suppress
from typing import Any

from llmga.assistant.assistant import Assistant
from llmga.assistant.settings import Setting
from llmga.diffrir.restorers import restorer_name
from llmga.diffusers.control import OFF, controls_text
from llmga.errors import UserError

DESCRIBED = {"sampler": "sampler_name"}  # what a pipeline's description calls a setting, where that is another name


def in_force(assistant: Assistant, row: Setting) -> tuple[Any, bool]:
    """The value of a setting, and whether a person chose it; None is a value that nobody has, such as no upscaling.

    Args:
        row: of the table of settings.
    """
    if (chosen := row.value(assistant.settings)) is not None:
        return chosen, chosen != row.default
    return _brought(assistant, row), False


def _brought(assistant: Assistant, row: Setting) -> Any:
    """What a setting that nobody chose amounts to."""
    if row.name == "restorer":
        return restorer_name(assistant.restorer)
    if row.name == "control":
        guides = getattr(assistant.pipeline, "guides", None)
        return controls_text(guides.standing) if guides is not None and guides.standing else OFF
    with suppress(UserError):  # a pipeline that cannot be described so says why where it is to paint
        described = assistant.pipeline.describe()  # type: ignore[attr-defined]  # of the contract, beside calling it
        if (value := described.get(DESCRIBED.get(row.name, row.name))) is not None:
            return tuple(value) if row.kind is tuple else value
    return row.usual if row.default is None else row.default

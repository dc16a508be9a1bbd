"""Settings under a name, kept by the browser that saved them.

What a browser has kept is somebody's input like any other: what cannot be a preset is passed over.
"""

from collections.abc import Mapping
from typing import Any

import gradio as gr

from llmga.errors import UserError
from llmga.serve.page.strings import Strings

LONGEST_NAME = 40  # characters
LONGEST_TEXT = 2_000  # characters of a value, such as what should not be in the picture
MOST = 30
NOT_KEPT = ("seed", "lock")  # a seed is of one picture, not of a way to paint
# gradio encrypts what it keeps, with a key that is another one after every start unless it is named.
STORED = {"storage_key": "llmga-presets", "secret": "llmga-presets"}

Preset = dict[str, Any]  # setting -> what its control shows
Presets = dict[str, Preset]


def browser_state() -> gr.BrowserState:
    """Where the browser keeps them; to be rendered outside of all tabs, or it is not read until its tab is opened."""
    return gr.BrowserState({}, render=False, **STORED)


def kept(stored: object) -> Presets:
    """The presets that a browser has kept, by their names."""
    if not isinstance(stored, Mapping):
        return {}
    named = ((_name(name), _values(values)) for name, values in stored.items())
    return dict([(name, values) for name, values in named if name and values][:MOST])


def with_preset(stored: object, name: object, values: Mapping[str, Any], strings: Strings) -> Presets:
    """The presets and another one, which takes the place of one of its name.

    Raises:
        UserError: it has no name, or there are too many.
    """
    presets, name = kept(stored), _name(name)
    if not name:
        raise UserError(strings["preset name"].format(LONGEST_NAME))
    if name not in presets and len(presets) >= MOST:
        raise UserError(strings["preset many"].format(MOST))
    return presets | {name: _values({key: value for key, value in values.items() if key not in NOT_KEPT})}


def without_preset(stored: object, name: object) -> Presets:
    """The presets but for one."""
    return {other: values for other, values in kept(stored).items() if other != _name(name)}


def _name(name: object) -> str:
    """The name as it is shown; "" for what is none."""
    name = " ".join(name.split()) if isinstance(name, str) else ""
    return name if len(name) <= LONGEST_NAME and name.isprintable() else ""


def _values(values: object) -> Preset:
    if not isinstance(values, Mapping):
        return {}
    return {key: value for key, value in values.items() if isinstance(key, str) and _is_plain(value)}


def _is_plain(value: object) -> bool:
    return (
        value is None
        or isinstance(value, bool | int | float)
        or (isinstance(value, str) and len(value) <= LONGEST_TEXT)
    )

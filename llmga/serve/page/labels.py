"""Components whose words follow the language that a visitor chose."""

from collections.abc import Mapping
from typing import Any

import gradio as gr
from gradio.components import Component

from llmga.serve.page.strings import WORDS, Words


class Labels:
    """Which words stand on which component.

    Args:
        language: the one that the page is built in.
    """

    def __init__(self, language: str = "en"):
        self.words: Words = WORDS[language]
        self._told: list[tuple[Component, Mapping[str, str], Mapping[str, str]]] = []

    def put(self, kind: type, *, choices: Mapping[str, str] | None = None, **options: Any) -> Any:
        """A component; options whose name ends in `_word` are keys of the words.

        Args:
            choices: value -> key of its word.
            options: as the component takes them; `rows` are choices that are called the same in every language.
        """
        if "rows" in options:
            options["choices"] = options.pop("rows")
        keys = {name.removesuffix("_word"): options.pop(name) for name in list(options) if name.endswith("_word")}
        component = kind(**options, **self._said(keys, choices or {}, self.words))
        self._told.append((component, keys, choices or {}))
        return component

    @property
    def components(self) -> list[Component]:
        return [component for component, _, _ in self._told]

    def in_language(self, language: str) -> list[dict[str, Any]]:
        """An update for each of `components`."""
        return [gr.update(**self._said(keys, choices, WORDS[language])) for _, keys, choices in self._told]

    @staticmethod
    def _said(keys: Mapping[str, str], choices: Mapping[str, str], words: Words) -> dict[str, Any]:
        said: dict[str, Any] = {name: words[key] for name, key in keys.items()}
        if choices:
            said["choices"] = [(words[key], value) for value, key in choices.items()]
        return said

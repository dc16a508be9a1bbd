"""Components whose labels follow the language that a person chose."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import gradio as gr
from gradio.blocks import Block

from llmga.serve.page.strings import STRINGS, Strings

Shown = TypeVar("Shown", bound=Block)
Said = str | Callable[[Strings], str]  # a key of the strings, or what makes HTML of them


class Labels:
    """The components of the page and the strings that stand on them.

    Args:
        language: a key of `STRINGS`, the one that the page is built in.
    """

    def __init__(self, language: str = "en"):
        self.strings: Strings = STRINGS[language]
        self._labelled: list[tuple[Block, Mapping[str, Said], Mapping[str, str]]] = []

    def put(self, kind: type[Shown], *, choices: Mapping[str, str] | None = None, **options: Any) -> Shown:
        """A component; options whose name ends in `_word` are keys of the strings, or make HTML of them.

        Args:
            choices: value -> key of its string.
            options: as the component takes them; `rows` are choices that are called the same in every language.
        """
        if "rows" in options:
            options["choices"] = options.pop("rows")
        keys: dict[str, Said] = {
            name.removesuffix("_word"): options.pop(name) for name in list(options) if name.endswith("_word")
        }
        component = kind(**options, **self._texts(keys, choices or {}, self.strings))
        self._labelled.append((component, keys, choices or {}))
        return component

    @property
    def components(self) -> list[Block]:
        """All components that were put."""
        return [component for component, _, _ in self._labelled]

    def in_language(self, language: str) -> list[dict[str, Any]]:
        """An update for each of `components`."""
        return [gr.update(**self._texts(keys, choices, STRINGS[language])) for _, keys, choices in self._labelled]

    @staticmethod
    def _texts(keys: Mapping[str, Said], choices: Mapping[str, str], strings: Strings) -> dict[str, Any]:
        texts: dict[str, Any] = {
            name: strings[said] if isinstance(said, str) else said(strings) for name, said in keys.items()
        }
        if choices:
            texts["choices"] = [(strings[key], value) for value, key in choices.items()]
        return texts

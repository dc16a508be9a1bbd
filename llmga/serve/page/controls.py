"""The settings of a session: the controls, made from the table of settings, and what they say."""

from argparse import ArgumentTypeError
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import gradio as gr

from llmga.assistant.assistant import Assistant
from llmga.assistant.painting import choose_sampler
from llmga.assistant.settings import SETTINGS, Changes, Setting, Settings
from llmga.diffusers.samplers import SAMPLERS
from llmga.errors import UserError
from llmga.serve.args import reader
from llmga.serve.page.labels import Labels
from llmga.serve.page.strings import key_of


@dataclass(frozen=True)
class Chosen:
    """The values of the controls, for the next answer.

    Attributes:
        settings: with `edit`, which only an answer that changes a picture uses.
        seed: of the next picture; None goes on with the session's.
        fill: a row of `llmga.diffusers.canvas.FILLS`, what is under a grown part.
    """

    settings: Settings
    seed: int | None = None
    fill: str = SETTINGS["fill"].default

    def into(self, assistant: Assistant, *, changes: bool = False) -> None:
        """Let the next answer be given so.

        Args:
            changes: it changes a picture.

        Raises:
            UserError: the pipeline cannot use the sampler.
        """
        choose_sampler(assistant.pipeline, self.settings)
        edit = self.settings.edit if changes else None
        assistant.settings = replace(self.settings, seed=assistant.settings.seed, edit=edit)
        if self.seed is not None:
            assistant.reseed(self.seed)


class Controls:
    """The controls, by the names of their settings.

    Args:
        usual: settings of the command line.
        pipeline: how the pipeline describes itself, for what the command line leaves open.
        restorer: name of the restorer that is loaded.
        rows: the table of settings; those with a label are shown.
    """

    def __init__(
        self,
        labels: Labels,
        usual: Settings,
        pipeline: Mapping[str, Any],
        restorer: str,
        rows: Mapping[str, Setting] = SETTINGS,
    ):
        self.named: dict[str, Any] = {}
        self._table, self._rows = rows, {name: row for name, row in rows.items() if row.label is not None}
        self._labels, self._usual = labels, usual
        self._own = {
            "steps": pipeline["steps"],
            "guidance_scale": pipeline["guidance_scale"],
            "sampler": pipeline["sampler_name"],
            "restorer": restorer,
        }
        self._add("words")
        with labels.put(gr.Accordion, label_word="painting settings", open=False):
            self._add("painting")
        with labels.put(gr.Accordion, label_word="changing settings", open=False):
            self._add("finish", "region", "editing")

    def _add(self, *groups: str) -> None:
        for name, row in self._rows.items():
            if row.group in groups:
                kind, options = self._component(row, self._shown(row, self._usual))
                self.named[name] = self._labels.put(kind, label_word=key_of(row), **options)

    def _component(self, row: Setting, value: Any) -> tuple[type, dict[str, Any]]:
        """The kind of control that a row gets, and its options."""
        if row.slider is not None:
            low, high, step = row.slider
            return gr.Slider, {"minimum": low, "maximum": max(high, value), "step": step, "value": value}
        if row.choices:
            return gr.Radio, {"choices": {each: key_of(row, each) for each in row.choices}, "value": value}
        if row.kind is bool:
            return gr.Checkbox, {"value": value}
        if row.names:
            names = row.known if row.name != "restorer" else _without_weights(row.known, value)
            return gr.Dropdown, {"rows": [(name, name) for name in names], "value": value}
        return gr.Textbox, {"max_lines": 3 if row.kind is str else 1, "value": value}

    @property
    def components(self) -> list[Any]:
        """All of them, in the order in which they stand."""
        return list(self.named.values())

    def chosen(self, values: Sequence[Any]) -> Chosen:
        """What the values of `components` mean.

        Raises:
            UserError: one cannot be.
        """
        said = {name: self._read(self._rows[name], value) for name, value in zip(self.named, values, strict=True)}
        own = {name: value for name, value in said.items() if not self._rows[name].part_of and name != "seed"}
        repaint, edit = (
            cast(
                Changes,
                {row.name: said.get(row.name, row.default) for row in self._table.values() if row.part_of == part},
            )
            for part in ("repaint", "edit")
        )
        settings = replace(self._usual, **own, repaint=repaint, edit=edit, previews=True)
        return Chosen(settings, said["seed"], said["fill"])

    def shown(self, settings: Settings) -> list[Any]:
        """Updates of `components` after a session was loaded; what it does not say stays as it is."""
        rows = (self._rows[name] for name in self.named)
        return [gr.update(value=self._shown(row, settings)) if _says(settings, row) else gr.skip() for row in rows]

    def own_of(self, sampler: str) -> tuple[Any, Any]:
        """Updates of steps and guidance: what suits the sampler."""
        row = SAMPLERS[sampler]
        guidance = self._own["guidance_scale"] if row.guidance_scale is None else row.guidance_scale
        return gr.update(value=row.steps or self._own["steps"]), gr.update(value=guidance)

    def _shown(self, row: Setting, settings: Settings) -> Any:
        """What the control of a row shows."""
        value = row.value(settings) if _says(settings, row) and row.name != "seed" else row.default
        if value is None:
            return self._own.get(row.name, "" if row.usual is None else row.usual)
        if isinstance(value, tuple):
            return "{}x{}".format(*value)
        return not value if row.name == "paint" else value

    def _read(self, row: Setting, value: Any) -> Any:
        """What the value of a control means; where it is the usual one, None.

        Raises:
            UserError: it cannot be read.
        """
        if row.name == "paint":
            return not value
        if row.usual is not None:
            return None if value == self._own.get(row.name, row.usual) else value
        if row.slider is not None:
            return row.kind(value)
        return value if row.names or row.kind is bool else _typed(row, value)


def _says(settings: Settings, row: Setting) -> bool:
    """Whether settings hold a row, be its value None."""
    return row.name in (getattr(settings, row.part_of, None) or {}) if row.part_of else True


def _without_weights(names: Sequence[str], loaded: str) -> list[str]:
    """The loaded restorer, and those that need nothing to be loaded."""
    return list(dict.fromkeys([loaded, *(name for name in names if not name.startswith("diffrir"))]))


def _typed(row: Setting, text: str) -> Any:
    """What was typed in place of a flag; None where nothing stands.

    Raises:
        UserError: it cannot be read.
    """
    if not text.strip():
        return None
    try:
        return reader(row)(text.strip())
    except ArgumentTypeError as problem:
        raise UserError(f"{problem}.") from None

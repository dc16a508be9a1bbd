"""The settings of a session: the controls, made from the table of settings, and what they say.

They stand in the order of the table's rows; those without a place in it are behind "Advanced".
"""

import json
from argparse import ArgumentTypeError
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import gradio as gr

from llmga.assistant.assistant import Assistant
from llmga.assistant.painting import choose_sampler
from llmga.assistant.settings import SETTINGS, Changes, Setting, Settings
from llmga.diffusers.aspects import ASPECTS
from llmga.errors import UserError
from llmga.serve.args import reader
from llmga.serve.page.labels import Labels
from llmga.serve.page.presets import browser_state
from llmga.serve.page.scripts import script
from llmga.serve.page.strings import LANGUAGES, key_of

PAIRS = {"steps": "guidance_scale", "sampler": "restorer"}  # what stands side by side
SECTIONS = {"words": "words settings", "painting": "painting settings", "region": "changing settings",
            "editing": "changing settings", "finish": "changing settings"}  # fmt: skip


@dataclass(frozen=True)
class Chosen:
    """The values of the controls, for the next answer.

    Attributes:
        settings: with `edit`, which only an answer that changes a picture uses.
        seed: of the next picture; None goes on with the session's, and so does the one that it has already.
        fill: a row of `llmga.diffusers.canvas.FILLS`, what is under a grown part.
        lock: every answer begins with `seed`.
    """

    settings: Settings
    seed: int | None = None
    fill: str = SETTINGS["fill"].default
    lock: bool = False

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
        if self.seed is not None and (self.lock or self.seed != assistant.session.seed):
            assistant.reseed(self.seed)

    def feathered(self, feathers: bool) -> "Chosen":
        """The same, with gray in the mask mixing old and new where its edge `feathers`."""
        if not feathers:
            return self
        soft: Changes = {**self.settings.repaint, "soft": True}
        return replace(self, settings=replace(self.settings, repaint=soft))


class Controls:
    """The controls, by the names of their settings.

    Args:
        usual: settings of the command line.
        pipeline: how the pipeline describes itself, for what the command line leaves open.
        restorer: name of the restorer that is loaded.
        rows: the table of settings; those with a label are shown.

    Attributes:
        aspect: which size is chosen by its aspect.
        dice: draws a seed.
        preset, save, delete: of presets, which `presets` keeps.
        problem: what is wrong with a field, for who cannot see it there.
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
        self._table, self.rows = rows, {name: row for name, row in rows.items() if row.label is not None}
        self._labels, self._usual = labels, usual
        self._own: dict[str, Any] = {"sampler": pipeline["sampler_name"], "restorer": restorer}
        self._hints = hints(pipeline)
        keyboards = script("settings.js").replace("MODES", json.dumps(self._keyboards()))
        self.problem: gr.HTML = gr.HTML("", js_on_load=keyboards, elem_id="problem", apply_default_css=False)
        self._presets()
        for name, row in self.rows.items():
            if not row.advanced and name not in PAIRS.values():
                self._in_front(name)
        with labels.put(gr.Accordion, label_word="advanced settings", open=False, elem_id="advanced"):
            for word in dict.fromkeys(SECTIONS.values()):
                self._section(word)

    def _keyboards(self) -> dict[str, str]:
        """The `inputmode` of the fields into which numbers are typed, by the id of the field."""
        modes = {int: "numeric", float: "decimal"}
        return {
            f"setting-{name}": modes[row.kind]
            for name, row in self.rows.items()
            if row.kind in modes and not row.choices
        }

    def _presets(self) -> None:
        self.presets: gr.BrowserState = browser_state()
        with gr.Row(elem_id="presets", equal_height=False):
            self.preset: gr.Dropdown = self._labels.put(
                gr.Dropdown, label_word="preset", rows=[], value=None,
                allow_custom_value=True, scale=3, min_width=160, elem_id="preset",
            )  # fmt: skip
            put: dict[str, Any] = {"size": "sm", "scale": 1, "min_width": 70}
            self.save: gr.Button = self._labels.put(gr.Button, value_word="preset save", elem_id="preset-save", **put)
            self.delete: gr.Button = self._labels.put(
                gr.Button, value_word="preset delete", elem_id="preset-delete", **put
            )

    def _in_front(self, name: str) -> None:
        """A setting that is often used, with what belongs to it."""
        if name == "size":
            rows = [(aspect, aspect) for aspect in ASPECTS]
            self.aspect: gr.Radio = self._labels.put(
                gr.Radio, label_word="aspect", rows=rows, value=None, elem_id="aspect"
            )
        if name == "seed":
            with gr.Row(elem_id="seed-row", equal_height=False):
                self._add("seed", scale=3, min_width=120)
                self.dice: gr.Button = self._labels.put(
                    gr.Button, value_word="dice", size="sm", scale=1, min_width=115, elem_id="dice"
                )
                self._add("lock", scale=2, min_width=120)
        elif name in PAIRS and PAIRS[name] in self.rows:
            with gr.Row(equal_height=False):
                self._add(name, min_width=145)
                self._add(PAIRS[name], min_width=145)
        elif name != "lock":
            self._add(name)

    def _section(self, word: str) -> None:
        names = [name for name, row in self.rows.items() if row.advanced and SECTIONS[row.group] == word]
        if names:
            self._labels.put(gr.Markdown, value_word=word, elem_classes="section")
        for name in names:
            self._add(name)

    def _add(self, name: str, **more: Any) -> None:
        row = self.rows[name]
        kind, options = self._component(row, self._shown(row, self._usual))
        if row.example is not None:
            options["placeholder_word"] = key_of(row, "example")
        elif name in self._hints:
            options["placeholder"] = self._hints[name]
        self.named[name] = self._labels.put(kind, label_word=key_of(row), elem_id=f"setting-{name}", **options, **more)

    def _component(self, row: Setting, value: Any) -> tuple[type, dict[str, Any]]:
        """The kind of control that a row gets, and its options."""
        if row.slider is not None and not _left_open(row):
            low, high, step = row.slider
            return gr.Slider, {"minimum": low, "maximum": max(high, value), "step": step, "value": value}
        if row.choices:
            return gr.Radio, {"choices": {each: key_of(row, each) for each in row.choices}, "value": value}
        if row.kind is bool:
            return gr.Checkbox, {"value": value}
        if row.names:
            names = row.known if row.name != "restorer" else _without_weights(row.known, value)
            return gr.Dropdown, {"rows": [(name, name) for name in names], "value": value}
        return gr.Textbox, {"max_lines": 3 if row.name == "negative_prompt" else 1, "value": value}

    @property
    def components(self) -> list[Any]:
        """All of them, in the order in which they stand."""
        return list(self.named.values())

    @property
    def typed(self) -> list[str]:
        """Names of those into which something can be typed that cannot be."""
        return [name for name, component in self.named.items() if isinstance(component, gr.Textbox)]

    def chosen(self, values: Sequence[Any]) -> Chosen:
        """What the values of `components` mean.

        Raises:
            UserError: one cannot be.
        """
        said = {name: self.read(name, value) for name, value in zip(self.named, values, strict=True)}
        own = {name: value for name, value in said.items() if not self.rows[name].part_of and name != "seed"}
        repaint, edit = (
            cast(
                Changes,
                {row.name: said.get(row.name, row.default) for row in self._table.values() if row.part_of == part},
            )
            for part in ("repaint", "edit")
        )
        settings = replace(self._usual, **own, repaint=repaint, edit=edit, previews=True)
        return Chosen(settings, said["seed"], said["fill"], said["lock"])

    def shown(self, settings: Settings) -> list[Any]:
        """Updates of `components` after a session was loaded; what it does not say stays as it is."""
        rows = (self.rows[name] for name in self.named)
        return [gr.update(value=self._shown(row, settings)) if _says(settings, row) else gr.skip() for row in rows]

    def restored(self, values: Mapping[str, Any]) -> list[Any]:
        """Updates of `components` by what they showed before; what cannot be, or is not said, stays as it is."""
        return [self._restored(name, values) for name in self.named]

    def _restored(self, name: str, values: Mapping[str, Any]) -> Any:
        if name not in values:
            return gr.skip()
        row, value = self.rows[name], values[name]
        try:
            read = self.read(name, value)
            if read is not None and row.name != "paint":
                row.fitting(read)
        except (UserError, TypeError, ValueError, AttributeError):
            return gr.skip()
        return gr.update(value=value)

    def hinted(self, pipeline: Mapping[str, Any]) -> list[Any]:
        """Updates of `components`: what a pipeline that describes itself so would use where nothing is chosen."""
        own = hints(pipeline)
        return [gr.update(placeholder=own[name]) if name in own else gr.skip() for name in self.named]

    def read(self, name: str, value: Any) -> Any:
        """What the value of a control means; where it is the usual one, None.

        Raises:
            UserError: it cannot be read.
        """
        row = self.rows[name]
        if name == "paint":
            return not value
        if row.usual is not None or name in self._own:
            return None if value == self._own.get(name, row.usual) else value
        if row.slider is not None and not _left_open(row):
            return row.kind(value)
        return value if row.names or row.kind is bool else _typed(row, value)

    def _shown(self, row: Setting, settings: Settings) -> Any:
        """What the control of a row shows."""
        value = row.value(settings) if _says(settings, row) and row.name != "seed" else row.default
        if value is None:
            return self._own.get(row.name, "" if row.usual is None else row.usual)
        if isinstance(value, tuple):
            return "{}x{}".format(*value)
        if row.slider is not None and _left_open(row):
            return f"{value:g}"
        return not value if row.name == "paint" else value


def language_choice(labels: Labels) -> gr.Radio:
    """Where a person chooses the language of the page."""
    rows = [(name, code) for code, name in LANGUAGES.items()]
    return labels.put(gr.Radio, label_word="language", rows=rows, value="en", elem_id="language", container=False)


def hints(pipeline: Mapping[str, Any]) -> dict[str, str]:
    """What stands in empty fields: the values that a pipeline that describes itself so would use."""
    size = pipeline.get("size")
    said = {"steps": pipeline.get("steps"), "guidance_scale": pipeline.get("guidance_scale")}
    shown = {name: f"{value:g}" for name, value in said.items() if value is not None}
    return shown | ({"size": "{}x{}".format(*size)} if size else {})


def _left_open(row: Setting) -> bool:
    """Whether nothing but the pipeline says what it is where nobody chose: its field is empty then.

    A number's field of gradio shows 0 where nothing is in it, and a slider cannot be empty, so it is one for text.
    """
    return row.default is None and row.usual is None


def _says(settings: Settings, row: Setting) -> bool:
    """Whether settings hold a row, be its value None."""
    return row.name in (getattr(settings, row.part_of, None) or {}) if row.part_of else True


def _without_weights(names: Iterable[str], loaded: str) -> list[str]:
    """The loaded restorer, and those that need nothing to be loaded."""
    return list(dict.fromkeys([loaded, *(name for name in names if not name.startswith("diffrir"))]))


def _typed(row: Setting, text: Any) -> Any:
    """What was typed in place of a flag; None where nothing stands.

    Raises:
        UserError: it cannot be read.
    """
    text = "" if text is None else str(text).strip()
    if not text:
        return None
    try:
        return reader(row)(text)
    except ArgumentTypeError as problem:
        raise UserError(f"{problem}.") from None

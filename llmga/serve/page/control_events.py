"""What happens at the controls themselves: fields are checked, seeds are drawn, presets are kept."""

import secrets
from collections.abc import Callable, Mapping
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from llmga.assistant.bounds import Bounds, TooMuch, native_size
from llmga.assistant.settings import Setting, Settings
from llmga.command_line import SIDES
from llmga.diffusers.aspects import aspect_of, sized
from llmga.diffusers.control import FORM
from llmga.errors import UserError
from llmga.limits import LARGEST_SEED
from llmga.serve.page.controls import Controls
from llmga.serve.page.presets import kept, with_preset, without_preset
from llmga.serve.page.strings import Strings
from llmga.serve.page.user_session import UserSession

QUICK: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
WRONG = "⚠ {}"
RIGHT: dict[str, Any] = {"info": "", "elem_classes": []}  # what a field with a good value is updated with


class ControlEvents:
    """The events of the controls, joined to them.

    Args:
        controls: those of the page.
        blocks: the page.
        session: its state, a `UserSession`.
    """

    def __init__(self, controls: Controls, blocks: gr.Blocks, session: gr.State):
        self.controls = controls
        named, presets = controls.named, [controls.presets, controls.preset]
        controls.presets.render()
        for name in controls.typed:
            self._on(
                named[name].blur, partial(self.checked, name), [session, named[name]], [named[name], controls.problem]
            )
        self._on(controls.aspect.input, self.size, [session, controls.aspect], [named["size"]])
        self._on(named["size"].change, self.aspect, [session, named["size"]], [controls.aspect])
        self._on(controls.dice.click, self.roll, [session], [named["seed"]])
        self._on(named["lock"].input, self.keep, [session, named["lock"], named["seed"]], [named["seed"]])
        self._on(named["sampler"].input, self.suiting, [session, named["sampler"]], controls.components)
        for known in (blocks.load, controls.presets.change):
            self._on(known, self.offer, [controls.presets], [controls.preset])
        self._on(controls.preset.input, self.take, presets, controls.components)
        self._on(controls.save.click, self.save, [session, *presets, *controls.components], presets)
        self._on(controls.delete.click, self.delete, presets, presets)

    @staticmethod
    def _on(event: Callable[..., Any], handler: Callable[..., Any], inputs: list, outputs: list) -> None:
        event(handler, inputs, outputs, **QUICK)

    # One field.

    def checked(self, name: str, session: UserSession | None, value: Any) -> tuple[Any, str]:
        """Say beside a field what cannot be in it, as soon as somebody leaves it."""
        row, problem = self.controls.rows[name], ""
        if session is not None:
            problem = self._problem(row, value, session)
        if not problem:
            return gr.update(**RIGHT), ""
        said = WRONG.format(problem)
        return gr.update(info=said, elem_classes=["wrong"]), f'<p role="alert">{escape(said)}</p>'

    def _problem(self, row: Setting, value: Any, session: UserSession) -> str:
        try:
            read = self.controls.read(row.name, value)
            if read is not None:
                row.fitting(read)
        except UserError:
            return allowed(row, session.assistant.bounds, session.strings)
        if read is None or row.part_of or row.name == "seed":
            return ""
        try:
            session.assistant.bounds.check_settings(Settings(**{row.name: read}), session.assistant.pipeline)
        except TooMuch:
            if row.name == "steps":
                return allowed(row, session.assistant.bounds, session.strings)
            return session.strings["field too much"]
        return ""

    def size(self, session: UserSession | None, aspect: str | None) -> Any:
        """The size that an aspect has with this session's painter."""
        if session is None or aspect is None:
            return gr.skip()
        return gr.update(value="{}x{}".format(*sized(aspect, native_size(session.assistant.pipeline))), **RIGHT)

    def aspect(self, session: UserSession | None, size: str) -> str | None:
        """The aspect that a size has, if it is one of those that are offered."""
        try:
            chosen = self.controls.read("size", size)
        except UserError:
            return None
        if session is None or chosen is None:
            return None
        return aspect_of(chosen, native_size(session.assistant.pipeline))

    def roll(self, session: UserSession | None) -> Any:
        """A seed by chance."""
        return gr.update(value=str(secrets.randbelow(LARGEST_SEED + 1)), **RIGHT)

    def keep(self, session: UserSession | None, locked: bool, seed: str) -> Any:
        """Show the seed of the latest picture where a person wants to keep the seed and named none."""
        if not locked or seed.strip() or session is None:
            return gr.skip()
        painted = [each.record.seed for exchange in session.assistant.exchanges for each in exchange.paintings]
        return str(painted[-1] if painted else session.assistant.session.seed)

    def suiting(self, session: UserSession | None, sampler: str) -> list[Any]:
        """What the painter would use with a sampler."""
        if session is None:
            return self.controls.hinted({})
        pipeline = session.assistant.pipeline
        suits = pipeline.suits(sampler) if hasattr(pipeline, "suits") else {}
        return self.controls.hinted({"size": native_size(pipeline), **suits})

    # Presets.

    def offer(self, stored: object) -> Any:
        """The names of what the browser has kept."""
        return gr.update(choices=list(kept(stored)))

    def take(self, stored: object, name: str | None) -> list[Any]:
        """Let the controls show a preset; a name that is none yet is about to be saved."""
        return self.controls.restored(kept(stored).get(name or "", {}))

    def save(self, session: UserSession | None, stored: object, name: str | None, *values: Any) -> tuple[Any, Any]:
        """Keep what the controls show, under a name."""
        if session is None:
            return gr.skip(), gr.skip()
        shown: Mapping[str, Any] = dict(zip(self.controls.named, values, strict=True))
        try:
            self.controls.chosen(values)
            presets = with_preset(stored, name, shown, session.strings)
        except UserError as problem:
            return gr.skip(), gr.update(info=WRONG.format(problem))
        said = session.strings["preset saved"].format(name)
        return presets, gr.update(choices=list(presets), value=name, info=said)

    def delete(self, stored: object, name: str | None) -> tuple[Any, Any]:
        """Forget a preset."""
        presets = without_preset(stored, name)
        return presets, gr.update(choices=list(presets), value=None)


def allowed(row: Setting, bounds: Bounds, strings: Strings) -> str:
    """What may be typed into the field of a setting."""
    if row.kind is tuple:
        return strings["field size"].format(*SIDES)
    if row.name == "control":
        return strings["field form"].format(FORM)
    if row.offered is None:
        return strings["field text"]
    low, high = row.offered
    most = min(high, bounds.steps) if row.name == "steps" else high
    key = "field whole" if row.kind is int else "field range"
    return strings[key].format(f"{low:.10g}", f"{most:.10g}")

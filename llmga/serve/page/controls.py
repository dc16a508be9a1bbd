"""The settings of a visit: the controls, and what they say."""

from argparse import ArgumentTypeError
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from llmga.assistant.session import Settings
from llmga.choices import RATIO, SKIP
from llmga.diffrir.restorers import RESTORERS
from llmga.diffusers.canvas import FILLS
from llmga.diffusers.inpainting import AREAS
from llmga.diffusers.samplers import SAMPLERS
from llmga.errors import UserError
from llmga.serve import args as flags
from llmga.serve.page.chosen import Chosen
from llmga.serve.page.labels import Labels


class Controls:
    """The controls, by the key of their words.

    Args:
        usual: settings of the command line.
        pipeline: how the pipeline describes itself, for what the command line leaves open.
        restorer: name of the restorer that is loaded.
    """

    def __init__(self, labels: Labels, usual: Settings, pipeline: Mapping[str, Any], restorer: str):
        self.named: dict[str, Any] = {}
        self._labels, self._usual, self._painter, self._restorer = labels, usual, pipeline, restorer
        self._words(usual)
        with labels.put(gr.Accordion, label_word="painting settings", open=False):
            self._painting(usual)
        with labels.put(gr.Accordion, label_word="changing settings", open=False):
            self._changing(usual, restorer)

    def _words(self, usual: Settings) -> None:
        self._add("temperature", gr.Slider, minimum=0, maximum=2, step=0.05, value=usual.temperature)
        self._add("top-p", gr.Slider, minimum=0.01, maximum=1, step=0.01, value=usual.top_p)
        longest = max(2048, usual.max_new_tokens)
        self._add("tokens", gr.Slider, minimum=1, maximum=longest, step=1, value=usual.max_new_tokens)
        ways = {"auto": "auto", "always": "always"}
        self._add("picture mode", gr.Radio, choices=ways, value=usual.picture)
        self._add("review", gr.Checkbox, value=not usual.paint)

    def _painting(self, usual: Settings) -> None:
        steps = usual.steps or self._painter["steps"]
        self._add("steps", gr.Slider, minimum=1, maximum=max(100, steps), step=1, value=steps)
        guidance = self._painter["guidance_scale"] if usual.guidance_scale is None else usual.guidance_scale
        self._add("guidance", gr.Slider, minimum=0, maximum=max(20, guidance), step=0.1, value=guidance)
        self._add("next seed", gr.Textbox, value="", max_lines=1)
        size = "{}x{}".format(*usual.size) if usual.size else ""
        self._add("size", gr.Textbox, value=size, max_lines=1)
        self._add("sampler", gr.Dropdown, rows=list(SAMPLERS), value=self._painter["sampler_name"])
        self._add("negative", gr.Textbox, value=usual.negative_prompt or "", max_lines=3)

    def _changing(self, usual: Settings, restorer: str) -> None:
        without_weights = [name for name in RESTORERS if not name.startswith("diffrir")]
        self._add("restorer", gr.Dropdown, rows=list(dict.fromkeys([restorer, *without_weights])), value=restorer)
        self._add("fill", gr.Dropdown, rows=list(FILLS), value="edge")
        areas = {area: f"area {area}" for area in AREAS}
        self._add("area", gr.Radio, choices=areas, value=usual.repaint.get("area", "picture"))
        strength = usual.repaint.get("strength") or 1.0
        self._add("strength", gr.Slider, minimum=0.05, maximum=1, step=0.05, value=strength)
        edit = usual.edit or {}
        self._add("skip", gr.Slider, minimum=0, maximum=0.9, step=0.05, value=edit.get("skip", SKIP))
        self._add("ratio", gr.Slider, minimum=0.1, maximum=10, step=0.1, value=edit.get("ratio", RATIO))

    def _add(self, name: str, kind: type, *, rows: Sequence[str] | None = None, **options: Any) -> None:
        if rows is not None:
            options["rows"] = [(row, row) for row in rows]
        self.named[name] = self._labels.put(kind, label_word=name, **options)

    @property
    def components(self) -> list[Any]:
        return list(self.named.values())

    def chosen(self, values: Sequence[Any]) -> Chosen:
        """What the values of `components` mean.  Raises: UserError for one that cannot be."""
        said = dict(zip(self.named, values, strict=True))
        strength = None if said["strength"] >= 1 else said["strength"]
        settings = replace(
            self._usual,
            temperature=said["temperature"],
            top_p=said["top-p"],
            max_new_tokens=int(said["tokens"]),
            picture=said["picture mode"],
            steps=int(said["steps"]),
            guidance_scale=said["guidance"],
            negative_prompt=said["negative"].strip() or None,
            size=_told(flags.size, said["size"]),
            repaint={"strength": strength, "area": said["area"], "soft": False},
            edit={"skip": said["skip"], "ratio": said["ratio"]},
            restorer=None if said["restorer"] == self._restorer else said["restorer"],
            previews=True,
            paint=not said["review"],
        )
        seed = _told(flags.number(int, 0, flags.LARGEST_SEED), said["next seed"])
        return Chosen(settings, said["sampler"], seed, said["fill"])

    def shown(self, settings: Settings) -> list[Any]:
        """Updates of `components` after a session was loaded."""
        edit, repaint = settings.edit or {}, settings.repaint
        said = {
            "temperature": settings.temperature,
            "top-p": settings.top_p,
            "tokens": settings.max_new_tokens,
            "picture mode": settings.picture,
            "review": not settings.paint,
            "steps": settings.steps or self._painter["steps"],
            "guidance": self._painter["guidance_scale"] if settings.guidance_scale is None else settings.guidance_scale,
            "next seed": "",
            "size": "{}x{}".format(*settings.size) if settings.size else "",
            "negative": settings.negative_prompt or "",
            "restorer": settings.restorer or self._restorer,
            "area": repaint.get("area"),
            "strength": repaint.get("strength") or (1.0 if "strength" in repaint else None),
            "skip": edit.get("skip"),
            "ratio": edit.get("ratio"),
        }
        return [gr.skip() if said.get(name) is None else gr.update(value=said[name]) for name in self.named]

    def own_of(self, sampler: str) -> tuple[Any, Any]:
        """Updates of steps and guidance: what suits the sampler."""
        row = SAMPLERS[sampler]
        guidance = self._painter["guidance_scale"] if row.guidance_scale is None else row.guidance_scale
        return gr.update(value=row.steps or self._painter["steps"]), gr.update(value=guidance)


def _told(read: Callable[[str], Any], text: str) -> Any:
    """What was typed in place of a flag; None where nothing stands.  Raises: UserError."""
    if not text.strip():
        return None
    try:
        return read(text.strip())
    except ArgumentTypeError as problem:
        raise UserError(f"{problem}.") from None

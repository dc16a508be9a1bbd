"""What stands where on the page.  What it does is in `wiring`, what it says in `words`."""

import json
from pathlib import Path
from typing import Any

import gradio as gr

from llmga.assistant.settings import Settings
from llmga.diffrir.restorers import restorer_name
from llmga.errors import UserError
from llmga.serve.page import drawing
from llmga.serve.page.controls import Controls
from llmga.serve.page.labels import Labels
from llmga.serve.page.model_pool import ModelPool
from llmga.serve.page.options import PageOptions
from llmga.serve.page.strings import LANGUAGES, WORDS

HERE = Path(__file__).parent
SYSTEM_FONTS = [
    "system-ui",
    "Segoe UI",
    "Noto Sans",
    "PingFang SC",
    "Microsoft YaHei",
    "Noto Sans CJK SC",
    "sans-serif",
]
THEME = gr.themes.Soft(primary_hue="indigo", neutral_hue="slate", font=SYSTEM_FONTS, font_mono=["monospace"]).set(
    block_title_background_fill="none",
    block_title_text_color="*body_text_color",
    block_title_padding="0",
    block_title_text_weight="500",
    input_border_width="1px",
    checkbox_border_width="1px",
    checkbox_border_color="*neutral_400",
)
UPLOADS = (3600, 24 * 3600)  # how often it is looked for uploaded files of which age, both in seconds
HANDLE = (
    '<button type="button" class="handle" role="slider" aria-valuemin="0" aria-valuemax="50" aria-valuenow="0" '
    'data-side="{0}" data-hint="{0}"></button>'
)
EASEL = f"""
<div class="easel empty"><p class="none" data-word="no canvas"></p><div class="work">
<div class="bar">
<button type="button" data-mode="brush" data-word="brush" aria-pressed="true"></button>
<button type="button" data-mode="eraser" data-word="eraser"></button>
<button type="button" data-mode="grow" data-word="grow"></button>
<button type="button" data-word="unmark"></button>
<button type="button" data-word="wipe"></button>
<label><span data-word="width"></span><input type="range" min="2" max="50" value="16"></label>
</div>
<div class="stage"><canvas tabindex="0" role="img" data-hint="canvas help"></canvas>
{"".join(HANDLE.format(side) for side in ("left", "top", "right", "bottom"))}
</div>
<p class="help" data-word="canvas help"></p>
</div></div>"""
EASEL_WORDS = ("no canvas", "canvas help", "brush", "eraser", "grow", "unmark", "wipe", "width", "left", "top", "right",
               "bottom")  # fmt: skip


class Page:
    """The components; `blocks` is the whole."""

    def __init__(self, studio: ModelPool, options: PageOptions):
        self.labels = labels = Labels()
        with gr.Blocks(title="LLMGA", analytics_enabled=False, fill_width=True, delete_cache=UPLOADS) as self.blocks:
            self.visit = gr.State(None, time_to_live=None, delete_callback=_leave)
            self.head = gr.HTML(heading("en"), elem_id="head", visible=not options.embed)
            with gr.Row(equal_height=False):
                with gr.Column(scale=3, min_width=320, elem_id="talk"):
                    self._conversation(labels)
                with gr.Column(scale=2, min_width=320, elem_id="side"), gr.Tabs() as self.tabs:
                    self._side(studio, options.settings, labels)

    def _conversation(self, labels: Labels) -> None:
        self.log = gr.HTML(
            [],  # what stands here says that the visit has begun
            html_template='<div class="log" role="log" tabindex="0"></div>',
            js_on_load=script("log.js"),
            apply_default_css=False,
            elem_id="log",
        )
        self.about = gr.HTML("", js_on_load=script("about.js"), apply_default_css=False, elem_id="about")
        self.message = local_files_only(
            labels.put(
                gr.MultimodalTextbox,
                placeholder_word="placeholder",
                label_word="message",
                show_label=False,
                file_types=["image"],
                file_count="multiple",
                max_lines=6,
                autofocus=True,
                elem_id="message",
            )
        )
        with gr.Row(elem_id="verbs"):
            self.retry, self.repaint, self.undo, self.clear = (
                labels.put(gr.Button, value_word=verb, size="sm", min_width=90, elem_id=verb)
                for verb in ("retry", "repaint", "undo", "clear")
            )

    def _side(self, studio: ModelPool, usual: Settings, labels: Labels) -> None:
        with labels.put(gr.Tab, label_word="pictures", id="pictures"):
            self.gallery = gr.HTML(
                drawing.gallery([], labels.words),
                html_template='<div class="gallery">${value}</div>',
                js_on_load=script("gallery.js"),
                apply_default_css=False,
                elem_id="gallery",
            )
        with labels.put(gr.Tab, label_word="canvas", id="canvas"):
            self.easel = gr.HTML(
                canvas("en"),
                html_template=EASEL,
                js_on_load=script("easel.js"),
                apply_default_css=False,
                elem_id="easel",
            )
        with labels.put(gr.Tab, label_word="settings", id="settings"):
            pipeline = studio.models.pipeline.describe()
            self.controls = Controls(labels, usual, pipeline, restorer_name(studio.restorer))
            self._models(studio, labels)
        with labels.put(gr.Tab, label_word="session", id="session"):
            self._session(labels)

    def _models(self, studio: ModelPool, labels: Labels) -> None:
        talks, paints = studio.offered()
        with labels.put(gr.Accordion, label_word="models", open=False):
            self.words_model = labels.put(gr.Dropdown, label_word="language model", rows=talks, value=talks[0])
            self.paint_model = labels.put(gr.Dropdown, label_word="picture model", rows=paints, value=paints[0])

    def _session(self, labels: Labels) -> None:
        rows = [(name, code) for code, name in LANGUAGES.items()]
        self.language = labels.put(gr.Radio, label_word="language", rows=rows, value="en", elem_id="language")
        self.help = labels.put(gr.Markdown, value_word="session help")
        self.save = labels.put(gr.Button, value_word="save", elem_id="save")
        self.saved = gr.DownloadButton(visible="hidden", elem_id="saved")
        self.load = local_files_only(
            labels.put(gr.UploadButton, label_word="load", file_types=[".zip"], file_count="single", elem_id="load")
        )


def heading(language: str) -> str:
    words = WORDS[language]
    return f"<h1>{words['title']}</h1><p>{words['subtitle']}</p>"


def canvas(language: str, picture: int | None = None, url: str = "") -> str:
    """What `easel.js` is given: a picture of the conversation to draw on, or none."""
    words = {key: WORDS[language][key] for key in EASEL_WORDS}
    return json.dumps({"words": words, "picture": picture, "url": url})


def script(name: str) -> str:
    return (HERE / name).read_text("utf-8")


def local_files_only(component: Any) -> Any:
    """The component, for which no address is fetched: gradio itself would, when a client names one as a file."""
    inherited = component.async_move_resource_to_block_cache

    async def moved(name: str | Path | None) -> str | None:
        if "://" in str(name):
            raise UserError("files are uploaded here, addresses are not fetched.")
        return await inherited(name)

    component.async_move_resource_to_block_cache = moved
    return component


def _leave(visit: Any) -> None:
    if visit is not None:
        visit.close()

"""What stands where on the page.  What it does is in `handlers`, what it says in `strings`."""

from pathlib import Path
from typing import TypeVar

import gradio as gr

from llmga.assistant.settings import Settings
from llmga.diffrir.restorers import restorer_name
from llmga.errors import UserError
from llmga.serve.page import drawing, mask_editor
from llmga.serve.page.controls import Controls, language_choice
from llmga.serve.page.labels import Labels
from llmga.serve.page.model_pool import ModelPool
from llmga.serve.page.options import PageOptions
from llmga.serve.page.strings import STRINGS
from llmga.serve.page.user_session import UserSession

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
Uploads = TypeVar("Uploads", gr.MultimodalTextbox, gr.UploadButton)
UPLOADS = (3600, 24 * 3600)  # how often it is looked for uploaded files of which age, both in seconds


class PageLayout:
    """The components of the page.

    Attributes:
        blocks: the whole.
        session: the state of a browser tab, a `UserSession`; None before it begins and after it has ended.
    """

    blocks: gr.Blocks
    tabs: gr.Tabs

    def __init__(self, pool: ModelPool, options: PageOptions):
        self.labels: Labels = Labels()
        with gr.Blocks(title="LLMGA", analytics_enabled=False, fill_width=True, delete_cache=UPLOADS) as self.blocks:
            self.session: gr.State = gr.State(None, time_to_live=None, delete_callback=_leave)
            self.head: gr.HTML = gr.HTML(heading("en"), elem_id="head", visible=not options.embed)
            with gr.Row(equal_height=False):
                with gr.Column(scale=3, min_width=320, elem_id="talk"):
                    self._conversation(self.labels)
                with gr.Column(scale=2, min_width=320, elem_id="side"), gr.Tabs() as self.tabs:
                    self._side(pool, options.settings, self.labels)

    def _conversation(self, labels: Labels) -> None:
        self.log: gr.HTML = gr.HTML(
            [],  # what stands here says that the session has begun
            html_template='<div class="log" role="log" tabindex="0"></div>',
            js_on_load=script("log.js"),
            apply_default_css=False,
            elem_id="log",
        )
        self.subject: gr.HTML = gr.HTML("", js_on_load=script("subject.js"), apply_default_css=False, elem_id="subject")
        self.message: gr.MultimodalTextbox = local_files_only(
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
            self.verbs: dict[str, gr.Button] = {
                verb: labels.put(gr.Button, value_word=verb, size="sm", min_width=90, elem_id=verb)
                for verb in ("retry", "repaint", "undo", "clear")
            }

    def _side(self, pool: ModelPool, usual: Settings, labels: Labels) -> None:
        with labels.put(gr.Tab, label_word="pictures", id="pictures"):
            self.gallery: gr.HTML = gr.HTML(
                drawing.gallery([], labels.strings),
                html_template='<div class="gallery">${value}</div>',
                js_on_load=script("gallery.js"),
                apply_default_css=False,
                elem_id="gallery",
            )
        with labels.put(gr.Tab, label_word="canvas", id="canvas"):
            self.mask_editor: gr.HTML = gr.HTML(
                mask_editor.opened("en"),
                html_template=mask_editor.TEMPLATE,
                js_on_load=mask_editor.script(),
                apply_default_css=False,
                elem_id="mask-editor",
            )
        with labels.put(gr.Tab, label_word="settings", id="settings"):
            pipeline = pool.models.pipeline.describe()
            self.controls: Controls = Controls(labels, usual, pipeline, restorer_name(pool.restorer))
            self._models(pool, labels)
        with labels.put(gr.Tab, label_word="session", id="session"):
            self._session(labels)

    def _models(self, pool: ModelPool, labels: Labels) -> None:
        talks, paints = pool.offered()
        with labels.put(gr.Accordion, label_word="models", open=False):
            self.language_model: gr.Dropdown = labels.put(
                gr.Dropdown, label_word="language model", rows=talks, value=talks[0]
            )
            self.picture_model: gr.Dropdown = labels.put(
                gr.Dropdown, label_word="picture model", rows=paints, value=paints[0]
            )

    def _session(self, labels: Labels) -> None:
        self.language: gr.Radio = language_choice(labels)
        labels.put(gr.Markdown, value_word="session help")
        self.save: gr.Button = labels.put(gr.Button, value_word="save", elem_id="save")
        self.saved: gr.DownloadButton = gr.DownloadButton(visible="hidden", elem_id="saved")
        self.load: gr.UploadButton = local_files_only(
            labels.put(gr.UploadButton, label_word="load", file_types=[".zip"], file_count="single", elem_id="load")
        )


def heading(language: str) -> str:
    """The head of the page as HTML."""
    strings = STRINGS[language]
    return f"<h1>{strings['title']}</h1><p>{strings['subtitle']}</p>"


def script(name: str) -> str:
    """The source of a script beside this file."""
    return (HERE / name).read_text("utf-8")


def local_files_only(component: Uploads) -> Uploads:
    """The component, for which no address is fetched: gradio itself would, when a client names one as a file."""
    inherited = component.async_move_resource_to_block_cache

    async def moved(url_or_file_path: str | Path | None) -> str | None:
        if "://" in str(url_or_file_path):
            raise UserError("files are uploaded here, addresses are not fetched.")
        return await inherited(url_or_file_path)

    component.async_move_resource_to_block_cache = moved  # type: ignore[method-assign]  # of this one component
    return component


def _leave(session: UserSession | None) -> None:
    if session is not None:
        session.close()

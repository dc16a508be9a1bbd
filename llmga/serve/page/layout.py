"""What stands where on the page.  What it does is in `handlers`, what it says in `strings`."""

from html import escape
from pathlib import Path
from typing import TypeVar

import gradio as gr

from llmga.assistant.settings import Settings
from llmga.diffrir.restorers import restorer_name
from llmga.errors import UserError
from llmga.serve.page import mask_editor
from llmga.serve.page.controls import Controls, language_choice
from llmga.serve.page.labels import Labels
from llmga.serve.page.library_panel import LibraryPanel
from llmga.serve.page.lightbox import lightbox
from llmga.serve.page.model_pool import ModelPool
from llmga.serve.page.options import PageOptions
from llmga.serve.page.scripts import script
from llmga.serve.page.strings import STRINGS, Strings
from llmga.serve.page.uploads import OF_PHONES
from llmga.serve.page.user_session import UserSession

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
    checkbox_border_color="*neutral_500",
    # contrasts of at least 4.5 to 1
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_300",
    block_info_text_color="*neutral_600",
    block_info_text_color_dark="*neutral_300",
    input_placeholder_color="*neutral_500",
    input_placeholder_color_dark="*neutral_300",
    color_accent="*primary_600",
    button_primary_background_fill="*primary_600",
    button_primary_background_fill_dark="*primary_600",
    button_primary_background_fill_hover="*primary_700",
    button_primary_background_fill_hover_dark="*primary_700",
)
LOG = """<div class="log" role="log" aria-live="off" tabindex="0"></div>
<div class="heard" role="status"></div><div class="heard" role="alert"></div>"""
PICTURES = ["image", *OF_PHONES]  # which some systems do not know as pictures
Uploads = TypeVar("Uploads", gr.MultimodalTextbox, gr.UploadButton)
LOOK_AGAIN = 1.0  # seconds
REMEMBERED = "llmga"  # gradio's own key would be another one at the next start, and the browser's memory unreadable
UPLOADS = (3600, 24 * 3600)  # how often it is looked for uploaded files of which age, both in seconds


class PageLayout:
    """The components of the page.

    Attributes:
        blocks: the whole.
        session: the state of a browser tab, a `UserSession`; None before it begins and after it has ended.
        visitor: what the browser remembers: who it is, and what the settings show.
        place: the conversation that is open in the tab, as its address has it.
        drawn: the number of the drawing, of the conversation or the list, that reached the tab last.
        tick: looks for what was done in other tabs, and for drawings that reached this one out of their order.
    """

    blocks: gr.Blocks
    tabs: gr.Tabs

    def __init__(self, pool: ModelPool, options: PageOptions):
        self.labels: Labels = Labels()
        with gr.Blocks(title="LLMGA", analytics_enabled=False, fill_width=True, delete_cache=UPLOADS) as self.blocks:
            self.session: gr.State = gr.State(None, time_to_live=None, delete_callback=_leave)
            self.visitor: gr.BrowserState = gr.BrowserState(storage_key="llmga", secret=REMEMBERED)
            self.place: gr.Textbox = gr.Textbox(visible="hidden")
            self.drawn: gr.Number = gr.Number(visible="hidden")
            self.tick: gr.Timer = gr.Timer(LOOK_AGAIN)
            self.library: LibraryPanel = LibraryPanel(self.labels, visible=options.library is not None)
            with gr.Row(elem_id="top", equal_height=False):
                self._head(self.labels, options)
            with gr.Row(elem_id="work", equal_height=False):
                with gr.Column(scale=3, min_width=320, elem_id="talk"):
                    self._conversation(self.labels)
                with gr.Column(scale=2, min_width=320, elem_id="side"), gr.Tabs() as self.tabs:
                    self._side(pool, options.settings, self.labels)

    def _head(self, labels: Labels, options: PageOptions) -> None:
        self.head: gr.HTML = gr.HTML(heading("en"), elem_id="head", visible=not options.embed)
        self.language: gr.Radio = language_choice(labels)
        own = options.library is None  # the list of what is kept has one of its own
        self.clear: gr.Button = labels.put(
            gr.Button, value_word="clear", size="sm", min_width=90, elem_id="clear", visible=own
        )

    def _conversation(self, labels: Labels) -> None:
        self.log: gr.HTML = gr.HTML(
            [],  # what stands here says that the session has begun
            html_template=LOG,
            js_on_load=script("log.js"),
            apply_default_css=False,
            elem_id="log",
        )
        labels.put(gr.HTML, value_word=lightbox, js_on_load=script("lightbox.js"), apply_default_css=False)
        labels.put(gr.HTML, value_word=words_of_scripts, apply_default_css=False, visible="hidden")
        self.bring: dict[str, gr.UploadButton] = {
            verb: local_files_only(
                gr.UploadButton(file_types=PICTURES, file_count="single", visible="hidden", elem_id=f"bring-{verb}")
            )
            for verb in ("mark", "larger")
        }
        self.subject: gr.HTML = gr.HTML(
            "", js_on_load=script("composer.js"), apply_default_css=False, elem_id="subject"
        )
        self.message: gr.MultimodalTextbox = local_files_only(
            labels.put(
                gr.MultimodalTextbox,
                placeholder_word="placeholder",
                label_word="message",
                show_label=False,
                file_types=PICTURES,
                file_count="multiple",
                max_lines=6,
                autofocus=True,
                elem_id="message",
            )
        )

    def _side(self, pool: ModelPool, usual: Settings, labels: Labels) -> None:
        with labels.put(gr.Tab, label_word="pictures", id="pictures"):
            self.gallery: gr.HTML = gr.HTML(
                "",
                html_template='<div class="gallery">${value}</div>',
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
        labels.put(gr.Markdown, value_word="session help")
        self.save: gr.Button = labels.put(gr.Button, value_word="save", elem_id="save")
        self.saved: gr.DownloadButton = gr.DownloadButton(visible="hidden", elem_id="saved")
        self.load: gr.UploadButton = local_files_only(
            labels.put(
                gr.UploadButton,
                label_word="load",
                file_types=[".zip", ".invk", "image"],
                file_count="multiple",
                elem_id="load",
            )
        )


def heading(language: str) -> str:
    """The head of the page as HTML."""
    strings = STRINGS[language]
    return f"<h1>{strings['title']}</h1><p>{strings['subtitle']}</p>"


def words_of_scripts(strings: Strings) -> str:
    """What `composer.js` says, in a language."""
    waits, leave, story = (escape(strings[key]) for key in ("waits", "wait not", "story"))
    return f'<i id="words" data-waits="{waits}" data-not="{leave}" data-story="{story}"></i>'


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

"""What stands where on the page.  What it does is in `wiring`, what it says in `words`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from llmga.diffrir.restorers import DEFAULT, RESTORERS
from llmga.diffusers.canvas import FILLS
from llmga.diffusers.editor import SKIP
from llmga.diffusers.inpainting import AREAS
from llmga.diffusers.samplers import SAMPLERS
from llmga.errors import UserError
from llmga.llava.sampling import PICTURE
from llmga.serve.flow import Settings
from llmga.serve.page.story import Story
from llmga.serve.page.words import LANGUAGES, WORDS, Words

HERE = Path(__file__).parent
FONTS = ["system-ui", "-apple-system", "Segoe UI", "Noto Sans", "PingFang SC", "Microsoft YaHei", "sans-serif"]
LONGEST_FILE = "64mb"
TEXTS = ("label", "placeholder", "info", "value")
# Icons of the canvas's tools need no words, their labels are read to those who do not see them.
EASEL = """
<div class="easel"><p class="none" data-word="no canvas"></p><div class="work">
<div class="bar" role="toolbar">
<button type="button" data-mode="brush" data-word="brush" aria-pressed="true"></button>
<button type="button" data-mode="eraser" data-word="eraser"></button>
<button type="button" data-mode="grow" data-word="grow"></button>
<label><span data-word="width"></span><input type="range" min="2" max="50" value="16"></label>
<button type="button" data-word="unmark"></button>
<button type="button" data-word="wipe"></button>
</div>
<div class="stage"><canvas tabindex="0" role="img" data-hint="canvas help"></canvas>
<button type="button" class="handle" role="slider" aria-valuemin="0" aria-valuemax="50" data-side="left" data-hint="left"></button>
<button type="button" class="handle" role="slider" aria-valuemin="0" aria-valuemax="50" data-side="top" data-hint="top"></button>
<button type="button" class="handle" role="slider" aria-valuemin="0" aria-valuemax="50" data-side="right" data-hint="right"></button>
<button type="button" class="handle" role="slider" aria-valuemin="0" aria-valuemax="50" data-side="bottom" data-hint="bottom"></button>
</div>
<p class="help" data-word="canvas help"></p>
</div></div>"""


class LocalFiles:
    """A component that takes uploaded files only: gradio itself would fetch an address that a client names."""

    async def async_move_resource_to_block_cache(self, url_or_file_path: Any) -> str | None:
        if "://" in str(url_or_file_path):
            raise UserError("files are uploaded here, addresses are not fetched.")
        return await super().async_move_resource_to_block_cache(url_or_file_path)


class Composer(LocalFiles, gr.MultimodalTextbox):
    """The message box."""

    def get_block_name(self) -> str:
        return "multimodaltextbox"


class SessionUpload(LocalFiles, gr.UploadButton):
    """Where a saved session comes in."""

    def get_block_name(self) -> str:
        return "uploadbutton"

"""How the page is set up."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from llmga.assistant.loading import ModelSpec
from llmga.assistant.settings import Settings


@dataclass(frozen=True)
class PageOptions:
    """How the page is set up.

    Attributes:
        spec: how models are loaded that visitors choose, and what one answer may cost.
        settings: those that a session begins with.
        model_directory: whose models are offered beside the loaded ones; None offers no others.
        mode: "once" offers what is in it now, "reload" what is there whenever a page is opened.
        at_once: how many visitors are answered at the same time.
        host: address that is served.
        port: 0 is a free one.
        share: make a public link by gradio's servers, too.
        library: folder where conversations are kept; None keeps them for as long as a tab is open.
        embed: without the heading, for a frame in another page.
    """

    spec: ModelSpec = field(default_factory=ModelSpec)
    settings: Settings = field(default_factory=Settings)
    model_directory: Path | None = None
    mode: Literal["once", "reload"] = "once"
    at_once: int = 4
    host: str = "127.0.0.1"
    port: int = 7860
    share: bool = False
    library: Path | None = None
    embed: bool = False

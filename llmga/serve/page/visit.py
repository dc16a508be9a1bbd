"""One person's visit: the session, the pictures that the browser may fetch, and what the next message is about."""

import logging
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock

from PIL import Image

from llmga.errors import UserError
from llmga.serve.flow import (
    SIMILAR,
    Assistant,
    Denoising,
    Exchange,
    Failed,
    FlowEvent,
    PictureReady,
    PromptFound,
    Settings,
    Stopped,
    TextDelta,
    Turn,
)
from llmga.serve.metadata import png_bytes
from llmga.serve.page import story
from llmga.serve.page.easel import Marks
from llmga.serve.page.story import Entry, Mark, Progress, Shown
from llmga.serve.page.words import WORDS, Words

log = logging.getLogger(__name__)
LONGEST_MESSAGE = 20_000  # characters; the model's own limit is told by the flow


@dataclass
class Live:
    """The answer that is being given.

    Attributes:
        reply: what came so far, in the tags of the conversation.
    """

    turn: Turn
    reply: str = ""
    prompts: int = 0
    tokens: dict[int, str] = field(default_factory=dict)
    pictures: dict[int, list[tuple[Image.Image, object]]] = field(default_factory=dict)
    troubles: list[str | Mark] = field(default_factory=list)

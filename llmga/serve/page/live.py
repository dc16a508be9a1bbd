"""The answer that is being given, put together from the flow's events."""

from dataclasses import dataclass, field

from PIL import Image

from llmga.assistant.events import AssistantEvent, Denoising, Failed, PictureReady, PromptFound, Stopped, TextDelta
from llmga.assistant.record import Record
from llmga.assistant.session import Turn
from llmga.llava.generation_prompt import END, START
from llmga.serve.page.drawing import Mark, Progress
from llmga.serve.page.pictures import data_uri


@dataclass
class Live:
    """An answer so far.

    Attributes:
        index: which exchange it is going to be, or belongs to.
        repaints: the number of the prompt that is painted again; None where a message is answered.
        paints: whether prompts are painted as they come.
        reply: as the conversation will have it, generation prompts in their tags.
        made: (number of the prompt, picture, record) of each finished picture.
        troubles: what went wrong.
        waits: others are answered first.
    """

    turn: Turn
    index: int
    repaints: int | None = None
    paints: bool = True
    reply: str = ""
    made: list[tuple[int, Image.Image, Record]] = field(default_factory=list)
    troubles: list[str | Mark] = field(default_factory=list)
    progress: Progress | None = None
    waits: bool = False
    _prompts: int = 0

    def take(self, event: AssistantEvent) -> None:
        """One event more."""
        match event:
            case TextDelta(text):
                self.reply += text
            case PromptFound(prompt):
                self._found(prompt)
            case Denoising(step, total, preview) if self.progress is not None:
                self.progress.step, self.progress.total = step, total
                if preview is not None:
                    self.progress.preview, self.progress.size = data_uri(preview), preview.size
            case PictureReady(image, record):
                self.made.append((self._prompts - 1, image, record))
                self.progress = None
            case Failed(message):
                self.troubles.append(message)
                self.progress = None
            case Stopped():
                self.troubles.append(Mark("stopped"))

    def _found(self, prompt: str) -> None:
        if self.repaints is None:
            self.reply += f"{START} {prompt} {END}"
            number, self._prompts = self._prompts, self._prompts + 1
        else:
            number = self.repaints
        if self.paints:
            self.progress = Progress(self.index, number)

"""What a visitor chose for the next answer."""

from dataclasses import dataclass, replace

from llmga.assistant.assistant import Assistant
from llmga.assistant.session import Settings


@dataclass(frozen=True)
class Chosen:
    """What the controls say.

    Attributes:
        settings: with `edit`, which only an answer that changes a picture uses.
        sampler: a row of `llmga.diffusers.samplers.SAMPLERS`; None is the pipeline's own.
        seed: of the next picture; None goes on with the session's.
        fill: a row of `llmga.diffusers.canvas.FILLS`, what is under a grown part.
    """

    settings: Settings
    sampler: str | None = None
    seed: int | None = None
    fill: str = "edge"

    def into(self, assistant: Assistant, *, changes: bool = False) -> None:
        """Let the next answer be given so.

        Args:
            changes: it changes a picture.

        Raises: UserError for a sampler that the pipeline cannot use.
        """
        assistant.pipeline.use_sampler(self.sampler)
        settings = replace(self.settings, sampler=self.sampler)
        assistant.settings = settings if changes else replace(settings, edit=None)
        if self.seed is not None:
            assistant.reseed(self.seed)

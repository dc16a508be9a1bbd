"""The one flow from a person's turn to words and pictures.  Front ends only draw its events."""

import secrets
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from threading import Event
from typing import Any

import numpy as np
from PIL import Image

from llmga.background import reports_of
from llmga.compositing import able_to_hold, paste_back
from llmga.errors import UserError
from llmga.images import reduced, to_rgb
from llmga.llava.generation_prompt import GenerationPrompt, Spoken, parse
from llmga.llava.planner import Planner
from llmga.llava.sampling import Sampling
from llmga.masks import hide, read_mask
from llmga.serve.provenance import ModelMark, Record

SIMILAR = "Generate a similar image."  # one of the questions that the language models were trained on


@dataclass(frozen=True)
class Turn:
    """What a person gives in one go.

    Attributes:
        text: the words.
        images: pictures that come with the words; with a mask, the first one is the picture to change.
        mask: same size as the first picture, white (or, where anything in it is transparent, transparent) where it is
            to be painted anew.  Later turns without pictures repaint the same part of the same picture.
    """

    text: str
    images: tuple[Image.Image, ...] = ()
    mask: Image.Image | None = None


@dataclass(frozen=True)
class TextDelta:
    """The next piece of what the assistant says; never a part of a generation prompt."""

    text: str


@dataclass(frozen=True)
class PromptFound:
    """The language model asked for this picture; painting starts now.

    Attributes:
        tokens: how the painter cuts the prompt, such as "98 tokens in 2 chunks (75 + 23)"; empty if it does not say.
    """

    prompt: str
    tokens: str = ""


@dataclass(frozen=True)
class Denoising:
    """`step` of `total` is done, counted from 1; `preview` is a small picture of how far it is, where asked for."""

    step: int
    total: int
    preview: Image.Image | None = None


@dataclass(frozen=True)
class PictureReady:
    """A finished picture and how it was made."""

    image: Image.Image
    record: Record


@dataclass(frozen=True)
class Failed:
    """One sentence on what went wrong; the session goes on.

    Attributes:
        cut: the answer reached its token limit; what there is of it is good.
    """

    message: str
    cut: bool = False


@dataclass(frozen=True)
class Stopped:
    """The answer ended early because `Assistant.cancel` was called."""


FlowEvent = TextDelta | PromptFound | Denoising | PictureReady | Failed | Stopped


@dataclass(frozen=True)
class Settings:
    """How words are sampled and pictures painted; None leaves the choice to the generator.

    Attributes:
        seed: picture k of the session (from 0) is painted with seed + k; None draws a seed at the session's start.
        picture: "always" makes every answer ask for a picture; "auto" leaves it to the model.
        size: (width, height) in pixels.
        versions: how many pictures are painted of every prompt.
        previews: progress comes with small pictures of how far a painting is.
        repaint: how a masked part is painted: strength, area, soft, as `Inpainter.batch` takes them.
        edit: how a picture is changed: skip, ratio, as `Editor` takes them; None where pictures are not changed.
    """

    temperature: float = 0.2
    top_p: float = 1.0
    max_new_tokens: int = 512
    seed: int | None = None
    picture: str = "auto"
    steps: int | None = None
    guidance_scale: float | None = None
    negative_prompt: str | None = None
    size: tuple[int, int] | None = None
    versions: int = 1
    previews: bool = False
    repaint: Mapping[str, Any] = field(default_factory=dict)
    edit: Mapping[str, Any] | None = None


class _Cancelled(Exception):
    """Raised inside the generator's step callback to end a painting."""


class Assistant:
    """One session with one person: a conversation and the pictures it leads to.

    Args:
        chat: the conversation, with any planner.
        generator: `generator(prompt, image, mask, …) -> image`, a row of `llmga.diffusers.generators`.
        restorer: `restorer(image, reference, mask) -> image`; called only when the turn had a mask.
        models: what the records say about the models in use.
    """

    def __init__(
        self,
        chat: Planner,
        generator: Callable[..., Image.Image],
        restorer: Callable[[Image.Image, Image.Image, Image.Image], Image.Image],
        settings: Settings | None = None,
        models: Sequence[ModelMark] = (),
    ):
        self.chat, self.generator, self.restorer = chat, generator, restorer
        self.settings = settings or Settings()
        self.models = tuple(models)
        self.seed = secrets.randbelow(2**32) if self.settings.seed is None else self.settings.seed
        self.turns = self.painted = 0
        self.region: tuple[Image.Image, Image.Image | None] | None = None  # the picture at work and its mask
        self.changes: dict[str, Any] = {}  # what the painter is told beside them
        self._cancelled = Event()

    def respond(self, turn: Turn) -> Iterator[FlowEvent]:
        """Answer one turn, event by event; pictures are painted in the order in which their prompts are closed.

        Leaving the iterator early ends the work.  A `UserError` becomes `Failed`, anything else is a defect and is
        raised.
        """
        self._cancelled = Event()
        return self._events(turn)

    def cancel(self) -> None:
        """End the current answer, from any thread: words within one token, a painting within one step."""
        self._cancelled.set()

    def _events(self, turn: Turn) -> Iterator[FlowEvent]:
        cancelled = self._cancelled
        try:
            yield from self._reply(turn, cancelled)
        except UserError as problem:
            yield Failed(str(problem))
        finally:
            self.turns += 1
        if cancelled.is_set():
            yield Stopped()

    def _reply(self, turn: Turn, cancelled: Event) -> Iterator[FlowEvent]:
        if turn.images or turn.mask is not None:
            turn = self._taken_up(turn, cancelled)
        pieces = self.chat.say(turn.text, images=turn.images, sampling=self._sampling(), cancelled=cancelled.is_set)
        with closing(pieces):
            for event in parse(pieces):
                if cancelled.is_set():
                    continue  # the chat ends by itself at its next token and keeps its history whole
                if isinstance(event, Spoken):
                    yield TextDelta(event.text)
                elif isinstance(event, GenerationPrompt):
                    for _ in range(self.settings.versions):
                        yield from self._picture(event.text, turn, cancelled)
        if self.chat.ended_by == "limit":
            yield Failed(
                f"the answer was cut at the token limit (--max-new-tokens {self.settings.max_new_tokens}); "
                "raise it, or start anew where the conversation has become long.",
                cut=True,
            )

    def _taken_up(self, turn: Turn, cancelled: Event) -> Turn:
        """Remember the picture to work on; the turn as the language model is to see it."""
        chosen = self.settings
        soft = chosen.repaint.get("soft", False)
        shown = replace(turn, images=shown_pictures(turn, soft=soft))
        self.region, self.changes = region_of(turn, soft=soft), dict(chosen.repaint)
        if chosen.edit is None or turn.mask is not None:
            return shown
        self.region = turn.images[0], None
        self.changes = {**chosen.edit, "source_prompt": self._description(shown, cancelled)}
        return replace(shown, images=())  # the conversation has them already

    def _description(self, turn: Turn, cancelled: Event) -> str:
        """The prompt with which the language model would paint the turn's picture; the person sees nothing of it."""
        pieces = self.chat.say(SIMILAR, images=turn.images, sampling=self._sampling(), cancelled=cancelled.is_set)
        with closing(pieces):
            events = list(parse(pieces))
        prompts = [event.text for event in events if isinstance(event, GenerationPrompt)]
        return prompts[0] if prompts else "".join(event.text for event in events if isinstance(event, Spoken)).strip()

    def _sampling(self) -> Sampling:
        chosen = self.settings
        return Sampling(
            temperature=chosen.temperature,
            top_p=chosen.top_p,
            max_new_tokens=chosen.max_new_tokens,
            seed=self.seed + self.turns,
            picture=chosen.picture,
        )

    def _picture(self, prompt: str, turn: Turn, cancelled: Event) -> Iterator[FlowEvent]:
        """A generator's `UserError` ends this picture only: words and further pictures of the reply go on."""
        if cancelled.is_set():
            return
        report = getattr(self.generator, "report", None)
        yield PromptFound(prompt, str(report(prompt)) if report else "")
        seed = self.seed + self.painted
        try:
            image = yield from self._paint(prompt, turn, seed, cancelled)
        except _Cancelled:
            return
        except UserError as problem:
            yield Failed(str(problem))
            return
        self.painted += 1
        yield PictureReady(image, self._record(prompt, turn, seed, image))

    def _paint(self, prompt: str, turn: Turn, seed: int, cancelled: Event) -> Generator[Denoising, None, Image.Image]:
        chosen = self.settings
        picture, mask = self.region or (None, None)

        def work(report: Callable[[Denoising], None]) -> Image.Image:
            previews: dict[int, Image.Image] = {}

            def on_step(step: int, total: int) -> None:
                if cancelled.is_set():
                    raise _Cancelled
                report(Denoising(step, total, previews.pop(step, None)))

            image = self.generator(
                prompt,
                image=picture,
                mask=mask,
                negative_prompt=chosen.negative_prompt,
                seed=seed,
                steps=chosen.steps,
                guidance_scale=chosen.guidance_scale,
                size=chosen.size,
                on_step=on_step,
                **({"on_preview": previews.__setitem__} if chosen.previews else {}),
                **(self.changes if picture is not None else {}),
            )
            return image if mask is None else self._restored(image, picture, mask)

        return (yield from reports_of(work, cancelled.set))

    def _restored(self, image: Image.Image, picture: Image.Image, mask: Image.Image) -> Image.Image:
        """What the restorer, which works in RGB, makes of the painting; where it keeps the size, so are kept pixels."""
        restored = self.restorer(to_rgb(image), to_rgb(picture), mask)
        return paste_back(able_to_hold(picture), restored, mask) if restored.size == picture.size else restored

    def _record(self, prompt: str, turn: Turn, seed: int, image: Image.Image) -> Record:
        chosen, described = self.settings, self.generator.describe()
        return Record(
            prompt=prompt,
            request=turn.text,
            negative_prompt=chosen.negative_prompt or "",
            seed=seed,
            steps=described.get("steps") if chosen.steps is None else chosen.steps,
            guidance_scale=described.get("guidance_scale") if chosen.guidance_scale is None else chosen.guidance_scale,
            sampler=described.get("sampler"),
            size=image.size,
            models=self.models,
        )


def region_of(turn: Turn, *, soft: bool = False) -> tuple[Image.Image, Image.Image] | None:
    """The picture to change and its mask as mode L; None when the turn has no mask.

    Raises: UserError when the mask does not fit.
    """
    if turn.mask is None:
        return None
    if not turn.images:
        raise UserError("a mask was given without a picture; give the picture that it belongs to.")
    return turn.images[0], read_mask(turn.mask, turn.images[0].size, soft=soft)


def shown_pictures(turn: Turn, *, soft: bool = False) -> tuple[Image.Image, ...]:
    """The pictures as the language model sees them: what a mask covers is black, as in its training.

    Raises: UserError when the mask does not fit.
    """
    region = region_of(turn, soft=soft)
    if region is None:
        return turn.images
    return reduced(hide(region[0], np.asarray(region[1]) > 0)), *turn.images[1:]

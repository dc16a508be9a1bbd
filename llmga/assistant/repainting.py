"""Pictures for prompts that were written before: painted again, in other words, or asked for at last."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from llmga.assistant.events import AssistantEvent
from llmga.assistant.session import GeneratedImage
from llmga.assistant.settings import ASKED_SEED
from llmga.errors import UserError
from llmga.inputs import as_text, as_whole
from llmga.llava.generation_prompt import GenerationPrompt, parse
from llmga.llava.planner import answered, asked_before, lacks_picture
from llmga.plain_text import plain

if TYPE_CHECKING:
    from llmga.assistant.assistant import Answer, Assistant


def repaint(
    assistant: Assistant, number: int, which: int, prompt: str | None, seed: int | None, answer: Answer
) -> Iterator[AssistantEvent]:
    """Paint picture `which` of turn `number` again; see `Assistant.repaint`.

    Raises:
        UserError: when there is no such picture.
    """
    index = assistant.session.index(number)
    paintings = assistant.exchanges[index].paintings
    if not -len(paintings) <= (which := as_whole(which, "picture")) < len(paintings):
        raise UserError(f"picture {which} of that turn does not exist, it has {len(paintings)}; choose another.")
    old = paintings[which]
    wanted = old.record.prompt if prompt is None else plain(as_text(prompt)).strip()
    seed = None if seed is None else ASKED_SEED.fitting(seed)
    yield from _paint(assistant, index, old.number, wanted, old, seed, answer, reworded=prompt is not None)


def paint_prompt(
    assistant: Assistant, number: int, prompt: int, text: str | None, answer: Answer
) -> Iterator[AssistantEvent]:
    """Paint a prompt of an earlier reply; see `Assistant.paint`.

    Raises:
        UserError: when there is no such prompt.
    """
    index = assistant.session.index(number)
    written = [event.text for event in parse([assistant.session.reply(index)]) if isinstance(event, GenerationPrompt)]
    if not 0 <= (prompt := as_whole(prompt, "prompt")) < len(written):
        raise UserError(f"prompt {prompt} does not exist, the answer has {len(written)}; choose another.")
    paintings = assistant.exchanges[index].paintings
    old = next((each for each in reversed(paintings) if each.number == prompt), None)
    wanted = written[prompt] if text is None else plain(as_text(text)).strip()
    reworded = wanted != written[prompt]
    yield from _paint(assistant, index, prompt, wanted, old, None, answer, reworded=reworded)


def repair(assistant: Assistant, answer: Answer) -> Iterator[AssistantEvent]:
    """Let the last reply go on until it asks for a picture, and paint that.

    Raises:
        UserError: when there is nothing to repair.
    """
    if not assistant.planner.repairs:
        raise UserError("an answer can be repaired where one of our own models gave it; ask again instead.")
    index = assistant.session.index(-1)
    exchange, (asked, begun) = assistant.exchanges[index], asked_before(assistant.session.conversation)
    if not lacks_picture(begun):
        raise UserError("the last answer asks for a picture already, so there is nothing to repair; retry instead.")
    assistant.keep(turns=assistant.session.turns + 1)
    sampling = assistant.sampled(answer)
    pieces = assistant.planner.repair(answered(asked, begun), sampling, answer.cancelled.is_set)
    try:
        yield from assistant.follow(asked, begun, pieces, exchange.turn.text, exchange.region, answer)
    finally:
        _add_images(assistant, index, answer)


def _paint(
    assistant: Assistant,
    index: int,
    number: int,
    wanted: str,
    old: GeneratedImage | None,
    seed: int | None,
    answer: Answer,
    *,
    reworded: bool,
) -> Iterator[AssistantEvent]:
    """Paint a prompt of an earlier reply, as the old picture of it was asked for if there is one."""
    exchange, session = assistant.exchanges[index], assistant.session
    if reworded:
        session = session.reworded(index, number, wanted)
    if old is not None:
        answer.sampling = dict(old.record.words)
    request, region = (old.record.request, old.region) if old else (exchange.turn.text, exchange.region)
    try:
        yield from assistant.picture(wanted, request, region, number, answer, seed)
    finally:
        if answer.images:
            assistant.keep(conversation=session.conversation)
            _add_images(assistant, index, answer)


def _add_images(assistant: Assistant, index: int, answer: Answer) -> None:
    """What the answer painted belongs to an earlier turn."""
    assistant.keep(exchanges=assistant.session.with_pictures(index, answer.images).exchanges)

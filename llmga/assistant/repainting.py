"""Pictures for prompts that were written before: painted again, in other words, or asked for at last."""

from collections.abc import Iterator

from PIL import Image

from llmga.assistant.answer import Answer
from llmga.assistant.events import AssistantEvent
from llmga.assistant.session import GeneratedImage, Session
from llmga.assistant.settings import ASKED_SEED
from llmga.errors import UserError
from llmga.inputs import as_text, as_whole
from llmga.llava.generation_prompt import GenerationPrompt, parse
from llmga.llava.planner import answered, asked_before, lacks_picture
from llmga.plain_text import plain


def repaint(answer: Answer, number: int, which: int, prompt: str | None, seed: int | None) -> Iterator[AssistantEvent]:
    """Paint picture `which` of turn `number` again; see `Assistant.repaint`.

    Raises:
        UserError: when there is no such picture.
    """
    assistant = answer.assistant
    index = assistant.session.index(number)
    paintings = assistant.exchanges[index].paintings
    if not -len(paintings) <= (which := as_whole(which, "picture")) < len(paintings):
        raise UserError(f"picture {which} of that turn does not exist, it has {len(paintings)}; choose another.")
    old = paintings[which]
    wanted = old.record.prompt if prompt is None else plain(as_text(prompt)).strip()
    seed = None if seed is None else ASKED_SEED.fitting(seed)
    yield from _paint(answer, index, old.number, wanted, old, seed, reworded=prompt is not None)


def paint_prompt(answer: Answer, number: int, prompt: int, text: str | None) -> Iterator[AssistantEvent]:
    """Paint a prompt of an earlier reply; see `Assistant.paint`.

    Raises:
        UserError: when there is no such prompt.
    """
    assistant = answer.assistant
    index = assistant.session.index(number)
    written = [event.text for event in parse([assistant.session.reply(index)]) if isinstance(event, GenerationPrompt)]
    if not 0 <= (prompt := as_whole(prompt, "prompt")) < len(written):
        raise UserError(f"prompt {prompt} does not exist, the answer has {len(written)}; choose another.")
    paintings = assistant.exchanges[index].paintings
    old = next((each for each in reversed(paintings) if each.number == prompt), None)
    wanted = written[prompt] if text is None else plain(as_text(text)).strip()
    reworded = wanted != written[prompt]
    if not reworded:
        exchange = assistant.exchanges[index]
        wanted = answer.wanted(wanted, exchange.turn.text, old.region if old else exchange.region)
    yield from _paint(answer, index, prompt, wanted, old, None, reworded=reworded)


def repair(answer: Answer) -> Iterator[AssistantEvent]:
    """Let the last reply go on until it asks for a picture, and paint that.

    Raises:
        UserError: when there is nothing to repair.
    """
    assistant = answer.assistant
    if not assistant.planner.repairs:
        raise UserError(
            "an answer can be repaired where one of our own models gave it, or any that runs here; ask again."
        )
    index = assistant.session.index(-1)
    exchange, (asked, begun) = assistant.exchanges[index], asked_before(assistant.session.conversation)
    if not lacks_picture(begun):
        raise UserError("the last answer asks for a picture already, so there is nothing to repair; retry instead.")
    answer.latest = _followed(assistant.session, index)
    answer.keep(turns=assistant.session.turns + 1)
    sampling = answer.sampled()
    pieces = assistant.planner.repair(answered(asked, begun), sampling, answer.cancelled.is_set)
    try:
        yield from answer.follow(asked, begun, pieces, exchange.turn.text, exchange.region)
    finally:
        _add_images(answer, index)


def _paint(
    answer: Answer,
    index: int,
    number: int,
    wanted: str,
    old: GeneratedImage | None,
    seed: int | None,
    *,
    reworded: bool,
) -> Iterator[AssistantEvent]:
    """Paint a prompt of an earlier reply, as the old picture of it was asked for if there is one."""
    assistant = answer.assistant
    exchange, session = assistant.exchanges[index], assistant.session
    if reworded:
        session = session.reworded(index, number, wanted)
    if old is not None:
        answer.sampling = dict(old.record.words)
    answer.latest = _followed(assistant.session, index)
    request, region = (old.record.request, old.region) if old else (exchange.turn.text, exchange.region)
    for event in answer.picture(wanted, request, region, number, seed):
        if answer.images:  # with the last event: the session has the picture before anybody sees it
            answer.keep(conversation=session.conversation)
            _add_images(answer, index)
        yield event


def _followed(session: Session, index: int) -> Image.Image | None:
    """The picture that was the latest one when exchange `index` began."""
    given = session.exchanges[index].turn.images
    return given[0] if given else session.before(index).latest_picture


def _add_images(answer: Answer, index: int) -> None:
    """What the answer painted belongs to an earlier turn."""
    answer.keep(exchanges=answer.assistant.session.with_pictures(index, answer.images).exchanges)

"""An answer that has to hold a picture, whoever gives it."""

from collections.abc import Callable, Iterator

from llmga.assistant.assistant import Assistant
from llmga.assistant.events import AssistantEvent, Failed, PromptFound, TextDelta
from llmga.assistant.session import Turn
from llmga.llava.passthrough import PassthroughPlanner


def insisting(
    assistant: Assistant, turn: Turn, respond: Callable[[Turn], Iterator[AssistantEvent]] | None = None
) -> Iterator[AssistantEvent]:
    """Answer a turn; where the language model asks for no picture, its words are painted, else those of the turn.

    Args:
        respond: answers a turn; None is the assistant's `stream`.
    """
    respond = respond or assistant.stream
    words, asked = "", False
    for event in respond(turn):
        words += event.text if isinstance(event, TextDelta) else ""
        asked |= isinstance(event, PromptFound) or (isinstance(event, Failed) and not event.cut)
        yield event
    if not asked and not assistant.cancelled:
        assistant.planner = PassthroughPlanner()
        yield from respond(Turn(words.strip() or turn.text))

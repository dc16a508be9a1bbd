"""Which turns of a conversation a model is shown when it cannot, or was not taught to, read them all."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from typing import TypeVar

from llmga.errors import UserError
from llmga.llava.conversation import Conversation, Message
from llmga.llava.generation_prompt import START

Prompt = TypeVar("Prompt")


def windows(asked: Conversation, taught_turns: int | None = None) -> Iterator[Conversation]:
    """The conversation, then ever shorter ones, each without the exchange that can be missed best.

    Those go first that no picture hangs on, the oldest before the others; then those that it does, in the order in
    which people come back to them: the first prompt, the prompt before the last, the last picture that was shown, and
    the last prompt.

    Args:
        asked: exchanges of question and answer, and a question.
        taught_turns: begin with so many turns, the question included; None begins with the whole conversation.

    Yields:
        Conversations that end with the question.
    """
    *earlier, question = (asked.messages[index : index + 2] for index in range(0, len(asked.messages), 2))
    expendable = _expendable(earlier)
    surplus = max(0, len(earlier) + 1 - taught_turns) if taught_turns else 0
    for gone in range(surplus, len(earlier) + 1):
        kept = [earlier[index] for index in sorted(expendable[gone:])]
        yield replace(asked, messages=(*chain(*kept), *question))


def _expendable(exchanges: list[tuple[Message, ...]]) -> list[int]:
    """The numbers of the exchanges, those first that can be missed best."""
    prompts = [index for index, (*_, answer) in enumerate(exchanges) if START in answer.text]
    shown = [index for index, (question, *_) in enumerate(exchanges) if question.images]
    wanted = list(dict.fromkeys([*prompts[-1:], *shown[-1:], *prompts[-2:-1], *prompts[:1]]))  # the dearest first
    return [*(index for index in range(len(exchanges)) if index not in wanted), *reversed(wanted)]


def fitting(
    asked: Conversation,
    encode: Callable[[Conversation], Prompt],
    context: int,
    longest_answer: int,
    length: Callable[[Prompt], int] = len,  # type: ignore[assignment] # a prompt is a list where nothing is said
    taught_turns: int | None = None,
) -> tuple[Conversation, Prompt]:
    """The turns that leave room for an answer, as `windows` chooses them, and what `encode` makes of them.

    Args:
        encode: makes the prompt of a conversation.
        context: the longest sequence in tokens that the model reads and writes, pictures included.
        length: tokens of a prompt.
        taught_turns: as `windows` takes it.

    Raises:
        UserError: when the last turn alone is too long.
    """
    room = min(longest_answer, context // 2)
    for window in windows(asked, taught_turns):
        prompt = encode(window)
        if length(prompt) + room <= context:
            return window, prompt
    if length(prompt) >= context:
        raise UserError(
            f"this message takes {length(prompt)} tokens, the model reads at most {context} with its answer; "
            "shorten it or attach fewer pictures."
        )
    return window, prompt

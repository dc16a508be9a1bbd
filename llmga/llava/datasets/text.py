"""Conversations of words only, in the ShareGPT form.

Example: `{"conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Good day."}]}`.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from llmga.llava.conversation import IMAGE_MARKER, Conversation
from llmga.llava.datasets.base import AS_CAPTIONED, Kind, Manner, OpenPicture, Record, Unusable

ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}


def turns(messages: Sequence[Mapping[str, str]]) -> tuple[str | None, list[tuple[str, str]]]:
    """The system text, and (role, text) in strict alternation, from a user's turn to an assistant's.

    Neighbours of the same role are joined; an answer before any question and a question after the last answer
    teach nothing and are left out.

    Raises: Unusable for an unknown role or when nothing is left.
    """
    system, said = None, []
    for message in messages:
        speaker, text = message.get("from", message.get("role")), message.get("value", message.get("content"))
        if not isinstance(text, str) or speaker not in (*ROLES, "system"):
            raise Unusable("malformed conversation")
        if speaker == "system":
            system = text
        elif said and said[-1][0] == ROLES[speaker]:
            said[-1] = (ROLES[speaker], f"{said[-1][1]}\n{text}")
        elif said or ROLES[speaker] == "user":
            said.append((ROLES[speaker], text))
    if said and said[-1][0] == "user":
        said.pop()
    if not said:
        raise Unusable("conversation without an answer")
    return system, said


def converse(
    record: Record, open_picture: OpenPicture, rng: np.random.Generator, manner: Manner = AS_CAPTIONED
) -> Conversation:
    """The turns without white space at their ends; a picture marker without a picture is removed."""
    system, said = turns(record["conversations"])
    conversation = Conversation(system=system)
    for role, text in said:
        conversation = conversation.say(role, text.replace(IMAGE_MARKER, "").strip())
    return conversation


KIND = Kind(fields=("conversations",), converse=converse)

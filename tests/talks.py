"""A dialogue that is asked for its planner's facts directly, and one that a training record holds."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from PIL import Image

from llmga.llava.conversation import IMAGE_MARKER, Conversation
from llmga.llava.planner import Dialogue, Planner, answered, asked_before, lacks_picture


class Talk(Dialogue):
    """A conversation with a planner; `ended_by`, `mllm` and all else that a dialogue lacks are the planner's."""

    def __init__(self, planner: Planner, system: str | None = None):
        super().__init__(planner, Conversation(system=system))

    def edit(self, turn: int, text: str, images: Sequence[Image.Image] = (), **how: Any) -> Iterator[str]:
        """Say something else in place of the user's message `turn`, as an assistant does."""
        messages = self.conversation.messages
        asked = [index for index, message in enumerate(messages) if message.role == "user"][turn]
        self.conversation = replace(self.conversation, messages=messages[:asked])
        return self.say(text, images or messages[asked].images, **how)

    def regenerate(self, *how: Any) -> Iterator[str]:
        """Ask for the last reply again."""
        asked = self.conversation.messages[-2]
        self.conversation = replace(self.conversation, messages=self.conversation.messages[:-2])
        return self.say(asked.text, asked.images, *how)

    def repair(self, *how: Any, **more: Any) -> Iterator[str]:
        """Go on with the last reply until it asks for a picture, as an assistant does."""
        asked, begun = asked_before(self.conversation)
        if lacks_picture(begun):
            yield from self._kept(asked, begun, self.planner.repair(answered(asked, begun), *how, **more))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.planner, name)


def lesson(turns: list[dict[str, str]]) -> Conversation:
    """A training record; a marker stands in front of its message, as the models were trained."""
    told = Conversation()
    for turn in turns:
        text = turn["value"]
        if IMAGE_MARKER in text:
            text = f"{IMAGE_MARKER}\n{text.replace(IMAGE_MARKER, '').strip()}"
        told = told.say("user" if turn["from"] == "human" else "assistant", text)
    return told

"""A planner that plans nothing: the words are the prompt."""

from collections.abc import Iterator

from llmga.llava.conversation import Conversation
from llmga.llava.generation_prompt import END, START, TAG
from llmga.llava.planner import Cancelled, Planner
from llmga.llava.sampling import Sampling


class Verbatim(Planner):
    """Asks for a picture of exactly what was said."""

    steers = True

    def _answer(self, conversation: Conversation, sampling: Sampling, cancelled: Cancelled) -> Iterator[str]:
        words = TAG.sub(" ", conversation.messages[-1].text)  # a tag would end the prompt
        self.ended_by = "marker"
        yield f"{START} {words} {END}"

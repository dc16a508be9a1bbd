"""A planner that plans nothing: the words are the prompt."""

from collections.abc import Callable, Iterator

from llmga.llava.conversation import Conversation
from llmga.llava.generation_prompt import END, START, TAG
from llmga.llava.planner import Planner
from llmga.llava.sampling import Sampling


class Verbatim(Planner):
    """Asks for a picture of exactly what was said."""

    steers = True

    def _answer(self, asked: Conversation, sampling: Sampling, cancelled: Callable[[], bool]) -> Iterator[str]:
        words = TAG.sub(" ", asked.messages[-1].text)  # a tag would end the prompt
        self.ended_by = "marker"
        yield f"{START} {words} {END}"

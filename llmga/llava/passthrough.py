"""A planner without a language model, where words are painted as they were said."""

from collections.abc import Generator

from llmga.llava.conversation import Conversation
from llmga.llava.generation_prompt import END, START, TAG
from llmga.llava.planner import Cancelled, Planner
from llmga.llava.sampling import Sampling


class PassthroughPlanner(Planner):
    """A planner without a language model: it asks for a picture of exactly what was said."""

    steers = True

    def _answer(self, conversation: Conversation, sampling: Sampling, cancelled: Cancelled) -> Generator[str]:
        words = TAG.sub(" ", conversation.messages[-1].text)  # a tag would end the prompt
        yield f"{START} {words} {END}"

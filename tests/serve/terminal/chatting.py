"""A chat at this terminal with toys that need no models: `python -m tests.serve.terminal.chatting FOLDER [SESSION]`."""

import os
import sys
import time
from pathlib import Path

from llmga.assistant.assistant import Assistant
from llmga.assistant.image_folder import ImageFolder
from llmga.assistant.session import Turn
from llmga.assistant.settings import Settings
from llmga.llava.planner import Planner
from llmga.serve.terminal.commands import TerminalChat
from llmga.serve.terminal.drawing import Terminal
from llmga.serve.terminal.inline import drawer
from llmga.serve.terminal.screen import Screen, draws
from llmga.serve.terminal.stages import Stages
from llmga.serve.terminal.talking import talk
from tests.toys import ToyPipeline

REPLIES = {
    "circle": "Here it is. <gen_image> a red circle on a blue background, painted with much care </gen_image> Good?",
    "markdown": "# Title\n\nThis is **bold** and `code`.\n\n* one\n* two\n\nan a < b <b>tag</b>\nsecond line",
    "long": "word " * 60 + "end of it.",
    "slow picture": "Wait. <gen_image> slow </gen_image> Done.",
    "broken": "<gen_image> broken </gen_image>",
}


class Talker(Planner):
    """Knows a few replies; says "words" for ever, and any other message back, its lines counted."""

    def _answer(self, conversation, sampling, cancelled):
        said = conversation.messages[-1].text
        if said == "slow words":
            while not cancelled():
                time.sleep(0.01)
                yield "words "
            return
        reply = REPLIES.get(said, f"I read {said.count(chr(10)) + 1} lines: {said}")
        for start in range(0, len(reply), 5):
            yield reply[start : start + 5]


class Painter(ToyPipeline):
    """Paints "slow" until it is stopped."""

    def __call__(self, prompt, *args, on_step, **rest):
        self.total = 10**6 if prompt == "slow" else 3

        def step(done, total):
            time.sleep(0.01 if prompt == "slow" else 0)
            on_step(done, total)

        return super().__call__(prompt, *args, on_step=step, **rest)


def main(folder, session=None):
    with Stages(sys.stderr, os.environ) as stages:
        stages("the painter toy")
    assistant = Assistant(Talker(), Painter(), lambda image, *_: image, Settings(seed=7))
    kind = Screen if draws(sys.stdout, os.environ) else Terminal
    terminal = kind(ImageFolder(folder), inline=drawer("auto", os.environ, True))
    chat = TerminalChat(assistant, terminal, Turn(""), Path(session) if session else None)
    return talk(chat, person=sys.stdin.isatty())


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

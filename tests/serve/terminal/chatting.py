"""Chats with toys that need no models, each in a process of its own at a terminal of its own.

`python -m tests.serve.terminal.chatting` imports once; each line of its standard input, a JSON object with `terminal`,
`environment`, `folder` and `session`, begins a chat, told as `{"process": …}` and, at its end, `{"code": …}`.
"""

import fcntl
import json
import os
import signal
import sys
import termios
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
        if said == "paced":
            for piece in ("Wait", " a", " moment. ", "<gen_image>", " paced ", "</gen_image>", " There", " it is."):
                time.sleep(0.02)
                yield piece
            return
        if said == "stubborn words":
            yield "stubborn"
            time.sleep(1)  # whatever is wanted
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
            time.sleep(0.02 if prompt in ("slow", "paced") else 0)
            on_step(done, total)

        return super().__call__(prompt, *args, on_step=step, **rest)


def chat(folder, session=None, keeps=True):
    with Stages(sys.stderr, os.environ) as stages:
        stages("the painter toy")
    assistant = Assistant(Talker(), Painter(), lambda image, *_: image, Settings(seed=7))
    kind = Screen if draws(sys.stdout, os.environ) else Terminal
    terminal = kind(ImageFolder(folder), inline=drawer("auto", os.environ, sys.stdout.isatty()))
    room = TerminalChat(assistant, terminal, Turn(""), Path(session) if session else None)
    return talk(room, person=sys.stdin.isatty(), keeps=keeps)


def begin(terminal, environment, folder, session):
    """Be the process that sits at this terminal; nothing of the parent's streams is left."""
    os.setsid()
    descriptor = os.open(terminal, os.O_RDWR)
    fcntl.ioctl(descriptor, termios.TIOCSCTTY, 0)  # the controlling one, which Ctrl-C needs
    for number in range(3):
        os.dup2(descriptor, number)
    sys.stdin = open(0)  # noqa: SIM115
    sys.stdout, sys.stderr = open(1, "w", buffering=1), open(2, "w", buffering=1)  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    return chat("outputs", session)


def main():
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        if not (process := os.fork()):
            code = 70
            try:
                code = begin(**json.loads(line)) or 0
            finally:
                sys.stdout.flush()
                os._exit(code)
        print(json.dumps({"process": process}), flush=True)
        print(json.dumps({"code": os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])}), flush=True)


if __name__ == "__main__":
    main()

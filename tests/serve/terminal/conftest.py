"""A person at a terminal: keys are pressed, and what stands on the screen is read."""

import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pyte
import pytest

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 60  # seconds that a busy machine may take
SHORT_WAIT = 0.05
ENTER, ESCAPE, TAB, UP, CTRL_C, CTRL_D, CTRL_U = "\r", "\x1b", "\t", "\x1b[A", "\x03", "\x04", "\x15"


def pasted(text):
    """As a terminal passes on what comes from the clipboard."""
    return f"\x1b[200~{text}\x1b[201~"


class Seat:
    """A terminal of `columns` and `rows`, at which a program runs.

    Attributes:
        raw: all that the program wrote.
        device: the name of the end at which the program sits.
    """

    def __init__(self, columns=80, rows=24):
        self._master, self.slave = pty.openpty()
        self.device = os.ttyname(self.slave)
        self._screen = pyte.Screen(columns, rows)
        self._stream, self.raw = pyte.ByteStream(self._screen), b""
        self._screen.write_process_input = self.press  # where the cursor is, the editor asks
        self.resize(columns, rows)

    def resize(self, columns, rows):
        self._screen.resize(rows, columns)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, keys):
        os.write(self._master, keys.encode())

    @property
    def screen(self):
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip("\n")

    @property
    def last(self):
        return self.screen.rpartition("\n")[2]

    def style(self, text):
        """The letter at which `text` begins on the screen, with its colours."""
        row = next(number for number, line in enumerate(self._screen.display) if text in line)
        return self._screen.buffer[row][self._screen.display[row].index(text)]

    def look(self, seconds=SHORT_WAIT):
        """Take in what the program wrote in so many seconds; whether it wrote anything."""
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        try:
            found = os.read(self._master, 65536)
        except OSError:  # nobody sits there any more
            return False
        self.raw += found
        self._stream.feed(found)
        return bool(found)

    def until(self, seen, keys=""):
        """Press keys, and wait until `seen`, a text on the screen or a condition, is there."""
        self.press(keys)
        condition = seen if callable(seen) else lambda: seen in self.screen
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, f"{seen!r} did not come:\n{self.screen}"
            self.look()
        return self.screen

    def close(self):
        os.close(self._master), os.close(self.slave)


class ChatSeat(Seat):
    """A seat at which a chat with toys runs.

    Attributes:
        folder: in which it runs; its state is there, too.
    """

    def __init__(self, chats, folder, session=None, columns=80, rows=24, **environment):
        super().__init__(columns, rows)
        self.folder, self._chats = folder, chats
        usual = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "XDG_STATE_HOME": str(folder / "state")}
        self._question = b"\nYou: " if environment.get("TERM") == "dumb" else b"\x1b[?2004h"  # pasting can begin
        told = {"PATH": os.environ["PATH"], "HOME": str(folder)} | usual | environment
        asked = {"terminal": self.device, "environment": told, "folder": str(folder), "session": session}
        print(json.dumps(asked), file=chats.stdin, flush=True)
        self.process, self.code = json.loads(chats.stdout.readline())["process"], None
        self.until(self.asks)

    def asks(self):
        """Whether the last line is an empty question."""
        return self.last == "You:"

    def say(self, line):
        """Say a line, and wait for the next question; what was written since."""
        begun = len(self.raw)
        self.press(line + ENTER)
        self.until(lambda: self._question in self.raw[begun:] and self.asks())
        while self.look():
            pass
        return self.raw[begun:].decode()

    def ended(self):
        """Wait for the end; the exit code."""
        end = time.monotonic() + PATIENCE
        while not select.select([self._chats.stdout], [], [], SHORT_WAIT)[0]:
            assert time.monotonic() < end, f"it did not end:\n{self.screen}"
            self.look(0)
        while self.look():
            pass
        self.code = json.loads(self._chats.stdout.readline())["code"]
        return self.code

    def close(self):
        """Hang up, if it has not ended by itself."""
        super().close()
        if self.code is None:
            self.code = json.loads(self._chats.stdout.readline())["code"]


@pytest.fixture(scope="session")
def chats():
    """A process that begins chats."""
    command = [sys.executable, "-m", "tests.serve.terminal.chatting"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=environment, bufsize=1, **pipes) as process:
        assert json.loads(process.stdout.readline()) == {"ready": True}
        yield process
        process.stdin.close()


@pytest.fixture
def sit(chats, tmp_path):
    """`sit()` begins a chat; it is over at the end of the test at the latest."""
    seats = []

    def begin(session=None, **options):
        seats.append(ChatSeat(chats, tmp_path, session, **options))
        return seats[-1]

    yield begin
    for seat in seats:
        seat.close()

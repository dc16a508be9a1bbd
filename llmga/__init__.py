"""LLMGA: an assistant that makes and edits pictures by talking."""

import signal
import sys

__version__ = "0.1.0"

# One of our command lines is starting (`python -m llmga.…`): while it imports, which takes seconds, Ctrl-C ends it as
# it ends any program, without a traceback.  `llmga.errors.command_line` takes over from here.
if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

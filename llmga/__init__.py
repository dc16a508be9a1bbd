"""LLMGA: an assistant that makes and edits pictures by talking."""

import signal
import sys

__version__ = "0.1.0"

# The process is one of our command lines (`python -m llmga.…`), and nobody else's: while it imports, for seconds,
# Ctrl-C ends it as it ends any program, without a traceback.  `llmga.errors.command_line` takes over from here.
_OURS = sys.argv[:1] == ["-m"] and any(word.startswith(f"{__name__}.") for word in sys.orig_argv)
if _OURS and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

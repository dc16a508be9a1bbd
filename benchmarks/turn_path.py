"""How much of llmga one turn runs through: `python benchmarks/turn_path.py [terminal] [page] [http] [--list]`.

A front end is started as its own command with the bundled toy models, and takes one line until its picture is there.
Loading is not counted, nor is what runs beneath the line: the first frame is the first function that gets it.  Printed
for each front end, without comprehensions, and without what runs because a module is imported late:

* `files` and `functions` that were entered, in any thread.
* `deepest`: the most frames of llmga on one stack.
* `to_language_model`: frames of llmga on the stack when a model of transformers is first asked; where the work was
  handed to another thread or task, of that one alone.
"""

import argparse
import contextlib
import inspect
import io
import json
import os
import runpy
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[1]
MODULES = {
    "terminal": "llmga.serve.cli2-sdxl",
    "page": "llmga.serve.gradio_web_server",
    "http": "llmga.serve.openai_api",
}
OURS = f"{ROOT / 'llmga'}{os.sep}"
MODELS, ENCODER = str(Path("transformers", "models")), str(Path("PIL", "Image.py"))
BUNDLED = ROOT / "checkpoints" / "Inference"
FLAGS = (
    *("--model_path", str(BUNDLED / "llmga-toy-mllm")),
    *("--sdmodel_id", str(BUNDLED / "llmga-toy-sdxl-t2i")),
    *("--device", "cpu", "--steps", "4", "--seed", "0"),
)
LINE = "a big red circle on a blue background"
COMPREHENSIONS = {"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"}  # from Python 3.12 on most have no frame


class Trace:
    """What of llmga is entered between `start` and `stop`, in any thread that is begun after `listen`.

    Attributes:
        functions: `file:qualified name`, in the order in which they were first entered.
        deepest: the largest stack.
        path: the stack when a model of transformers was first asked, outermost first.
        delivered: whether a picture was encoded, which every front end does with what it gives away.
    """

    def __init__(self) -> None:
        self.functions: dict[str, None] = {}
        self.deepest = 0
        self.path: list[str] = []
        self.delivered = self._counts = False
        self._before: set[FrameType] = set()

    def listen(self) -> None:
        """Threads that are begun from now on are heard."""
        threading.setprofile(self._heard)

    def start(self) -> None:
        """Count, from what is entered next."""
        self._before, self._counts = set(stack(sys._getframe())), True
        sys.setprofile(self._heard)

    def stop(self) -> None:
        """Count no more; what is still on the stack waits for the next line, and has no part in this one."""
        self._counts = False
        sys.setprofile(None)
        for name in self._entered(sys._getframe()):
            self.functions.pop(name, None)

    def _heard(self, frame: FrameType, event: str, _: object) -> None:
        if event != "call" or not self._counts:
            return
        code = frame.f_code
        if code.co_name == "forward" and MODELS in code.co_filename:
            self.path = self.path or self._entered(frame)
        elif code.co_name == "save" and code.co_filename.endswith(ENCODER):
            self.delivered = True
        elif is_ours(code):
            entered = self._entered(frame)
            self.functions |= dict.fromkeys(entered[-1:])
            self.deepest = max(self.deepest, len(entered))

    def _entered(self, frame: FrameType) -> list[str]:
        """The stack's functions of llmga since `start`; none while a module is imported."""
        frames = [each for each in stack(frame) if each not in self._before]
        if any(each.f_code.co_name == "<module>" for each in frames):
            return []
        return [named(each.f_code) for each in reversed(frames) if is_ours(each.f_code)]

    def figures(self) -> dict[str, int]:
        """As they are printed."""
        files = {name.partition(":")[0] for name in self.functions}
        return {
            "files": len(files),
            "functions": len(self.functions),
            "deepest": self.deepest,
            "to_language_model": len(self.path),
        }


def stack(frame: FrameType | None) -> Iterator[FrameType]:
    """From the frame outwards."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def is_ours(code: CodeType) -> bool:
    """Whether it is a function of llmga: bodies of modules and classes are not optimised."""
    optimised = code.co_flags & inspect.CO_OPTIMIZED
    return bool(optimised) and code.co_filename.startswith(OURS) and code.co_name not in COMPREHENSIONS


def named(code: CodeType) -> str:
    return f"{Path(code.co_filename).relative_to(ROOT).as_posix()}:{code.co_qualname}"


class Keyboard(io.StringIO):
    """A person who types one line; who is asked for another one has seen the answer, and ends."""

    def __init__(self, trace: Trace):
        super().__init__()
        self.trace, self.typed = trace, False

    def readline(self, size: int = -1) -> str:
        if self.typed:
            self.trace.stop()
            return ""
        self.typed = True
        self.trace.start()
        return f"{LINE}\n"

    def reconfigure(self, **how: object) -> None:
        """As streams of a process have it."""


def type_a_line(trace: Trace) -> None:
    """The terminal reads its next line from here."""
    sys.stdin = Keyboard(trace)


def send_a_message(trace: Trace) -> None:
    """The page is used, instead of served, once it is built: opened, and its message box submitted."""
    import gradio

    def use(blocks: gradio.Blocks, **how: object) -> NoReturn:
        opening, sending = handler(blocks, "load"), handler(blocks, "submit")
        session, box = (only(kind, sending.inputs) for kind in (gradio.State, gradio.MultimodalTextbox))
        given = {session: opening.fn(gradio.Request(headers={}))[session], box: {"text": LINE, "files": []}}
        values = [given.get(each, getattr(each, "value", None)) for each in sending.inputs]
        trace.start()
        for _ in sending.fn(*values):
            pass
        trace.stop()
        sys.exit()

    gradio.Blocks.launch = use


def handler(blocks: Any, event: str) -> Any:
    """The function of a page's first component that has one for this event."""
    return next(each for each in blocks.fns.values() if each.targets and each.targets[0][1] == event and each.fn)


def only(kind: type, components: Sequence[Any]) -> Any:
    """The component of this kind."""
    return next(each for each in components if isinstance(each, kind))


def post_a_request(trace: Trace) -> None:
    """The application is asked in this process, instead of served, once it is built."""
    import uvicorn
    from starlette.testclient import TestClient

    def use(server: uvicorn.Server, **how: object) -> NoReturn:
        body = {"messages": [{"role": "user", "content": LINE}]}
        with TestClient(server.config.app, base_url="http://127.0.0.1") as client:
            trace.start()
            client.post("/v1/chat/completions", json=body).raise_for_status()
            trace.stop()
        sys.exit()

    uvicorn.Server.run = use


DRIVERS: dict[str, Callable[[Trace], None]] = {
    "terminal": type_a_line,
    "page": send_a_message,
    "http": post_a_request,
}


def traced(front_end: str) -> Trace:
    """One turn of a front end, in this process.  Raises: SystemExit when it fails."""
    trace = Trace()
    DRIVERS[front_end](trace)
    trace.listen()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        os.environ["GRADIO_TEMP_DIR"] = folder
        saving = ("--save_path", folder) if front_end == "terminal" else ()
        sys.argv = [MODULES[front_end], *FLAGS, *saving]
        try:
            runpy.run_module(MODULES[front_end], run_name="__main__", alter_sys=True)
        except SystemExit as end:
            if end.code:
                raise
    if not (trace.path and trace.delivered):
        sys.exit(f"{front_end}: no words or no picture came of {LINE!r}")
    return trace


def measured(front_end: str) -> dict[str, Any]:
    """The figures of a front end in a process of its own, with `functions` and `path` by their names."""
    command = [sys.executable, __file__, front_end, "--here"]
    ours = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}  # toy models are slower with more threads
    asked = subprocess.run(command, cwd=ROOT, env=ours, capture_output=True, text=True)
    if asked.returncode:
        sys.exit(asked.stderr)
    return json.loads(asked.stdout)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures as JSON, a front end a line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("front_ends", nargs="*", metavar="FRONT_END", help=f"of {', '.join(MODULES)} (default: all)")
    parser.add_argument("--list", action="store_true", help="name what was entered, in order, instead of counting it")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if unknown := set(options.front_ends) - set(MODULES):
        parser.error(f"there is no front end {', '.join(unknown)}; choose from {', '.join(MODULES)}")
    if options.here:
        trace = traced(options.front_ends[0])
        print(json.dumps({"figures": trace.figures(), "functions": list(trace.functions), "path": trace.path}))
        return 0
    found = {name: measured(name) for name in options.front_ends or MODULES}
    if options.list:
        print(listed(found))
        return 0
    rows = {name: each["figures"] for name, each in found.items()}
    print("{" + ",\n ".join(f"{json.dumps(name)}: {json.dumps(row)}" for name, row in rows.items()) + "}")
    return 0


def listed(found: dict[str, dict[str, Any]]) -> str:
    """The functions of each front end as they were first entered; those between text and language model marked."""
    return "\n\n".join(
        "\n".join([f"# {name}", *(f"{'>' if each in of['path'] else ' '} {each}" for each in of["functions"])])
        for name, of in found.items()
    )


if __name__ == "__main__":
    sys.exit(main())

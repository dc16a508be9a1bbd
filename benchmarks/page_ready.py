"""How long a browser takes until the page can be used, and until the first word of an answer stands there.

python benchmarks/page_ready.py [--visits 5]

The models are loaded before.  A visit is a fresh context of chromium; `ready_ratio` is the median of the visits over
that of a page of gradio's own with one text box, opened in turn with ours.
"""

import argparse
import contextlib
import json
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Sequence

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BARE = "textarea"
OURS = ".log .welcome"


def seconds(work: Callable[[], object]) -> float:
    """Of one call."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def visit(browser: object, url: str, selector: str) -> tuple[float, object]:
    """Seconds until what the selector names is seen, and the page."""
    page = browser.new_context().new_page()
    page.set_default_timeout(120_000)

    def open_it() -> None:
        page.goto(url)
        page.wait_for_selector(selector)

    return seconds(open_it), page


def first_word(page: object) -> float:
    """Seconds from sending a message to the first letters of its answer."""
    box = page.locator("#message textarea")
    box.fill("hello")

    def answered() -> None:
        box.press("Enter")
        page.wait_for_selector(".log .words:not(:empty)")

    return seconds(answered)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--visits", type=int, default=5)
    args = parser.parse_args(argv)
    with contextlib.redirect_stdout(sys.stderr):  # servers greet
        medians = measured(args.visits)
    print(json.dumps(medians | {"ready_ratio": round(medians["ours_seconds"] / medians["bare_seconds"], 3)}))
    return 0


def measured(visits: int) -> dict[str, float]:
    """Median seconds of each thing that is timed."""
    import gradio
    from playwright.sync_api import sync_playwright

    from llmga.assistant.loading import Models
    from llmga.serve.gradio_web_server import build_parser, keep_to_itself, page_options
    from llmga.serve.page.serving import launch

    keep_to_itself()
    chosen = page_options(build_parser().parse_args(["--port", "0"]))
    ours = launch(Models.load(chosen.spec), chosen, wait=False)
    bare = gradio.Interface(str, "text", "text")
    bare.launch(prevent_thread_lock=True, quiet=True)
    found: dict[str, list[float]] = {"ours": [], "bare": [], "first_word": []}
    try:
        with sync_playwright() as started:
            program = next(path for name in BROWSERS if (path := shutil.which(name)))
            browser = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
            for _ in range(visits):
                found["bare"].append(visit(browser, bare.local_url, BARE)[0])
                taken, page = visit(browser, ours.local_url, OURS)
                found["ours"].append(taken)
                found["first_word"].append(first_word(page))
            browser.close()
    finally:
        ours.close(verbose=False)
        bare.close(verbose=False)
    return {f"{name}_seconds": round(statistics.median(times), 3) for name, times in found.items()}


if __name__ == "__main__":
    sys.exit(main())

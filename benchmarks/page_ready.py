"""How long a browser takes until the page can be used, and until the first word of an answer stands there.

python benchmarks/page_ready.py [--visits 5] [--turns 30]

The models are loaded before.  A visit is a fresh context of chromium; `ready_ratio` is the median of the visits over
that of a page of gradio's own with one text box, opened in turn with ours.

One visit goes on for many turns, with a picture in every second one.  `first_word_turn_1` and `first_word_turn_30` are
seconds to the first word there, `nodes_…` how many elements the page has then, `script_mb_…` what its scripts hold, in
megabytes.  `first_word_ratio` is the median of the last turns in words over that of the first ones; `server_cpu_ratio`
is the same of what server and models compute until then, which other work on the machine does not change; `nodes_ratio`
is what a turn adds in the second half over what it adds in the first, 1 where the page grows with what it shows.
"""

import argparse
import contextlib
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BARE = "textarea"
OURS = ".log .welcome"
PICTURE = "a big red circle on a blue background"
WORDS = 3  # turns at both ends of the visit that goes on are of words alone


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
    return seconds(lambda: first_letters(page, "hello"))


def first_letters(page: object, text: str) -> None:
    """Send a message and wait for the first letters of its answer."""
    box, before = page.locator("#message textarea"), page.locator(".log .words").count()
    box.fill(text)
    box.press("Enter")
    page.locator(".log .words:not(:empty)").nth(before).wait_for()


def held(page: object) -> float:
    """Megabytes that the page's scripts hold, once what nobody needs is thrown away."""
    inspector = page.context.new_cdp_session(page)
    inspector.send("HeapProfiler.collectGarbage")
    used = inspector.send("Runtime.getHeapUsage")["usedSize"]
    inspector.detach()
    return round(used / 2**20, 1)


def conversation(page: object, turns: int) -> dict[str, float]:
    """What the first and the last turns of one conversation take, and how the page grows."""
    times, computed, nodes, megabytes = [], [], [], []
    for turn in range(turns):
        talks = turn < WORDS or turn >= turns - WORDS or turn % 2
        before = time.process_time()
        times.append(seconds(lambda text="hello" if talks else PICTURE: first_letters(page, text)))
        computed.append(time.process_time() - before)
        page.wait_for_selector("#message button.submit-button")
        nodes.append(page.evaluate("document.querySelectorAll('*').length"))
        if turn in (0, turns - 1):
            megabytes.append(held(page))
    middle = turns // 2
    grown = (nodes[middle] - nodes[0]) / middle, (nodes[-1] - nodes[middle]) / (turns - 1 - middle or 1)
    return {
        "first_word_turn_1": round(times[0], 3),
        f"first_word_turn_{turns}": round(times[-1], 3),
        "first_word_ratio": ends(times),
        "server_cpu_ratio": ends(computed),
        "nodes_turn_1": nodes[0],
        f"nodes_turn_{turns}": nodes[-1],
        "nodes_ratio": round(grown[1] / grown[0], 3),
        "script_mb_turn_1": megabytes[0],
        f"script_mb_turn_{turns}": megabytes[-1],
    }


def ends(figures: Sequence[float]) -> float:
    """The median of the last ones over that of the first ones."""
    return round(statistics.median(figures[-WORDS:]) / statistics.median(figures[:WORDS]), 3)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--visits", type=int, default=5)
    parser.add_argument("--turns", type=int, default=30, help="of the visit that goes on")
    args = parser.parse_args(argv)
    with contextlib.redirect_stdout(sys.stderr):  # servers greet
        medians = measured(args.visits, args.turns)
    print(json.dumps(medians | {"ready_ratio": round(medians["ours_seconds"] / medians["bare_seconds"], 3)}))
    return 0


def measured(visits: int, turns: int) -> dict[str, float]:
    """Median seconds of each thing that is timed, and the figures of the visit that goes on."""
    import gradio
    from playwright.sync_api import sync_playwright

    from llmga.assistant.loading import Models
    from llmga.serve.gradio_web_server import build_parser, keep_to_itself, page_options
    from llmga.serve.page.serving import launch

    keep_to_itself()
    library = tempfile.TemporaryDirectory()
    chosen = page_options(build_parser().parse_args(["--port", "0", "--library", library.name]))
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
            long = conversation(visit(browser, ours.local_url, OURS)[1], turns)
            browser.close()
    finally:
        ours.close(verbose=False)
        bare.close(verbose=False)
        library.cleanup()
    return {f"{name}_seconds": round(statistics.median(times), 3) for name, times in found.items()} | long


if __name__ == "__main__":
    sys.exit(main())

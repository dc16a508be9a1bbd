"""A browser's tab on the page of the bundled models, used as a person would."""

import argparse
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from threading import Event
from time import monotonic, sleep
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

import llmga
from llmga.assistant.loading import Models
from llmga.serve.gradio_web_server import build_parser, page_options
from llmga.serve.page.strings import STRINGS

ROOT = Path(llmga.__file__).resolve().parent.parent
SCREENSHOTS = ROOT / "outputs/browser"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((path for name in BROWSERS if (path := shutil.which(name))), None)
NO_BROWSER = pytest.mark.skipif(BROWSER is None, reason="no chromium here; bash scripts/browser.sh installs it")
LOCAL = ("127.0.0.1", "localhost", "::1")
REQUEST = "a big red circle on a blue background"
PATIENCE = 120_000  # milliseconds for one answer on a busy machine


class Asked(list):
    """Hosts beyond this machine that the server's process turned to."""

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> "Asked":
        connect, look_up = socket.socket.connect, socket.getaddrinfo

        def connecting(this: socket.socket, address: object) -> None:
            if isinstance(address, tuple) and address[0] not in LOCAL:
                self.append(address)
            connect(this, address)

        def looking_up(host: object, *rest: object, **more: object) -> object:
            if host not in (*LOCAL, None):
                self.append(host)
            return look_up(host, *rest, **more)

        monkeypatch.setattr(socket.socket, "connect", connecting)
        monkeypatch.setattr(socket, "getaddrinfo", looking_up)
        return self


def running(models: Models, *flags: str) -> Iterator[str]:
    from llmga.serve.page.serving import launch

    blocks = launch(models, page_options(arguments(*flags)), wait=False)
    yield blocks.local_url
    blocks.close()


def arguments(*more: str) -> argparse.Namespace:
    """With room for pictures that take a while, see `paint_slowly`."""
    return build_parser().parse_args(
        ["--port", "0", "--seed", "7", "--temperature", "0", "--max-pixels-painted", str(256 * 256), *more]
    )


@contextmanager
def held_back(models: Models, token: int) -> Iterator[Callable[[], None]]:
    """The language model writes so many tokens and waits before the next one, until it is let go on."""
    written, free = count(1), Event()

    def before(*_: object) -> None:
        if next(written) > token:
            free.wait(10 * PATIENCE / 1000)

    hook = models.new_chat().mllm.model.register_forward_pre_hook(before)
    try:
        yield free.set
    finally:
        free.set()
        hook.remove()


@contextmanager
def slowed(models: Models, later: float = 1.5) -> Iterator[None]:
    """Every step takes a fifth of a second, and later more, so that a painting is seen at work on any machine.

    Args:
        later: seconds that a step takes from the thirtieth on.
    """
    steps = count(1)
    hook = models.pipeline.denoiser.register_forward_pre_hook(lambda *_: sleep(0.2 if next(steps) < 30 else later))
    try:
        yield
    finally:
        hook.remove()


# A picture of one dot is pasted or dropped.
PUT = """async ([put, kind, place]) => {
    const dot = await new Promise((done) => document.createElement("canvas").toBlob(done));
    const given = new DataTransfer(), event = { bubbles: true, cancelable: true };
    given.items.add(new File([dot], "dot.png", { type: "image/png" }));
    event[put === "drop" ? "dataTransfer" : "clipboardData"] = given;
    document.querySelector(place).dispatchEvent(new window[kind](put, event));
}"""
# What a hand does is counted: pointers that go down, and keys that write nothing.
COUNT = """for (const kind of ["pointerdown", "keydown"])
    addEventListener(kind, (event) => {
        if (event.isTrusted && (kind === "pointerdown" || event.key.length > 1))
            sessionStorage.taken = 1 + Number(sessionStorage.taken || 0);
    }, true);"""
# What comes and goes is written down, since a busy machine may look too late: messages over the page, and what is told
# to those who do not see it.
WRITE_DOWN = """window.written = { told: [], heard: [] };
new MutationObserver(() => {
    for (const told of document.querySelectorAll(".toast-message-text")) { // messages of one kind share a box
        if (told.dataset.written === told.innerText) continue;
        const title = told.closest(".toast-body").querySelector(".toast-title");
        const kind = [...title.classList].find((name) => titles[name]);
        const seen = getComputedStyle(title).fontSize === "0px" ? getComputedStyle(title, "::after").content : "";
        told.dataset.written = told.innerText;
        written.told.push([kind, seen && JSON.parse(seen), told.innerText]);
    }
    for (const live of document.querySelectorAll(".heard"))
        if (live.textContent && written.heard.at(-1) !== live.textContent) written.heard.push(live.textContent);
}).observe(document, { childList: true, subtree: true, characterData: true });
const titles = { warning: 1, info: 1, error: 1 };"""
STANDS = """(selector) => {
    const box = document.querySelector(selector)?.getBoundingClientRect();
    const [before, now] = [window.stood, box?.width ? [box.x, box.y, box.width, box.height].join() : ""];
    window.stood = now;
    return now && now === before;
}"""
PAINTING = ".log progress[value]:not([value='0'])"


def soon(true: Callable[[], object]) -> None:
    """Wait until something is true, for what reaches the page a moment later than what was waited for.

    Raises:
        AssertionError: it never is.
    """
    until = monotonic() + PATIENCE / 1000
    while not true():
        assert monotonic() < until, "is not true, however long one waits"
        sleep(0.1)


class Driver:
    """A browser's tab, and what it should never see.

    Attributes:
        words: what the page says, in the language of the tab.
        console: errors and warnings in the browser's console.
        outside: addresses beyond this machine that were asked for.
    """

    def __init__(self, page: Any, url: str, language: str = "en"):
        self.page, self.url, self.words = page, url, STRINGS[language]
        self.console: list[str] = []
        self.outside: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.add_init_script(COUNT)
        page.add_init_script(WRITE_DOWN)
        page.on("console", lambda message: message.type in ("error", "warning") and self.console.append(message.text))
        page.on("pageerror", lambda problem: self.console.append(str(problem)))
        page.on("request", self._note)

    def _note(self, request: Any) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.hostname not in LOCAL:
            self.outside.append(request.url)

    # Coming and going.

    def open(self, place: str = "") -> None:
        """Go there and wait until the page can be used."""
        self.page.goto(self.url + place)
        self.page.wait_for_selector(".log .welcome")

    def open_again(self) -> None:
        """Reload; what the page says while it goes away is no problem of the one that comes."""
        self.page.reload()
        self.page.wait_for_selector(".log .user")
        self.console[:] = [said for said in self.console if "aborted" not in said and "errored out" not in said]

    def turn_to(self, tab: str) -> None:
        """Open a tab of the side, by the key of its name."""
        self.page.get_by_role("tab", name=self.words[tab], exact=True).click()

    # Talking.

    @property
    def box(self) -> Any:
        """Where a message is typed."""
        return self.page.locator("#message textarea")

    def say(self, text: str) -> None:
        """Send a message and wait until it stands in the conversation, and the box shows that it is answered."""
        said = self.page.locator(".log .user").count()
        self.box.fill(text)
        self.box.press("Enter")
        self.page.locator(".log .user").nth(said).wait_for()
        self.until("document.querySelector('#message textarea').value === ''")

    def answered(self) -> None:
        """Wait until the answer is there."""
        self.page.wait_for_selector("#message button.submit-button")

    def ask(self, text: str) -> None:
        """Send a message and wait for its answer."""
        self.say(text)
        self.answered()

    def paint_slowly(self, size: str = "256x256", steps: int = 100) -> None:
        """A size and a number of steps that keep the painter busy for a while."""
        self.turn_to("settings")
        self.setting("size").fill(size)
        self.setting("steps").fill(str(steps))

    def paints(self) -> int:
        """Wait until a painting is at work and a few of its steps are done; how many."""
        self.page.wait_for_selector(PAINTING)
        return self.step()

    def step(self) -> int:
        """Which step the painting at work has reached."""
        return int(self.page.locator(".log progress").get_attribute("value"))

    # Looking.

    def said(self) -> list[str]:
        """What the person has said."""
        return self.page.locator(".log .user .bubble").all_inner_texts()

    def pictures(self) -> int:
        """How many pictures of the conversation can be opened."""
        return self.page.locator(".log [data-picture]").count()

    def picture(self, number: int) -> Image.Image:
        """The file behind a picture of the conversation, as the browser downloads it."""
        link = self.page.locator(f".log .painted:has(#picture-{number}) a[download]")
        with self.page.expect_download() as download:
            link.click()
        return Image.open(io.BytesIO(Path(download.value.path()).read_bytes()))

    def told(self, kind: str, text: str) -> None:
        """Wait until a message over the page has come, under the title that its kind has in the page's language.

        Args:
            kind: `warning`, `info` or `error`.
            text: some of its words.
        """
        self.until("(text) => written.told.some(([, , said]) => said.includes(text))", text)
        found = self.page.evaluate("written.told.splice(0)")
        assert [kind, self.words[f"told {kind}"]] in [each[:2] for each in found if text in each[2]], found
        self.page.evaluate("document.querySelectorAll('.toast-close').forEach((button) => button.click())")

    def heard(self, text: str) -> None:
        """Wait until somebody who does not see the page was told something."""
        self.until("(text) => written.heard.some((said) => said.includes(text))", text)

    def until(self, true: str, given: Any = None) -> None:
        """Wait until something is true in the browser."""
        self.page.wait_for_function(true, arg=given, polling=100)  # at every frame it would keep a busy machine busy

    def setting(self, name: str) -> Any:
        """The field of a setting."""
        return self.page.locator(f"#setting-{name} textarea, #setting-{name} input").first

    def taken(self) -> int:
        """How many clicks and keys were needed since this was asked last."""
        return int(
            self.page.evaluate("() => { const was = sessionStorage.taken || 0; sessionStorage.taken = 0; return was; }")
        )

    # Doing.

    def do(self, verb: str, number: int | None = None) -> None:
        """Press a button of the conversation, of a picture or message where a number is given."""
        of = "" if number is None else f"[data-number='{number}']"
        self.page.click(f".log [data-do='{verb}']{of}")

    def drag(self, *points: tuple[float, float], stage: str = "#mask-editor canvas") -> None:
        """Lead the pressed mouse through points, in shares of the width and height of what is drawn on."""
        box = self.box_of(stage)
        for place, (x, y) in enumerate(points):
            self.page.mouse.move(box["x"] + box["width"] * x, box["y"] + box["height"] * y)
            if not place:
                self.page.mouse.down()
        self.page.mouse.up()

    def box_of(self, selector: str) -> dict[str, float]:
        """Where something stands that has come to stand there."""
        self.page.wait_for_function(STANDS, arg=selector, polling=100)
        return self.page.locator(selector).bounding_box()

    def put(self, how: str, kind: str, place: str) -> None:
        """Paste or drop a picture somewhere."""
        self.page.evaluate(PUT, [how, kind, place])

    def grow(self, photo: Path) -> None:
        """Bring a picture by a card of the welcome, and give it more room at the right."""
        with self.page.expect_file_chooser() as chooser:
            self.page.click("[data-card=larger]")
        chooser.value.set_files(photo)
        self.page.wait_for_selector(".mask-editor.growing:not(.empty)")
        self.page.locator("[data-side=right]").press("ArrowRight")

    # Judging.

    def judge(self, state: str) -> list[str]:
        """What axe-core finds serious in both themes, at this place of a visit."""
        axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
        found = []
        self.page.emulate_media(reduced_motion="reduce")  # a colour on its way to another one has no contrast yet
        for theme in ("dark", "light"):
            self.page.evaluate("(dark) => document.body.classList.toggle('dark', dark)", theme == "dark")
            for each in axe.run(self.page, options={"resultTypes": ["violations"]}).response["violations"]:
                if each["impact"] in ("serious", "critical"):
                    places = [(node["target"], node["failureSummary"]) for node in each["nodes"]]
                    found.append(f"{state}, {theme}: {each['id']} at {places}")
        return found

    def shoot(self, name: str) -> None:
        """Keep a screenshot."""
        file = SCREENSHOTS / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=file)


class KilledServer:
    """The page as a process of its own, with a slow painter; it can be killed and started again at the same place."""

    def __init__(self, folder: Path):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.library = folder / "library"
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        own = ("--port", str(self.port), "--seed", "7", "--temperature", "0", "--max-pixels-painted", str(256 * 256))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.serve.page.slow_server", *own, "--library", str(self.library)],
            stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert "The page is at" in self.process.stdout.readline()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

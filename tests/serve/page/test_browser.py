"""The page on the bundled models, used with mouse and keyboard in a real browser; screenshots are kept in outputs/."""

import argparse
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from threading import Event
from time import perf_counter, sleep
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

import llmga
from llmga.assistant.loading import Models
from llmga.serve.gradio_web_server import AT_ONCE, build_parser, keep_to_itself, page_options
from llmga.toyworld.oracle import read

ROOT = Path(llmga.__file__).resolve().parent.parent
SCREENSHOTS = ROOT / "outputs/browser"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((path for name in BROWSERS if (path := shutil.which(name))), None)
LOCAL = ("127.0.0.1", "localhost", "::1")
REQUEST = "a big red circle on a blue background"
# What is looked at together has to be measured together: buttons take a while to reach their new size.
STAND_BELOW_EACH_OTHER = """(names) => {
    const boxes = names.map((name) => document.querySelector(name).getBoundingClientRect());
    return boxes.slice(1).every((box, index) => boxes[index].bottom <= box.top);
}"""
SHOWS_ITS_END = """() => {
    const log = document.querySelector(".log");
    return log.scrollTop > 0 && log.scrollHeight - log.scrollTop - log.clientHeight < 5;
}"""
IS_SEEN_WHOLE = """(name) => {
    const box = document.querySelector(name)?.getBoundingClientRect();
    return box && box.height > 100 && box.top >= 0 && box.bottom <= innerHeight;
}"""
# A picture of one dot is pasted or dropped.
PUT = """async ([put, kind, place]) => {
    const dot = await new Promise((done) => document.createElement("canvas").toBlob(done));
    const given = new DataTransfer(), event = { bubbles: true, cancelable: true };
    given.items.add(new File([dot], "dot.png", { type: "image/png" }));
    event[put === "drop" ? "dataTransfer" : "clipboardData"] = given;
    document.querySelector(place).dispatchEvent(new window[kind](put, event));
}"""
PATIENCE = 120_000  # milliseconds for one answer on a busy machine

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason="no chromium here; bash scripts/browser.sh installs it"),
]


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


@pytest.fixture(scope="module")
def asked() -> Iterator[Asked]:
    with pytest.MonkeyPatch.context() as patch:
        yield Asked().watch(patch)


@pytest.fixture(scope="module")
def models(asked: Asked) -> Models:
    keep_to_itself()
    args = arguments()
    return Models.load(page_options(args).spec.checked())


@pytest.fixture(scope="module")
def url(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running page."""
    yield from running(models, "--library", str(tmp_path_factory.mktemp("library")))


@pytest.fixture(scope="module")
def brief_url(models: Models) -> Iterator[str]:
    """The address of one that keeps nothing."""
    yield from running(models, "--no-library")


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
            free.wait(PATIENCE / 1000)

    hook = models.new_chat().mllm.model.register_forward_pre_hook(before)
    try:
        yield free.set
    finally:
        free.set()
        hook.remove()


@contextmanager
def slowed(models: Models) -> Iterator[None]:
    """Every step takes a fifth of a second, and later more, so that a painting is seen at work on any machine."""
    steps = count(1)
    hook = models.pipeline.denoiser.register_forward_pre_hook(lambda *_: sleep(0.2 if next(steps) < 30 else 1.5))
    try:
        yield
    finally:
        hook.remove()


class Driver:
    """A browser tab, and what it should never see."""

    def __init__(self, page: object, url: str):
        self.page, self.url = page, url
        self.console: list[str] = []
        self.outside: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda message: message.type in ("error", "warning") and self.console.append(message.text))
        page.on("pageerror", lambda problem: self.console.append(str(problem)))
        page.on("request", self._note)

    def _note(self, request: object) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.hostname not in LOCAL:
            self.outside.append(request.url)

    def open(self) -> None:
        """Go there and wait until the page can be used."""
        self.page.goto(self.url)
        self.page.wait_for_selector(".log .welcome")

    def say(self, text: str) -> None:
        """Send a message and wait until it stands in the conversation, and the box shows that it is answered."""
        said = self.page.locator(".log .user").count()
        self.page.locator("#message textarea").fill(text)
        self.page.locator("#message textarea").press("Enter")
        self.page.locator(".log .user").nth(said).wait_for()
        self.page.wait_for_function("document.querySelector('#message textarea').value === ''")

    def answered(self) -> None:
        self.page.wait_for_selector("#message button.submit-button")

    def ask(self, text: str) -> None:
        self.say(text)
        self.answered()

    def picture(self, number: int) -> Image.Image:
        """The file behind a picture of the conversation, as the browser downloads it."""
        link = self.page.locator(f".log .painted:has(#picture-{number}) a[download]")
        with self.page.expect_download() as download:
            link.click()
        return Image.open(io.BytesIO(Path(download.value.path()).read_bytes()))

    def paint_slowly(self) -> None:
        """A size and a number of steps that keep the painter busy for a while."""
        self.page.get_by_role("tab", name="Settings").click()
        self.setting("size").fill("256x256")
        self.setting("steps").fill("100")

    def setting(self, name: str) -> Any:
        """The field of a setting."""
        return self.page.locator(f"#setting-{name} textarea, #setting-{name} input")

    def grow(self, photo: Path) -> None:
        """Bring a picture by a card of the welcome, and give it more room at the right."""
        with self.page.expect_file_chooser() as chooser:
            self.page.click("[data-card=larger]")
        chooser.value.set_files(photo)
        self.page.wait_for_selector(".mask-editor.growing:not(.empty)")
        self.page.locator("[data-side=right]").press("ArrowRight")

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
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png")


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def tab(browser: object, url: str) -> Iterator[Driver]:
    """A fresh visit; afterwards nothing may have gone wrong, and nobody else may have been asked."""
    context = browser.new_context(viewport={"width": 1280, "height": 860}, locale="en-GB")
    driver = Driver(context.new_page(), url)
    yield driver
    assert driver.console == []
    assert driver.outside == []
    context.close()


def test_a_request_is_answered_in_streamed_words_and_a_picture_that_is_right(tab: Driver, models: Models) -> None:
    tab.open()
    tab.shoot("1-welcome")
    words = tab.page.locator(".log .words")
    with held_back(models, token=3) as go_on:
        tab.say(REQUEST)
        words.wait_for()
        streamed = words.inner_text()
        go_on()
        tab.answered()
    assert words.inner_text().startswith(streamed) and len(words.inner_text()) > len(streamed) > 0
    picture = tab.picture(0)
    seen = read(picture).attributes
    assert (seen["size"], seen["colour"], seen["shape"], seen["background"]) == ("big", "red", "circle", "blue")
    assert "llmga" in picture.info and "Seed: 7" in picture.info["parameters"]
    tab.shoot("2-answer")
    tab.page.set_viewport_size({"width": 390, "height": 844})
    tab.page.wait_for_function("document.documentElement.scrollWidth <= 390")
    tab.page.wait_for_function(STAND_BELOW_EACH_OTHER, arg=["#log .log", "#message", "#side"])
    tab.shoot("3-phone")
    tab.page.click("[data-do=mark]")  # leads to the canvas, which stands below
    tab.page.wait_for_function(IS_SEEN_WHOLE, arg="#mask-editor canvas")


def test_a_mask_drawn_with_the_mouse_is_repainted_and_the_rest_kept_to_the_pixel(tab: Driver) -> None:
    tab.open()
    tab.ask(REQUEST)
    before = np.asarray(tab.picture(0).convert("RGB"))
    tab.page.click("[data-do=mark]")
    canvas = tab.page.locator("#mask-editor canvas")
    canvas.wait_for(state="visible")
    tab.page.wait_for_function("document.querySelector('#mask-editor canvas').width > 300")
    box = canvas.bounding_box()
    for row in (0.3, 0.4, 0.5, 0.6, 0.7):
        tab.page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * row)
        tab.page.mouse.down()
        tab.page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * row, steps=5)
        tab.page.mouse.up()
    tab.shoot("4-mask")
    tab.ask("a small yellow square in the center on a blue background")
    after = np.asarray(tab.picture(1).convert("RGB"))
    assert after.shape == before.shape
    side = before.shape[0]
    kept = np.ones((side, side), bool)
    kept[int(side * 0.2) : int(side * 0.8) + 1, int(side * 0.2) : int(side * 0.8) + 1] = False
    assert (after[kept] == before[kept]).all()
    assert (after[~kept] != before[~kept]).any(-1).mean() > 0.4
    tab.shoot("5-repainted")


def test_a_picture_grows_by_its_handles_and_the_keyboard(tab: Driver) -> None:
    tab.open()
    tab.ask(REQUEST)
    before = np.asarray(tab.picture(0).convert("RGB"))
    tab.page.click("[data-do=mark]")
    tab.page.click("[data-tool=grow]")
    handle = tab.page.locator("[data-side=right]")
    box = handle.bounding_box()
    stage = tab.page.locator("#mask-editor canvas").bounding_box()
    tab.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.page.mouse.down()
    tab.page.mouse.move(box["x"] + box["width"] / 2 + stage["width"] / 6, box["y"] + box["height"] / 2, steps=4)
    tab.page.mouse.up()
    assert 20 <= int(handle.get_attribute("aria-valuenow")) <= 30
    tab.page.locator("[data-side=left]").press("ArrowLeft")
    assert tab.page.locator("[data-side=left]").get_attribute("aria-valuenow") == "5"
    tab.shoot("6-grow")
    tab.ask(REQUEST)
    after = np.asarray(tab.picture(1).convert("RGB"))
    left = round(before.shape[1] * 0.05)
    assert after.shape[1] > before.shape[1] * 1.15 and after.shape[0] == before.shape[0]
    assert (after[:, left : left + before.shape[1]] == before).all()


def test_the_canvas_takes_everything_back_and_the_message_keeps_what_was_marked(tab: Driver) -> None:
    tab.open()
    tab.ask(REQUEST)
    tab.page.click("[data-do=mark]")
    canvas, said = tab.page.locator("#mask-editor canvas"), tab.page.locator("#mask-editor .status")
    tab.page.wait_for_selector("#mask-editor .mask-editor:not(.empty)")

    def drag(*points: tuple[float, float]) -> None:
        box = canvas.bounding_box()
        for place, (x, y) in enumerate(points):
            tab.page.mouse.move(box["x"] + box["width"] * x, box["y"] + box["height"] * y)
            if not place:
                tab.page.mouse.down()
        tab.page.mouse.up()

    def marked() -> int:
        return int(said.inner_text().split(" %")[0])

    tab.page.click("[data-tool=rectangle]")
    drag((0.25, 0.25), (0.75, 0.75))
    assert 24 <= marked() <= 26
    tab.page.keyboard.press("l")
    drag((0.0, 0.8), (0.4, 0.8), (0.0, 0.99), (0.0, 0.8))
    assert 27 <= marked() <= 31
    tab.page.keyboard.press("i")
    assert 69 <= marked() <= 73
    tab.page.keyboard.press("Control+z")
    tab.page.keyboard.press("e")
    drag((0.3, 0.3), (0.5, 0.5))
    less = marked()
    assert less < 27
    tab.page.keyboard.press("z")  # nearer: the same drag is a smaller one of the picture's
    tab.page.keyboard.press("b")
    drag((0.5, 0.5), (0.55, 0.55))
    tab.shoot("21-canvas")
    tab.page.keyboard.press("0")
    tab.page.keyboard.press("g")
    tab.page.click("[data-aspect='16:9']")
    assert "114 × 64" in said.inner_text()
    tab.shoot("22-grow")
    tab.page.keyboard.press("Control+z")
    tab.page.keyboard.press("Control+z")
    assert marked() == less
    tab.page.click("[data-act=wipe]")
    assert "Mark what is" in said.inner_text()
    tab.page.keyboard.press("Control+z")
    assert marked() == less
    tab.page.keyboard.press("b")
    tab.page.locator("[name=feather]").fill("4")
    tab.page.click("[data-act=paint]")  # nothing was said yet
    tab.page.wait_for_selector("#message textarea:focus")
    tab.page.keyboard.type("a small yellow square in the center on a blue background")
    tab.page.click("[data-act=paint]")
    tab.page.wait_for_selector("#picture-1")
    tab.answered()
    sent = tab.page.locator(".log .attached.marked img")
    assert "marked" in sent.get_attribute("alt")
    assert sent.evaluate("(image) => image.naturalWidth") >= 256
    before, after = (np.asarray(tab.picture(number).convert("RGB")).astype(int) for number in (0, 1))
    assert (before[:4] == after[:4]).all() and (before != after).any()
    tab.shoot("23-marked")


def test_settings_are_chosen_checked_and_kept_as_presets(tab: Driver) -> None:
    tab.open()
    tab.page.get_by_role("tab", name="Settings").click()

    def field(name: str) -> object:
        return tab.page.locator(f"#setting-{name} textarea, #setting-{name} input").first

    tab.page.locator("#aspect label", has_text="3:4").click()
    tab.page.wait_for_function(
        "document.querySelector('#setting-size textarea, #setting-size input').value === '56x72'"
    )
    assert field("steps").get_attribute("placeholder") == "20"
    field("steps").fill("3000")
    field("steps").blur()
    tab.page.wait_for_selector("#setting-steps :text('Use a whole number from 1 to 150')")
    tab.shoot("24-settings")
    field("steps").fill("4")
    field("steps").blur()
    tab.page.wait_for_selector("#setting-steps :text('Use a')", state="detached")
    name = tab.page.locator("#preset input")
    name.fill("quick")
    name.press("Enter")
    tab.page.click("#preset-save")
    tab.page.wait_for_selector("text=kept in this browser")
    tab.page.reload()
    tab.page.wait_for_selector(".log .welcome")
    tab.page.get_by_role("tab", name="Settings").click()
    field("steps").fill("")
    tab.page.locator("#preset input").click()
    tab.page.get_by_role("option", name="quick").click()
    tab.page.wait_for_function("document.querySelector('#setting-steps textarea, #setting-steps input').value === '4'")
    assert field("size").input_value() == "56x72"
    tab.page.click("#dice")
    tab.page.wait_for_function("document.querySelector('#setting-seed textarea, #setting-seed input').value !== ''")
    seed = field("seed").input_value()
    tab.page.get_by_label("Keep this seed").check()
    tab.ask(REQUEST)
    assert f"Seed: {seed}," in tab.picture(0).info["parameters"] and tab.picture(0).size == (56, 72)
    tab.page.click("#preset-delete")
    tab.page.wait_for_function("document.querySelector('#preset input').value === ''")


def test_stop_ends_a_painting_and_the_visit_goes_on(tab: Driver, models: Models) -> None:
    tab.open()
    tab.paint_slowly()
    with slowed(models):
        tab.say(REQUEST)
        tab.page.wait_for_selector(".log progress[value]:not([value='0'])")
        tab.page.wait_for_selector(".log .face img[src^='data:']")
        tab.shoot("7-painting")
        tab.page.click("#message button.stop-button")
        tab.answered()
    assert tab.page.locator(".log .note").inner_text() == "Stopped."
    assert tab.page.locator(".log a[download]").count() == 0
    tab.ask("hello")
    assert tab.page.locator(".log .user").count() == 2


def test_what_cannot_be_sent_is_taken_out_of_the_box_at_once(tab: Driver, tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("no picture")
    tab.open()
    box = tab.page.locator("#message textarea")
    box.fill("hello")
    tab.page.locator("#message input[type=file]").set_input_files(tmp_path / "notes.png")
    tab.page.wait_for_selector("text=is not a readable picture")
    tab.page.wait_for_selector("#message .delete-button", state="detached")
    assert box.input_value() == "hello"
    for put, kind, place in (("paste", "ClipboardEvent", "body"), ("drop", "DragEvent", ".log")):
        tab.page.evaluate(PUT, [put, kind, place])
        tab.page.wait_for_selector("#message .delete-button")
        tab.page.click("#message .delete-button")
        tab.page.wait_for_selector("#message .delete-button", state="detached")
    box.press("Enter")
    tab.page.wait_for_selector(".log .words")
    tab.answered()
    assert tab.page.locator(".log .user").count() == 1


def test_a_prompt_can_be_changed_before_it_is_painted(tab: Driver) -> None:
    tab.open()
    tab.page.get_by_role("tab", name="Settings").click()
    tab.page.locator("#advanced > button").click()
    tab.page.get_by_label("Show me each prompt").check()
    tab.ask(REQUEST)
    assert tab.page.locator(".log .painted img").count() == 0
    tab.shoot("8-prompt")
    tab.page.locator(".log textarea").fill("a big green square in the center on a white background")
    tab.page.click("[data-do=paint]")
    tab.page.wait_for_selector("#picture-0")
    tab.answered()
    assert read(tab.picture(0)).attributes["colour"] == "green"


def test_a_session_is_saved_loaded_elsewhere_and_gone_on_with(tab: Driver, browser: object, tmp_path: Path) -> None:
    tab.open()
    tab.ask(REQUEST)
    first = tab.picture(0)
    tab.page.get_by_role("tab", name="Session").click()
    with tab.page.expect_download() as download:
        tab.page.click("#save")
    saved = tmp_path / "session.zip"
    shutil.copy(download.value.path(), saved)
    assert "session.json" in zipfile.ZipFile(saved).namelist()
    tab.ask("make it green")
    tab.page.wait_for_function(SHOWS_ITS_END)
    unbroken = tab.picture(1)

    other = Driver(browser.new_context(viewport={"width": 1280, "height": 860}, locale="en-GB").new_page(), tab.url)
    other.open()
    other.page.get_by_role("tab", name="Session").click()
    other.page.locator("#load input[type=file], input[type=file][accept*=zip]").first.set_input_files(saved)
    other.page.wait_for_selector("#picture-0")
    assert REQUEST in other.page.locator(".log .user").inner_text()
    assert other.picture(0).tobytes() == first.tobytes()
    other.shoot("9-loaded")
    other.ask("make it green")
    assert other.picture(1).tobytes() == unbroken.tobytes()
    assert other.console == [] and other.outside == []


def test_more_visitors_than_places_wait_see_that_they_do_and_can_give_up(
    tab: Driver, browser: object, models: Models
) -> None:
    others = [Driver(browser.new_context(locale="en-GB").new_page(), tab.url) for _ in range(AT_ONCE + 1)]
    waiting = ".log .note:has-text('Others are answered first')"
    with held_back(models, token=0) as go_on:
        for driver in (*others, tab):
            driver.open()
            driver.say("hello")
        others[-1].page.wait_for_selector(waiting)
        tab.page.wait_for_selector(waiting)
        tab.page.click("#message button.stop-button")
        tab.answered()
        assert tab.page.locator(".log .note").all_inner_texts() == ["Stopped."]
        go_on()
        for driver in others:
            driver.answered()
            assert driver.page.locator(".log .words").count() == 1
            assert driver.page.locator(waiting).count() == 0
    for driver in others:
        driver.page.context.close()


def test_two_visitors_at_once_see_each_their_own(tab: Driver, browser: object) -> None:
    other = Driver(browser.new_context(locale="en-GB").new_page(), tab.url)
    wanted = {"red": tab, "green": other}
    for colour, driver in wanted.items():
        driver.open()
        driver.say(f"a big {colour} circle on a white background")
    for colour, driver in wanted.items():
        driver.answered()
        assert driver.page.locator(".log .user").count() == 1
        assert read(driver.picture(0)).attributes["colour"] == colour


def test_where_nothing_is_kept_the_work_of_who_leaves_ends(
    tab: Driver, browser: object, models: Models, brief_url: str
) -> None:
    steps = []
    hook = models.pipeline.denoiser.register_forward_hook(lambda *_: steps.append(perf_counter()))
    leaver = Driver(browser.new_context(locale="en-GB").new_page(), brief_url)
    leaver.open()
    assert leaver.page.locator("#library").count() == 0
    leaver.paint_slowly()
    with slowed(models):
        leaver.say(REQUEST)
        leaver.page.wait_for_selector(".log progress[value]:not([value='0'])")
        leaver.page.close()
        heard = perf_counter() + 1  # the news may take so long on a busy machine
        while perf_counter() - steps[-1] < max(2, 4 * (steps[-1] - steps[0]) / len(steps)):  # several steps would fit
            sleep(0.1)
    hook.remove()
    assert sum(step > heard for step in steps) <= 3
    tab.open()
    tab.ask("hello")


def test_the_language_is_that_of_the_browser_and_can_be_changed(tab: Driver, browser: object) -> None:
    tab.open()
    tab.page.get_by_label("中文").check()
    tab.page.wait_for_selector("text=你想看到什么")
    tab.page.get_by_role("tab", name="画布").wait_for()  # gradio renames its tabs a little later than the rest
    tab.page.wait_for_selector("#message textarea[placeholder*='按 Enter 发送']")
    tab.shoot("10-chinese")
    tab.page.get_by_label("English").check()
    tab.page.wait_for_selector("text=What would you like to see?")

    chinese = Driver(browser.new_context(locale="zh-CN").new_page(), tab.url)
    chinese.open()
    assert "你想看到什么" in chinese.page.locator(".log").inner_text()
    chinese.page.wait_for_selector("html[lang=zh]")


def test_the_page_can_be_used_by_keyboard_alone(tab: Driver) -> None:
    tab.open()
    tab.page.wait_for_selector("#message textarea:focus")
    tab.page.keyboard.type(REQUEST)  # the message box has the focus from the start
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_selector("#picture-0")
    tab.answered()
    button = tab.page.locator("[data-do=mark]")
    button.focus()
    tab.page.keyboard.press("Enter")
    canvas = tab.page.locator("#mask-editor canvas")
    canvas.wait_for(state="visible")
    tab.page.wait_for_function("document.querySelector('#mask-editor canvas').width > 300")
    canvas.focus()
    for key in ("Space", "ArrowRight", "ArrowRight", "Space"):
        tab.page.keyboard.press(key)
    tab.page.locator("#message textarea").focus()
    tab.page.keyboard.type("a green square")
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_selector("#picture-1")


def test_a_picture_opens_large_with_its_record_its_versions_and_what_it_was(tab: Driver, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "blue").save(tmp_path / "photo.png")
    tab.open()
    found = tab.judge("welcome")
    tab.grow(tmp_path / "photo.png")
    found += tab.judge("canvas")
    tab.ask(REQUEST)
    tab.page.locator(".log summary").click()
    tab.page.click(".log [data-do=paint]")
    tab.page.wait_for_selector("#picture-2")
    tab.answered()
    found += tab.judge("answer")
    tab.shoot("11-versions")
    tab.page.locator("#picture-1 .open").click()
    tab.page.wait_for_selector("dialog[open]")
    found += tab.judge("light box")
    told = tab.page.inner_text("[data-part=record]")
    assert "Seed\n7" in told and REQUEST in told and "red" in tab.page.inner_text("[data-part=prompt]")
    tab.shoot("12-light-box")
    tab.page.click("dialog [data-do=versions]")
    assert tab.page.locator(".side-by-side img").count() == 2
    tab.page.click("dialog [data-do=compare]")
    tab.page.locator(".compare input").press("ArrowLeft")
    assert tab.page.locator(".compare").get_attribute("style").startswith("--at: 49%")
    found += tab.judge("before and after")
    tab.page.locator("dialog [data-do=compare]").press("ArrowRight")
    assert tab.page.inner_text("[data-part=place]") == "3 / 3"
    tab.page.keyboard.press("+")
    larger = tab.page.inner_text("[data-part=zoom]")
    tab.page.keyboard.press("0")
    assert int(larger.split()[0]) > int(tab.page.inner_text("[data-part=zoom]").split()[0])
    tab.page.keyboard.press("Escape")
    assert tab.page.locator("dialog[open]").count() == 0
    for name in ("Settings", "Session"):
        tab.page.get_by_role("tab", name=name).click()
        tab.page.wait_for_timeout(500)
        found += tab.judge(name)
    assert found == []


def test_messages_wait_are_edited_taken_back_and_brought_back(tab: Driver, models: Models) -> None:
    tab.open()
    said, box = tab.page.locator(".log .bubble"), tab.page.locator("#message textarea")
    with held_back(models, token=1) as go_on:
        tab.say("hello")
        assert tab.page.locator(".log [data-do=undo]").is_disabled()
        box.fill("a big blue square on a white background")
        box.press("Enter")
        tab.page.wait_for_selector(".waits")
        go_on()
        tab.page.wait_for_selector("#picture-0")
    tab.answered()
    assert said.count() == 2 and box.input_value() == "" and tab.page.locator(".waits").count() == 0
    assert "blue" in tab.page.inner_text(".heard[role=status]")
    tab.page.locator(".log [data-do=undo]").click()
    tab.page.wait_for_selector("[data-do='bring back']")
    assert said.count() == 1 and box.input_value().startswith("a big blue")
    tab.page.click("[data-do='bring back']")
    tab.page.wait_for_selector("#picture-0")
    tab.page.locator(".log [data-do=edit]").nth(1).click()
    tab.page.locator(".editing textarea").fill("a big red square on a white background")
    tab.page.locator(".editing textarea").press("Enter")
    tab.page.wait_for_selector("[data-do='bring back']")
    tab.answered()
    assert said.nth(1).inner_text() == "a big red square on a white background"
    assert read(tab.picture(0)).attributes["colour"] == "red"
    tab.page.click("[data-do='bring back']")
    tab.page.wait_for_function("document.querySelectorAll('.log .bubble')[1].textContent.includes('blue')")


def test_the_page_beside_the_api_is_entered_with_a_key_and_paints(browser: object, server_class: type) -> None:
    flags = ("--page", "--no-library", "--seed", "7", "--grace", "600")
    with server_class(*flags, LLMGA_SERVER_KEYS="sk-of-the-tests") as server:
        context = browser.new_context()
        tab = Driver(context.new_page(), server.line("ready")["page"])
        tab.page.goto(tab.url)
        tab.page.get_by_label("username").fill("anybody")
        tab.page.get_by_label("password").fill("sk-of-the-tests")
        tab.page.get_by_role("button", name="Login").click()
        tab.page.wait_for_selector(".log .welcome")
        tab.ask(REQUEST)
        seen = read(tab.picture(0)).attributes
        assert (seen["colour"], seen["shape"], seen["background"]) == ("red", "circle", "blue")
        assert tab.outside == []
        server.process.terminate()
        tab.page.wait_for_timeout(100)
        assert server.process.wait(60) == 0  # although the page is open
        context.close()


def test_nobody_but_this_machine_was_asked(asked: Asked, tab: Driver) -> None:
    tab.open()
    assert asked == []


def painted_slowly(tab: Driver) -> None:
    """A painting is at work, and a few of its steps are done."""
    tab.paint_slowly()
    tab.say(REQUEST)
    tab.page.wait_for_selector(".log progress[value]:not([value='0'])")


def step(tab: Driver) -> int:
    return int(tab.page.locator(".log progress").get_attribute("value"))


def opened_again(tab: Driver) -> None:
    """Reload; what the page says while it goes away is no problem of the one that comes."""
    tab.page.reload()
    tab.page.wait_for_selector(".log .user")
    tab.console[:] = [said for said in tab.console if "aborted" not in said and "errored out" not in said]


def test_a_reload_in_the_middle_of_painting_comes_back_to_the_running_picture(tab: Driver, models: Models) -> None:
    tab.open()
    with slowed(models):
        painted_slowly(tab)
        before = step(tab)
        opened_again(tab)
        tab.page.wait_for_selector(".log progress")
        assert step(tab) >= before
        tab.page.wait_for_selector(".log .face img[src^='data:']")
        tab.page.wait_for_function(f"+document.querySelector('.log progress').value > {step(tab)}")  # and goes on
        other = Driver(tab.page.context.new_page(), tab.url)  # a second tab shows the same
        other.page.goto(tab.url)
        other.page.wait_for_selector(".log progress")
        tab.shoot("11-reloaded")
        other.page.click("#message button.stop-button")
        tab.answered()
        other.answered()
    for driver in (tab, other):
        driver.page.wait_for_selector("text=Stopped.")
        assert driver.page.locator(".log .user").all_inner_texts() == [REQUEST]
    tab.page.get_by_role("tab", name="Settings").click()
    assert tab.setting("size").input_value() == "256x256"  # the settings are back, too
    assert tab.setting("steps").input_value() == "100"
    other.ask("hello")
    said = other.page.locator(".log").inner_text()
    tab.page.wait_for_function("(said) => document.querySelector('.log').innerText === said", arg=said)


def test_two_visitors_with_two_tabs_each_are_not_mixed_up(tab: Driver, browser: object) -> None:
    visitors = [tab.page.context, browser.new_context(viewport={"width": 1280, "height": 860}, locale="en-GB")]
    tabs = []
    for visitor, colour in zip(visitors, ("red", "green"), strict=True):
        first = tab if visitor is tab.page.context else Driver(visitor.new_page(), tab.url)
        first.open()
        first.say(f"a big {colour} circle on a white background")
        second = Driver(visitor.new_page(), tab.url)
        second.page.goto(f"{tab.url}#new")
        second.page.wait_for_selector(".log .welcome")
        second.say(f"a big {colour} square on a white background")
        tabs += [(first, colour, "circle"), (second, colour, "square")]
    for driver, colour, shape in tabs:
        driver.answered()
        driver.page.wait_for_selector("#picture-0")
        assert driver.page.locator(".log .user").all_inner_texts() == [f"a big {colour} {shape} on a white background"]
        seen = read(driver.picture(0)).attributes
        assert (seen["colour"], seen["shape"]) == (colour, shape)
        driver.page.wait_for_function("document.querySelectorAll('.talks .row img').length === 2")
        listed = driver.page.locator(".talks .row").all_inner_texts()
        assert sorted(listed) == [f"a big {colour} {each} on a white background" for each in ("circle", "square")]
    assert all(driver.console == [] and driver.outside == [] for driver, _, _ in tabs)


def test_conversations_are_found_renamed_deleted_and_had_back(tab: Driver) -> None:
    tab.open()
    tab.ask(REQUEST)
    tab.page.click("#new-talk")
    tab.page.wait_for_selector(".log .welcome")
    tab.ask("hello")
    rows = tab.page.locator(".talks .row")
    tab.page.wait_for_function("document.querySelectorAll('.talks .row').length === 2")
    rows.nth(1).locator(".talk").click()
    tab.page.wait_for_selector("#picture-0")
    assert tab.page.locator(".log .user").all_inner_texts() == [REQUEST]
    rows.nth(1).locator("[data-do=rename]").click()
    tab.page.keyboard.type("My circle")
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_selector(".talks .row:has-text('My circle')")
    tab.page.locator("#search-talks input, #search-talks textarea").fill("MY cir")
    tab.page.wait_for_function("document.querySelectorAll('.talks .row').length === 1")
    tab.shoot("12-library")
    rows.nth(0).locator("[data-do=delete]").click()
    tab.page.wait_for_selector(".log .welcome")
    assert rows.count() == 0
    tab.page.click(".talks .deleted button")
    tab.page.wait_for_selector("#picture-0")
    assert rows.all_inner_texts() == ["My circle"]


@pytest.fixture
def killed_server(tmp_path: Path) -> Iterator["KilledServer"]:
    server = KilledServer(tmp_path)
    yield server
    server.process.kill()
    server.process.wait()


class KilledServer:
    """The page as a process of its own, which can be killed and started again at the same place."""

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
            [sys.executable, "-m", "llmga.serve.gradio_web_server", *own, "--library", str(self.library)],
            stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert "The page is at" in self.process.stdout.readline()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.mark.long
@pytest.mark.parametrize("tries", [1, 20])
def test_a_server_that_is_killed_in_mid_painting_loses_nothing(
    browser: object, killed_server: KilledServer, tries: int
) -> None:
    tab = Driver(browser.new_context(locale="en-GB").new_page(), killed_server.url)
    tab.open()
    tab.ask(REQUEST)
    first = tab.picture(0).tobytes()
    tab.paint_slowly()
    for number in range(tries):
        tab.say(f"make it green, {number}")
        tab.page.wait_for_selector(".log progress[value]:not([value='0'])")
        tab.page.wait_for_timeout(100 * number)
        killed_server.kill()
        killed_server.start()
        tab.page.goto("about:blank")
        tab.page.goto(killed_server.url)
        tab.page.wait_for_selector(".log .user")
        said = [REQUEST, *(f"make it green, {each}" for each in range(number + 1))]
        assert tab.page.locator(".log .user .bubble").all_inner_texts() == said
        assert tab.page.locator(".log .note:has-text('The server ended')").count() == number + 1
        assert tab.page.locator(".talks .row").count() == 1
        assert tab.picture(0).tobytes() == first
    tab.page.get_by_role("tab", name="Settings").click()
    steps = tab.setting("steps")
    assert (steps.input_value(), tab.setting("size").input_value()) == ("100", "256x256")
    steps.fill("4")
    steps.blur()
    tab.page.locator(".log [data-do=retry]").click()
    tab.page.wait_for_selector("#picture-1")
    tab.answered()
    assert tab.page.locator(".log .user .bubble").all_inner_texts() == said
    tab.page.context.close()

"""The page on the bundled models in a real browser: what is no step of the visit in `test_visit.py`."""

from pathlib import Path
from time import perf_counter, sleep

import pytest
from PIL import Image

from llmga.assistant.loading import Models
from llmga.serve.gradio_web_server import AT_ONCE
from llmga.toyworld.oracle import read
from tests.serve.page.driver import NO_BROWSER, REQUEST, Asked, Driver, held_back, slowed, soon

pytestmark = [pytest.mark.browser, NO_BROWSER]


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
        soon(lambda: tab.page.locator(".log .note").all_inner_texts() == ["Stopped."])
        go_on()
        for driver in others:
            driver.answered()
            soon(lambda driver=driver: driver.page.locator(".log .words").count() == 1)
            assert driver.page.locator(waiting).count() == 0
    for driver in others:
        driver.page.context.close()


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
    tab.page.wait_for_selector("#mask-editor .mask-editor:not(.empty)")
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
    for name in ("settings", "session"):
        tab.turn_to(name)
        tab.page.wait_for_timeout(500)
        found += tab.judge(name)
    assert found == []


def test_a_saved_conversation_is_gone_on_with_by_somebody_else(tab: Driver, browser: object, tmp_path: Path) -> None:
    tab.open()
    tab.ask(REQUEST)
    tab.turn_to("session")
    with tab.page.expect_download() as download:
        tab.page.click("#save")
    download.value.save_as(tmp_path / "session.zip")
    other = Driver(browser.new_context(viewport={"width": 1280, "height": 860}, locale="en-GB").new_page(), tab.url)
    other.open()
    other.turn_to("session")
    loading = other.page.locator("#load input[type=file], input[type=file][accept*=zip]").first
    loading.set_input_files(tmp_path / "session.zip")
    other.page.wait_for_selector("#picture-0")
    for driver in (tab, other):
        driver.ask("make it green")
        driver.page.wait_for_selector("#picture-1")
    for number in (0, 1):
        assert tab.picture(number).tobytes() == other.picture(number).tobytes()
    assert other.console == [] and other.outside == []
    other.page.context.close()


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
        listed = [f"a big {colour} {each} on a white background" for each in ("circle", "square")]
        rows = driver.page.locator(".talks .row")
        soon(lambda rows=rows, listed=listed: sorted(rows.all_inner_texts()) == listed)
    assert all(driver.console == [] and driver.outside == [] for driver, _, _ in tabs)

"""What interrupts a painting loses nothing and leaves nothing twice: tried several times, with a server of its own."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.serve.page.driver import NO_BROWSER, REQUEST, Driver, KilledServer, soon

TRIES = pytest.mark.parametrize("tries", [3, pytest.param(20, marks=pytest.mark.long)])
SIZE, STEPS = "64x64", 30

pytestmark = [pytest.mark.browser, NO_BROWSER]


def reloaded(tab: Driver, server: KilledServer) -> Driver:
    """The page is loaded anew."""
    tab.open_again()
    return tab


def crashed(tab: Driver, server: KilledServer) -> Driver:
    """The tab's process ends; the person opens another one at the same address."""
    address, context = tab.page.url, tab.page.context
    with tab.page.expect_event("crash"), suppress(Exception):  # a tab that is gone does not come to where it was sent
        tab.page.goto("chrome://crash")
    tab.page.close()
    return come_back(Driver(context.new_page(), tab.url), address)


def killed(tab: Driver, server: KilledServer) -> Driver:
    """The server is killed, and started at the same place."""
    address = tab.page.url
    server.kill()
    server.start()
    tab.page.goto("about:blank")
    return come_back(tab, address)


def come_back(tab: Driver, address: str) -> Driver:
    tab.page.goto(address)
    tab.page.wait_for_selector(".log .user")
    return tab


@pytest.fixture
def tab(browser: Any, killed_server: KilledServer) -> Iterator[Driver]:
    """A fresh visit, with settings that let paintings last."""
    context = browser.new_context(locale="en-GB")
    driver = Driver(context.new_page(), killed_server.url)
    driver.open()
    driver.paint_slowly(SIZE, STEPS)
    yield driver
    context.close()


def begin(tab: Driver, number: int) -> str:
    """Let a painting begin in a conversation of its own, as the model loses its thread in long ones."""
    if number:
        tab.page.click("#new-talk")
        tab.page.wait_for_selector(".log .welcome")
    text = f"{REQUEST}, {number}"
    tab.say(text)
    return text


def notes(tab: Driver) -> list[str]:
    """What the page says of the answer beside what the models say."""
    return tab.page.locator(".log .note, .log .trouble").all_inner_texts()


@TRIES
@pytest.mark.parametrize("interrupted", [reloaded, crashed])
def test_a_painting_outlives_its_tab(
    tab: Driver, killed_server: KilledServer, interrupted: Callable[[Driver, KilledServer], Driver], tries: int
) -> None:
    caught = 0
    for number in range(tries):
        said = begin(tab, number)
        before = tab.paints()
        tab.page.wait_for_timeout(25 * number)
        tab = interrupted(tab, killed_server)
        assert tab.said() == [said]
        seen = tab.page.locator(".log progress[value]").evaluate_all("(all) => all.map((each) => each.value)")
        assert all(step >= before for step in seen)
        caught += len(seen)
        tab.page.wait_for_selector("#picture-0")
        tab.answered()
        assert tab.said() == [said] and tab.pictures() == 1 and notes(tab) == []
        seen_again(tab, number)
    print(f"{interrupted.__name__}: {caught} of {tries} were still being painted, all are there once")
    assert caught  # of the others the picture was there before one could look


@TRIES
def test_a_killed_server_loses_nothing(tab: Driver, killed_server: KilledServer, tries: int) -> None:
    caught = 0
    for number in range(tries):
        said = begin(tab, number)
        tab.paints()
        tab.page.wait_for_timeout(100 * number)
        tab = killed(tab, killed_server)
        assert tab.said() == [said]
        assert notes(tab) == ([] if tab.pictures() else [tab.words["interrupted"]])
        caught += not tab.pictures()
        seen_again(tab, number)
    print(f"killed: {caught} of {tries} were still being painted, all are there once")
    assert caught
    tab.setting("steps").fill("4")
    tab.do("retry")
    tab.page.wait_for_selector("#picture-0")
    tab.answered()
    assert tab.said() == [said] and tab.pictures() == 1


def seen_again(tab: Driver, number: int) -> None:
    """Every conversation so far is listed once, and the settings are as they were."""
    titles = sorted(f"{REQUEST}, {each}" for each in range(number + 1))
    soon(lambda: sorted(tab.page.locator(".talks .row").all_inner_texts()) == titles)
    tab.turn_to("settings")
    soon(lambda: tab.setting("steps").input_value() == str(STEPS) and tab.setting("size").input_value() == SIZE)

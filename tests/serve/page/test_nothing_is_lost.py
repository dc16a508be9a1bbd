"""What interrupts a painting loses nothing and leaves nothing twice: tried many times, with a server of its own."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.serve.page.driver import NO_BROWSER, REQUEST, Driver, KilledServer

TRIES = 20

pytestmark = [pytest.mark.browser, pytest.mark.long, NO_BROWSER]


def reloaded(tab: Driver, server: KilledServer) -> Driver:
    """The page is loaded anew."""
    tab.open_again()
    return tab


def crashed(tab: Driver, server: KilledServer) -> Driver:
    """The tab's process ends; the person opens another one at the same address."""
    address, context = tab.page.url, tab.page.context
    with tab.page.expect_event("crash"):
        context.new_cdp_session(tab.page).send("Page.crash")
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
def tab(browser: Any, killed_server: KilledServer) -> Driver:
    """A fresh visit, with settings that let paintings last."""
    driver = Driver(browser.new_context(locale="en-GB").new_page(), killed_server.url)
    driver.open()
    driver.paint_slowly()
    return driver


def begin(tab: Driver, number: int) -> str:
    """Let a painting begin in a conversation of its own, as the model loses its thread in long ones."""
    if number:
        tab.page.click("#new-talk")
        tab.page.wait_for_selector(".log .welcome")
    text = f"{REQUEST}, {number}"
    tab.say(text)
    return text


@pytest.mark.parametrize("interrupted", [reloaded, crashed])
def test_a_painting_outlives_its_tab(
    tab: Driver, killed_server: KilledServer, interrupted: Callable[[Driver, KilledServer], Driver]
) -> None:
    for number in range(TRIES):
        said = begin(tab, number)
        before = tab.paints()
        tab.page.wait_for_timeout(25 * number)
        tab = interrupted(tab, killed_server)
        assert tab.said() == [said]
        assert tab.pictures() == 1 or tab.step() >= before
        tab.answered()
        tab.page.wait_for_selector("#picture-0")
        assert tab.said() == [said] and tab.pictures() == 1
        assert tab.page.locator(".log .note, .log .trouble").all_inner_texts() == []
        seen_again(tab, number)


def test_a_killed_server_loses_nothing(tab: Driver, killed_server: KilledServer) -> None:
    for number in range(TRIES):
        said = begin(tab, number)
        tab.paints()
        tab.page.wait_for_timeout(100 * number)
        tab = killed(tab, killed_server)
        assert tab.said() == [said] and tab.pictures() == 0
        assert tab.page.locator(".log .note, .log .trouble").all_inner_texts() == [tab.words["interrupted"]]
        seen_again(tab, number)
    tab.setting("steps").fill("4")
    tab.do("retry")
    tab.page.wait_for_selector("#picture-0")
    tab.answered()
    assert tab.said() == [said] and tab.pictures() == 1


def seen_again(tab: Driver, number: int) -> None:
    """Every conversation so far is listed once, and the settings are as they were."""
    tab.until(f"document.querySelectorAll('.talks .row').length === {number + 1}")
    titles = tab.page.locator(".talks .row").all_inner_texts()
    assert sorted(titles) == sorted(f"{REQUEST}, {each}" for each in range(number + 1))
    tab.turn_to("settings")
    assert (tab.setting("steps").input_value(), tab.setting("size").input_value()) == ("100", "256x256")

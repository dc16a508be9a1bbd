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
    """In mid of a conversation that has a picture, with settings that let paintings last."""
    driver = Driver(browser.new_context(locale="en-GB").new_page(), killed_server.url)
    driver.open()
    driver.ask(REQUEST)
    driver.paint_slowly()
    return driver


@pytest.mark.parametrize("interrupted", [reloaded, crashed])
def test_a_painting_outlives_its_tab(
    tab: Driver, killed_server: KilledServer, interrupted: Callable[[Driver, KilledServer], Driver]
) -> None:
    first, said = tab.picture(0).tobytes(), [REQUEST]
    for number in range(TRIES):
        said.append(f"make it green, {number}")
        tab.say(said[-1])
        before = tab.paints()
        tab.page.wait_for_timeout(25 * number)
        tab = interrupted(tab, killed_server)
        assert tab.said() == said
        assert tab.pictures() == number + 2 or tab.step() >= before
        tab.answered()
        tab.page.wait_for_selector(f"#picture-{number + 1}")
        assert tab.said() == said and tab.pictures() == number + 2
        assert tab.page.locator(".log .note, .log .trouble").count() == 0
        assert tab.page.locator(".talks .row").count() == 1
        assert tab.picture(0).tobytes() == first
        kept_settings(tab)


def test_a_killed_server_loses_nothing(tab: Driver, killed_server: KilledServer) -> None:
    first, said = tab.picture(0).tobytes(), [REQUEST]
    for number in range(TRIES):
        said.append(f"make it green, {number}")
        tab.say(said[-1])
        tab.paints()
        tab.page.wait_for_timeout(100 * number)
        tab = killed(tab, killed_server)
        assert tab.said() == said
        assert tab.page.locator(f".log .note:has-text('{tab.words['interrupted']}')").count() == number + 1
        assert tab.page.locator(".talks .row").count() == 1 and tab.pictures() == 1
        assert tab.picture(0).tobytes() == first
        kept_settings(tab)
    tab.setting("steps").fill("4")
    tab.do("retry")
    tab.page.wait_for_selector("#picture-1")
    tab.answered()
    assert tab.said() == said and tab.pictures() == 2


def kept_settings(tab: Driver) -> None:
    tab.turn_to("settings")
    assert (tab.setting("steps").input_value(), tab.setting("size").input_value()) == ("100", "256x256")

"""What is kept: the library, saved sessions, reloads and a second tab."""

import zipfile

from tests.serve.page.driver import REQUEST, Driver, soon
from tests.serve.page.steps.visit import Steps, Visit

step = STEPS = Steps()


def rows(visit: Visit, number: int) -> None:
    """The list comes to have so many rows."""
    visit.tab.until(f"document.querySelectorAll('.talks .row').length === {number}")


def search(visit: Visit, words: str) -> None:
    visit.tab.page.locator("#search-talks input, #search-talks textarea").fill(words)


@step("the conversation is saved as a ZIP")
def _(visit: Visit) -> None:
    visit.tab.turn_to("session")
    with visit.tab.page.expect_download() as download:
        visit.tab.page.click("#save")
    visit.kept["zip"] = visit.folder / "session.zip"
    download.value.save_as(visit.kept["zip"])
    names = zipfile.ZipFile(visit.kept["zip"]).namelist()
    assert "session.json" in names and sum(name.endswith(".png") for name in names) >= visit.tab.pictures()


@step("a new conversation is begun")
def _(visit: Visit) -> None:
    visit.kept["said"], visit.kept["first"] = visit.tab.said(), visit.tab.picture(0).tobytes()
    visit.tab.page.click("#new-talk")
    visit.tab.page.wait_for_selector(".log .welcome")
    assert visit.tab.said() == []


@step("it stands in the list when something was said")
def _(visit: Visit) -> None:
    rows(visit, 1)
    visit.tab.ask("hello, what can you do?")
    rows(visit, 2)
    soon(lambda: visit.tab.page.inner_text(".talks .row.open") == "hello, what can you do?")


@step("a saved conversation is loaded as another one")
def _(visit: Visit) -> None:
    visit.tab.page.locator("#load input[type=file], input[type=file][accept*=zip]").first.set_input_files(
        visit.kept["zip"]
    )
    visit.tab.page.wait_for_selector("#picture-0")
    rows(visit, 3)
    soon(lambda: visit.tab.said() == visit.kept["said"])
    assert visit.tab.picture(0).tobytes() == visit.kept["first"]
    visit.tab.told("info", visit.tab.words["loaded"])


@step("it is renamed")
def _(visit: Visit) -> None:
    visit.tab.page.locator(".talks .row.open [data-do=rename]").click()
    visit.tab.page.keyboard.type("My circle")
    visit.tab.page.keyboard.press("Enter")
    visit.tab.page.wait_for_selector(".talks .row.open:has-text('My circle')")


@step("words that nobody said find nothing")
def _(visit: Visit) -> None:
    search(visit, "zebra")
    rows(visit, 0)
    soon(lambda: visit.tab.words["none found"] in visit.tab.page.inner_text(".talks"))
    search(visit, "")
    rows(visit, 3)


@step("it is deleted")
def _(visit: Visit) -> None:
    visit.tab.page.locator(".talks .row.open [data-do=delete]").click()
    visit.tab.page.wait_for_selector(".log .welcome")
    rows(visit, 2)
    said = visit.tab.words["talk deleted"].format("My circle")
    soon(lambda: said in visit.tab.page.inner_text(".talks .deleted"))


@step("deleting is taken back")
def _(visit: Visit) -> None:
    visit.tab.page.click(".talks .deleted button")
    visit.tab.page.wait_for_selector("#picture-0")
    rows(visit, 3)
    soon(lambda: visit.tab.page.inner_text(".talks .row.open") == "My circle")
    soon(lambda: visit.tab.said() == visit.kept["said"])


@step("another conversation is opened")
def _(visit: Visit) -> None:
    visit.tab.page.click(".talks .row:has-text('hello, what') .talk")
    visit.tab.until("document.querySelectorAll('.log .bubble').length === 1")
    soon(lambda: visit.tab.said() == ["hello, what can you do?"])


@step("yesterday's picture is found", task="find yesterday's picture", least=2)
def _(visit: Visit) -> None:
    visit.tab.page.locator("#search-talks input, #search-talks textarea").click()
    search(visit, "MY cir")
    rows(visit, 1)
    visit.tab.page.click(".talks .row .talk")
    visit.tab.page.wait_for_selector("#picture-0")
    soon(lambda: visit.tab.said() == visit.kept["said"])


@step("a reload loses nothing")
def _(visit: Visit) -> None:
    before = visit.tab.page.inner_text(".log")
    visit.tab.open_again()
    soon(lambda: visit.tab.page.inner_text(".log") == before)
    visit.tab.turn_to("settings")
    soon(lambda: visit.tab.setting("steps").input_value() == "4")
    assert visit.tab.picture(0).tobytes() == visit.kept["first"]


@step("a reload in mid-painting comes back to the running picture")
def _(visit: Visit) -> None:
    tab = visit.tab
    tab.page.click("#new-talk")
    tab.page.wait_for_selector(".log .welcome")
    tab.paint_slowly()
    visit.slow_down()
    tab.say(REQUEST)
    before = tab.paints()
    tab.open_again()
    tab.page.wait_for_selector(".log progress")
    assert tab.step() >= before
    tab.page.wait_for_selector(".log .face img[src^='data:']")
    tab.until(f"+document.querySelector('.log progress').value > {tab.step()}")  # and goes on


@step("a second tab shows the same painting")
def _(visit: Visit) -> None:
    visit.other = Driver(visit.tab.page.context.new_page(), visit.tab.url)
    visit.other.page.goto(visit.tab.page.url)
    visit.other.page.wait_for_selector(".log progress")
    soon(lambda: visit.other.said() == [REQUEST])


@step("what one tab stops has stopped in both")
def _(visit: Visit) -> None:
    visit.other.page.click("#message button.stop-button")
    for driver in (visit.tab, visit.other):
        driver.answered()
        driver.page.wait_for_selector(f"text={visit.tab.words['stopped']}")
        assert driver.said() == [REQUEST]
    visit.slow.close()


@step("settings are back after the reload")
def _(visit: Visit) -> None:
    visit.tab.turn_to("settings")
    soon(lambda: visit.tab.setting("size").input_value() == "256x256")
    soon(lambda: visit.tab.setting("steps").input_value() == "100")


@step("what is said in one tab stands in the other")
def _(visit: Visit) -> None:
    visit.other.ask("hello")
    said = visit.other.page.inner_text(".log")
    assert "hello" in said
    soon(lambda: visit.tab.page.inner_text(".log") == said)
    assert visit.other.console == [] and visit.other.outside == []


@step("nobody but this machine was asked")
def _(visit: Visit) -> None:
    assert visit.asked == [] and visit.tab.outside == []

"""The same page in the narrow window of a phone."""

from tests.serve.page.driver import soon
from tests.serve.page.steps.visit import Steps, Visit

step = STEPS = Steps()
# What is looked at together has to be measured together: buttons take a while to reach their new size.
STAND_BELOW_EACH_OTHER = """(names) => {
    const boxes = names.map((name) => document.querySelector(name).getBoundingClientRect());
    return boxes.slice(1).every((box, index) => boxes[index].bottom <= box.top);
}"""
IS_SEEN_WHOLE = """(name) => {
    const box = document.querySelector(name)?.getBoundingClientRect();
    return box && box.height > 100 && box.top >= 0 && box.bottom <= innerHeight;
}"""
PHONE = {"width": 390, "height": 844}


@step("on a phone everything stands below each other")
def _(visit: Visit) -> None:
    visit.tab.page.set_viewport_size(PHONE)
    visit.tab.until("document.documentElement.scrollWidth <= 390")
    visit.tab.until("document.querySelector('#talk').getBoundingClientRect().width > 340")  # the list has given way
    visit.tab.until(STAND_BELOW_EACH_OTHER, ["#log .log", "#message", "#side"])


@step("on a phone the list lies over the page and makes room again")
def _(visit: Visit) -> None:
    visit.tab.page.click("#library .toggle-button")
    visit.tab.page.wait_for_selector("#library.open")
    visit.tab.page.click(".talks .row:has-text('My circle') .talk")
    visit.tab.page.wait_for_selector("#picture-0")
    visit.tab.page.wait_for_selector("#library:not(.open)")
    soon(lambda: visit.tab.said() == visit.kept["said"])


@step("on a phone the canvas takes the window")
def _(visit: Visit) -> None:
    visit.tab.do("mark", 0)
    visit.tab.until(IS_SEEN_WHOLE, "#mask-editor canvas")
    visit.tab.page.wait_for_selector(".mask-editor.expanded [data-act=back]")
    visit.tab.page.click(".mask-editor [data-act=back]")
    assert visit.tab.page.locator(".mask-editor.expanded").count() == 0

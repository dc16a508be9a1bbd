"""Settings, presets, language, look and window."""

from llmga.toyworld.oracle import read
from tests.serve.page.driver import REQUEST, soon
from tests.serve.page.steps.visit import Steps, Visit

step = STEPS = Steps()
WIDE = {"width": 1280, "height": 860}


def shows(visit: Visit, name: str, value: str) -> None:
    """The field of a setting comes to show this."""
    visit.tab.until(
        "([field, value]) => document.querySelector(`${field} textarea, ${field} input`).value === value",
        [f"#setting-{name}", value],
    )


def enter(visit: Visit, name: str, value: str) -> None:
    visit.tab.setting(name).fill(value)
    visit.tab.setting(name).blur()


@step("the checkpoint's own steps stand in the field")
def _(visit: Visit) -> None:
    visit.tab.turn_to("settings")
    soon(lambda: visit.tab.setting("steps").get_attribute("placeholder") == "20")
    assert visit.tab.setting("steps").input_value() == ""


@step("an aspect writes a size")
def _(visit: Visit) -> None:
    visit.tab.page.locator("#aspect label", has_text="3:4").click()
    shows(visit, "size", "56x72")


@step("more steps than there can be are told at the field")
def _(visit: Visit) -> None:
    enter(visit, "steps", "3000")
    visit.tab.page.wait_for_selector(f"#setting-steps :text('{visit.tab.words['field whole'].format(1, 150)}')")
    assert "3000" in visit.tab.setting("steps").input_value()


@step("a message with a wrong setting is refused and stays")
def _(visit: Visit) -> None:
    before = visit.tab.said()
    visit.tab.box.fill(REQUEST)
    visit.tab.box.press("Enter")
    visit.tab.told("warning", "3000")
    assert visit.tab.said() == before and visit.tab.box.input_value() == REQUEST
    visit.tab.box.fill("")


@step("a mended field says nothing more")
def _(visit: Visit) -> None:
    enter(visit, "steps", "4")
    soon(lambda: visit.tab.words["field whole"].format(1, 150) not in visit.tab.page.inner_text("#setting-steps"))


@step("a size that cannot be is told at the field")
def _(visit: Visit) -> None:
    enter(visit, "size", "63x9")
    told = visit.tab.words["field size"].format(8, 2048).partition(";")[0].partition("；")[0]
    visit.tab.page.wait_for_selector(f"#setting-size :text('{told}')")
    enter(visit, "size", "56x72")
    visit.tab.page.wait_for_selector(f"#setting-size :text('{told}')", state="detached")
    assert visit.tab.setting("size").input_value() == "56x72"


@step("letters for a guidance are told at the field")
def _(visit: Visit) -> None:
    told = visit.tab.words["field range"].format(0, 100)
    enter(visit, "guidance_scale", "much")
    visit.tab.page.wait_for_selector(f"#setting-guidance_scale :text('{told}')")
    enter(visit, "guidance_scale", "")
    visit.tab.page.wait_for_selector(f"#setting-guidance_scale :text('{told}')", state="detached")
    assert visit.tab.setting("guidance_scale").input_value() == ""


@step("a preset is saved")
def _(visit: Visit) -> None:
    name = visit.tab.page.locator("#preset input")
    name.fill("quick")
    name.press("Enter")
    visit.tab.page.click("#preset-save")
    visit.tab.page.wait_for_selector(f"text={visit.tab.words['preset saved'].format('quick')}")
    soon(lambda: name.input_value() == "quick")


@step("settings and presets outlive a reload")
def _(visit: Visit) -> None:
    visit.tab.open_again()
    visit.tab.turn_to("settings")
    shows(visit, "steps", "4")
    shows(visit, "size", "56x72")


@step("a preset brings its values back")
def _(visit: Visit) -> None:
    enter(visit, "steps", "")
    visit.tab.page.locator("#preset input").click()
    visit.tab.page.get_by_role("option", name="quick").click()
    shows(visit, "steps", "4")
    shows(visit, "size", "56x72")


@step("a preset is deleted")
def _(visit: Visit) -> None:
    visit.tab.page.click("#preset-delete")
    visit.tab.until("document.querySelector('#preset input').value === ''")
    visit.tab.page.locator("#preset input").click()
    assert visit.tab.page.get_by_role("option", name="quick").count() == 0
    visit.tab.page.keyboard.press("Escape")


@step("the dice draw a seed")
def _(visit: Visit) -> None:
    visit.tab.page.click("#dice")
    visit.tab.until("document.querySelector('#setting-seed textarea, #setting-seed input').value !== ''")
    assert 0 <= int(visit.tab.setting("seed").input_value()) < 2**32
    visit.tab.turn_to("pictures")


@step("a picture is painted with a seed of one's own", task="seed", least=3)
def _(visit: Visit) -> None:
    visit.kept["pictures"] = visit.tab.pictures()
    visit.tab.turn_to("settings")
    visit.tab.setting("seed").click()
    visit.tab.setting("seed").fill("42")
    assert visit.tab.setting("seed").get_attribute("inputmode") == "numeric"  # the keyboard of a phone
    visit.tab.box.click()
    visit.tab.ask(REQUEST)


@step("size, seed and steps are those that were chosen")
def _(visit: Visit) -> None:
    visit.tab.page.wait_for_selector(f"#picture-{visit.kept['pictures']}")
    picture = visit.tab.picture(visit.kept["pictures"])
    assert picture.size == (56, 72)
    assert "Seed: 42," in picture.info["parameters"] and "Steps: 4," in picture.info["parameters"]


@step("two pictures at once, with the seed kept")
def _(visit: Visit) -> None:
    tab = visit.tab
    before = tab.pictures()
    tab.page.get_by_label(tab.words["setting lock"]).check()
    tab.page.locator("#setting-versions input[type=number]").fill("2")
    tab.page.locator("#setting-versions input[type=number]").blur()
    tab.ask(REQUEST)
    tab.page.wait_for_selector(f"#picture-{before + 1}")
    assert tab.pictures() == before + 2
    assert "Seed: 42," in tab.picture(before).info["parameters"]
    tab.page.get_by_label(tab.words["setting lock"]).uncheck()
    tab.page.locator("#setting-versions input[type=number]").fill("1")
    tab.page.locator("#setting-versions input[type=number]").blur()


@step("the versions of one answer stand side by side")
def _(visit: Visit) -> None:
    visit.tab.page.locator(".log .open").last.click()
    visit.tab.page.click("dialog [data-do=versions]")
    soon(lambda: visit.tab.page.locator(".side-by-side img").count() == 2)
    visit.tab.page.keyboard.press("Escape")


@step("a prompt is shown before it is painted")
def _(visit: Visit) -> None:
    tab = visit.tab
    visit.kept["pictures"] = tab.pictures()
    tab.setting("size").fill("")
    tab.page.locator("#advanced > button").click()
    tab.page.get_by_label(tab.words["setting paint"]).check()
    tab.ask(REQUEST)
    soon(lambda: tab.words["waiting"] in tab.page.inner_text(".log .waiting"))
    assert tab.pictures() == visit.kept["pictures"]


@step("a changed prompt is painted")
def _(visit: Visit) -> None:
    tab = visit.tab
    words = "a big green square in the center on a white background"
    tab.page.locator(".log .waiting textarea").fill(words)
    tab.page.click(".log .waiting [data-do=paint]")
    tab.page.wait_for_selector(f"#picture-{visit.kept['pictures']}")
    tab.answered()
    picture = tab.picture(visit.kept["pictures"])
    assert words in picture.info["parameters"] and read(picture).attributes["colour"] == "green"
    tab.page.get_by_label(tab.words["setting paint"]).uncheck()


@step("the page speaks another language", task="Chinese", least=1)
def _(visit: Visit) -> None:
    tab = visit.tab
    visit.kept["own"] = tab.words
    name = visit.kept["languages"][1]
    tab.page.get_by_label(name, exact=True).check()
    tab.words = visit.kept["strings"][1]
    tab.page.wait_for_selector(f"#new-talk:has-text('{tab.words['new conversation']}')")


@step("all of it is in that language")
def _(visit: Visit) -> None:
    tab = visit.tab
    tab.page.get_by_role("tab", name=tab.words["canvas"], exact=True).wait_for()  # gradio's tabs follow a little later
    soon(lambda: tab.box.get_attribute("placeholder") == tab.words["placeholder"])
    variation = tab.page.locator(".log [data-do=similar]").first
    soon(lambda: variation.get_attribute("data-tip") == tab.words["similar"])
    soon(lambda: tab.page.get_attribute("html", "lang") == visit.kept["codes"][1])


@step("and comes back to the first one")
def _(visit: Visit) -> None:
    tab = visit.tab
    tab.page.get_by_label(visit.kept["languages"][0], exact=True).check()
    tab.words = visit.kept["own"]
    tab.page.wait_for_selector(f"#new-talk:has-text('{tab.words['new conversation']}')")
    tab.page.get_by_role("tab", name=tab.words["canvas"], exact=True).wait_for()
    soon(lambda: tab.page.get_attribute("html", "lang") == visit.kept["codes"][0])


@step("the look follows the reader's system into the dark")
def _(visit: Visit) -> None:
    bright = visit.tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
    visit.tab.page.emulate_media(color_scheme="dark")
    visit.tab.page.wait_for_selector("body.dark")
    visit.tab.until("(bright) => getComputedStyle(document.body).backgroundColor !== bright", bright)


@step("and back into the light")
def _(visit: Visit) -> None:
    visit.tab.page.emulate_media(color_scheme="light")
    visit.tab.page.wait_for_selector("body:not(.dark)")

"""The welcome, the first picture, and the light box."""

from llmga.toyworld.oracle import read
from tests.serve.page.driver import REQUEST, held_back, soon
from tests.serve.page.steps.visit import Steps, Visit

step = STEPS = Steps()
SHOWS_ITS_END = """() => {
    const log = document.querySelector(".log");
    return log.scrollTop > 0 && log.scrollHeight - log.scrollTop - log.clientHeight < 5;
}"""


@step("the page says what can be done")
def _(visit: Visit) -> None:
    tab = visit.tab
    tab.open()
    soon(lambda: tab.page.inner_text(".log .welcome h2") == tab.words["welcome"])
    cards = [tab.words[f"card {name}"] for name in ("say", "upload", "fill", "larger")]
    soon(lambda: tab.page.locator(".log .card strong").all_inner_texts() == cards)
    soon(lambda: tab.box.get_attribute("placeholder") == tab.words["placeholder"])
    assert tab.page.locator(".talks .row").count() == 0


@step("what this model paints is told at the side")
def _(visit: Visit) -> None:
    soon(lambda: visit.tab.words["paints"] in visit.tab.page.inner_text("#gallery"))


@step("a card suggests words")
def _(visit: Visit) -> None:
    visit.tab.page.click("[data-card=say]")
    visit.tab.page.wait_for_selector("#message textarea:focus")
    soon(lambda: visit.tab.box.input_value() == REQUEST)


@step("words are streamed while the answer is written")
def _(visit: Visit) -> None:
    words = visit.tab.page.locator(".log .words")
    with held_back(visit.models, token=3) as go_on:
        visit.tab.say("hello")
        words.wait_for()
        streamed = words.inner_text()
        assert visit.tab.page.locator(".log [data-do=undo]").is_disabled()
        go_on()
        visit.tab.answered()
    assert words.inner_text().startswith(streamed) and len(words.inner_text()) > len(streamed) > 0
    assert visit.tab.pictures() == 0


@step("a picture is painted as it was asked for", task="paint", least=1)
def _(visit: Visit) -> None:
    tab = visit.tab
    tab.page.wait_for_selector("#message textarea:focus")  # nobody has to click there
    tab.ask(REQUEST)
    tab.page.wait_for_selector("#picture-0")
    assert tab.said() == ["hello", REQUEST] and tab.pictures() == 1
    tab.heard("red")  # its prompt, for those who do not see it


@step("the picture is saved with its record", task="save", least=1)
def _(visit: Visit) -> None:
    picture = visit.tab.picture(0)
    seen = read(picture).attributes
    assert (seen["size"], seen["colour"], seen["shape"], seen["background"]) == ("big", "red", "circle", "blue")
    assert "llmga" in picture.info and "Seed: 7" in picture.info["parameters"]


@step("its prompt can be read")
def _(visit: Visit) -> None:
    tab = visit.tab
    tab.page.click(".log .painted summary")
    assert "red circle" in tab.page.locator(".log .painted textarea").input_value()
    facts = tab.page.inner_text(".log .painted summary")
    assert tab.words["prompt"] in facts and f"{tab.words['seed']} 7" in facts and "64×64" in facts


@step("the picture stands at the side, too")
def _(visit: Visit) -> None:
    soon(lambda: visit.tab.page.locator("#gallery [data-open]").count() == 1)


@step("a variation is painted")
def _(visit: Visit) -> None:
    visit.tab.do("similar", 0)
    visit.tab.page.wait_for_selector("#picture-1")
    visit.tab.answered()
    assert visit.tab.pictures() == 2 and (visit.pixels(0) != visit.pixels(1)).any()


@step("a picture opens large with its record")
def _(visit: Visit) -> None:
    tab = visit.tab
    tab.page.click("#picture-0 .open")
    tab.page.wait_for_selector("dialog[open]")
    told = tab.page.inner_text("[data-part=record]")
    assert f"{tab.words['seed']}\n7" in told and REQUEST in told
    assert tab.page.inner_text("[data-part=place]") == "1 / 2"


@step("the wheel's keys enlarge it")
def _(visit: Visit) -> None:
    def percent() -> int:
        return int(visit.tab.page.inner_text("[data-part=zoom]").split()[0])

    before = percent()
    visit.tab.page.keyboard.press("+")
    visit.tab.page.keyboard.press("+")
    assert percent() > 1.5 * before
    visit.tab.page.keyboard.press("0")
    assert percent() == before


@step("an arrow leads to the next picture")
def _(visit: Visit) -> None:
    visit.tab.page.keyboard.press("ArrowRight")
    assert visit.tab.page.inner_text("[data-part=place]") == "2 / 2"
    assert visit.tab.page.locator("dialog [data-do=next]").is_disabled()
    visit.tab.page.keyboard.press("ArrowLeft")
    assert visit.tab.page.inner_text("[data-part=place]") == "1 / 2"


@step("the light box leads to the place in the conversation")
def _(visit: Visit) -> None:
    visit.tab.page.click("dialog [data-do='go to']")
    assert visit.tab.page.locator("dialog[open]").count() == 0
    assert visit.tab.page.locator("#picture-0 button:focus").count() == 1


@step("Escape closes the light box")
def _(visit: Visit) -> None:
    visit.tab.page.keyboard.press("Enter")  # the picture has the focus
    visit.tab.page.wait_for_selector("dialog[open]")
    visit.tab.page.keyboard.press("Escape")
    assert visit.tab.page.locator("dialog[open]").count() == 0


@step("the picture is asked about")
def _(visit: Visit) -> None:
    tab = visit.tab
    tab.do("look", 0)
    tab.page.wait_for_selector("#subject .subject")
    soon(lambda: tab.words["about look"].format(1) in tab.page.inner_text("#subject"))
    tab.ask("which colour is it?")
    soon(lambda: tab.page.locator("#subject .subject").count() == 0)
    assert "red" in tab.page.locator(".log .words").last.inner_text()
    assert tab.pictures() == 2


@step("what the next message is about can be put down")
def _(visit: Visit) -> None:
    visit.tab.do("change", 0)
    visit.tab.page.click("#subject [data-do=drop]")
    visit.tab.page.wait_for_selector("#subject .subject", state="detached")
    assert visit.tab.page.locator("#subject .subject").count() == 0


@step("the picture is changed by words", task="change", least=2)
def _(visit: Visit) -> None:
    visit.tab.do("change", 0)
    visit.tab.page.wait_for_selector("#subject .subject")
    visit.tab.page.wait_for_selector("#message textarea:focus")
    visit.tab.ask("make it green")
    visit.tab.page.wait_for_selector("#picture-2")
    assert visit.tab.pictures() == 3
    visit.tab.until(SHOWS_ITS_END)


@step("before and after are compared with a slider")
def _(visit: Visit) -> None:
    tab = visit.tab
    tab.page.click("#picture-2 .open")
    tab.page.click("dialog [data-do=compare]")
    tab.page.locator(".compare input").press("ArrowLeft")
    assert tab.page.locator(".compare").get_attribute("style").startswith("--at: 49%")
    assert tab.page.locator(".compare .side").all_inner_texts() == [tab.words["before"], tab.words["after"]]


@step("the cross closes the light box")
def _(visit: Visit) -> None:
    visit.tab.page.click("dialog [data-do=close]")
    assert visit.tab.page.locator("dialog[open]").count() == 0

"""Messages: edited, tried again, taken back and brought back; what waits, what is stopped, what is refused."""

from tests.serve.page.driver import PAINTING, REQUEST, held_back, soon
from tests.serve.page.steps.visit import Steps, Visit

step = STEPS = Steps()


@step("the last answer is tried again")
def _(visit: Visit) -> None:
    tab = visit.tab
    before = tab.said()
    tab.do("retry")
    tab.page.wait_for_selector("[data-do='bring back']")
    tab.answered()
    assert tab.said() == before
    soon(lambda: tab.words["replaced"] in tab.page.inner_text(".log"))


@step("the last message is taken back, its words are in the box again", task="undo", least=1)
def _(visit: Visit) -> None:
    visit.kept["said"] = visit.tab.said()
    visit.tab.do("undo")
    visit.tab.until(f"document.querySelectorAll('.log .bubble').length === {len(visit.kept['said']) - 1}")
    soon(lambda: visit.tab.box.input_value() == visit.kept["said"][-1])


@step("what was taken back is brought back")
def _(visit: Visit) -> None:
    soon(lambda: visit.tab.words["undone"] in visit.tab.page.inner_text(".log"))
    visit.tab.do("bring back")
    visit.tab.until(f"document.querySelectorAll('.log .bubble').length === {len(visit.kept['said'])}")
    assert visit.tab.said() == visit.kept["said"]
    visit.tab.box.fill("")


@step("a message is edited where it stands")
def _(visit: Visit) -> None:
    tab = visit.tab
    tab.page.locator(".log [data-do=edit]").last.click()
    tab.page.locator(".editing textarea").fill("a big yellow square on a white background")
    assert tab.page.locator(".editing button").all_inner_texts() == [tab.words["send"], tab.words["put down"]]
    tab.page.locator(".editing textarea").press("Enter")
    tab.until("[...document.querySelectorAll('.log .bubble')].at(-1).textContent.includes('yellow')")
    tab.answered()
    assert len(tab.said()) == len(visit.kept["said"]) and tab.page.locator(".log .painted img").count() > 0


@step("the message as it was is brought back")
def _(visit: Visit) -> None:
    visit.tab.do("bring back")
    soon(lambda: visit.tab.said() == visit.kept["said"])


@step("an edit that is given up changes nothing")
def _(visit: Visit) -> None:
    before = visit.tab.said()
    visit.tab.page.locator(".log [data-do=edit]").first.click()
    visit.tab.page.locator(".editing textarea").fill("something else")
    visit.tab.page.keyboard.press("Escape")
    assert visit.tab.page.locator(".editing").count() == 0 and visit.tab.said() == before


@step("a message waits while an answer is given, and is sent then")
def _(visit: Visit) -> None:
    tab = visit.tab
    before = len(tab.said())
    with held_back(visit.models, token=1) as go_on:
        tab.say("hello")
        tab.box.fill("what can you do?")
        tab.box.press("Enter")
        tab.page.wait_for_selector(".waits")
        soon(lambda: tab.words["waits"] in tab.page.inner_text(".waits"))
        go_on()
        tab.until(f"document.querySelectorAll('.log .bubble').length === {before + 2}")
    soon(lambda: tab.box.input_value() == "")
    tab.answered()
    assert tab.said()[-1] == "what can you do?" and tab.page.locator(".waits").count() == 0


@step("a message that waits need not be sent")
def _(visit: Visit) -> None:
    tab = visit.tab
    with held_back(visit.models, token=1) as go_on:
        tab.say("hello again")
        tab.box.fill("not this")
        tab.box.press("Enter")
        tab.page.click(".waits button")
        assert tab.page.locator(".waits").count() == 0
        go_on()
        tab.answered()
    assert tab.said()[-1] == "hello again" and tab.box.input_value() == "not this"
    tab.box.fill("")


@step("a painting tells how far it is")
def _(visit: Visit) -> None:
    tab = visit.tab
    tab.paint_slowly()
    visit.slow_down()
    tab.say(REQUEST)
    tab.page.wait_for_selector(PAINTING)
    tab.page.wait_for_selector(".log .face img[src^='data:']")
    step_of, _, _ = tab.words["step"].partition("{}")
    soon(lambda: step_of.strip() in tab.page.inner_text(".log .left"))


@step("a painting is stopped", task="stop", least=1)
def _(visit: Visit) -> None:
    visit.tab.page.click("#message button.stop-button")
    visit.tab.answered()
    soon(lambda: visit.tab.page.locator(".log .note").last.inner_text() == visit.tab.words["stopped"])


@step("after a stop the conversation goes on")
def _(visit: Visit) -> None:
    visit.slow.close()
    visit.tab.setting("size").fill("")
    visit.tab.setting("steps").fill("4")
    visit.tab.ask("hello")
    assert visit.tab.said()[-2:] == [REQUEST, "hello"]
    assert visit.tab.page.locator(".log .words").last.inner_text() != ""


@step("a picture is pasted, and taken out again")
def _(visit: Visit) -> None:
    visit.tab.put("paste", "ClipboardEvent", "body")
    visit.tab.page.wait_for_selector("#message .delete-button")
    visit.tab.page.click("#message .delete-button")
    visit.tab.page.wait_for_selector("#message .delete-button", state="detached")
    assert visit.tab.page.locator("#message img").count() == 0


@step("a picture is dropped on the conversation")
def _(visit: Visit) -> None:
    visit.tab.put("drop", "DragEvent", ".log")
    visit.tab.page.wait_for_selector("#message .delete-button")
    visit.tab.page.click("#message .delete-button")
    visit.tab.page.wait_for_selector("#message .delete-button", state="detached")
    assert visit.tab.page.locator("#message img").count() == 0


@step("a file that is no picture is told and taken out at once")
def _(visit: Visit) -> None:
    (visit.folder / "notes.png").write_text("no picture")
    visit.tab.box.fill("hello")
    visit.tab.page.locator("#message input[type=file]").set_input_files(visit.folder / "notes.png")
    visit.tab.told("warning", "is not a readable picture")
    visit.tab.page.wait_for_selector("#message .delete-button", state="detached")
    assert visit.tab.box.input_value() == "hello"
    visit.tab.box.fill("")


@step("a message that is too long is refused and stays in the box")
def _(visit: Visit) -> None:
    tab = visit.tab
    before, text = tab.said(), "a" * 20_001
    tab.box.fill(text)
    tab.box.press("Enter")
    tab.told("warning", tab.words["too long"].format(20_001, 20_000))
    assert tab.said() == before and tab.box.input_value() == text
    tab.box.fill("")


@step("a picture of one's own is uploaded and asked about")
def _(visit: Visit) -> None:
    tab = visit.tab
    before = tab.pictures()
    tab.page.locator("#message input[type=file]").set_input_files(visit.photo("blue"))
    tab.page.wait_for_selector("#message .delete-button")
    tab.ask("what is in this picture?")
    assert tab.page.locator(".log .attached").count() > 0 and tab.pictures() == before + 1

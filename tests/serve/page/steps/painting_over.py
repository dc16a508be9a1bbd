"""The canvas: what is marked, painted anew and grown."""

from tests.serve.page.driver import soon
from tests.serve.page.steps.visit import Steps, Visit

step = STEPS = Steps()
YELLOW = "a small yellow square in the center on a blue background"


def status(visit: Visit) -> str:
    return visit.tab.page.inner_text("#mask-editor .status")


def marked(visit: Visit) -> int:
    """How much of the picture is marked, in percent, as the canvas says it."""
    before, after = visit.tab.words["marked share"].split("{}")
    said = status(visit)
    assert said.startswith(before.strip()) and said.endswith(after.strip()), said
    return int(said.removeprefix(before).removesuffix(after))


def press(visit: Visit, *keys: str) -> None:
    for key in keys:
        visit.tab.page.keyboard.press(key)


@step("a part of a picture is painted anew", task="fill", least=3)
def _(visit: Visit) -> None:
    tab = visit.tab
    tab.do("mark", 0)
    tab.page.wait_for_selector("#mask-editor .mask-editor:not(.empty)")
    tab.drag((0.3, 0.5), (0.5, 0.5), (0.7, 0.5))
    visit.kept["pictures"] = tab.pictures()
    tab.page.click("[data-act=paint]")  # leads to the message box
    tab.page.wait_for_selector("#message textarea:focus")
    tab.ask(YELLOW)


@step("what was not marked is kept to the pixel")
def _(visit: Visit) -> None:
    number = visit.kept["pictures"]
    visit.tab.page.wait_for_selector(f"#picture-{number}")
    before, after = visit.pixels(0), visit.pixels(number)
    changed = (before != after).any(-1)
    assert changed[24:40, 20:44].mean() > 0.3
    assert not changed[:16].any() and not changed[48:].any()


@step("what was marked stays to be seen in the message")
def _(visit: Visit) -> None:
    sent = visit.tab.page.locator(".log .attached.marked img").last
    assert visit.tab.words["marked"] in sent.get_attribute("alt")
    soon(lambda: sent.evaluate("(image) => image.naturalWidth") >= 256)


@step("the canvas opens with the brush")
def _(visit: Visit) -> None:
    visit.tab.do("mark", 0)
    visit.tab.page.wait_for_selector("#mask-editor .mask-editor:not(.empty)")
    assert visit.tab.page.get_attribute("[data-tool=brush]", "aria-pressed") == "true"
    assert status(visit) == visit.tab.words["canvas begin"]


@step("without a mark there is nothing to paint")
def _(visit: Visit) -> None:
    visit.tab.page.click("[data-act=paint]")
    assert status(visit) == visit.tab.words["nothing marked"]


@step("the brush marks")
def _(visit: Visit) -> None:
    visit.tab.drag((0.1, 0.1), (0.4, 0.1))
    assert 2 <= marked(visit) <= 10


@step("undo takes the stroke back, redo brings it again")
def _(visit: Visit) -> None:
    before = marked(visit)
    press(visit, "Control+z")
    assert status(visit) == visit.tab.words["canvas begin"]
    press(visit, "Control+y")
    assert marked(visit) == before
    press(visit, "Control+z")


@step("the rectangle marks a quarter")
def _(visit: Visit) -> None:
    visit.tab.page.click("[data-tool=rectangle]")
    visit.tab.drag((0.25, 0.25), (0.75, 0.75))
    assert 24 <= marked(visit) <= 26


@step("the lasso adds a corner")
def _(visit: Visit) -> None:
    press(visit, "l")
    visit.tab.drag((0.0, 0.8), (0.4, 0.8), (0.0, 0.99), (0.0, 0.8))
    assert 27 <= marked(visit) <= 31


@step("invert marks the rest")
def _(visit: Visit) -> None:
    press(visit, "i")
    assert 69 <= marked(visit) <= 73
    press(visit, "Control+z")


@step("the eraser takes away")
def _(visit: Visit) -> None:
    press(visit, "e")
    visit.tab.drag((0.3, 0.3), (0.5, 0.5))
    visit.kept["marked"] = marked(visit)
    assert 15 <= visit.kept["marked"] < 27


@step("nearer, the same drag marks less of the picture")
def _(visit: Visit) -> None:
    press(visit, "b")
    visit.tab.page.locator("[name=width]").fill("2")
    press(visit, "z", "z", "z")
    visit.tab.drag((0.1, 0.5), (0.9, 0.5))
    near = marked(visit) - visit.kept["marked"]
    press(visit, "Control+z", "0")
    visit.tab.drag((0.1, 0.5), (0.9, 0.5))
    assert near <= marked(visit) - visit.kept["marked"]
    press(visit, "Control+z")
    assert marked(visit) == visit.kept["marked"]


@step("the canvas takes the whole window and gives it back")
def _(visit: Visit) -> None:
    visit.tab.page.click("[data-act=expand]")
    soon(lambda: visit.tab.box_of("#mask-editor canvas")["width"] > 400)
    assert visit.tab.page.locator(".mask-editor.expanded").count() == 1
    press(visit, "Escape")
    assert visit.tab.page.locator(".mask-editor.expanded").count() == 0


@step("wiping can be taken back")
def _(visit: Visit) -> None:
    visit.tab.page.click("[data-act=wipe]")
    assert status(visit) == visit.tab.words["canvas begin"]
    visit.tab.page.click("[data-act=undo]")
    assert marked(visit) == visit.kept["marked"]


@step("the edge is made soft")
def _(visit: Visit) -> None:
    visit.tab.page.locator("[name=feather]").fill("4")
    report = visit.tab.page.evaluate("document.querySelector('[name=feather]').value")
    assert float(report) == 4 and marked(visit) == visit.kept["marked"]


@step("a soft mark is painted by the button")
def _(visit: Visit) -> None:
    tab = visit.tab
    before = tab.pictures()
    tab.box.fill(YELLOW)
    tab.page.click("[data-act=paint]")
    tab.page.wait_for_selector(f"#picture-{before}")
    tab.answered()
    first, after = visit.pixels(0), visit.pixels(before)
    assert (first[:4] == after[:4]).all() and (first != after).any()


@step("a handle is drawn to grow the picture")
def _(visit: Visit) -> None:
    tab = visit.tab
    tab.do("larger", 0)
    tab.page.wait_for_selector(".mask-editor.growing:not(.empty)")
    handle, stage = (tab.box_of(each) for each in ("[data-side=right]", "#mask-editor canvas"))
    x, y = handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2
    tab.page.mouse.move(x, y)
    tab.page.mouse.down()
    tab.page.mouse.move(x + stage["width"] / 6, y, steps=4)
    tab.page.mouse.up()
    assert 20 <= int(tab.page.get_attribute("[data-side=right]", "aria-valuenow")) <= 30


@step("arrow keys grow it by five percent")
def _(visit: Visit) -> None:
    visit.tab.page.locator("[data-side=left]").press("ArrowLeft")
    assert visit.tab.page.get_attribute("[data-side=left]", "aria-valuenow") == "5"


@step("growth is taken back")
def _(visit: Visit) -> None:
    press(visit, "Control+z", "Control+z")
    assert visit.tab.page.get_attribute("[data-side=left]", "aria-valuenow") == "0"
    assert visit.tab.page.get_attribute("[data-side=right]", "aria-valuenow") == "0"
    assert status(visit) == visit.tab.words["canvas begin"]


@step("the canvas is left without painting")
def _(visit: Visit) -> None:
    visit.tab.page.click("#subject [data-do=drop]")
    visit.tab.page.wait_for_selector("#mask-editor .mask-editor.empty", state="attached")
    visit.tab.page.wait_for_selector("#subject .subject", state="detached")


@step("the picture grows to an aspect", task="grow", least=3)
def _(visit: Visit) -> None:
    tab = visit.tab
    tab.do("larger", 0)
    tab.page.wait_for_selector(".mask-editor.growing:not(.empty)")
    tab.page.click("[data-aspect='16:9']")
    visit.kept["pictures"], visit.kept["told"] = tab.pictures(), status(visit)
    tab.page.click("[data-act=paint]")  # leads to the message box
    tab.page.wait_for_selector("#message textarea:focus")
    tab.ask("a big red circle on a blue background")


@step("the middle of what has grown is the picture as it was")
def _(visit: Visit) -> None:
    assert "114 × 64" in visit.kept["told"]
    visit.tab.page.wait_for_selector(f"#picture-{visit.kept['pictures']}")
    before, after = visit.pixels(0), visit.pixels(visit.kept["pictures"])
    assert after.shape[0] == 64 and 110 <= after.shape[1] <= 120
    left = (after.shape[1] - 64) // 2
    assert any((after[:, at : at + 64] == before).all() for at in range(left - 2, left + 3))

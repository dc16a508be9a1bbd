"""One long visit to the page, as a person makes it: every step in a real browser, in both languages.

After each step a screenshot is kept in `outputs/browser/LANGUAGE/`.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from llmga.assistant.loading import Models
from llmga.serve.page.strings import LANGUAGES, STRINGS
from tests.serve.page.driver import NO_BROWSER, ROOT, Asked, Driver
from tests.serve.page.steps import beginning, choosing, keeping, messages, on_a_phone, painting_over
from tests.serve.page.steps.visit import Step, Visit

STEPS: list[Step] = [
    step for part in (beginning, choosing, messages, painting_over, keeping, on_a_phone) for step in part.STEPS
]
LOCALES = {"en": "en-GB", "zh": "zh-CN"}
PAGE = ROOT / "docs/guide/page.md"

pytestmark = [pytest.mark.browser, NO_BROWSER]


@pytest.fixture(params=LANGUAGES)
def visit(
    request: pytest.FixtureRequest, browser: object, url: str, models: Models, asked: Asked, tmp_path: Path
) -> Iterator[Visit]:
    """A fresh one, in a language."""
    own, other = request.param, next(code for code in LANGUAGES if code != request.param)
    context = browser.new_context(viewport=choosing.WIDE, locale=LOCALES[own])
    kept = {
        "codes": (own, other),
        "languages": (LANGUAGES[own], LANGUAGES[other]),
        "strings": (STRINGS[own], STRINGS[other]),
    }
    made = Visit(Driver(context.new_page(), url, own), models, asked, tmp_path, kept=kept)
    with made.slow:
        yield made
    context.close()


def test_every_step_of_a_long_visit_does_what_it_says(visit: Visit) -> None:
    language, taken = visit.kept["codes"][0], {}
    for number, step in enumerate(STEPS, 1):
        if number > 1:
            visit.tab.taken()
        try:
            step.act(visit)
            assert visit.tab.console == [] and visit.tab.outside == []
        except Exception as problem:
            visit.tab.shoot(f"{language}/{number:02d}-failed")
            problem.add_note(f"step {number}, {step.name!r}, in {language}; console: {visit.tab.console}")
            raise
        if step.task:
            taken[step.task] = visit.tab.taken()
        visit.tab.shoot(f"{language}/{number:02d}-{step.name.replace(' ', '-')}")
    for step in STEPS:
        if step.task:
            assert taken[step.task] <= 1.5 * step.least, taken
            assert f"| {step.task} | {taken[step.task]} | {step.least} |" in PAGE.read_text("utf-8"), taken


def test_there_are_sixty_steps_and_ten_tasks() -> None:
    assert len(STEPS) >= 60 and len({step.name for step in STEPS}) == len(STEPS)
    assert sum(bool(step.task) for step in STEPS) == 10

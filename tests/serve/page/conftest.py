"""A session with a scripted chat and a plain-coloured painter; a browser on a page with the bundled models."""

import secrets
from collections.abc import Iterator

import pytest
from PIL import Image

from llmga.assistant.library.pictures import PictureFolder
from llmga.assistant.loading import Models
from llmga.assistant.session import Settings
from llmga.serve.gradio_web_server import keep_to_itself, page_options
from llmga.serve.page.controls import Chosen
from llmga.serve.page.conversation import OpenConversation
from llmga.serve.page.mask_editor import EditorValue
from llmga.serve.page.user_session import UserSession
from tests.serve.page.driver import BROWSER, Asked, Driver, KilledServer, arguments, running


class ToySharedPipeline:
    """The toy pipeline as a shared one: it has a sampler, and serves every task."""

    def __init__(self, pipeline):
        self.pipeline, self.samplers = pipeline, []
        self.describe = pipeline.describe

    def __call__(self, prompt, **options):
        return self.pipeline(prompt, **options)

    def for_task(self, task):
        return self

    def use_sampler(self, name):
        self.samplers.append(name)


@pytest.fixture
def session(toy, toy_pipeline_class, tmp_path):
    """`session(*replies)` is a session whose assistant says these replies."""

    def make(*replies, restorer=lambda image, reference, mask: image):
        assistant = toy(*replies, pipeline=ToySharedPipeline(toy_pipeline_class()), restorer=restorer, seed=5)
        folder = tmp_path / f"session-{secrets.token_hex(16)}"
        return UserSession(OpenConversation(assistant, PictureFolder(folder)))

    return make


@pytest.fixture
def talk():
    """`talk(session, text, …)` says something to the end and gives the entries."""

    def say(session, text="go", images=(), chosen=None, marks=None):
        list(session.say(text, images, chosen or Chosen(Settings()), marks or EditorValue()))
        return session.entries()

    return say


@pytest.fixture
def photo():
    return Image.new("RGB", (16, 8), "teal")


@pytest.fixture(scope="module")
def asked() -> Iterator[Asked]:
    with pytest.MonkeyPatch.context() as patch:
        yield Asked().watch(patch)


@pytest.fixture(scope="module")
def models(asked: Asked) -> Models:
    keep_to_itself()
    return Models.load(page_options(arguments()).spec.checked())


@pytest.fixture(scope="module")
def url(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running page."""
    yield from running(models, "--library", str(tmp_path_factory.mktemp("library")))


@pytest.fixture(scope="module")
def brief_url(models: Models) -> Iterator[str]:
    """The address of one that keeps nothing."""
    yield from running(models, "--no-library")


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def tab(browser: object, url: str) -> Iterator[Driver]:
    """A fresh visit; afterwards nothing may have gone wrong, and nobody else may have been asked."""
    context = browser.new_context(viewport={"width": 1280, "height": 860}, locale="en-GB")
    driver = Driver(context.new_page(), url)
    yield driver
    assert driver.console == []
    assert driver.outside == []
    context.close()


@pytest.fixture(scope="module")
def killed_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KilledServer]:
    server = KilledServer(tmp_path_factory.mktemp("killed"))
    yield server
    server.process.kill()
    server.process.wait()

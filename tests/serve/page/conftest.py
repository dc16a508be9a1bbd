"""A session with a scripted chat and a plain-coloured painter."""

import secrets

import pytest
from PIL import Image

from llmga.assistant.library.pictures import PictureFolder
from llmga.assistant.session import Settings
from llmga.serve.page.controls import Chosen
from llmga.serve.page.conversation import OpenConversation
from llmga.serve.page.mask_editor import EditorValue
from llmga.serve.page.user_session import UserSession


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

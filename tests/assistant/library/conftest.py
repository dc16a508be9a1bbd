"""A library in a folder of its own, and conversations made by a scripted chat and a plain-coloured painter."""

import pytest

from llmga.assistant.library.kept import Kept
from llmga.assistant.library.library import Library

ONE = "Here. <gen_image> a red circle </gen_image> Good?"


@pytest.fixture
def library(tmp_path):
    opened = Library(tmp_path / "library")
    yield opened
    opened.close()


@pytest.fixture
def kept():
    """`kept(assistant, **more)` is what is to be kept of it."""
    return lambda assistant, **more: Kept(assistant.session, assistant.models, **more)


@pytest.fixture
def talked(library, toy, kept):
    """`talked(owner, *texts)` is a conversation in the library in which these were said and answered."""

    def talk(owner, *texts):
        assistant = toy(*[ONE] * len(texts), seed=3)
        conversation = library.begin(owner)
        for text in texts:
            assistant.say(text)
            conversation.save(kept(assistant))
        return conversation

    return talk

"""What a model says of itself to who comes new."""

import json

import pytest

from llmga.assistant.loading import BUNDLED_MLLM, bundled
from llmga.errors import UserError
from llmga.serve.page.art import ART
from llmga.serve.page.strings import STRINGS
from llmga.serve.page.welcome import FILE, Welcome


def test_the_bundled_model_says_what_it_paints_in_every_language():
    welcome = Welcome.of(bundled(BUNDLED_MLLM, ""))
    assert welcome.examples and set(welcome.paints) == set(STRINGS) and "story" not in welcome.cards


def test_a_model_that_says_nothing_offers_everything(tmp_path):
    assert Welcome.of(tmp_path) == Welcome.of(None) == Welcome()
    assert Welcome().cards == tuple(ART)


@pytest.mark.parametrize("said", ["{", "[]", {"cards": ["fly"]}, {"examples": "one"}, {"examples": ["x" * 301]}])
def test_what_cannot_be_is_one_sentence_that_names_the_file(tmp_path, said):
    (tmp_path / FILE).write_text(said if isinstance(said, str) else json.dumps(said))
    with pytest.raises(UserError, match=f"{FILE} of model '{tmp_path.name}' cannot be read"):
        Welcome.of(tmp_path)


def test_every_card_is_explained_in_every_language():
    for strings in STRINGS.values():
        assert all(strings[f"card {name}"] and strings[f"card {name} help"] for name in ART)

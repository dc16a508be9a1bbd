import random

import numpy as np
import pytest
import torch

from llmga.llava.assembling import new_mllm
from llmga.llava.conversation import Conversation
from llmga.llava.loading import load_mllm, save_published
from llmga.toyworld.world import language, seeing
from llmga.toyworld.world.drawing import draw
from llmga.toyworld.world.learning import Learning, Pace
from llmga.toyworld.world.reading import KINDS
from llmga.toyworld.world.scene import PLACES, SIZES, Scene, Thing
from llmga.toyworld.world.seeing import Seen, Teaching, Watcher, answers_of, normalised, shown

PAIR = Scene("sea", "flat", (Thing("star", "red", "large", place="left"), Thing("sun", "yellow", place="right")))
LEFT, RIGHT = PLACES.index("left"), PLACES.index("right")


def test_a_covered_thing_is_not_there_but_its_cover_is():
    right = answers_of([Seen(PAIR), Seen(PAIR, 0)])
    assert right["kind"][0, LEFT] == KINDS.index("star") and right["kind"][1, LEFT] == len(KINDS)
    assert right["covered"][1, LEFT] == 1 + SIZES.index("large") and (right["covered"][1] > 0).sum() == 1
    assert [place for place in range(18) if right["covered"][0, place] == 0] == [LEFT, RIGHT]
    assert right["kind"][1, RIGHT] == KINDS.index("sun")


def test_pictures_reach_the_tower_as_its_processor_gives_them():
    picture = draw(PAIR)
    expected = seeing.processor()(picture, return_tensors="pt").pixel_values
    torch.testing.assert_close(normalised([picture]), expected, atol=1e-5, rtol=1e-4)
    disturbed = normalised([picture] * 8, torch.Generator().manual_seed(0))
    unchanged = [torch.allclose(one, expected[0], atol=1e-5) for one in disturbed]
    assert any(unchanged) and not all(unchanged)


@pytest.mark.parametrize("size", seeing.SHAPES)
def test_every_picture_is_shown_as_a_square(size, monkeypatch):
    monkeypatch.setattr(seeing, "SHAPES", {size: 1})
    assert shown(Seen(PAIR), random.Random(0)).size == (96, 96)
    covered = np.asarray(shown(Seen(PAIR, 1), random.Random(0)))
    assert not covered[48, 78].any()  # the sun's middle is black


def test_heads_look_where_places_are():
    looks = seeing._around_places(8).view(2, 3, 3, 8, 8)
    assert looks[0, 0, 0].argmax() == 9 and looks[1, 2, 2].argmax() == 54  # patches (1, 1) and (6, 6)
    assert torch.equal(looks[0], looks[1])


def test_it_learns_to_see():
    torch.manual_seed(0)
    pace = Pace(steps=30, batch_size=3, lr=3e-3, adam_lr=3e-3, ema=0.9)
    teaching = Teaching(watcher := Watcher(), pace)
    learning = Learning(watcher, pace, seeing.is_end)
    losses = [learning.take(teaching.loss) for _ in range(5)]
    assert losses[-1] < losses[0]
    assert set(teaching.judge(4)) == {"kind", "covered", "colour", "size", "pattern", "ground", "style", "all"}


def test_language_model_and_eyes_become_a_planner(tmp_path):
    tokenizer = language.tokenizer_of_world(texts=60)
    torch.manual_seed(0)
    language.save(language.architecture(tokenizer), tokenizer, tmp_path / "lm")
    seeing.save(seeing.architecture(), tmp_path / "eyes")
    mllm = new_mllm(tmp_path / "lm", tmp_path / "eyes", select_layer=seeing.SELECT_LAYER, conv_mode=language.CONV_MODE)
    mllm.taught_turns = language.TAUGHT_TURNS
    save_published(mllm, tmp_path / "planner")
    opened = load_mllm(tmp_path / "planner", device="cpu")
    assert opened.tokens_per_image == 64 and opened.taught_turns == language.TAUGHT_TURNS
    asked = Conversation().say("user", "what is this?", (draw(PAIR),)).say("assistant", "A star.")
    assert opened.encode(asked).input_ids.count(opened.image_token_id) == 64
    words = Conversation().say("user", "draw a red star").say("assistant", "Here it is.")
    assert opened.encode(words).input_ids == language.encoded(words, tokenizer).ids

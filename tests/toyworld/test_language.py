import random

import pytest

from llmga.toyworld import captions, composed, dialogues, phrases, requests, smalltalk
from llmga.toyworld.phrases import Phrases
from llmga.toyworld.scenes import ATTRIBUTES, Scene, all_scenes, is_held_out, random_scene

SCENE = Scene.of("circle", "red", "big", "center", "blue")


def test_detailed_prompts_are_read_back():
    rng = random.Random(0)
    for scene in all_scenes()[::5]:
        assert captions.read(captions.detailed(scene, rng)) == scene.attributes


def test_detailed_prompts_are_detailed_and_varied():
    rng = random.Random(0)
    prompts = {captions.detailed(SCENE, rng) for _ in range(200)}
    assert len(prompts) > 50
    assert all(30 <= len(prompt.split()) <= 60 for prompt in prompts)


def test_contradicting_statements_are_not_read():
    text = "A big red circle in the center of the picture, on a plain blue background. The square is filled with red."
    assert "shape" not in captions.read(text)
    assert captions.read(text)["colour"] == "red"


@pytest.mark.parametrize("things", [2, 3])
def test_captions_carry_several_things(things):
    scene = random_scene(random.Random(things), things=things)
    for voice in (captions.detailed, captions.short):
        text = voice(scene, random.Random(0))
        assert all(thing.shape in text for thing in scene.things)


@pytest.mark.parametrize("held_out", [False, True])
def test_a_request_is_satisfied_by_its_own_scene(held_out):
    rng = random.Random(1)
    for _ in range(500):
        request = requests.request(random_scene(rng), rng, held_out=held_out)
        assert request.text.strip()
        assert all(request.satisfied_by(request.scene.attributes).values()), request


def test_complete_requests_demand_every_attribute_exactly():
    request = requests.request(SCENE, random.Random(2), complete=True)
    assert request.demands == {name: frozenset((value,)) for name, value in SCENE.attributes.items()}


def test_negations_allow_everything_else():
    rng = random.Random(3)
    sizes = [len(allowed) for _ in range(400) for allowed in requests.request(SCENE, rng).demands.values()]
    assert any(size == len(ATTRIBUTES["colour"]) - 1 for size in sizes)


def test_a_demand_is_not_met_by_another_value_or_by_nothing():
    request = requests.request(SCENE, random.Random(4), complete=True)
    assert request.satisfied_by(SCENE.with_(colour="green").attributes)["colour"] is False
    assert not any(request.satisfied_by({}).values())


def test_follow_ups_change_exactly_one_attribute():
    rng = random.Random(5)
    kinds = set()
    for _ in range(600):
        before = random_scene(rng)
        change = requests.follow_up(before, rng)
        differing = [name for name in ATTRIBUTES if before.attributes[name] != change.scene.attributes[name]]
        assert differing == [change.kind], change
        kinds.add(change.kind)
    assert kinds == set(ATTRIBUTES)


def _rows(value: object) -> list[Phrases]:
    if isinstance(value, Phrases):
        return [value]
    return [row for inner in value.values() for row in _rows(inner)] if isinstance(value, dict) else []


def test_no_phrasing_is_both_seen_and_held_out():
    rows = [row for value in vars(phrases).values() for row in _rows(value)]
    rows += [row for row, _ in smalltalk.TALK] + [smalltalk.THINGS, smalltalk.ODD_COLOURS]
    assert len(rows) > 40
    for row in rows:
        assert not set(row.seen) & set(row.held_out)


def test_composed_wordings_are_never_held_out_ones():
    rng = random.Random(9)
    words = {"size": "big", "colour": "red", "shape": "circle"}
    made = {
        phrases.NOUNS: [composed.noun_phrase(words, rng) for _ in range(3000)],
        phrases.GROUNDS: [composed.ground("blue", rng) for _ in range(1000)],
        phrases.OPENERS: [composed.opener(rng) for _ in range(3000)],
        phrases.CLOSERS: [composed.closer(rng).strip() for _ in range(1000)],
        phrases.CORRECTIONS: [composed.correction("green", rng) for _ in range(1000)],
    }
    for row, texts in made.items():
        assert len(set(texts)) > 100, "parts vary"
        assert not set(texts) & {text.format(**words, x="blue", fix="green") for text in row.held_out}


def test_what_is_left_open_has_the_value_people_expect():
    rng = random.Random(10)
    for _ in range(500):
        request = requests.request(random_scene(rng), rng)
        for name, usual in requests.UNSAID.items():
            if request.demands and name not in request.demands:
                assert request.scene.attributes[name] == usual, request


def test_two_changes_keep_the_other_three():
    rng = random.Random(11)
    for _ in range(200):
        before = random_scene(rng)
        after = requests.two_changes(before, rng).scene
        assert sum(before.attributes[name] != after.attributes[name] for name in ATTRIBUTES) == 2


@pytest.mark.parametrize("held_out", [False, True])
def test_a_wish_for_a_marked_part_leaves_place_and_background_to_the_picture(held_out):
    rng = random.Random(12)
    for _ in range(200):
        before = random_scene(rng)
        wish = requests.into_hole(before, rng, held_out=held_out)
        assert all(wish.satisfied_by(wish.scene.attributes).values()) and wish.text
        for name in ("place", "background"):
            assert wish.demands[name] == {before.attributes[name]}


def test_conversations_never_show_a_held_out_scene():
    rng = random.Random(6)
    for number in range(400):
        said = dialogues.from_words(rng) if number % 2 else dialogues.about_hole(random_scene(rng), rng)
        for _, answer in said:
            if "<gen_image>" in answer:
                assert not is_held_out(Scene.of(**captions.read(answer)))


def test_small_talk_is_answered_in_words():
    rng = random.Random(7)
    for held_out in (False, True):
        answers = [smalltalk.talk(rng, held_out)[1] for _ in range(200)]
        assert all(answer and "<gen_image>" not in answer for answer in answers)


def test_slips_change_only_longer_words():
    rng = random.Random(8)
    assert requests.misspelt("a big red", rng) == "a big red"
    assert requests.misspelt("a triangle", rng) != "a triangle"

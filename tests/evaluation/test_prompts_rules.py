"""What each rule sees and what it must not see, by sentences in both languages."""

import random

import pytest

from llmga.evaluation.prompt_rules import words
from llmga.evaluation.prompt_rules.judging import judge, read
from llmga.evaluation.prompt_rules.rows import Demand, Row

MANY = words.MANY


def kept(prompt, *demands):
    """What the rules say of each demand."""
    row = Row("geneval", "0", "en", "asked", "", demands)
    return [verdict.kept for verdict in judge(row, prompt)]


def counted(prompt, thing):
    return read(prompt, frozenset({thing})).numbers(thing)


@pytest.mark.parametrize(
    ("prompt", "thing", "numbers"),
    [
        ("a photo of a bench", "bench", {1}),
        ("two benches in a park", "bench", {2}),
        ("2 fluffy white dogs", "dog", {2}),
        ("a pair of cats", "cat", {2}),
        ("a pair of scissors", "scissors", {1}),
        ("two pairs of scissors", "scissors", {2}),
        ("a group of four green apples", "apple", {4}),
        ("half a dozen donuts", "donut", {12}),  # "half" is not seen
        ("a dozen donuts", "donut", {12}),
        ("twenty-one bananas", "banana", {21}),
        ("a single lone sheep", "sheep", {1}),
        ("three sheep", "sheep", {3}),
        ("several horses", "horse", {MANY}),
        ("horses on a meadow", "horse", {MANY}),
        ("a red car and a blue car", "car", {2}),
        ("a cat and another cat", "cat", {2}),
        ("cats, four in total", "cat", {4}),
        ("one of the three cats is black", "cat", {3}),
        ("a two-seater bench", "bench", {1}),
        ("a three-legged dog shot at 50mm, 8k", "dog", {1}),
        ("two hot dogs", "dog", set()),
        ("a dog house", "dog", set()),
        ("the dog's collar", "dog", set()),
        ("two teddy bears", "bear", set()),
        ("five people cheering", "person", {5}),
        ("both knives", "knife", {2}),
        ("a trio of sofas", "couch", {3}),
        ("两只猫", "cat", {2}),
        ("2只猫", "cat", {2}),
        ("一对猫", "cat", {2}),
        ("十二个苹果", "apple", {12}),
        ("三头毛茸茸的奶牛", "cow", {3}),
        ("猫三只，蹲在屋顶上", "cat", {3}),
        ("一群马", "horse", {MANY}),
        ("一只猫和另一只猫", "cat", {2}),
        ("第二只猫", "cat", set()),
        ("一只熊猫走在马路上", "bear", set()),
        ("一只熊猫走在马路上", "horse", set()),
        ("一只斑马", "horse", set()),
        ("四辆停在雨里的黑色汽车", "car", {4}),
        ("三只围着蓝色围巾的猫", "cat", {3}),
        ("三只趴在沙发上的猫", "couch", set()),
        ("三只猫后面的狗", "dog", set()),
    ],
)
def test_numbers(prompt, thing, numbers):
    assert counted(prompt, thing) == numbers


@pytest.mark.parametrize(
    ("prompt", "thing", "values"),
    [
        ("a red vintage leather handbag", "handbag", {"red"}),
        ("a crimson bus", "bus", {"red"}),
        ("a navy blue and white umbrella", "umbrella", {"blue", "white"}),
        ("a bus that is bright red", "bus", {"red"}),
        ("the car is painted green", "car", {"green"}),
        ("a dog in a red shirt", "dog", set()),
        ("a boy in a red shirt rides a bicycle", "bicycle", set()),
        ("a white cat with black paws", "cat", {"white"}),
        ("a cat under a red light", "cat", set()),
        ("an orange orange beside an orange toaster", "orange", {"orange"}),
        ("an orange beside a black toaster", "orange", set()),
        ("a golden retriever", "dog", set()),
        ("a vase made entirely of wood", "vase", {"wooden"}),
        ("a sheep with black stripes", "sheep", {"striped"}),
        ("a wine glass", "wine glass", set()),
        ("two plastic cows", "cow", {"plastic"}),
        ("一辆蓝色的汽车", "car", {"blue"}),
        ("一把红白相间的雨伞", "umbrella", {"red", "white"}),
        ("汽车的颜色是蓝色", "car", {"blue"}),
        ("花瓶由木头制成", "vase", {"wooden"}),
        ("穿着红色衬衫的男孩骑着自行车", "bicycle", set()),
        ("黄昏时分的狗", "dog", set()),
        ("白猫蹲在黑色沙发上", "cat", {"white"}),
    ],
)
def test_attributes(prompt, thing, values):
    reading = read(prompt, frozenset({thing}))
    assert {value for mention in reading.of(thing) for _, value in mention.attributes} == values


LEFT = [
    "a cat to the left of a couch",
    "a cat sits on the left-hand side of a grey couch",
    "To the left of the couch is a cat",
    "a couch to the right of a cat",
    "On the left a cat, on the right a couch.",
    "a cat on the left and a couch on the right",
    "a cat with a couch to its right",
    "A cat sits quietly; to its right is a couch.",
    "a kitten on the left side of the image, a sofa on the right side of the image",
    "猫在沙发的左边",
    "沙发的左边是一只猫",
    "沙发左侧的一只猫",
    "左边是一只猫，右边是一张沙发",
    "画面左侧有一只猫，画面右侧有一张沙发。",
    "一只猫，它的右边有一张沙发",
    "一张沙发位于猫的右侧",
]
NOT_LEFT = [
    "a couch to the left of a cat",
    "a cat to the right of a couch",
    "a cat and a couch",
    "a cat left the couch",
    "a cat right in front of a couch",
    "a cat to the left of a chair, and a couch",
    "On the left a couch, on the right a cat.",
    "a couch with a cat to its right",
    "a cat to the left of a couch; the cat is to the right of the couch",
    "沙发在猫的左边",
    "猫的左边是一张沙发",
    "左边是一张沙发，右边是一只猫",
    "一只猫和一张沙发",
]


@pytest.mark.parametrize(("prompt", "right"), [*((each, True) for each in LEFT), *((each, False) for each in NOT_LEFT)])
def test_left_of(prompt, right):
    assert kept(prompt, Demand("position", "cat", value="left of", other="couch")) == [right]


@pytest.mark.parametrize(
    ("prompt", "relation", "right"),
    [
        ("a dog beneath a kite", "below", True),
        ("a kite hovering over a dog", "below", True),
        ("a dog above a kite", "below", False),
        ("A kite flies high; below it is a dog.", "below", True),
        ("狗在风筝下面", "below", True),
        ("风筝在狗的上方", "below", True),
        ("风筝在狗下方", "below", False),
        ("a dog in the foreground, a kite in the background", "in front of", True),
        ("a dog behind a kite", "in front of", False),
        ("狗站在风筝前面", "in front of", True),
        ("a dog on top of a kite", "above", True),
        ("a dog above a kite", "on", False),
    ],
)
def test_other_relations(prompt, relation, right):
    assert kept(prompt, Demand("position", "dog", value=relation, other="kite")) == [right]


@pytest.mark.parametrize(
    ("prompt", "right"),
    [
        ("a fox chasing three sheep", True),
        ("three sheep chased by a fox", True),
        ("a fox chases the sheep over a hill", True),
        ("three sheep chasing a fox", False),
        ("a fox and three sheep", False),
    ],
)
def test_who_does_it_to_whom(prompt, right):
    assert kept(prompt, Demand("verb", "fox", value="chasing", other="sheep")) == [right]


@pytest.mark.parametrize(
    ("prompt", "right"),
    [
        ("a quiet street without a dog", True),
        ("an empty street", True),
        ("a street with no cats or dogs", True),
        ("a street, not a dog in sight", True),
        ("一条没有狗的街道", True),
        ("街上没有猫和狗", True),
        ("a street with a dog", False),
        ("街上有一只狗", False),
    ],
)
def test_what_is_not_to_be_there(prompt, right):
    assert kept(prompt, Demand("exclusion", "dog", 1)) == [right]
    named = kept(prompt, Demand("object", "dog"))
    assert named == [not right]  # what is denied or left out is not named


@pytest.mark.parametrize(
    ("prompt", "demand", "right"),
    [
        ("four apples on a plate. One apple is cut.", Demand("count", "apple", 4), True),
        ("four apples on a plate, then five apples", Demand("count", "apple", 4), False),
        ("apples", Demand("count", "apple", 4), False),
        ("three apples", Demand("count", "apple", 4), False),
        ("five apples", Demand("exclusion", "apple", 5), False),
        ("four apples", Demand("exclusion", "apple", 5), True),
        ("the bench stands alone", Demand("count", "bench", 1), True),
        ("benches in a row", Demand("count", "bench", 1), False),
        ("two benches", Demand("count", "bench", 1), False),
        ("五个苹果", Demand("count", "apple", 4), False),
        ("四个苹果", Demand("count", "apple", 4), True),
        ("a red bus", Demand("colour", "bus", value="red"), True),
        ("a red bus, the bus is blue", Demand("colour", "bus", value="red"), False),
        ("a red and white bus", Demand("colour", "bus", value="red"), False),
        ("a bus on a red road", Demand("colour", "bus", value="red"), False),
        ("红色的公交车", Demand("colour", "bus", value="red"), True),
        ("蓝色的公交车", Demand("colour", "bus", value="red"), False),
        ("a stone pig", Demand("attribute", "pig", value="wooden"), False),
        ("a dancing pig", Demand("attribute", "pig", value="dancing"), True),
        ("a pig", Demand("attribute", "pig", value="dancing"), False),
        ("", Demand("object", "pig"), False),
    ],
)
def test_contradictions_are_lost(prompt, demand, right):
    assert kept(prompt, demand) == [right]


def test_what_cannot_be_seen_is_neither_kept_nor_lost():
    assert kept("一只袋獾", Demand("object", "quokka")) == [None]
    assert kept("一只狐狸追着羊", Demand("verb", "fox", value="chasing", other="sheep")) == [None]


def test_reasons_name_what_was_said():
    row = Row("geneval", "0", "en", "asked", "", (Demand("count", "cat", 2), Demand("colour", "cat", value="red")))
    reasons = [verdict.reason for verdict in judge(row, "three blue cats")]
    assert reasons == ["2 cat wanted, said: 3", "red cat wanted, said: blue"]


COLOURS = ["red", "green", "blue", "black", "white"]
RELATIONS = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
NAMES = [name for name in list(words.things())[:80] if name not in ("orange", "skis", "scissors")]


def random_case(rng):
    """A row's demands, a sentence that keeps them, and one for each rule that breaks it."""
    a, b = rng.sample(NAMES, 2)
    x, y = rng.sample(COLOURS, 2)
    relation, number = rng.choice(list(RELATIONS)), rng.choice([2, 3, 4])
    of = {2: "two", 3: "three", 4: "four", 5: "five"}

    def sentence(a=a, b=b, x=x, relation=relation, number=number):
        return f"a photo of {of[number]} {x} {words.plural(a)} {relation} a {y} {b}"

    demands = (Demand("object", b), Demand("count", a, number), Demand("colour", a, value=x),
               Demand("position", a, value=relation, other=b))  # fmt: skip
    other = next(name for name in NAMES if name not in (a, b))
    wrong = [sentence(b=other), sentence(number=number + 1), sentence(x=y), sentence(relation=RELATIONS[relation])]
    return demands, sentence(), wrong


def test_each_rule_fails_on_wrong_prompts_and_on_no_right_one():
    rng = random.Random(7)
    for _ in range(150):
        demands, right, wrong = random_case(rng)
        assert kept(right, *demands) == [True] * 4, right
        for demand, sentence in zip(demands, wrong, strict=True):
            assert kept(sentence, demand) == [False], (demand, sentence)

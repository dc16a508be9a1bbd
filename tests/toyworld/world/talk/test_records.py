import json
import random
import re

import numpy as np
import pytest
from PIL import Image

from llmga.llava.datasets.kinds import KINDS
from llmga.toyworld.world import captions, oracle
from llmga.toyworld.world.__main__ import main
from llmga.toyworld.world.sampling import random_scene
from llmga.toyworld.world.talk.answers import prompt
from llmga.toyworld.world.talk.asking import holds_all
from llmga.toyworld.world.talk.cases import BARS, as_json, cases, from_json
from llmga.toyworld.world.talk.corpus import corpus
from llmga.toyworld.world.talk.dialogues import Plan, dialogue
from llmga.toyworld.world.talk.holes import with_hole
from llmga.toyworld.world.talk.records import OTHERS, Album, talks, write
from llmga.toyworld.world.talk.voice import Voice

TOKENS = re.compile(r"\w+|[^\w\s]")
CLIP = 77


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("world")
    write(made, 60, seed=1)
    return made


def test_records_become_conversations_of_their_kind(folder):
    opened = []

    def open_picture(name):
        opened.append(name)
        return Image.open(folder / "images" / name)

    for name, kind in {"talk": "vqa", **{each: each for each in OTHERS}}.items():
        records = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        assert len(records) >= 3
        for record in records:
            made = KINDS[kind].to_conversation(record, open_picture, np.random.default_rng(0))
            if name == "talk":
                images = record.get("image", [])
                assert len(made.images()) == len(images)
                assert sum(turn["value"].count("<image>") for turn in record["conversations"]) == len(images)
                assert "".join(made.messages[-1].text.split()) == "".join(record["conversations"][-1]["value"].split())
    assert len(set(opened)) > 10


def test_the_same_seed_writes_the_same_and_another_seed_another(folder, tmp_path):
    write(tmp_path / "again", 60, seed=1)
    assert all((tmp_path / "again" / file.name).read_bytes() == file.read_bytes() for file in folder.glob("*.json"))
    one, other = (list(talks(Album(tmp_path / "images"), 3, seed)) for seed in (1, 2))
    assert one != other


def test_pictures_show_their_scenes_and_holes_hide_their_thing(tmp_path):
    rng = random.Random(2)
    album = Album(tmp_path)
    scene = random_scene(rng, 2)
    names = {album.name(scene, rng) for _ in range(8)}
    assert {name[-3:] for name in names} == {"png", "jpg"}
    read = [oracle.read(Image.open(tmp_path / name)).scene for name in sorted(names) if name.endswith("png")]
    assert read == [scene]
    hidden = with_hole(scene, 0, rng)
    assert (np.asarray(hidden) == 0).all(-1).mean() > 0.05


def test_only_long_prompts_exceed_what_clip_reads():
    rng = random.Random(3)
    scenes = [random_scene(rng, 3, held_out=None) for _ in range(200)]
    assert max(len(TOKENS.findall(captions.canonical(scene))) for scene in scenes) + 2 <= CLIP
    assert min(len(TOKENS.findall(prompt(scene, rng, long=True))) for scene in scenes[:50]) > CLIP
    pairs = [random_scene(rng, 2, held_out=None) for _ in range(200)]
    assert min(len(TOKENS.findall(prompt(scene, rng, long=True))) for scene in pairs) > CLIP


def test_the_share_of_long_prompts_is_as_planned():
    rng = random.Random(4)
    turns = [turn for _ in range(120) for turn in dialogue(Voice("en", rng), 2, Plan(long=0.5))]
    wishes = [turn for turn in turns if turn.kind.startswith("request") and len(turn.painted[0].things) > 1]
    long = sum(len(TOKENS.findall(turn.answer)) > CLIP for turn in wishes)
    assert 0.25 < long / len(wishes) < 0.65
    none = [turn for _ in range(30) for turn in dialogue(Voice("en", rng), 3, Plan(long=0.0))]
    assert all(len(TOKENS.findall(turn.answer)) < 2 * CLIP for turn in none if len(turn.painted) == 1)


@pytest.mark.parametrize("bar", BARS)
def test_cases_are_answered_by_themselves_and_come_back_from_json(bar):
    for number, case in enumerate(cases(bar, 2)):
        assert from_json(json.loads(json.dumps(as_json(bar, number, case)))) == case
        assert case.judged and max(case.judged) < len(case.turns)
        for turn in case.turns:
            assert all(holds_all(scene, asked) for scene, asked in zip(turn.painted, turn.asked, strict=True))
        last = case.turns[-1]
        if bar.startswith(("outside", "small talk")):
            assert not last.painted
        if bar.startswith("change "):
            assert last.kind == bar and last.before is not None
        if bar.split()[-1] in ("yes", "no"):
            assert last.truth == bar.split()[-1] and last.shown
        if bar.startswith("chinese"):
            assert last.language == "zh"


def test_cases_of_long_conversations_judge_both_ends():
    (case,) = cases("long conversation", 1)
    assert len(case.turns) == 30 and case.judged == (0, 1, 2, 3, 4, 24, 25, 26, 27, 28, 29)


def test_the_corpus_has_both_languages_and_no_pictures():
    texts = list(corpus(random.Random(5), 60))
    assert texts == list(corpus(random.Random(5), 60))
    chinese = [text for text in texts if re.search("[\u4e00-\u9fff]", text)]
    assert 10 < len(chinese) < 50 and not any("<image>" in text for text in texts)
    assert sum(captions.read(text) is not None and "\n" not in text for text in texts) >= 1


def test_the_programs_write_records_and_cases_and_name_an_unknown_bar(tmp_path, capsys):
    assert main(["records", "--output", str(tmp_path), "--count", "2", "--turns", "3", "--seed", "4"]) == 0
    assert all(
        len(each["conversations"]) <= 2 * 7 for each in json.loads((tmp_path / "talk.json").read_text(encoding="utf-8"))
    )
    assert main(["cases", "--output", str(tmp_path / "c.jsonl"), "--count", "3", "--bars", "yes", "chinese"]) == 0
    assert len((tmp_path / "c.jsonl").read_text(encoding="utf-8").splitlines()) == 6
    assert main(["cases", "--output", str(tmp_path / "d.jsonl"), "--bars", "poems"]) == 2
    assert "poems" in capsys.readouterr().err

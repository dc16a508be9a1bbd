import json
import random

import pytest
from PIL import Image

from llmga.assistant.loading import BUNDLED_INPAINTER, BUNDLED_MLLM, bundled
from llmga.diffusers.pipelines import load_pipeline
from llmga.evaluation import toyworld_scores as toyworld
from llmga.evaluation.toyworld import main
from llmga.toyworld import captions
from llmga.toyworld.cards import SCORES
from llmga.toyworld.scenes import Scene, draw


class Knowing:
    """A system's stand-in with a pipeline of its own; its language side is told the scene of each case."""

    def __init__(self, paint):
        self.pipeline, self.seed, self.mllm = paint, 0, None

    def dialogue(self):
        return None  # what was said before is not needed

    def paint(self, prompt, number):
        return self.pipeline(prompt, seed=number)


def faithful(prompt, seed):
    return draw(Scene.of(**captions.read(prompt)))


def green_only(prompt, seed):
    return draw(Scene.of(**{**captions.read(prompt), "colour": "green"}))


class PerfectSubject(Knowing):
    """Answers every request with a prompt for the scene that the case was made from."""

    def answer(self, chat, text, images=()):
        prompt = captions.detailed(self.scene, random.Random(0))
        return f"<gen_image> {prompt} </gen_image>", prompt


@pytest.fixture
def scene_of_case(monkeypatch):
    """Lets a subject know the scene of the case that is being judged."""
    subject = PerfectSubject(faithful)
    inner = toyworld._scenes

    def watched(count, seed):
        for number, scene, rng in inner(count, seed):
            subject.scene = scene
            yield number, scene, rng

    monkeypatch.setattr(toyworld, "_scenes", watched)
    monkeypatch.setattr(toyworld, "Chat", lambda mllm: None)
    return subject


def test_a_perfect_system_scores_one(scene_of_case):
    accuracy = toyworld.Accuracy()
    toyworld.judge_requests(scene_of_case, 10, accuracy)
    assert set(accuracy.fractions().values()) == {1.0}
    assert not accuracy.misses


def test_a_painter_that_knows_one_colour_loses_only_the_colour(scene_of_case):
    scene_of_case.pipeline = green_only
    accuracy = toyworld.Accuracy()
    toyworld.judge_requests(scene_of_case, 40, accuracy)
    figures = accuracy.fractions()
    assert figures["request.prompt.all_named"] == 1.0
    assert figures["request.picture.shape"] == figures["request.picture.place"] == 1.0
    assert figures["request.picture.colour"] < 0.5
    assert accuracy.misses


def test_a_system_that_always_paints_fails_small_talk(scene_of_case):
    accuracy = toyworld.Accuracy()
    toyworld.judge_small_talk(scene_of_case, 10, accuracy)
    assert accuracy.fractions()["small_talk.no_picture"] == 0.0


def test_stage_2_is_compared_on_the_same_prompts_and_seeds():
    seen = {"a": [], "b": []}

    def watching(name):
        def paint(prompt, seed):
            seen[name].append((prompt, seed))
            return faithful(prompt, seed)

        return paint

    accuracy = toyworld.Accuracy()
    toyworld.judge_stage2(watching("a"), watching("b"), 5, 0, accuracy)
    assert seen["a"] == seen["b"] and len(seen["a"]) == 5


def test_a_wish_for_a_hole_is_judged_in_its_prompt_and_where_there_is_room_in_the_picture(monkeypatch):
    class Listening(Knowing):
        """Knows what each wish is for; `moved` has it paint elsewhere than where the hole is."""

        def __init__(self, moved):
            super().__init__(lambda prompt, image, mask, seed: Image.composite(faithful(prompt, seed), image, mask))
            self.moved = moved

        def answer(self, chat, text, images=()):
            (scene,) = heard
            prompt = captions.detailed(scene.with_(place="center") if self.moved else scene, random.Random(0))
            return prompt, prompt

    def wish_for(scene, rng, held_out):
        wish = into_hole(scene, rng, held_out=held_out)
        heard[:] = [wish.scene]
        return wish

    def judged(moved):
        accuracy = toyworld.Accuracy()
        toyworld.judge_holes(Listening(moved), 60, accuracy)
        assert (
            0
            < accuracy.asked["hole.picture.all"]
            < accuracy.asked["hole.prompt.all"]
            < 60 - accuracy.asked["hole.prompt.in_company"]
        )
        return accuracy.fractions()

    heard, into_hole = [], toyworld.requests.into_hole
    monkeypatch.setattr(toyworld, "Chat", lambda mllm: None)
    monkeypatch.setattr(toyworld.requests, "into_hole", wish_for)
    assert set(judged(moved=False).values()) == {1.0}
    assert max(judged(moved=True).values()) < 0.5


def test_inpainting_is_judged_by_what_is_seen_and_by_what_stays():
    def judged(fill):
        accuracy = toyworld.Accuracy()
        toyworld.judge_inpainting(fill, 20, 0, accuracy)
        return accuracy.fractions()

    def whole(prompt, image, mask, seed):
        return Image.composite(faithful(prompt, seed), image, mask)

    def careless(prompt, image, mask, seed):
        return faithful(prompt, seed).rotate(180)

    right, wrong, lazy = judged(whole), judged(careless), judged(lambda prompt, image, mask, seed: image)
    assert set(right.values()) == {1.0}
    assert wrong["inpaint.fill.kept"] < 1 and wrong["inpaint.fill.all"] < 0.6
    assert lazy["inpaint.fill.kept"] == lazy["inpaint.outpaint.kept"] == 1.0
    assert lazy["inpaint.fill.all"] == 0.0 and lazy["inpaint.outpaint.all"] < 0.5


def test_the_bundled_model_fills_and_grows_scenes_it_never_saw():
    accuracy = toyworld.Accuracy()
    inpainter = load_pipeline(bundled(BUNDLED_INPAINTER, ""), device="cpu")
    assert inpainter.family.name == "sdxl-inpainting" and inpainter.denoiser.config.in_channels == 9
    toyworld.judge_inpainting(inpainter, 6, 0, accuracy)
    figures = accuracy.fractions()
    assert figures["inpaint.fill.kept"] == figures["inpaint.outpaint.kept"] == 1.0
    assert figures["inpaint.fill.all"] > 0.6 and figures["inpaint.outpaint.all"] > 0.6


def test_one_part_alone_keeps_the_figures_of_the_others(tmp_path, monkeypatch):
    report = tmp_path / "scores.json"
    report.write_text(json.dumps({"figures": {"describe.all": 0.5}, "cases": {"pictures": 7}}))
    monkeypatch.setattr(toyworld, "evaluate", lambda paths, counts, *_: ({"inpaint.fill.all": 0.9}, []))
    assert main(["--parts", "inpainting", "--output", str(report)]) == 0
    found = json.loads(report.read_text())
    assert found["figures"] == {"describe.all": 0.5, "inpaint.fill.all": 0.9}
    assert found["cases"] == {"pictures": 7, "inpainting": 150}
    assert found["missed_bars"] == ["describe.all"]


def test_the_table_marks_missed_bars():
    text = toyworld.table({"describe.all": 0.5, "similar.all": 0.99})
    assert "MISSED" in text.splitlines()[1]
    assert text.splitlines()[2].endswith("ok")


@pytest.mark.slow
def test_the_bundled_checkpoints_score_as_their_cards_say(tmp_path, capsys):
    """A twentieth of the full evaluation; few cases scatter, so a figure may fall short of the recorded one by 0.25."""
    recorded = json.loads((bundled(BUNDLED_MLLM, "--model-path") / SCORES).read_text())["figures"]
    report = tmp_path / "scores.json"
    assert main(["--scale", "0.05", "--output", str(report)]) == 0
    figures = json.loads(report.read_text())["figures"]
    short = {claim: figures[claim] for claim in toyworld.BARS if figures[claim] < recorded[claim] - 0.25}
    assert not short
    assert "request.picture.shape" in capsys.readouterr().out


def test_a_missing_checkpoint_is_one_sentence_and_exit_code_2(capsys):
    assert main(["--model-path", "nowhere"]) == 2
    assert capsys.readouterr().err.startswith("error: ")

"""How well the bundled models do the main job in the toy world.

Everything goes the way a user's turn goes (`Chat`, the generation-prompt parser, the generator) and is judged by the
oracle from pixels alone and by `captions.read` from the prompt's words.  Scenes are held out: their combinations of
attributes were never trained on.
"""

import argparse
import json
import multiprocessing
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageChops
from tqdm import tqdm

from llmga.command_line import quiet_libraries
from llmga.diffusers.families import INPAINTING
from llmga.diffusers.pipelines import Pipeline, load_pipeline
from llmga.llava.chat import Chat
from llmga.llava.generation_prompt import GenerationPrompt, parse
from llmga.llava.instructions import INSTRUCTIONS
from llmga.llava.loading import Mllm, load_mllm
from llmga.llava.planner import Dialogue
from llmga.llava.sampling import Sampling
from llmga.toyworld import captions, masked, oracle, requests, smalltalk
from llmga.toyworld.requests import Request
from llmga.toyworld.scenes import ATTRIBUTES, SIZES, Scene, draw, held_out_scenes

# What the project promises of the bundled checkpoints, as fractions.
BARS = {
    **{f"request.picture.{name}": 0.97 for name in ATTRIBUTES},
    "request.picture.all_named": 0.94,
    "request.prompt.all_named": 0.98,
    "similar.all": 0.88,
    "describe.all": 0.92,
    "unseen_phrasing.prompt.all_named": 0.90,
    "small_talk.no_picture": 0.95,
    "follow_up.picture.all": 0.85,
    "stage2.finetuned_minus_base": 0.0,
    "hole.prompt.all": 0.80,
    "hole.picture.all": 0.80,
    "inpaint.fill.all": 0.80,
    "inpaint.fill.kept": 1.0,
    "inpaint.outpaint.kept": 1.0,
}


@dataclass(frozen=True)
class Counts:
    """How many cases of each part are judged."""

    requests: int = 300
    unseen: int = 200
    small_talk: int = 150
    follow_ups: int = 150
    pictures: int = 150
    holes: int = 150
    stage2: int = 100
    inpainting: int = 150


@dataclass
class Accuracy:
    """Fractions of right answers by claim."""

    right: dict[str, int] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    misses: list[str] = field(default_factory=list)

    def add(self, claim: str, right: bool) -> None:
        """Count one case of a claim."""
        self.right[claim] = self.right.get(claim, 0) + right
        self.asked[claim] = self.asked.get(claim, 0) + 1

    def missed(self, part: str, said: str, got: object) -> None:
        """Keep a case that went wrong, to be read by people."""
        self.misses.append(f"{part}: {said!r} -> {got}")

    def fractions(self) -> dict[str, float]:
        """The share of right answers of every claim, 0 to 1."""
        return {claim: self.right[claim] / self.asked[claim] for claim in self.asked}


class Subject:
    """The system under test: a language model and a pipeline."""

    def __init__(self, mllm: Mllm, pipeline: Pipeline, seed: int):
        self.mllm = mllm
        self.pipeline = pipeline
        self.seed = seed

    def dialogue(self) -> Dialogue:
        """A fresh conversation."""
        return Dialogue(Chat(self.mllm))

    def answer(self, chat: Dialogue, text: str, images: tuple[Image.Image, ...] = ()) -> tuple[str, str | None]:
        """The whole reply and its first generation prompt, sampled as the front ends sample."""
        reply = "".join(chat.say(text, images, Sampling(seed=self.seed)))
        prompts = [event.text for event in parse([reply]) if isinstance(event, GenerationPrompt)]
        return reply, prompts[0] if prompts else None

    def paint(self, prompt: str, number: int) -> Image.Image:
        """The picture of a prompt, by the seed of its case."""
        return self.pipeline(prompt, seed=self.seed + number)


def _scenes(count: int, seed: int) -> Iterator[tuple[int, Scene, random.Random]]:
    """Held-out scenes, each with its own generator, so that counts can change without moving the cases."""
    scenes = random.Random(seed).sample(held_out_scenes(), min(count, len(held_out_scenes())))
    for number in range(count):
        yield number, scenes[number % len(scenes)], random.Random(seed * 1_000_003 + number)


def _judge(accuracy: Accuracy, claim: str, verdict: dict[str, bool]) -> bool:
    for name, right in verdict.items():
        accuracy.add(f"{claim}.{name}", right)
    return all(verdict.values())


def judge_requests(subject: Subject, count: int, accuracy: Accuracy) -> None:
    """Typed requests to pictures: one half names all five attributes, the other is as people type."""
    for number, scene, rng in tqdm(_scenes(count, 1), total=count, desc="requests"):
        request = requests.request(scene, rng, complete=number % 2 == 0)
        _, prompt = subject.answer(subject.dialogue(), request.text)
        said = captions.read(prompt or "")
        prompt_right = all(request.satisfied_by(said).values()) and prompt is not None
        accuracy.add("request.prompt.all_named", prompt_right)
        seen = oracle.read(subject.paint(prompt, number)).attributes if prompt else {}
        picture_right = _judge(accuracy, "request.picture", request.satisfied_by(seen))
        accuracy.add("request.picture.all_named", picture_right and prompt is not None)
        accuracy.add("request.picture_matches_prompt", bool(prompt) and seen == said)
        if not prompt_right or not picture_right:
            accuracy.missed("request", request.text, {"prompt": prompt, "seen": seen})


def judge_unseen_phrasings(subject: Subject, count: int, accuracy: Accuracy) -> None:
    """Requests in phrasings that training never saw, judged in the prompt."""
    for _, scene, rng in tqdm(_scenes(count, 2), total=count, desc="unseen phrasings"):
        request = requests.request(scene, rng, held_out=True)
        _, prompt = subject.answer(subject.dialogue(), request.text)
        right = prompt is not None and all(request.satisfied_by(captions.read(prompt)).values())
        accuracy.add("unseen_phrasing.prompt.all_named", right)
        if not right:
            accuracy.missed("unseen phrasing", request.text, prompt)


def judge_small_talk(subject: Subject, count: int, accuracy: Accuracy) -> None:
    """Greetings, questions and impossible wishes, half of them in unseen words, want no picture."""
    for number, _, rng in tqdm(_scenes(count, 3), total=count, desc="small talk"):
        said, _ = smalltalk.talk(rng, held_out=number % 2 == 1)
        reply, prompt = subject.answer(subject.dialogue(), said)
        accuracy.add("small_talk.no_picture", prompt is None and bool(reply.strip()))
        if prompt is not None:
            accuracy.missed("small talk", said, prompt)


def judge_follow_ups(subject: Subject, count: int, accuracy: Accuracy) -> None:
    """A second turn changes one attribute of what the first turn asked to paint, and keeps the others."""
    for number, scene, rng in tqdm(_scenes(count, 4), total=count, desc="follow-ups"):
        chat = subject.dialogue()
        first = requests.request(scene, rng, complete=True)
        before = captions.read(subject.answer(chat, first.text)[1] or "")
        start = Scene.of(**before) if len(before) == len(ATTRIBUTES) else scene
        change: Request = requests.follow_up(start, rng)
        _, prompt = subject.answer(chat, change.text)
        verdict = change.satisfied_by(captions.read(prompt or ""))
        accuracy.add("follow_up.prompt.all", all(verdict.values()))
        seen = oracle.read(subject.paint(prompt, number)).attributes if prompt else {}
        right = all(change.satisfied_by(seen).values())
        accuracy.add("follow_up.picture.all", right)
        accuracy.add(f"follow_up.picture.{change.kind}", right)
        if not right:
            accuracy.missed("follow-up", f"{first.text} | {change.text}", {"prompt": prompt, "seen": seen})


def judge_pictures(subject: Subject, count: int, accuracy: Accuracy) -> None:
    """A held-out picture, of any aspect, is painted again and described."""
    english = INSTRUCTIONS["en"]
    for number, scene, rng in tqdm(_scenes(count, 5), total=count, desc="pictures"):
        size = (64, 64) if number % 2 else rng.choice(((96, 72), (72, 96), (200, 150), (128, 128)))
        picture = draw(scene, *size)
        chat = subject.dialogue()
        wish = "Generate a similar image." if number % 2 else rng.choice(english.regenerate)
        _, prompt = subject.answer(chat, wish, (picture,))
        seen = oracle.read(subject.paint(prompt, number)).attributes if prompt else {}
        accuracy.add("similar.all", seen == scene.attributes)
        question = "Describe this picture." if number % 2 else rng.choice(english.describe)
        reply, drawn = subject.answer(subject.dialogue(), question, (picture,))
        said = captions.read(reply)
        accuracy.add("describe.all", said == scene.attributes and drawn is None)
        _judge(accuracy, "describe", {name: said.get(name) == value for name, value in scene.attributes.items()})
        if seen != scene.attributes or said != scene.attributes:
            accuracy.missed("picture", str(scene.attributes), {"similar": prompt, "seen": seen, "described": reply})


def judge_holes(subject: Subject, count: int, accuracy: Accuracy) -> None:
    """A wish for what is to stand where a picture's one thing is hidden: where, and on what, the picture tells.

    Half of the wishes are in unseen words, half of the pictures show another thing, too.  Pictures are judged without
    one, and where the hole has room for what is wished for; on black the hole cannot be seen.
    """
    for number, scene, rng in tqdm(_scenes(count, 8), total=count, desc="holes"):
        if scene.background == "black":
            continue
        company = number % 4 > 1
        hidden = masked.without_its_thing(scene, rng, company=company)
        wish = requests.into_hole(scene, rng, held_out=number % 2 == 1)
        _, prompt = subject.answer(subject.dialogue(), wish.text, (hidden.blackened,))
        said = captions.read(prompt or "")
        right = all(wish.satisfied_by(said).values())
        accuracy.add("hole.prompt.in_company" if company else "hole.prompt.all", right)
        if company:
            if not right:
                accuracy.missed("hole in company", wish.text, {"wanted": wish.scene.attributes, "prompt": prompt})
            continue
        if SIZES[wish.scene.attributes["size"]] > SIZES[scene.attributes["size"]]:
            continue
        filled = subject.pipeline(prompt, hidden.shown, hidden.mask, seed=subject.seed + number) if prompt else None
        seen = oracle.read(filled).attributes if filled else {}
        accuracy.add("hole.picture.all", all(wish.satisfied_by(seen).values()))
        if not all(wish.satisfied_by(seen).values()):
            accuracy.missed("hole", wish.text, {"wanted": wish.scene.attributes, "prompt": prompt, "seen": seen})


def judge_stage2(finetuned: Pipeline, base: Pipeline, count: int, seed: int, accuracy: Accuracy) -> None:
    """The same detailed prompts, the same seeds: what stage 2 adds to its base."""
    for name, pipeline in (("finetuned", finetuned), ("base", base)):
        for number, scene, rng in tqdm(_scenes(count, 6), total=count, desc=f"stage 2, {name}"):
            picture = pipeline(captions.detailed(scene, rng), seed=seed + number)
            accuracy.add(
                f"stage2.{name}.all", _judge(accuracy, f"stage2.{name}", oracle.score(picture, scene.attributes))
            )


def judge_inpainting(inpainter: Pipeline, count: int, seed: int, accuracy: Accuracy) -> None:
    """Half of the scenes lost their thing, half their sides; told the whole caption, what is hidden comes back, and
    what is not hidden stays, pixel for pixel."""
    for number, scene, rng in tqdm(_scenes(count, 7), total=count, desc="inpainting"):
        claim, hide = ("fill", masked.without_its_thing) if number % 2 else ("outpaint", masked.without_its_sides)
        hidden, caption = hide(scene, rng), captions.detailed(scene, rng)
        filled = inpainter(caption, hidden.shown, hidden.mask, seed=seed + number)
        verdict = oracle.score(filled, scene.attributes)
        accuracy.add(f"inpaint.{claim}.all", _judge(accuracy, f"inpaint.{claim}", verdict))
        changed = np.any(np.asarray(ImageChops.difference(filled.convert("RGB"), hidden.shown)), axis=-1)
        accuracy.add(f"inpaint.{claim}.kept", not changed[np.asarray(hidden.mask) == 0].any())
        if not all(verdict.values()):
            accuracy.missed(claim, caption, oracle.read(filled).attributes)


PARTS: dict[str, Callable[[Subject, int, Accuracy], None]] = {
    "requests": judge_requests,
    "unseen": judge_unseen_phrasings,
    "small_talk": judge_small_talk,
    "follow_ups": judge_follow_ups,
    "pictures": judge_pictures,
    "holes": judge_holes,
}


@dataclass(frozen=True)
class Paths:
    """Folders of the system under test; `base` is the pipeline before stage 2, `inpainter` fills holes."""

    mllm: str
    pipeline: str
    base: str
    inpainter: str


def judge(part: str, paths: Paths, count: int, seed: int) -> Accuracy:
    """One part of the evaluation, with models of its own: parts can run beside each other.

    Raises:
        UserError: when a checkpoint cannot be opened.
    """
    quiet_libraries()
    accuracy = Accuracy()
    if part in ("inpainting", "holes"):
        pipeline = load_pipeline(paths.inpainter, device="cpu", task=INPAINTING)
    else:
        pipeline = load_pipeline(paths.pipeline, device="cpu")
    if part == "inpainting":
        judge_inpainting(pipeline, count, seed, accuracy)
    elif part == "stage2":
        judge_stage2(pipeline, load_pipeline(paths.base, device="cpu"), count, seed, accuracy)
    else:
        PARTS[part](Subject(load_mllm(paths.mllm, device="cpu"), pipeline, seed), count, accuracy)
    return accuracy


def evaluate(paths: Paths, counts: dict[str, int], seed: int, processes: int = 1) -> tuple[dict[str, float], list[str]]:
    """The figures of the parts that `counts` names, by claim, and the misses in words.

    Raises:
        UserError: when a checkpoint cannot be opened.
    """
    jobs = [(part, paths, count, seed) for part, count in counts.items()]
    if processes == 1:
        accuracies = [judge(*job) for job in jobs]
    else:
        with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
            accuracies = list(pool.map(judge, *zip(*jobs, strict=True)))
    figures = {claim: value for accuracy in accuracies for claim, value in accuracy.fractions().items()}
    if "stage2" in counts:
        figures["stage2.finetuned_minus_base"] = figures["stage2.finetuned.all"] - figures["stage2.base.all"]
    return figures, [miss for accuracy in accuracies for miss in accuracy.misses]


def table(figures: dict[str, float]) -> str:
    """The figures with the bars they have to reach."""
    lines = [f"{'claim':38} {'measured':>9} {'bar':>6}"]
    for claim, value in figures.items():
        bar = BARS.get(claim)
        verdict = "" if bar is None else "  ok" if value >= bar else "  MISSED"
        lines.append(f"{claim:38} {value:9.3f} {'' if bar is None else f'{bar:.2f}':>6}{verdict}")
    return "\n".join(lines)


def score(options: argparse.Namespace) -> int:
    """Judge the parts that were asked for, and print and write the figures.

    Raises:
        UserError: a model cannot be opened.
    """
    counts = {part: max(1, round(vars(Counts())[part] * options.scale)) for part in options.parts}
    start = time.monotonic()
    paths = Paths(options.model_path, options.sdmodel_id, options.base, options.inpainter)
    figures, misses = evaluate(paths, counts, options.seed, options.processes)
    if set(options.parts) != set(vars(Counts())) and options.output and options.output.is_file():
        earlier = json.loads(options.output.read_text())
        figures, counts = earlier["figures"] | figures, earlier["cases"] | counts
    report = {
        "figures": {claim: round(value, 4) for claim, value in figures.items()},
        "bars": BARS,
        "missed_bars": [claim for claim, bar in BARS.items() if claim in figures and figures[claim] < bar],
        "cases": counts,
        "seed": options.seed,
        "seconds": round(time.monotonic() - start),
    }
    text = json.dumps(report, indent=2)
    print(table(figures))
    print(text)
    if options.output:
        options.output.write_text(text + "\n")
    if options.misses:
        options.misses.write_text("\n".join(misses) + "\n")
    return 0

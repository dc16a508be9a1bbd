"""One set of weights, many sessions."""

import time
from pathlib import Path
from threading import Event, Thread

import pytest
import torch
from PIL import Image

from llmga.assistant import shared_pipeline
from llmga.assistant.fair_lock import FairLock
from llmga.assistant.shared_pipeline import SharedPipeline, with_own_sampler
from llmga.diffusers.components import for_task
from llmga.diffusers.joining import batch_of
from llmga.diffusers.pipelines import load_pipeline


def slow(turns):
    """A generator that tells whether anybody else painted meanwhile."""
    inside = []

    def paint(prompt, *, on_step):
        inside.append(prompt)
        time.sleep(0.05)
        alone = inside == [prompt]
        inside.remove(prompt)
        return alone

    return SharedPipeline(paint, turns)


def test_nobody_paints_while_somebody_else_does():
    brush, found = slow(FairLock()), []
    threads = [Thread(target=lambda name=name: found.append(brush(name, on_step=lambda *_: None))) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 3


def test_who_waits_for_the_painter_can_be_stopped():
    turns, stopped, waiting = FairLock(), Event(), Event()

    class Stopped(Exception):
        pass

    def on_step(step, total):
        assert (step, total) == (0, 1)
        waiting.set()
        if stopped.is_set():
            raise Stopped

    with turns.taken(lambda: None):
        failed = []

        def paint():
            try:
                slow(turns)("x", on_step=on_step)
            except Stopped:
                failed.append("stopped")

        thread = Thread(target=paint)
        thread.start()
        assert waiting.wait(10)
        stopped.set()
        thread.join(10)
    assert failed == ["stopped"]


def test_the_painter_is_free_after_a_mistake():
    turns = FairLock()

    def broken(prompt, **options):
        raise ValueError

    with pytest.raises(ValueError):
        SharedPipeline(broken, turns)("x", on_step=lambda *_: None)
    with turns.taken(lambda: pytest.fail("still taken")):
        pass


@pytest.fixture(scope="module")
def painter():
    folder = Path(__file__).parents[1] / "fixtures/diffusion/pipelines/sd15"
    return load_pipeline(folder, device="cpu", dtype="fp32")


def test_pictures_from_words_are_painted_beside_each_other_and_a_filled_part_alone(painter):
    lock, batch, found = FairLock(), batch_of(painter, 2), {}
    size = painter.native_size
    mask, picture = Image.new("L", size), Image.new("RGB", size)
    mask.paste(255, (0, 0, size[0] // 2, size[1]))
    changed = {"image": picture, "mask": mask, "restore": lambda painting, *_: painting}
    wishes = {"a": {}, "b": {}, "part": changed}

    def work(name):
        brush = SharedPipeline(with_own_sampler(painter), lock, batch, name)
        brush = brush.for_task("inpainting") if name == "part" else brush
        told = {"prompt": name, "seed": 1, "steps": 3, **wishes[name]}
        found[name] = brush(on_step=lambda *_: None, **told).tobytes()

    threads = [Thread(target=work, args=(name,)) for name in wishes]
    with lock.taken(lambda: None):
        for number, thread in enumerate(threads):
            thread.start()
            while lock.waiting < number + 2:
                time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert batch.passes.get(2), "both were denoised together"
    for name, told in wishes.items():
        own = for_task(painter, "inpainting") if name == "part" else painter
        assert found[name] == own(name, seed=1, steps=3, **told).tobytes()


def test_what_finds_no_memory_beside_others_is_painted_alone(painter, monkeypatch):
    def crowded(*_, **__):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(shared_pipeline, "paint_beside", crowded)
    brush = SharedPipeline(painter, FairLock(), batch_of(painter, 2))
    told = {"seed": 1, "steps": 2}
    assert brush("a cat", on_step=lambda *_: None, **told).tobytes() == painter("a cat", **told).tobytes()


def test_a_sampler_is_chosen_for_one_request_only(painter):
    one, two = with_own_sampler(painter), with_own_sampler(painter)
    one.use_sampler("euler-a")
    assert (two.sampler_name, painter.sampler_name) == ("checkpoint", "checkpoint")
    assert with_own_sampler("what runs elsewhere") == "what runs elsewhere"

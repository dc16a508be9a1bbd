"""Pictures that are denoised together are those that each is alone."""

import threading
import time

import numpy as np
import pytest
import torch

from llmga.diffusers import joining
from llmga.diffusers.batching import Step, StepBatch
from llmga.diffusers.components import for_task
from llmga.diffusers.control import Control
from llmga.diffusers.joining import batch_of, joins, paint_beside
from llmga.diffusers.pipelines import load_pipeline
from llmga.errors import UserError

SAMPLERS = ("checkpoint", "ddim", "pndm", "euler-a", "heun", "unipc", "dpm++-2m-sde", "dpm++-2s", "lcm")
WISHES = (  # each with its own prompt, seed, guidance, negative prompt and number of steps
    {"prompt": "a red circle", "seed": 1, "steps": 3},
    {"prompt": "a blue square on a wall", "seed": 2, "steps": 3, "negative_prompt": "green", "guidance_scale": 4.0},
    {"prompt": "a star", "seed": 3, "steps": 5},
    {"prompt": "a moon", "seed": 4, "steps": 3, "guidance_scale": 1.0},
)


class Gone(Exception):
    pass


@pytest.fixture(scope="module", params=["sd15", "sdxl"])
def painter(goldens, request):
    return load_pipeline(goldens.folder(request.param), device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def sd15(goldens):
    return load_pipeline(goldens.folder("sd15"), device="cpu", dtype="fp32")


def side_by_side(painter, wishes, most=8):
    """What becomes of each, all having come before the first one begins; and the batch."""
    batch, found = batch_of(painter, most), [None] * len(wishes)

    def work(number):
        try:
            found[number] = paint_beside(painter, batch, **wishes[number])
        except Exception as problem:
            found[number] = problem

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(wishes))]
    with batch.alone(lambda: None):
        for thread in threads:
            thread.start()
        while len(batch._members) < sum(thread.is_alive() for thread in threads):
            time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert not batch._members and not batch._waiting and not batch._busy
    return found, batch


def shared(batch):
    return sum(count for pictures, count in batch.passes.items() if pictures > 1)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_each_picture_is_to_the_bit_what_it_is_alone(painter, sampler):
    painter.use_sampler(sampler)
    guidance = {"guidance_scale": 3.0} if sampler == "lcm" else {}
    wishes = [guidance | wish for wish in WISHES]
    alone = [painter(**wish).tobytes() for wish in wishes]
    found, batch = side_by_side(painter, wishes)
    assert [image.tobytes() for image in found] == alone
    assert shared(batch) >= 3
    painter.use_sampler()


def test_in_fewer_bits_a_picture_is_within_a_level(goldens):
    half = load_pipeline(goldens.folder("sdxl"), device="cpu", dtype="bf16")
    wishes = [{"prompt": f"a cat {number}", "seed": number, "steps": 3} for number in range(3)]
    found, _ = side_by_side(half, wishes)
    for image, wish in zip(found, wishes, strict=True):
        assert np.abs(np.int16(np.asarray(image)) - np.int16(np.asarray(half(**wish)))).max() <= 1


def test_one_joins_between_the_steps_of_another_and_each_is_told_its_own_progress(sd15):
    batch, steps, found = batch_of(sd15, 4), {"a": [], "b": []}, {}
    begun, joined = threading.Event(), threading.Event()

    def work(name, count, before):
        def on_step(step, total):
            steps[name].append((step, total))
            if step == 1:
                before.set()
            if name == "a" and step == 2:
                assert joined.wait(60)

        wish = {"prompt": name, "seed": 7, "steps": count}
        found[name] = paint_beside(sd15, batch, on_step=on_step, **wish)

    first = threading.Thread(target=work, args=("a", 6, begun))
    first.start()
    assert begun.wait(60)
    work("b", 3, joined)
    first.join()
    for name, count in (("a", 6), ("b", 3)):
        assert found[name].tobytes() == sd15(prompt=name, seed=7, steps=count).tobytes()
    assert 2 in batch.passes
    assert steps == {name: [(step + 1, total) for step in range(total)] for name, total in (("a", 6), ("b", 3))}


def test_whoever_leaves_leaves_the_others_alone(sd15):
    done = []

    def still_wanted():
        if len(done) == 2:
            raise Gone

    wishes = [*WISHES[:2], WISHES[2] | {"on_step": lambda step, total: done.append(step), "still_wanted": still_wanted}]
    found, _ = side_by_side(sd15, wishes)
    assert isinstance(found[2], Gone) and done == [1, 2]
    assert [image.tobytes() for image in found[:2]] == [sd15(**wish).tobytes() for wish in wishes[:2]]


def test_what_cannot_be_painted_fails_alone(sd15):
    bad = ({"size": (63, 64)}, {"steps": 0}, {"seed": -1}, {"clip_skip": 99})
    found, _ = side_by_side(sd15, [WISHES[0], *({"prompt": "a cat"} | each for each in bad)])
    assert found[0].tobytes() == sd15(**WISHES[0]).tobytes()
    assert all(isinstance(each, UserError) for each in found[1:])


def test_pictures_of_other_sizes_and_longer_prompts_have_passes_of_their_own(sd15):
    wishes = [*WISHES[:2], WISHES[0] | {"size": (64, 96)}, WISHES[1] | {"prompt": "many words " * 60}]
    found, batch = side_by_side(sd15, wishes)
    assert [image.tobytes() for image in found] == [sd15(**wish).tobytes() for wish in wishes]
    assert set(batch.passes) == {1, 2}


def test_previews_are_each_picture_s_own(sd15):
    seen = [[], [], []]
    wishes = [wish | {"on_preview": lambda step, small, own=own: own.append(small.tobytes())}
              for wish, own in zip(WISHES, seen, strict=False)]  # fmt: skip
    side_by_side(sd15, wishes)
    for wish, own in zip(WISHES, seen, strict=False):
        alone = []
        sd15(**wish, on_preview=lambda step, small, alone=alone: alone.append(small.tobytes()))
        assert own == alone and len(own) == wish["steps"]


def test_only_pictures_from_words_join(painter, sd15):
    batch = batch_of(painter, 4)
    assert joins(painter, batch, {"image": None, "mask": None, "controls": ()})
    assert not joins(for_task(painter, "inpainting"), batch, {})
    assert not joins(painter, batch, {"image": object()})
    assert not joins(painter, batch, {"controls": (Control("canny"),)})
    assert not joins(sd15, batch, {}), "another denoiser"
    assert batch_of(painter, 1) is None and batch_of(object(), 4) is None


def test_no_more_join_than_there_is_memory_for(sd15, monkeypatch):
    for free, most in ((1, None), (10**12, 8)):
        monkeypatch.setattr(joining, "free_memory", lambda device, free=free: free)
        batch = batch_of(sd15, 8)
        assert (batch and batch.most) == most
    small = StepBatch(None, 8, 2 * 64 * 64)
    assert [small._fit(step(torch.zeros(2, 4, side, side))) for side in (8, 64, 128)] == [8, 2, 1]


def step(sample, look=lambda: None, **given):
    return Step(sample, 1, given, look)


def computed(network, samples, most=8):
    """What becomes of each sample, given to a batch by a thread each."""
    batch, found = StepBatch(network, most), [None] * len(samples)

    def work(number):
        with batch.member() as denoise:
            try:
                found[number] = denoise(step(samples[number]))[0]
            except Exception as problem:
                found[number] = problem

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(samples))]
    with batch.alone(lambda: None):
        for thread in threads:
            thread.start()
        while len(batch._waiting) < len(samples):
            time.sleep(0.001)
    for thread in threads:
        thread.join()
    return found, batch


def rows(*values):
    return [torch.full((2, 1, 1, 1), float(value)) for value in values]


def test_what_the_network_refuses_of_one_is_computed_for_the_others():
    def network(sample, times):
        if (sample == 3).any():
            raise ValueError("three")
        return (sample * 2,)

    found, _ = computed(network, rows(1, 2, 3, 4))
    assert [isinstance(each, ValueError) for each in found] == [False, False, True, False]
    assert [each.flatten().tolist() for each in (found[0], found[1], found[3])] == [[2, 2], [4, 4], [8, 8]]


def test_where_memory_does_not_suffice_fewer_are_computed_from_then_on(caplog):
    def network(sample, times):
        if len(sample) > 4:
            raise torch.OutOfMemoryError
        return (sample + 1,)

    found, batch = computed(network, rows(*range(6)))
    assert [each.flatten()[0].item() for each in found] == [1, 2, 3, 4, 5, 6]
    assert batch.most <= 3 and "out of memory; from now on" in caplog.text


def test_every_row_has_its_own_time():
    seen = []

    def network(sample, times):
        seen.append(times)
        return (sample,)

    computed(network, rows(0, 0))
    assert seen[0].tolist() == [1.0] * 4 and seen[0].dtype == torch.float32

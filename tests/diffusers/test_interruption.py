"""A painting ends between the blocks of its networks, and is the same picture when it does not."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from llmga.assistant.loading import bundled
from llmga.diffusers.interruption import blocks, watched
from llmga.diffusers.pipelines import load_pipeline

BUNDLED = "llmga-toy-sdxl-t2i"
PIPELINE_CLASSES = [("sd15", None), ("sdxl", None), ("sdxl", "inpainting"), ("sdxl", "editing"), (BUNDLED, None)]


class Enough(Exception):
    pass


@pytest.fixture(scope="module", params=PIPELINE_CLASSES, ids=str)
def painter(goldens, request):
    folder, task = request.param
    place = bundled(f"checkpoints/Inference/{folder}", "") if folder == BUNDLED else goldens.folder(folder)
    return load_pipeline(place, task=task, device="cpu")


@pytest.fixture
def given(painter):
    """What the painter's task takes beside the words."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    mask = Image.new("L", (64, 64))
    mask.paste(255, (8, 8, 40, 56))
    ours = {"inpainting": {"image": picture, "mask": mask}, "editing": {"image": picture, "source_prompt": "a dog"}}
    return {"steps": 2, "seed": 3} | ours.get(painter.family.task, {})


def hooks(painter):
    return sum(len(module._forward_pre_hooks) for module in blocks(painter.pipe))


def test_a_painting_that_is_watched_is_bit_for_bit_the_same_and_leaves_nothing_behind(painter, given):
    looks = []
    plain = painter("a cat", **given)
    assert painter("a cat", still_wanted=lambda: looks.append(1), **given).tobytes() == plain.tobytes()
    assert len(looks) > 20 and hooks(painter) == 0


@pytest.fixture
def done(painter):
    """How many blocks each network has computed."""
    done, counting = dict.fromkeys(("text_encoder", "unet", "vae"), 0), []
    for name in done:

        def count(*_, name=name):
            done[name] += 1

        only = SimpleNamespace(components={name: getattr(painter.pipe, name)})
        counting += [block.register_forward_hook(count) for block in blocks(only)]
    yield done
    for hook in counting:
        hook.remove()


@pytest.mark.parametrize("part", ["text_encoder", "unet", "vae"])
def test_once_it_is_not_wanted_no_network_computes_another_block(painter, given, done, part):
    def look():
        if done[part]:
            raise Enough

    painter.encoder.forget()
    with pytest.raises(Enough):
        painter("a cat", still_wanted=look, **given)
    assert done[part] == 1 and hooks(painter) == 0
    painter("a cat", **given)


def test_a_network_that_serves_another_thread_meanwhile_is_not_ended_there(painter):
    ended = []
    with watched(painter.pipe, lambda: ended.append(1)):
        thread = threading.Thread(target=painter.encoder, args=("said by another one",))
        thread.start()
        thread.join()
    assert not ended

"""Clip skip, against diffusers' own on the same weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPTextModel

from llmga.assistant.painting import ImageRequest
from llmga.assistant.record import Record, parameters
from llmga.assistant.settings import Settings
from llmga.diffusers.pipelines import load_pipeline
from llmga.errors import UserError
from llmga.serve.reproduction import replayed
from llmga.serve.terminal.settings_command import change

PROMPT, NEGATIVE = "a cat on a red roof, painted by hand", "blurred"


@pytest.fixture(scope="module", params=["sd15", "sdxl"])
def painter(request, goldens):
    return load_pipeline(goldens.folder(request.param), device="cpu", dtype="fp32")


@pytest.mark.parametrize("skip", [0, 1])
@pytest.mark.parametrize("negative", [None, NEGATIVE])
def test_the_picture_is_that_of_diffusers(painter, monkeypatch, skip, negative):
    """Its own clip skip looks for the text model where transformers has none any more."""
    monkeypatch.setattr(CLIPTextModel, "text_model", property(lambda tower: tower), raising=False)
    ours = np.asarray(painter(PROMPT, negative_prompt=negative, seed=1, steps=2, clip_skip=skip))
    width, height = painter.native_size
    theirs = painter.pipe(
        PROMPT, negative_prompt=negative, clip_skip=skip or None, num_inference_steps=2, width=width, height=height,
        guidance_scale=painter.guidance_scale, generator=torch.Generator().manual_seed(1),
    ).images[0]  # fmt: skip
    assert np.abs(ours.astype(int) - np.asarray(theirs).astype(int)).max() <= 1


def test_a_skipped_layer_changes_the_picture_and_long_prompts_take_it_too(painter):
    long = " ".join([PROMPT] * 20)
    plain, skipped = (painter(long, seed=1, steps=2, clip_skip=skip).tobytes() for skip in (None, 1))
    assert plain == painter(long, seed=1, steps=2, clip_skip=0).tobytes() != skipped


@pytest.mark.parametrize("skip", [2, -1])
def test_more_than_the_layers_there_are_is_told(painter, skip):
    with pytest.raises(UserError, match=rf"clip skip {skip} is out of range .* use 0 to 1\."):
        painter(PROMPT, seed=1, steps=1, clip_skip=skip)


@pytest.mark.parametrize("task", ["inpainting", "editing"])
def test_pictures_that_are_changed_take_it_too(goldens, task):
    painter = load_pipeline(goldens.folder("sd15"), task=task, device="cpu", dtype="fp32")
    picture, mask = Image.new("RGB", (64, 64), "red"), Image.linear_gradient("L").resize((64, 64))
    plain, skipped = (
        painter("a cat", picture, mask, seed=1, steps=4, clip_skip=skip).tobytes() for skip in (None, 1)
    )  # fmt: skip
    assert plain != skipped


def test_a_setting_goes_to_the_pipeline_and_comes_back_from_the_record():
    wanted = ImageRequest.of("a cat", 1, None, Settings(clip_skip=1))
    assert wanted.clip_skip == 1
    record = Record("a cat", "", 1, clip_skip=1, steps=2)
    assert Record.from_json(record.to_json()).clip_skip == 1
    assert "Clip skip: 2" in parameters(record)  # as A1111 counts
    asked = {}

    def pipeline(prompt, **options):
        asked.update(options)
        return Image.new("RGB", (8, 8))

    class Postprocessing:
        upscaler = None
        compare = staticmethod(lambda image, region: None)
        enlarge = staticmethod(lambda image, region: image)

    replayed(record, pipeline, Postprocessing(), None)
    assert asked["clip_skip"] == 1


def test_more_than_the_layers_there_are_is_told_before_the_first_answer(painter, toy):
    assistant = toy("Hello.", pipeline=painter)
    with pytest.raises(UserError, match=r"clip skip 9 is out of range .* use 0 to 1\."):
        change(assistant, "clip-skip", "9")
    assert assistant.settings.clip_skip is None
    assistant.settings = replace(assistant.settings, clip_skip=9)  # as --clip-skip gives it
    with pytest.raises(UserError, match=r"clip skip 9 is out of range"):
        assistant.check()

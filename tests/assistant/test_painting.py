"""One order gives one picture, and what is told of it is true."""

import numpy as np
import pytest
from PIL import Image

from llmga.assistant.events import PictureReady
from llmga.assistant.record import picture_hash
from llmga.assistant.session import Turn
from llmga.compositing import paste_back

ONE = "Here. <gen_image> a red circle </gen_image>"


def scene(mode="RGB", size=(32, 24)):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    mask = Image.new("L", size)
    mask.paste(255, (8, 4, 24, 20))
    return Image.fromarray(pixels).convert(mode), mask


def painted(assistant, **turn):
    events = list(assistant.stream(Turn("fill it", **turn)))
    return next(event for event in events if isinstance(event, PictureReady))


def test_a_restorer_sees_the_painting_before_the_kept_pixels_are_put_back(toy):
    seen = []

    def restorer(painting, picture, mask):
        seen.append((painting, picture, mask))
        return Image.new("RGB", painting.size, "white")

    picture, mask = scene()
    ready = painted(toy(ONE, restorer=restorer, seed=7), images=(picture,), mask=mask)
    ((painting, reference, hole),) = seen
    assert len(painting.getcolors()) == 1  # the toy paints one colour, kept part and all
    assert reference.tobytes() == picture.tobytes() and hole.tobytes() == mask.tobytes()
    assert ready.image.tobytes() == paste_back(picture, Image.new("RGB", picture.size, "white"), mask).tobytes()


def test_the_seam_is_told_before_and_after(toy):
    picture, mask = Image.new("RGB", (32, 24), (7, 0, 9)), scene()[1]

    def grey(painting, reference, hole):
        return Image.new("RGB", painting.size, (107, 100, 109))

    record = painted(toy(ONE, restorer=grey, seed=7), images=(picture,), mask=mask).record
    assert record.seam_before.colour == pytest.approx(0) and record.seam_after.colour == pytest.approx(100)
    assert record.restorer == "grey"


def test_a_picture_from_words_has_neither_seam_nor_parent(toy):
    record = painted(toy(ONE)).record
    assert (record.task, record.parent, record.mask, record.restorer) == ("text-to-image", None, None, None)
    assert record.seam_before is record.seam_after is None


def test_the_record_names_parent_and_mask_and_what_the_painter_was_told(toy):
    picture, mask = scene("RGBA")
    assistant = toy(ONE, repaint={"strength": 0.5, "area": "mask", "soft": False}, size=(16, 16), temperature=0.5)
    record = painted(assistant, images=(picture,), mask=mask).record
    assert record.task == "inpainting" and record.work_size == (16, 16)
    assert (record.parent, record.mask) == (picture_hash(picture), picture_hash(mask))
    assert dict(record.changes) == {"strength": 0.5, "area": "mask", "soft": False}
    assert record.words["temperature"] == 0.5 and record.words["max_new_tokens"] == 512


def test_an_outpainted_picture_names_the_picture_before_it_grew(toy):
    picture, _ = scene()
    ready = painted(toy(ONE), images=(picture,), outpaint="left=50%", fill="mirror")
    record = ready.record
    assert ready.image.size == (48, 24) and record.task == "outpainting"
    assert (record.outpaint, record.fill, record.parent) == ("left=50%", "mirror", picture_hash(picture))
    assert ready.image.crop((16, 0, 48, 24)).tobytes() == picture.tobytes()


def test_a_picture_is_enlarged_on_request(toy):
    class Doubler:
        scale = 2

        def __call__(self, image, reference, mask):
            self.seen = reference, mask
            return image.resize((image.width * 2, image.height * 2))

    assistant = toy(ONE, ONE, upscale=2)
    assistant.upscaler = Doubler()
    ready = painted(assistant)
    assert ready.image.size == ready.record.size == (32, 16)
    assert ready.record.upscaler == "Doubler" and assistant.upscaler.seen == (None, None)
    picture, mask = scene()
    assert painted(assistant, images=(picture,), mask=mask).image.size == (64, 48)


def test_weights_that_are_not_there_are_told_before_anything_is_painted(toy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assistant = toy(ONE, upscale=4)
    events = list(assistant.stream(Turn("go")))
    assert "no restoration weights of scale 4" in events[-1].message
    assert assistant.pipeline.steps_done == 0


def test_a_picture_is_the_same_whatever_file_it_is_in(tmp_path):
    picture = scene()[0].quantize(16)
    picture.save(tmp_path / "a.png"), picture.convert("RGB").save(tmp_path / "b.webp", lossless=True)
    files = [Image.open(tmp_path / name) for name in ("a.png", "b.webp")]
    assert len({picture_hash(image) for image in (picture, *files)}) == 1
    assert picture_hash(picture.convert("L")) != picture_hash(picture)

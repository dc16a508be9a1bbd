"""Pictures looked at and marked before they leave."""

import sys
from types import SimpleNamespace

import pytest
import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessorPil

from llmga.assistant.loading import Models
from llmga.assistant.record import ModelMark
from llmga.assistant.safety import WITHHELD, Guard, Watermark, load_checker, open_guard
from llmga.diffrir.restorers import RESTORERS
from llmga.errors import UserError
from llmga.serve.gradio_web_server import build_parser, page_options
from llmga.serve.page.model_pool import ModelPool


@pytest.fixture
def checker(tmp_path):
    """`checker(threshold)` is a folder of a tiny one that objects to what is nearer than this to anything."""

    def make(threshold):
        torch.manual_seed(0)
        vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
                  "image_size": 28, "patch_size": 14}  # fmt: skip
        model = StableDiffusionSafetyChecker(CLIPConfig(vision_config=vision, projection_dim=8))
        model.concept_embeds_weights.data.fill_(threshold)
        model.special_care_embeds_weights.data.fill_(2.0)
        model.save_pretrained(tmp_path / "safety_checker")
        size = {"size": {"shortest_edge": 28}, "crop_size": {"height": 28, "width": 28}}
        CLIPImageProcessorPil(**size).save_pretrained(tmp_path / "feature_extractor")
        return str(tmp_path / "safety_checker")

    return make


@pytest.mark.parametrize(("threshold", "objects"), [(-2.0, True), (2.0, False)])
def test_the_checker_objects_to_what_is_near_a_concept(checker, threshold, objects):
    assert load_checker(checker(threshold), "cpu")(Image.new("RGB", (40, 30))) is objects


@pytest.mark.parametrize(
    "missing", ["config.json", "model.safetensors", "../feature_extractor/preprocessor_config.json"]
)
def test_a_folder_that_is_no_checker_is_one_sentence(checker, tmp_path, missing):
    folder = checker(0.0)
    (tmp_path / "safety_checker" / missing).resolve().unlink()
    with pytest.raises(UserError, match="safety-checker"):
        load_checker(folder, "cpu")


def test_what_is_unsafe_does_not_leave(running):
    server = running()
    guard = Guard(unsafe=lambda image: image.getpixel((0, 0))[0] > 200)
    object.__setattr__(server.service.engine.models, "guard", guard)
    (choice,) = server.chat("paint it red").json()["choices"]
    assert "images" not in choice["message"] and choice["finish_reason"] == "content_filter"
    assert choice["message"]["refusal"] == WITHHELD
    answer = server.http.post("/v1/images/generations", json={"prompt": "red", "stream": True, "partial_images": 3})
    assert "b64_json" not in answer.text and "content_policy_violation" in answer.text
    assert server.chat("paint it blue").json()["choices"][0]["message"]["images"]


def test_what_a_page_would_show_passes_the_same_guard():
    guard = Guard(unsafe=lambda image: True)
    marks = (ModelMark("language", "words", None), ModelMark("painter", "paint", None))
    painter = SimpleNamespace(describe=dict)
    models = Models(lambda: None, painter, RESTORERS["none"], marks, guard=guard)
    assistant = ModelPool(page_options(build_parser().parse_args([])), models).assistant()
    assert assistant.guard is guard and assistant.pipeline.lock is models.lock


def test_without_its_package_the_watermark_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "imwatermark", None)
    with pytest.raises(UserError, match="invisible-watermark"):
        open_guard(None, "mine")


class Encoder:
    """Speaks as imwatermark's does: pictures are arrays of blue, green, red."""

    def set_watermark(self, kind, content):
        assert kind == "bytes"
        self.content = content

    def encode(self, pixels, method):
        assert method == "dwtDctSvd"
        marked = pixels.copy()
        marked[0, 0] = (1, 2, 3)
        return marked


def test_a_mark_keeps_mode_transparency_and_kept_pixels_and_spares_small_pictures(monkeypatch):
    monkeypatch.setitem(sys.modules, "imwatermark", SimpleNamespace(WatermarkEncoder=Encoder))
    mark = Watermark.of("mine")
    picture = Image.new("RGBA", (256, 256), (9, 8, 7, 100))
    marked = mark(picture)
    assert marked.mode == "RGBA" and marked.getpixel((0, 0)) == (3, 2, 1, 100)
    assert marked.getpixel((5, 5)) == (9, 8, 7, 100)
    painted = Image.new("L", (256, 256))
    assert mark(picture, painted).tobytes() == picture.tobytes()
    painted.putpixel((0, 0), 1)
    assert mark(picture, painted).getpixel((0, 0)) == (3, 2, 1, 100)
    assert mark(picture, painted.resize((128, 128))).getpixel((0, 0)) == (3, 2, 1, 100)  # enlarged since: none was kept
    small = Image.new("RGB", (64, 64))
    assert mark(small) is small and Guard(watermark=mark)(small) == (small, None)
    assert Guard(watermark=mark)(picture)[1] == "mine"
    with pytest.raises(UserError, match="1 to 32"):
        Watermark.of("x" * 33)


def test_the_usual_mark_is_hidden_where_its_package_is_and_another_needs_it(monkeypatch):
    monkeypatch.setattr("llmga.assistant.safety.find_spec", lambda name: None)
    assert open_guard(None, "llmga").watermark is None
    monkeypatch.setattr("llmga.assistant.safety.find_spec", lambda name: name)
    monkeypatch.setitem(sys.modules, "imwatermark", SimpleNamespace(WatermarkEncoder=Encoder))
    assert open_guard(None, "llmga").watermark == Watermark("llmga")
    assert open_guard(None, None).watermark is None

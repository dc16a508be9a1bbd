"""Pictures changed as a person says it, by a painter that takes an instruction: through the assistant to the record."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from llmga.assistant.assistant import Assistant
from llmga.assistant.loading import Models, ModelSpec
from llmga.assistant.painting import Postprocessing
from llmga.assistant.record import ModelMark, Record, picture_hash
from llmga.assistant.session_file import load_session, save_session
from llmga.assistant.settings import Settings, usual_edits
from llmga.changes import Change, change
from llmga.diffrir.restorers import RESTORERS
from llmga.diffusers.families import EDITING
from llmga.diffusers.pipelines import load_pipeline
from llmga.errors import UserError
from llmga.serve.reproduction import region_of, replayed
from tests.diffusers import newer_toys
from tests.toys import ToyChat

ASKED = "Of course. <gen_image> a photo of a bridge at night </gen_image> There."


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("instructed")
    return {name: newer_toys.saved(name, root / name) for name in ("pix2pix", "kontext", "sd3")}


@pytest.fixture(scope="module")
def photo():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))


def assistant(pipeline, *replies, marks=(), **settings):
    chosen = Settings(edit=usual_edits(), steps=2, size=(64, 48), seed=7) if not settings else Settings(**settings)
    return Assistant(ToyChat(*replies), pipeline, RESTORERS["none"], chosen, marks)


@pytest.mark.parametrize("name", ["pix2pix", "kontext"])
def test_what_is_said_is_what_the_painter_is_told(folders, photo, name):
    pipeline = load_pipeline(folders[name], device="cpu")
    here = assistant(pipeline, ASKED)
    reply = here.say("make it night", photo)
    (image,), (record,) = reply.images, reply.records
    assert reply.text == "Of course.  There." and reply.prompts == ("make it night",)
    assert image.tobytes() == pipeline("make it night", photo, seed=7, steps=2, size=(64, 48)).tobytes()
    assert (record.prompt, record.request, record.task) == ("make it night", "make it night", "editing")
    assert record.parent == picture_hash(photo) and record.changed == change(photo, image)
    assert here.planner.conversation.messages[-1].images  # the planner has seen it, and was asked once


def test_the_next_instruction_is_about_the_result_and_taking_it_back_about_the_photo(folders, photo):
    pipeline = load_pipeline(folders["pix2pix"], device="cpu")
    here = assistant(pipeline, ASKED, "<gen_image> two </gen_image>", "<gen_image> three </gen_image>")
    first = here.say("make it night", photo).images[0]
    second = here.say("add a moon")
    assert second.records[0].prompt == "add a moon" and second.records[0].parent == picture_hash(first)
    here.undo()
    third = here.say("add a star")
    assert third.records[0].parent == picture_hash(first) and third.records[0].seed == 9
    here.leave_region()
    assert here.region is None


def test_it_can_be_painted_again_in_other_words_and_loaded_and_replayed(folders, photo, tmp_path):
    pipeline = load_pipeline(folders["pix2pix"], device="cpu")
    here = assistant(pipeline, ASKED)
    image = here.say("make it night", photo).images[0]
    again = [event for event in here.repaint(prompt="make it dawn") if hasattr(event, "record")][0]
    assert again.record.prompt == "make it dawn" and again.record.parent == picture_hash(photo)
    saved = load_session(save_session(tmp_path / "it.zip", here))
    record = saved.session.exchanges[0].paintings[0].record
    assert record.changed == change(photo, image) and Record.from_json(record.to_json()) == record
    fresh = load_pipeline(folders["pix2pix"], name=record.painter["family"], device="cpu")
    region = region_of(record, {picture_hash(photo): photo})
    assert replayed(record, fresh, Postprocessing(RESTORERS["none"]), region).tobytes() == image.tobytes()


def test_a_prompt_that_waited_is_painted_as_it_was_said(folders, photo):
    pipeline = load_pipeline(folders["pix2pix"], device="cpu")
    here = assistant(pipeline, ASKED)
    here.settings = replace(here.settings, paint=False)
    here.say("make it night", photo)
    here.settings = replace(here.settings, paint=True)
    painted = [event.record.prompt for event in here.paint(0, 0) if hasattr(event, "record")]
    own = [event.record.prompt for event in here.paint(0, 0, "make it noon") if hasattr(event, "record")]
    assert painted == ["make it night"] and own == ["make it noon"]


def test_an_editor_stands_beside_a_painter_and_the_record_names_it(folders, photo):
    spec = ModelSpec(pipeline=folders["sd3"], editor=folders["pix2pix"], device="cpu")
    pipeline = spec.open_guided(folders["sd3"])
    pipeline.dedicated[EDITING] = replace(spec, sampler=None).open_pipeline(folders["pix2pix"], EDITING)
    marks = [ModelMark.of("painter", folders["sd3"]), ModelMark.of("editor", folders["pix2pix"])]
    here = assistant(pipeline, "<gen_image> a bridge </gen_image>", ASKED, marks=marks)
    words, edited = here.say("a bridge").records[0], here.say("make it night", photo).records[0]
    assert (words.prompt, words.model("painter").name, words.model("editor")) == ("a bridge", "sd3", None)
    assert (edited.prompt, edited.model("painter").name, edited.model("editor")) == ("make it night", "pix2pix", None)
    assert words.painter["family"] == "sd3" and edited.painter["family"] == "sd15-pix2pix"


def test_models_are_loaded_with_their_editor(folders, tmp_path):
    models = Models.load(ModelSpec(editor=folders["pix2pix"], device="cpu", sampler="euler"))
    editor = models.pipeline.dedicated[EDITING]
    assert editor.family.name == "sd15-pix2pix" and editor.sampler_name == "checkpoint"
    assert "editor" in [mark.role for mark in models.marks]
    with pytest.raises(UserError, match="--editor goes with a painter from words"):
        ModelSpec(task="editing", editor=folders["pix2pix"]).filled()


def test_a_painter_that_goes_by_a_description_gets_the_planners(folders, photo):
    pipeline = load_pipeline(folders["sd3"], device="cpu")
    here = assistant(pipeline, "<gen_image> a bridge by day </gen_image>", ASKED)
    record = here.say("make it night", photo).records[0]
    assert record.prompt == "a photo of a bridge at night" and record.changes["source_prompt"] == "a bridge by day"
    assert record.painter["family"] == "sd3-editing" and record.changed is not None


def test_a_change_is_measured_beyond_what_encoding_does(photo):
    assert change(photo, photo) == Change(0.0, None) and str(change(photo, photo)) == "nothing changed"
    slightly = Image.fromarray(np.clip(np.asarray(photo).astype(int) + 16, 0, 255).astype(np.uint8))
    assert change(photo, slightly) == Change(0.0, None)
    white, marked = (Image.new("RGB", (64, 48), "white") for _ in range(2))
    marked.paste((0, 0, 0), (8, 4, 24, 16))
    seen = change(white, marked)
    assert seen == Change(16 * 12 / (64 * 48), (8, 4, 24, 16))
    assert str(seen) == "changed 6.2% of the picture, within 8,4 to 24,16"
    large = Image.new("RGB", (1024, 768), "white")
    dotted = large.copy()
    dotted.putpixel((500, 500), (200, 200, 200))
    assert change(large, dotted).box is None  # a single pixel is no change
    with pytest.raises(UserError, match="cannot be compared"):
        change(photo, large)

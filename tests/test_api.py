"""`import llmga` is the way in for programs: light, typed, and all of it explained."""

import copy
import inspect
import pickle
import pydoc
import re
import subprocess
import sys

import pytest
from PIL import Image

import llmga

PUBLIC = [name for name in llmga.__all__ if not name.startswith("_")]
LIGHT = """
import os, signal, sys, logging
before = dict(os.environ), signal.getsignal(signal.SIGINT), list(logging.root.handlers), list(sys.path)
import llmga
llmga.__version__, llmga.__all__, dir(llmga)
assert (dict(os.environ), signal.getsignal(signal.SIGINT), list(logging.root.handlers), list(sys.path)) == before
print([name for name in ("torch", "transformers", "diffusers", "numpy", "PIL", "gradio") if name in sys.modules])
"""


def test_importing_costs_and_changes_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there_and_explained(name: str) -> None:
    assert len(inspect.getdoc(getattr(llmga, name)) or "") > 20
    assert name in dir(llmga)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        llmga.lod  # noqa: B018


@pytest.fixture(scope="module")
def assistant() -> llmga.Assistant:
    return llmga.load(
        "llmga-toy-mllm", pipeline="llmga-toy-sdxl-t2i", inpainter=None, restorer="match+blend", device="cpu",
        settings=llmga.Settings(seed=3),
    )  # fmt: skip


def test_a_reply_has_words_prompts_pictures_and_records(assistant: llmga.Assistant) -> None:
    reply = assistant.say("a big red circle on a blue background")
    assert "red" in reply.prompts[0] and reply.images[0].size == (64, 64)
    assert reply.records[0].seed == 3 and reply.records[0].prompt == reply.prompts[0]
    assert len(assistant.session.exchanges) == 1


def test_a_masked_part_is_filled(assistant: llmga.Assistant) -> None:
    photo, mask = Image.new("RGB", (64, 64), "navy"), Image.new("L", (64, 64))
    mask.paste(255, (16, 16, 48, 48))
    reply = assistant.say("a red circle", images=[photo], mask=mask)
    assert reply.records[0].task == "inpainting" and reply.images[0].getpixel((2, 2)) == (0, 0, 128)


def test_events_come_as_they_happen(assistant: llmga.Assistant) -> None:
    kinds = [type(event) for event in assistant.stream("a small green star")]
    assert kinds.index(llmga.PromptFound) < kinds.index(llmga.Denoising) < kinds.index(llmga.PictureReady)


def test_a_session_is_kept_and_gone_on_with(assistant: llmga.Assistant, tmp_path) -> None:
    saved = llmga.load_session(llmga.save_session(tmp_path / "s.zip", assistant.session, assistant.models))
    assert [each.turn.text for each in saved.session.exchanges] == [each.turn.text for each in assistant.exchanges]


def test_what_fails_is_raised_in_one_sentence(assistant: llmga.Assistant) -> None:
    with pytest.raises(llmga.UserError, match="a mask was given without a picture"):
        assistant.say("fill it", mask=Image.new("L", (8, 8)))
    with pytest.raises(llmga.UserError, match="unknown restorer 'magic'"):
        llmga.load(restorer="magic")


def test_a_session_is_saved_from_an_assistant_and_set_in_one(assistant: llmga.Assistant, tmp_path) -> None:
    place = llmga.save_session(tmp_path / "s.zip", assistant)
    saved, before = llmga.load_session(place), assistant.session
    assert saved.models == assistant.models and llmga.save_session(tmp_path / "again", saved) == tmp_path / "again"
    assistant.session = saved
    assert isinstance(assistant.session, llmga.Session)
    assert [each.turn.text for each in assistant.exchanges] == [each.turn.text for each in before.exchanges]
    assistant.session = before


def test_what_is_no_session_and_no_place_is_told(assistant: llmga.Assistant, tmp_path) -> None:
    with pytest.raises(llmga.UserError, match="the session is of type dict; give what load_session returns"):
        assistant.session = {}
    with pytest.raises(llmga.UserError, match="the session is of type str; give an assistant or its session"):
        llmga.save_session(tmp_path / "s.zip", "s.zip")
    with pytest.raises(llmga.UserError, match="the place of the session is of type Assistant; give a path first"):
        llmga.save_session(assistant, "s.zip")
    with pytest.raises(llmga.UserError, match="the place of the session is of type int"):
        llmga.load_session(5)


def test_the_verbs_lead_to_replies(assistant: llmga.Assistant) -> None:
    assistant.say("a red circle")
    reply = llmga.Reply.of(assistant.repaint(seed=11))
    assert reply.records[0].seed == 11 and reply.text == ""


def test_only_what_is_public_is_listed() -> None:
    assert dir(llmga) == sorted(llmga.__all__)


def test_wrong_settings_are_told_before_anything_is_loaded() -> None:
    with pytest.raises(llmga.UserError, match="the settings are of type dict"):
        llmga.load("no-such-model", settings={"steps": 3})


def test_help_shows_types_and_ranges_instead_of_our_objects() -> None:
    assert "temperature: float = 0.2" in str(inspect.signature(llmga.Settings))
    assert "seed: Optional[int] = None" in str(inspect.signature(llmga.Settings)).replace("int | None", "Optional[int]")
    for name in PUBLIC:
        shown = pydoc.render_doc(getattr(llmga, name), renderer=pydoc.plaintext)
        assert "<function" not in shown and "Setting(" not in shown, name


def test_what_is_shown_of_an_object_is_short_and_names_the_models(assistant: llmga.Assistant) -> None:
    assert repr(assistant).startswith("<Assistant of language 'llmga-toy-mllm', painter 'llmga-toy-sdxl-t2i'")
    assert re.fullmatch(r"<Pipeline of '.*llmga-toy-sdxl-t2i' \(.*\)>", repr(assistant.pipeline))
    assert re.fullmatch(r"<Session of seed \d+; turns: \d+, pictures: \d+>", repr(assistant.session))


@pytest.mark.parametrize("take", [copy.copy, copy.deepcopy, pickle.dumps])
def test_an_assistant_is_not_copied(assistant: llmga.Assistant, take) -> None:
    with pytest.raises(llmga.UserError, match="is not copied or pickled; keep its session"):
        take(assistant)


def test_an_assistant_lists_what_a_person_can_do() -> None:
    public = {name for name in dir(llmga.Assistant) if not name.startswith("_")}
    verbs = "say stream retry edit repaint paint repair undo leave_region reseed cancel check sampling"
    assert public == {*verbs.split(), "cancelled", "exchanges", "session", "settings"}

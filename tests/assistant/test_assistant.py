"""One turn in, events out."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from llmga.assistant.events import Denoising, Failed, PictureReady, PromptFound, Stopped, TextDelta
from llmga.assistant.session import Region, Turn
from llmga.assistant.session_file import load_session, save_session
from llmga.assistant.settings import Settings
from llmga.errors import UserError
from llmga.masks import read_mask

ONE = "Here it is. <gen_image> a red circle </gen_image> Do you like it?"
TWO = "First <gen_image> a cat </gen_image> then <gen_image> a dog </gen_image> done"


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


def spoken(events):
    return "".join(event.text for event in of(TextDelta, events))


def kinds(events):
    """Kinds in order, repetitions left out."""
    names = [type(event).__name__ for event in events]
    return [name for index, name in enumerate(names) if index == 0 or names[index - 1] != name]


def answer(assistant, text="go", **turn):
    return list(assistant.stream(Turn(text, **turn)))


def test_words_alone_lead_to_words_alone(toy):
    events = answer(toy("Hello, what shall I paint?"))
    assert kinds(events) == ["TextDelta"]
    assert spoken(events) == "Hello, what shall I paint?"


def test_the_prompt_is_painted_and_not_spoken(toy):
    events = answer(toy(ONE))
    assert "circle" not in spoken(events) and "gen_image" not in spoken(events)
    assert " ".join(spoken(events).split()) == "Here it is. Do you like it?"
    assert of(PromptFound, events) == [PromptFound("a red circle")]
    assert kinds(events) == ["TextDelta", "PromptFound", "Denoising", "PictureReady", "TextDelta"]


def test_every_step_is_reported_once(toy):
    assert of(Denoising, answer(toy(ONE))) == [Denoising(1, 3), Denoising(2, 3), Denoising(3, 3)]


def test_several_prompts_are_painted_in_order(toy):
    events = answer(toy(TWO))
    assert [event.prompt for event in of(PromptFound, events)] == ["a cat", "a dog"]
    assert [event.record.prompt for event in of(PictureReady, events)] == ["a cat", "a dog"]


def test_a_prompt_is_found_before_the_reply_has_ended(toy):
    assistant = toy(ONE + " more" * 50)
    next(event for event in assistant.stream(Turn("go")) if isinstance(event, PromptFound))
    assert assistant.planner.given < 15


def test_a_prompt_that_the_token_limit_cut_is_painted(toy):
    assert of(PromptFound, answer(toy("Yes <gen_image> a red circle on a"))) == [PromptFound("a red circle on a")]


def test_an_answer_that_the_token_limit_cut_says_so(toy):
    assistant = toy("Once upon a time <gen_image> a fox", max_new_tokens=9)
    assistant.planner.ended_by = "limit"
    events = answer(assistant)
    assert kinds(events)[-2:] == ["PictureReady", "Failed"]
    assert "--max-new-tokens 9" in events[-1].message


def test_a_picture_can_be_asked_of_every_answer(toy):
    assistant = toy("a", picture="always")
    answer(assistant)
    assert assistant.planner.samplings[0].picture == "always"


def test_an_empty_prompt_paints_nothing(toy):
    assert kinds(answer(toy("Yes <gen_image> </gen_image> ok"))) == ["TextDelta"]


def test_steps_arrive_while_the_painting_goes_on(toy, toy_pipeline_class):
    seen = threading.Event()

    class Patient(toy_pipeline_class):
        def __call__(self, *args, on_step, **rest):
            def wait(step, total):
                on_step(step, total)
                assert seen.wait(timeout=20), "the step was not delivered before the next one"

            return super().__call__(*args, on_step=wait, **rest)

    events = []
    for event in toy(ONE, pipeline=Patient()).stream(Turn("go")):
        events.append(event)
        if isinstance(event, Denoising):
            seen.set()
    assert of(PictureReady, events)


def test_a_refused_prompt_fails_and_the_rest_goes_on(toy):
    assistant = toy("<gen_image> forbidden </gen_image> and <gen_image> a dog </gen_image> end", seed=5)
    events = answer(assistant)
    assert of(Failed, events) == [Failed("this prompt is forbidden; ask for another.")]
    assert [event.record.seed for event in of(PictureReady, events)] == [5]
    assert spoken(events).split() == ["and", "end"]


def test_a_defect_is_raised_and_the_next_turn_works(toy):
    assistant = toy("<gen_image> broken </gen_image>", ONE)
    with pytest.raises(RuntimeError, match="a defect"):
        answer(assistant)
    assert of(PictureReady, answer(assistant))


def test_picture_k_of_a_session_has_seed_plus_k(toy):
    assistant = toy(TWO, ONE, seed=40)
    ready = of(PictureReady, answer(assistant) + answer(assistant))
    assert [event.record.seed for event in ready] == [40, 41, 42]
    assert [event.image.getpixel((0, 0))[0] for event in ready] == [40, 41, 42]


def seeds_of(events):
    return [event.record.seed for event in of(PictureReady, events)]


def test_another_seed_among_the_settings_is_that_of_the_next_picture(toy):
    assistant = toy(ONE, TWO, ONE, ONE, seed=40)
    answer(assistant)
    assistant.settings = replace(assistant.settings, seed=7)
    assert seeds_of(answer(assistant)) == [7, 8]
    assistant.settings = replace(assistant.settings, steps=3)
    assert seeds_of(answer(assistant)) == [9]  # the same seed goes on
    assistant.settings = replace(assistant.settings, seed=None)
    assert seeds_of(answer(assistant)) == [10]


@pytest.mark.parametrize("seed", [-1, "x", 1.5, True, None, 2**32, 2**64])
def test_a_seed_that_cannot_be_leaves_the_session_as_it_was(toy, seed):
    assistant = toy(ONE, seed=40)
    with pytest.raises(UserError, match="^seed is .*; use a whole number, 0 to 4294967295.$"):
        assistant.reseed(seed)
    assert seeds_of(answer(assistant)) == [40]
    if seed is not None:
        (failed,) = assistant.repaint(seed=seed)
        assert failed.message.endswith("use a whole number, 0 to 4294967295.")


def test_settings_that_cannot_be_leave_those_that_were(toy):
    assistant = toy(ONE, seed=40)
    with pytest.raises(UserError, match="versions is 0; use a whole number, 1 to 10."):
        assistant.settings = replace(assistant.settings, versions=0, seed=7)
    with pytest.raises(UserError, match="versions is 0"):
        assistant.session = replace(assistant.session, settings=Settings(versions=0))
    assert assistant.settings.versions == 1 and seeds_of(answer(assistant)) == [40]


def test_without_a_seed_one_is_drawn_and_recorded(toy):
    first, second = (toy(ONE) for _ in range(2))
    seeds = [of(PictureReady, answer(assistant))[0].record.seed for assistant in (first, second)]
    assert seeds == [first.pipeline.calls[0].seed, second.pipeline.calls[0].seed]
    assert seeds[0] != seeds[1]


def test_words_are_sampled_with_a_seed_of_their_turn(toy):
    assistant = toy("a", "b", seed=7, temperature=0.5, max_new_tokens=9)
    answer(assistant), answer(assistant)
    assert [(s.seed, s.temperature, s.max_new_tokens) for s in assistant.planner.samplings] == [
        (7, 0.5, 9),
        (8, 0.5, 9),
    ]


def test_the_record_tells_how_it_was_made(toy):
    event = of(PictureReady, answer(toy(ONE, seed=3, negative_prompt="blur", size=(24, 16)), "a circle, please"))[0]
    record = event.record
    assert (record.prompt, record.request, record.negative_prompt) == ("a red circle", "a circle, please", "blur")
    assert (record.seed, record.steps, record.guidance_scale, record.sampler) == (3, 3, 2.5, "ToySampler")
    assert record.size == event.image.size == (24, 16)


def test_what_was_asked_for_is_recorded_and_passed_on(toy):
    assistant = toy(ONE, steps=2, guidance_scale=0.0)
    record = of(PictureReady, answer(assistant))[0].record
    call = assistant.pipeline.calls[0]
    assert (record.steps, record.guidance_scale) == (call.steps, call.guidance_scale) == (2, 0.0)


def test_cancelling_stops_the_words_within_one_token(toy):
    assistant = toy("word " * 100, "hello")
    events = []
    for event in assistant.stream(Turn("go")):
        events.append(event)
        if len(events) == 3:
            given = assistant.planner.given
            assistant.cancel()
    assert kinds(events) == ["TextDelta", "Stopped"]
    assert assistant.planner.given <= given + 1
    assert kinds(answer(assistant)) == ["TextDelta"]


def test_cancelling_stops_a_painting_within_one_step(toy, toy_pipeline_class):
    class Endless(toy_pipeline_class):
        total = 10**9

    assistant = toy(TWO, "hello", pipeline=Endless(), seed=1)
    events = []
    for event in assistant.stream(Turn("go")):
        events.append(event)
        if event == Denoising(2, 10**9):
            assistant.cancel()
    assert kinds(events)[-1] == "Stopped"
    assert not of(PictureReady, events)
    assert len(of(PromptFound, events)) == 1
    assert assistant.pipeline.steps_done < 10**9
    assert kinds(answer(assistant)) == ["TextDelta"]


def test_a_cancel_between_answers_does_not_stop_the_next(toy):
    assistant = toy("hello")
    assistant.cancel()
    assert not of(Stopped, answer(assistant))


def test_leaving_early_leaves_no_thread_behind(toy, toy_pipeline_class):
    class Endless(toy_pipeline_class):
        total = 10**9

    before = threading.active_count()
    events = toy(ONE, pipeline=Endless()).stream(Turn("go"))
    next(event for event in events if isinstance(event, Denoising))
    events.close()
    assert threading.active_count() == before


def picture_and_mask():
    picture = Image.new("RGB", (8, 8), (200, 100, 50))
    mask = Image.new("L", (8, 8), 0)
    mask.paste(255, (0, 0, 4, 8))
    return picture, mask


def test_the_restorer_is_called_with_a_mask_only(toy):
    calls = []

    def restorer(image, reference, mask):
        calls.append((reference, mask))
        return Image.new("RGB", image.size, "white")

    picture, mask = picture_and_mask()
    assistant = toy(ONE, ONE, restorer=restorer)
    answer(assistant, images=(picture,))
    assert calls == []
    assert assistant.pipeline.calls[0].image is None
    ready = of(PictureReady, answer(assistant, images=(picture,), mask=mask))[0]
    assert calls == [(picture, read_mask(mask, picture.size))]
    assert assistant.pipeline.calls[1].image is picture
    assert ready.image.getpixel((0, 0)) == (255, 255, 255)


def test_what_a_mask_covers_is_black_to_the_language_model():
    picture, mask = picture_and_mask()
    shown = Region.of(Turn("fill it", (picture,), mask), {}).shown()
    assert shown.getpixel((0, 0)) == (0, 0, 0) and shown.getpixel((7, 7)) == (200, 100, 50)
    assert picture.getpixel((0, 0)) == (200, 100, 50)


def test_what_a_mask_covers_is_repainted_until_another_picture_comes(toy):
    picture, mask = picture_and_mask()
    assistant = toy(ONE, ONE, ONE, repaint={"strength": 0.5})
    answer(assistant, images=(picture.convert("RGBA"),), mask=mask)
    answer(assistant)
    answer(assistant, images=(picture,))
    first, second, third = assistant.pipeline.calls
    assert first.image is second.image and second.mask is not None and second.strength == 0.5
    assert third.image is None and third.mask is None and not hasattr(third, "strength")


def test_how_a_prompt_is_cut_is_told_where_the_painter_knows(toy, toy_pipeline_class):
    assert of(PromptFound, answer(toy(ONE)))[0].tokens == ""
    toy_pipeline_class.report = lambda self, prompt: f"{len(prompt.split())} tokens"
    try:
        assert of(PromptFound, answer(toy(ONE)))[0].tokens.endswith(" tokens")
    finally:
        del toy_pipeline_class.report


def test_editing_asks_for_a_description_first_and_says_nothing_of_it(toy):
    picture, _ = picture_and_mask()
    assistant = toy(
        "Sure. <gen_image> a red dog </gen_image>", ONE, "<gen_image> a cat </gen_image>", edit={"skip": 0.5}
    )
    events = answer(assistant, images=(picture,))
    answer(assistant)
    first, second = assistant.pipeline.calls
    assert (first.image, first.mask, first.source_prompt, first.skip) == (picture, None, "a red dog", 0.5)
    assert (second.image, second.source_prompt, second.prompt) == (picture, "a red dog", "a cat")
    assert [event.prompt for event in of(PromptFound, events)] == [first.prompt]
    users = [message for message in assistant.session.conversation.messages if message.role == "user"]
    assert [len(message.images) for message in users] == [1, 0, 0]


def test_a_change_by_words_may_be_kept_to_a_part(toy, tmp_path):
    picture, mask = picture_and_mask()
    assistant = toy(ONE, edit={"skip": 0.5})
    answer(assistant, images=(picture,), mask=mask)
    (call,), region = assistant.pipeline.calls, assistant.region
    assert (call.source_prompt, call.skip, region.pipeline_task) == ("", 0.5, "editing") and call.mask is not None
    saved = load_session(save_session(tmp_path / "s", assistant.session))
    assert saved.session.region.changes == region.changes


@pytest.mark.parametrize("images", [(), (Image.new("RGB", (9, 8)),)])
def test_a_mask_that_does_not_fit_fails_in_words(toy, images):
    events = answer(toy(ONE), images=images, mask=picture_and_mask()[1])
    assert kinds(events) == ["Failed"]
    assert "mask" in events[0].message


def test_several_versions_of_a_prompt_have_seeds_that_follow_each_other(toy):
    events = answer(toy(TWO, seed=40, versions=2))
    painted = [(event.record.prompt, event.record.seed) for event in of(PictureReady, events)]
    assert painted == [("a cat", 40), ("a cat", 41), ("a dog", 42), ("a dog", 43)]


def test_a_cancelled_answer_paints_no_further_version(toy):
    assistant = toy(ONE, versions=5)
    for event in assistant.stream(Turn("go")):
        if isinstance(event, PictureReady):
            assistant.cancel()
    assert len(assistant.pipeline.calls) == 1


def test_previews_come_with_the_progress_where_asked_for(toy, toy_pipeline_class):
    class Showing(toy_pipeline_class):
        def __call__(self, *args, on_step, on_preview=None, **rest):
            def step(number, total):
                if on_preview is not None:
                    on_preview(number, Image.new("RGB", (number, 1)))
                on_step(number, total)

            return super().__call__(*args, on_step=step, **rest)

    shown = [event.preview for event in of(Denoising, answer(toy(ONE, pipeline=Showing(), previews=True)))]
    assert [preview.width for preview in shown] == [1, 2, 3]
    assert [event.preview for event in of(Denoising, answer(toy(ONE, pipeline=Showing())))] == [None] * 3


def test_a_cut_answer_is_told_from_one_that_failed(toy):
    assistant = toy("Once upon a time", "<gen_image> forbidden </gen_image>")
    assistant.planner.ended_by = "limit"
    assert [event.cut for event in of(Failed, answer(assistant))] == [True]
    assistant.planner.ended_by = "marker"
    assert [event.cut for event in of(Failed, answer(assistant))] == [False]


def test_sessions_that_share_a_painter_have_samplers_of_their_own(toy, toy_pipeline_class):
    class Sampling(toy_pipeline_class):
        def use_sampler(self, name=None):
            self.name = name

        def describe(self, **given):
            return super().describe(**given) | {"sampler_name": self.name}

    shared = Sampling()
    one, two = toy(ONE, ONE, pipeline=shared, sampler="euler"), toy(ONE, pipeline=shared)
    continued = toy(ONE, pipeline=shared)
    drawn = [answer(one), answer(two)]
    continued.session = one.session
    drawn += [answer(one), answer(continued)]
    records = [of(PictureReady, events)[0].record for events in drawn]
    assert [record.painter["sampler"] for record in records] == ["euler", None, "euler", "euler"]


# One thread at a time.


def in_a_thread(work):
    """What a thread of its own makes of it, once it has ended."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result(timeout=60)


def test_a_second_thread_is_refused_and_the_first_one_loses_nothing(toy):
    assistant = toy(ONE, TWO, seed=40)
    stream = assistant.stream("go")
    events = [next(stream)]
    with pytest.raises(UserError, match="another thread is being answered here; wait for it, or give each thread an"):
        in_a_thread(lambda: assistant.say("and I?"))
    with pytest.raises(UserError, match="another thread"):
        in_a_thread(assistant.undo)
    assert seeds_of(events + list(stream)) == [40] and len(assistant.exchanges) == 1
    assert in_a_thread(lambda: assistant.say("and now?")).prompts == ("a cat", "a dog")


def test_the_first_thread_can_still_be_cancelled_after_a_second_one_was_refused(toy):
    assistant = toy(ONE)
    stream = assistant.stream("go")
    next(stream)
    in_a_thread(lambda: list(assistant.stream("and I?")))
    in_a_thread(assistant.cancel)
    assert kinds(list(stream)) == ["Stopped"] and assistant.cancelled


@pytest.mark.parametrize("left", [lambda stream: None, lambda stream: stream.close()], ids=["forgotten", "closed"])
def test_an_answer_that_is_left_gives_way_to_other_threads(toy, left):
    assistant = toy(TWO, ONE)
    stream = assistant.stream("go")
    next(event for event in stream if isinstance(event, Denoising))
    left(stream)
    del stream
    assert in_a_thread(lambda: assistant.say("and now?")).prompts == ("a red circle",)


def test_an_answer_may_be_read_on_by_another_thread(toy):
    assistant = toy(ONE, ONE)
    stream = assistant.stream("go")
    next(stream)
    assert of(PictureReady, in_a_thread(lambda: list(stream)))
    assert in_a_thread(lambda: assistant.say("more")).images


# What a caller hands in.

PIXELS = np.zeros((8, 16, 3), np.uint8)


@pytest.fixture
def photo(tmp_path):
    Image.new("RGB", (16, 8), "navy").save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.mark.parametrize(
    "given",
    [
        lambda path: Image.open(path),
        lambda path: path,
        lambda path: [str(path)],
        lambda path: PIXELS,
        lambda path: (each for each in (path,)),
    ],
    ids=["one picture", "one path", "paths", "an array", "an iterator"],
)
def test_one_picture_or_several_are_taken_in_any_usual_form(toy, photo, given):
    assistant = toy("I see", "I see")
    assistant.say("look", given(photo))
    assistant.say(Turn("look", given(photo)))
    assert [image.size for each in assistant.exchanges for image in each.turn.images] == [(16, 8)] * 2


def test_a_mask_may_be_a_file(toy, photo):
    mask = Image.new("L", (16, 8))
    mask.paste(255, (2, 2, 6, 6))
    mask.save(photo.with_name("m.png"))
    assert toy(ONE).say("a circle", photo, str(photo.with_name("m.png"))).records[0].task == "inpainting"


def test_no_pictures_may_be_none(toy):
    assert toy("hello").say("hi", None).text == "hello"


PHOTO = Image.new("RGB", (16, 8))
NOT_TAKEN = {
    "the message is of type NoneType, not text; give a str.": {"text": None},
    "the message is of type int, not text": {"text": 5},
    "the message is of type bytes, not text": {"text": b"x"},
    "the picture is of type int; give a Pillow image, a path or an array.": {"images": 5},
    "the picture is of type NoneType; give": {"images": [None]},
    "the picture is of type bytes; give": {"images": b"x"},
    "picture 'no.jpg' does not exist": {"images": ["no.jpg"]},
    "the picture is 0x0, without a pixel; give a larger one.": {"images": Image.new("RGB", (0, 0))},
    "the mask is of type list; give a Pillow image, a path or an array; several": {"images": PHOTO, "mask": [PHOTO]},
    "picture 'no.png' does not exist": {"images": PHOTO, "mask": "no.png"},
    "the outpainting is of type int, not text": {"images": PHOTO, "outpaint": 5},
    "unknown fill 'nope'": {"fill": "nope"},
}


@pytest.mark.parametrize("sentence", NOT_TAKEN)
def test_what_cannot_be_taken_is_told_in_words_and_leaves_no_trace(toy, sentence):
    assistant, given = toy(ONE), {"text": "go"} | NOT_TAKEN[sentence]
    with pytest.raises(UserError, match=re.escape(sentence)):
        assistant.say(**given)
    with pytest.raises(UserError, match=re.escape(sentence)):
        assistant.say(Turn(**given))
    assert assistant.exchanges == () and assistant.session.conversation.messages == ()


@pytest.mark.parametrize(
    ("verb", "given", "sentence"),
    [
        ("edit", ("x", "y"), "turn 'x' is no whole number; give an int."),
        ("edit", (0, 5), "the message is of type int, not text"),
        ("repaint", (1.5,), "turn 1.5 is no whole number"),
        ("repaint", (0, "x"), "picture 'x' is no whole number"),
        ("paint", (0, "x"), "prompt 'x' is no whole number"),
        ("paint", (0, 0, 5), "the prompt is of type int, not text"),
    ],
)
def test_the_verbs_tell_what_they_cannot_take(toy, verb, given, sentence):
    assistant = toy(ONE)
    assistant.say("go")
    (failed,) = getattr(assistant, verb)(*given)
    assert sentence in failed.message and len(assistant.exchanges) == 1

"""What an exchange looks like."""

import json
import re
from html import unescape

import pytest

from llmga.serve.page.drawing import gallery, log, log_items, subject
from llmga.serve.page.icons import icon
from llmga.serve.page.lightbox import lightbox
from llmga.serve.page.strings import STRINGS
from llmga.serve.page.transcript import Entry, Notice, Progress, ShownImage
from llmga.serve.page.welcome import Welcome

ENGLISH = STRINGS["en"]
BOOK = "Once <gen_image> a fox </gen_image> met <gen_image> a hare </gen_image> the end."


def shown(number, **more):
    return ShownImage(number, f"/file={number}.png", (512, 512), **more)


def drawn(entry, progress=None, number=0):
    return list(log_items(number, entry, progress, ENGLISH))


def kinds(entry, progress=None):
    return [kind for _, kind, _ in drawn(entry, progress)]


def test_a_storybook_reads_as_one():
    entry = Entry("a story", reply=BOOK, pictures={0: [shown(0)], 1: [shown(1)]})
    assert kinds(entry) == ["user", "words", "painted", "words", "painted", "words"]
    html = "".join(html for _, _, html in drawn(entry))
    assert html.index("/file=0.png") < html.index("met") < html.index("/file=1.png") < html.index("the end")
    assert "gen_image" not in html


def test_versions_of_a_picture_stand_side_by_side_under_their_prompt():
    entry = Entry("a story", reply=BOOK, pictures={0: [shown(0), shown(1)], 1: [shown(2)]})
    assert kinds(entry) == ["user", "words", "painted", "painted", "words", "painted", "words"]


def test_a_prompt_that_nobody_painted_waits_with_its_words():
    entry = Entry("x", reply="<gen_image> a <b>fox</b> </gen_image>")
    (_, kind, html) = drawn(entry)[-1]
    assert kind == "painted waiting" and "<details open>" in html
    assert "a &lt;b&gt;fox&lt;/b&gt;</textarea>" in html and 'data-address="0.0"' in html


def test_the_painting_at_work_shows_how_far_it_is():
    entry = Entry("x", reply=BOOK, pictures={0: [shown(0)]})
    html = drawn(entry, Progress(0, 1, step=3, total=20, preview="data:image/jpeg;base64,AAA", size=(32, 16)))[4][2]
    assert '<progress max="20" value="3"' in html and "base64,AAA" in html
    assert 'width="32" height="16"' in html  # the page knows the room that it takes before it is decoded


def test_a_block_keeps_its_key_while_the_answer_grows():
    parts = ["", "Once", "Once <gen_image> a fox", BOOK]
    keys = [[key for key, _, _ in drawn(Entry("x", reply=part))] for part in parts]
    for shorter, longer in zip(keys, keys[1:], strict=False):
        assert longer[: len(shorter)] == shorter
    assert len(set(keys[-1])) == len(keys[-1])


def test_what_anybody_said_cannot_be_html_nor_fetch_anything():
    evil = '<img src=x onerror=alert(1)><script>alert(2)</script>![x](https://evil.example/x.png)"'
    entry = Entry(evil, reply=f"{evil} <gen_image> {evil} </gen_image>", troubles=[evil])
    html = "".join(html for _, _, html in drawn(entry))
    assert "<script" not in html and "<img" not in html and 'src="https' not in html
    assert "<img src=x" not in subject("look", ShownImage(0, '"><img src=x', (1, 1)), ENGLISH).replace('<img src="', "")


def test_markdown_is_drawn():
    assert "<strong>bold</strong>" in drawn(Entry("x", reply="**bold**"))[1][2]


def test_what_went_wrong_stands_at_the_end_in_the_words_of_the_page():
    entry = Entry("x", reply="so", troubles=["too long; shorten it.", Notice("stopped")])
    assert [(kind, html) for _, kind, html in drawn(entry)[-2:]] == [
        ("trouble", "too long; shorten it."),
        ("note", "Stopped."),
    ]


def test_a_picture_that_was_shown_before_has_no_buttons_a_second_time():
    html = drawn(Entry("like this", attached=[shown(3, again=True)], kept=False))[0][2]
    assert "3.png" in html and "data-do" not in html and "id=" not in html and 'data-open="3"' in html


def test_every_button_says_to_which_picture_it_belongs():
    html = drawn(Entry("x", reply=BOOK, pictures={0: [shown(6)]}))[2][2]
    assert 'aria-label="Variation: Picture 7"' in html and 'data-number="6"' in html
    assert 'download="llmga-007.png"' in html


def test_the_light_box_is_told_how_a_picture_was_made_and_of_what():
    image = shown(0, made=(("seed", "7"), ("size", "512 × 512")), before="/file=old.png")
    html = drawn(Entry("x", reply=BOOK, pictures={0: [image]}))[2][2]
    told = json.loads(unescape(re.search(r'data-picture="(.+?)"', html)[1]))
    assert told["prompt"] == "a fox" and told["address"] == "0.0" and told["before"] == "/file=old.png"
    assert told["made"] == [["Seed", "7"], ["Size", "512 × 512"]] and told["file"] == "llmga-001.png"


def test_the_dots_of_small_pictures_stay_sharp():
    faces = [
        drawn(Entry("x", reply=BOOK, pictures={0: [ShownImage(0, "/f.png", size)]}))[2][2]
        for size in ((64, 64), (256, 100), (257, 64))
    ]
    assert ['class="small"' in html for html in faces] == [True, True, False]


@pytest.mark.parametrize(("seconds", "said"), [(None, ""), (0.2, "about 1 s left"), (61, "about 61 s left"),
                                               (91, "about 2 min left")])  # fmt: skip
def test_the_time_that_is_left_is_told(seconds, said):
    html = drawn(Entry("x", reply=BOOK), Progress(0, 0, step=3, total=20, seconds=seconds))[2][2]
    assert "Step 3 of 20" in html and said in html and ("left<" in html) == bool(said)


def verbs(entry, last):
    return re.findall('data-do="(.+?)"', list(log_items(0, entry, None, ENGLISH, last))[0][2])


def test_a_message_offers_only_what_can_be_done_with_it():
    assert verbs(Entry("x"), last=True) == ["edit", "retry", "undo"]
    assert verbs(Entry("x"), last=False) == ["edit"]
    assert verbs(Entry("x", kept=False), last=True) == ["retry", "undo"]


def test_what_was_taken_back_can_be_brought_back_from_the_end_of_the_conversation():
    items = log([Entry("x", reply="so")], None, ENGLISH, Welcome(), "undone")
    assert 'data-do="bring back"' in items[-1][2] and "data-do" not in items[-2][2]
    assert [kind for _, kind, _ in log([], None, ENGLISH, Welcome(), "cleared")] == ["welcome", "note"]


def test_an_empty_conversation_makes_a_start_easy():
    ((key, _, html),) = log([], None, ENGLISH, Welcome())
    assert key == "welcome" and html.count('data-do="say"') == 3
    assert re.findall('data-card="(.+?)"', html) == ["say", "upload", "fill", "larger", "story"]


def test_a_model_says_itself_what_it_paints():
    welcome = Welcome(("a <b> circle",), {"en": "Shapes & dots."}, ("say",))
    ((_, _, html),) = log([], None, ENGLISH, welcome)
    assert html.count('data-do="say"') == 1 and "a &lt;b&gt; circle" in html and html.count("data-card") == 1
    assert "Shapes &amp; dots." in gallery([], ENGLISH, welcome)
    assert "<h3>" not in gallery([], STRINGS["zh"], welcome)


def test_every_picture_of_the_gallery_opens_large():
    assert "data-open" not in gallery([], ENGLISH, Welcome())
    assert gallery([shown(0), shown(1)], ENGLISH, Welcome()).count("data-open") == 2


@pytest.mark.parametrize("strings", STRINGS.values(), ids=STRINGS)
def test_every_button_of_icons_has_a_name(strings):
    for html in (lightbox(strings), drawn(Entry("x", reply=BOOK, pictures={0: [shown(0)]}))[2][2]):
        buttons = re.findall(r'<(?:button|a)[^>]*class="verb"[^>]*>', html)
        assert len(buttons) >= 6 and all(re.search('aria-label="[^"]+"', each) for each in buttons)
    assert 'aria-hidden="true"' in icon("undo")


def test_nothing_is_said_where_the_next_message_is_about_nothing():
    assert subject("", None, ENGLISH) == ""
    assert "picture 3" in subject("change", shown(2), ENGLISH)

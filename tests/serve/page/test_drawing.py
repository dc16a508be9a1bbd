"""What an exchange looks like."""

from llmga.serve.page.drawing import gallery, log, log_items, subject
from llmga.serve.page.strings import STRINGS
from llmga.serve.page.transcript import Entry, Notice, Progress, ShownImage

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
    html = drawn(Entry("like this", attached=[shown(3, again=True)]))[0][2]
    assert "3.png" in html and "<button" not in html and "id=" not in html


def test_every_button_says_to_which_picture_it_belongs():
    html = drawn(Entry("x", reply=BOOK, pictures={0: [shown(6)]}))[2][2]
    assert 'aria-label="Similar: Picture 7"' in html and 'data-number="6"' in html
    assert 'download="llmga-007.png"' in html


def test_an_empty_conversation_makes_a_start_easy():
    ((key, _, html),) = log([], ENGLISH)
    assert key == "welcome" and html.count('data-do="say"') == 3


def test_the_gallery_leads_to_each_picture():
    assert "data-goto" not in gallery([], ENGLISH)
    assert gallery([shown(0), shown(1)], ENGLISH).count("data-goto") == 2


def test_nothing_is_said_where_the_next_message_is_about_nothing():
    assert subject("", None, ENGLISH) == ""
    assert "picture 3" in subject("change", shown(2), ENGLISH)

"""A picture book: planned page by page, characters described alike, bound as HTML and PDF."""

import base64
import io
import json
import re
import zlib
from dataclasses import replace

import pytest
from PIL import Image

from llmga.assistant.image_files import read
from llmga.errors import UserError
from llmga.llava.sampling import Sampling
from llmga.serve import illustration, storybook
from llmga.serve.book import to_html, to_pdf
from llmga.serve.story import BookPage, Character, Story, plan

MIA = Character("Mia", "a small girl with red hair and a yellow coat")
CARDS = "Sure!\n- **Mia**: a small girl with red hair and a yellow coat\nBello: a big brown dog with one white ear.\n"
PAGES = [
    "Mia looks at the moon. <gen_image> Mia at a window at night </gen_image>",
    "Bello barks. <gen_image> a dog in a garden, Mia's house behind it </gen_image>",
    "The moon smiles. <gen_image> the moon over a roof </gen_image>",
]
STORY = Story("T", "r", 7, "Soft watercolour", characters=(MIA,), pages=(BookPage("a", "b"), BookPage("Mia!", "c")))


def planned(toy, *replies, request="Mia visits the moon", pages=3, characters=(), steers=False):
    chat = toy(*replies).planner
    chat.steers = steers
    book = dict(title="T", seed=7, style="Soft watercolour")
    return chat, list(plan(chat, request, pages, Sampling(seed=1), characters, **book))


def test_characters_and_pages_are_asked_of_the_language_model(toy):
    chat, grown = planned(toy, CARDS, *PAGES)
    assert [len(story.pages) for story in grown] == [1, 2, 3]
    story = grown[-1]
    assert story.characters == (MIA, Character("Bello", "a big brown dog with one white ear."))
    assert story.pages[0] == BookPage("Mia looks at the moon.", "Mia at a window at night")
    asked = [message.text for message in chat.conversation.messages if message.role == "user"]
    assert "picture book of 3 pages: Mia visits the moon" in asked[0] and "page 3 of 3" in asked[3]


def test_a_chinese_request_is_asked_in_chinese(toy):
    chat, (story,) = planned(
        toy, "米娅：红头发的小女孩", "米娅看月亮。<gen_image> Mia </gen_image>", request="米娅去月亮", pages=1
    )
    assert "绘本" in chat.conversation.messages[0].text
    assert story.characters == (Character("米娅", "红头发的小女孩"),)
    assert story.prompt(0) == "Mia. 米娅 is 红头发的小女孩. Soft watercolour."


def test_every_page_describes_its_characters_in_the_same_words(toy):
    story = planned(toy, CARDS, *PAGES)[1][-1]
    mia, bello = "Mia is a small girl with red hair and a yellow coat.", "Bello is a big brown dog with one white ear."
    assert story.prompt(0) == f"Mia at a window at night. {mia} Soft watercolour."
    assert mia in story.prompt(1) and bello in story.prompt(1)
    assert story.prompt(2) == "the moon over a roof. Soft watercolour."


def test_a_name_is_a_whole_word():
    assert MIA.is_in("mia's house") and not MIA.is_in("Miami")


def test_known_characters_are_not_asked_for(toy):
    chat, grown = planned(toy, *PAGES, characters=(MIA,))
    assert grown[-1].characters == (MIA,) and len(chat.samplings) == 3


def test_a_picture_is_asked_for_by_force_where_that_can_be(toy):
    for steers in (True, False):
        chat, _ = planned(toy, CARDS, *PAGES, steers=steers)
        assert [sampling.picture for sampling in chat.samplings] == ["auto"] + ["always" if steers else "auto"] * 3
        assert [sampling.seed for sampling in chat.samplings] == [1, 2, 3, 4]


def test_a_page_without_a_prompt_paints_its_words_and_an_empty_one_is_told(toy):
    story = planned(toy, "", "Mia sleeps.", pages=1)[1][-1]
    assert story.pages[0] == BookPage("Mia sleeps.", "Mia sleeps.")
    with pytest.raises(UserError, match="said nothing for page 1"):
        planned(toy, "", "", pages=1)


@pytest.mark.parametrize(("policy", "seeds"), [("same", [7, 7]), ("next", [7, 8])])
def test_the_seeds_follow_a_policy(policy, seeds):
    assert [replace(STORY, seeds=policy).page_seed(page) for page in (0, 1)] == seeds


def test_a_story_comes_back_from_its_file(tmp_path):
    STORY.save(tmp_path / "story.json")
    assert Story.load(tmp_path / "story.json") == STORY


@pytest.mark.parametrize(
    "change",
    [
        {"seeds": "odd"}, {"pages": []}, {"pages": [5]}, {"seed": "x"}, {"colour": 1}, {"title": 5}, {"seed": -1},
        {"seeds": ["same"]}, {"pages": None}, {"style": float("nan")}, {"title": "\ud800"},
        {"pages": [{"text": "a", "prompt": "b", "picture": "../a.png"}]},
        {"pages": [{"text": "a", "prompt": "b", "colour": 1}]},
        {"pages": [{"text": "a", "prompt": "b"}] * 1000},
    ],
)  # fmt: skip
def test_a_story_that_was_changed_wrongly_is_one_sentence(tmp_path, change):
    STORY.save(tmp_path / "story.json")
    told = json.loads((tmp_path / "story.json").read_text()) | change
    (tmp_path / "story.json").write_text(json.dumps(told))
    with pytest.raises(UserError):
        Story.load(tmp_path / "story.json")
    with pytest.raises(UserError, match="no story"):
        Story.load(tmp_path / "none.json")


@pytest.fixture
def bound(tmp_path):
    """A folder with the pictures of a story, and the story."""
    story = replace(
        STORY, pages=(BookPage("Mia < the moon & “more”", 'a "b"', "a.png"), BookPage("月亮" * 60, "c", "b.png"))
    )
    for number, page in enumerate(story.pages):
        Image.new("RGB", (64, 48), (number, 0, 9)).save(tmp_path / page.picture)
    return tmp_path, story


def test_the_html_holds_everything_and_asks_for_nothing(bound):
    folder, story = bound
    text = to_html(story, folder).decode()
    pictures = [Image.open(io.BytesIO(base64.b64decode(data))) for data in re.findall(r"base64,([^\"]+)\"", text)]
    assert [picture.getpixel((0, 0))[0] for picture in pictures] == [0, 1]
    assert "Mia &lt; the moon &amp; “more”" in text and 'alt="a &quot;b&quot;"' in text
    assert not re.search(r"https?:|<script|<link", text)


def test_the_pdf_has_a_title_and_a_page_for_each_page(bound):
    folder, story = bound
    content = to_pdf(story, folder)
    assert content.startswith(b"%PDF") and len(re.findall(rb"/Type /Page\b", content)) == 3
    assert len(re.findall(rb"/Subtype /Image", content)) == 2 and b"STSong-Light" in content
    assert to_pdf(story, folder) == content


def test_a_long_page_is_written_smaller_and_its_picture_stays(bound):
    folder, story = bound
    long = replace(story.pages[0], text="Once upon a time there was a moon. " * 60)
    sizes = re.findall(rb"/F\d+ (\d+) Tf", _streams(to_pdf(replace(story, pages=(long, story.pages[1])), folder)))
    assert {b"14", b"26"} < set(sizes) and min(map(int, sizes)) < 14


def _streams(pdf):
    """The content of all pages; reportlab writes it deflated and in base 85."""
    found = re.findall(rb"stream\s+(.*?~>)\s*endstream", pdf, re.DOTALL)
    return b"".join(zlib.decompress(base64.a85decode(each[:-2])) for each in found)


def test_a_picture_that_cannot_be_read_is_told(bound):
    folder, story = bound
    (folder / "b.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="picture of page 2 .b.png. .* delete it"):
        to_pdf(story, folder)


@pytest.mark.parametrize("name", ["none.png", "../a.png/../../x", None])
def test_a_picture_that_is_not_there_is_told(bound, name):
    folder, story = bound
    with pytest.raises(UserError, match="picture of page 1"):
        to_html(story.with_picture(0, name), folder)


def test_a_book_of_the_bundled_models_is_made_and_not_made_again(tmp_path, capsys):
    flags = ["--save_path", str(tmp_path / "book"), "--steps", "2", "--seed", "7"]
    flags += ["--character", "Rudi: a big red circle", "--style", "flat"]
    request = ["--request", "a red circle on a blue background", "--pages", "2"]
    assert storybook.main([*flags, *request]) == 0
    folder = tmp_path / "book"
    story = Story.load(folder / "story.json")
    assert [page.picture for page in story.pages] == ["page-01.png", "page-02.png"]
    assert [read(folder / page.picture).prompt for page in story.pages] == [story.prompt(0), story.prompt(1)]
    assert (folder / "book.html").exists() and (folder / "book.pdf").exists()
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("page-*")}
    (folder / "page-02.png").unlink()
    capsys.readouterr()
    assert storybook.main(flags) == 0
    assert "page-02.png" in capsys.readouterr().out
    assert (folder / "page-01.png").stat().st_mtime_ns == before["page-01.png"]
    assert storybook.main([*flags, "--request", "a green star"]) == 2
    assert "is of another book ('a red circle on a blue background')" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "message"),
    [(["--pages", "3"], "say with --request"), (["--request", "x", "--character", "Mia"], "write NAME")],
)
def test_a_wrong_wish_is_one_sentence(argv, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(illustration.Models, "load", lambda args: pytest.fail("models were loaded"))
    assert storybook.main([*argv, "--save_path", str(tmp_path / "b")]) == 2
    assert message in capsys.readouterr().err

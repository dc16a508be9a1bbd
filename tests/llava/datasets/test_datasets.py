"""Records become conversations; samples become batches; nothing is lost in silence."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from llmga.errors import UserError
from llmga.llava.conversation import Conversation
from llmga.llava.datasets.base import UnusableRecord
from llmga.llava.datasets.collate import Collate
from llmga.llava.datasets.kinds import KINDS
from llmga.llava.datasets.left_out import BLIND
from llmga.llava.datasets.mixture import CUT, MALFORMED, MISSING, TOO_LONG, UNANSWERED, DataSource, Mixture, Sample
from llmga.llava.datasets.order import Shuffled
from llmga.llava.instructions import CHINESE, ENGLISH
from llmga.llava.tokenization import IGNORED, Encoded

GREY = Image.new("RGB", (16, 16), (90, 90, 90))
PICTURE_TOKEN = 999
SAID = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A cat."}]
EXAMPLES = {
    "vqa": {"image": "a.png", "conversations": SAID},
    "text": {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}]},
    "sg": {"image": "a.png", "caption": "a grey cat"},
    "inpainting": {"image": "a.png", "caption": "a grey cat"},
    "edit": {"image": "a.png", "instruction": "Make it red.", "new_caption": "a red cat"},
    "t2i": {"ori_caption": "cat", "caption": "a grey cat"},
}


def converse(kind: str, record: dict, seed: int = 0) -> Conversation:
    return KINDS[kind].to_conversation(record, lambda name: GREY, np.random.default_rng(seed))


def words(conversation: Conversation) -> list[str]:
    return [message.text for message in conversation.messages]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_makes_a_question_and_an_answer(kind):
    assert set(KINDS[kind].fields) <= set(EXAMPLES[kind])
    for seed in range(10):
        conversation = converse(kind, EXAMPLES[kind], seed)
        assert [message.role for message in conversation.messages] == ["user", "assistant"]
        assert len(conversation.images()) == ("image" in EXAMPLES[kind])
        assert all(words(conversation))
        assert converse(kind, EXAMPLES[kind], seed) == conversation or kind == "inpainting"


@pytest.mark.parametrize(
    ("instruction", "kept"),
    [("Make it red.", "Make it red"), ("Make it red", "Make it red"), ("变红。", "变红"), ("Red, now!", "Red, now!")],
)
def test_an_edit_loses_its_full_stop_and_nothing_else(instruction, kept):
    assert words(converse("edit", {**EXAMPLES["edit"], "instruction": instruction})) == [
        kept,
        "<gen_image> a red cat </gen_image>",
    ]


def test_similar_generation_asks_for_a_picture_seven_times_in_ten():
    asked = [words(converse("sg", EXAMPLES["sg"], seed)) for seed in range(500)]
    share = np.mean([answer == "<gen_image> a grey cat </gen_image>" for _, answer in asked])
    assert share == pytest.approx(0.7, abs=0.06)
    for question, answer in asked:
        assert question in (ENGLISH.regenerate if answer.startswith("<gen_image>") else ENGLISH.describe)


def test_refinement_puts_the_short_text_before_or_behind_the_wish():
    seen = set()
    for seed in range(200):
        question, answer = words(converse("t2i", EXAMPLES["t2i"], seed))
        behind = question.startswith("cat ")
        wish = question.removeprefix("cat ") if behind else question.removesuffix(" cat")
        paint = answer == "<gen_image> a grey cat </gen_image>"
        pool = ENGLISH.elaborate if not paint else ENGLISH.generate_after if behind else ENGLISH.generate_before
        assert wish in pool
        seen.add((paint, behind))
    assert len(seen) == 4


def test_inpainting_hides_a_part_and_asks_by_the_kind_of_mask():
    for seed in range(40):
        conversation = converse("inpainting", EXAMPLES["inpainting"], seed)
        (shown,) = conversation.images()
        black = (np.asarray(shown) == 0).all(-1)
        assert black.any()
        assert words(conversation)[0] in (*ENGLISH.inpaint, *ENGLISH.outpaint)
    assert (np.asarray(GREY) == 90).all()


def test_a_chinese_caption_is_asked_for_in_chinese():
    question, _ = words(converse("sg", {"image": "a.png", "caption": "一只灰色的猫"}))
    assert question in (*CHINESE.describe, *CHINESE.regenerate)


def test_markers_go_to_the_front_of_a_single_picture_and_stay_with_several():
    said = [{"from": "human", "value": "What is <image>?"}, {"from": "gpt", "value": "A cat."}]
    assert words(converse("vqa", {"image": "a.png", "conversations": said}))[0] == "What is ?"
    said[0]["value"] = "Compare <image> with <image>."
    two = converse("vqa", {"image": ["a.png", "b.png"], "conversations": said})
    assert words(two)[0] == "Compare <image> with <image>."
    assert len(two.images()) == 2


def test_pictures_go_to_the_turn_that_names_them():
    said = [
        {"from": "human", "value": "Hello"},
        {"from": "gpt", "value": "Hi"},
        {"from": "human", "value": "<image>\nWhat?"},
        {"from": "gpt", "value": "A cat."},
    ]
    conversation = converse("vqa", {"image": "a.png", "conversations": said})
    assert [len(message.images) for message in conversation.messages] == [0, 0, 1, 0]


MARKED = [("human", "Hi"), ("gpt", "Hello"), ("human", "<image> What?"), ("gpt", "Two."), ("human", "<image> And?"),
          ("gpt", "No.")]  # fmt: skip


@pytest.mark.parametrize(
    ("turns", "pictures", "shown"),
    [
        (MARKED[2:4], 2, [2, 0]),
        (MARKED[2:4], 3, [3, 0]),
        (MARKED, 2, [0, 0, 1, 0, 1, 0]),
        (MARKED, 4, [0, 0, 3, 0, 1, 0]),
        (MARKED[:2], 2, [2, 0]),
    ],
)
def test_pictures_that_no_marker_stands_for_go_to_the_front_of_the_first_with_one(turns, pictures, shown):
    record = {
        "image": [f"{n}.png" for n in range(pictures)],
        "conversations": [{"from": a, "value": b} for a, b in turns],
    }
    conversation = converse("vqa", record)
    assert [len(message.images) for message in conversation.messages] == shown
    first = next(message for message in conversation.messages if message.images)
    assert first.marked_text() == "<image>\n" * max(shown) + ("Hi" if turns == MARKED[:2] else "What?")


@pytest.mark.parametrize(
    ("kind", "record", "told"),
    [
        ("vqa", {"conversations": SAID}, "1 markers <image>, but 0 pictures"),
        ("vqa", {"image": [], "conversations": SAID}, "1 markers <image>, but 0 pictures"),
        (
            "vqa",
            {"image": "a.png", "conversations": [SAID[0], {"from": "gpt", "value": "![a](<image>)"}]},
            "in an answer",
        ),
        (
            "vqa",
            {"image": "a.png", "conversations": [{"from": "human", "value": "<image><image>"}, SAID[1]]},
            "2 markers",
        ),
        ("text", {"image": "a.png", "conversations": SAID}, "kind text, which shows none"),
    ],
)
def test_words_about_a_picture_that_nobody_sees_are_left_out_and_named(kind, record, told, tmp_path):
    data = mixture(tmp_path, record, said("q", "a"), kind=kind, left_out=tmp_path / "left_out.jsonl")
    assert data[0].input_ids == [ord("q"), ord("a")]
    assert data.skipped.counts() == {BLIND: 1}
    (listed,) = map(json.loads, (tmp_path / "left_out.jsonl").read_text().splitlines())
    assert (listed["record"], listed["reason"]) == (0, "picture marker without a picture")
    assert told in listed["told"]


def test_turns_alternate_from_a_question_to_an_answer():
    said = [("gpt", "x"), ("system", "S"), ("human", "a"), ("human", "b"), ("gpt", "c"), ("human", "open")]
    record = {"conversations": [{"from": role, "value": text} for role, text in said]}
    conversation = converse("text", record)
    assert words(conversation) == ["a\nb", "c"]
    assert conversation.system == "S"
    with pytest.raises(UnusableRecord):
        converse("text", {"conversations": [{"from": "human", "value": "only a question"}]})


@pytest.mark.parametrize("pool", ENGLISH.__dataclass_fields__)
def test_both_languages_have_as_many_and_no_double_phrasings(pool):
    english, chinese = getattr(ENGLISH, pool), getattr(CHINESE, pool)
    lengths = {"describe": 12, "generate_before": 14, "generate_after": 12, "elaborate": 9}
    assert len(set(english)) == len(set(chinese)) == lengths.get(pool, 10)


def spell(conversation: Conversation) -> Encoded:
    """A token per character; a picture is four tokens in front of its message."""
    ids, labels = [], []
    for message in conversation.messages:
        said = [PICTURE_TOKEN] * 4 * len(message.images) + [ord(letter) for letter in message.text]
        ids += said
        labels += said if message.role == "assistant" else [IGNORED] * len(said)
    return Encoded(ids, labels)


def mixture(
    folder: Path,
    *records: dict,
    kind: str = "sg",
    max_length: int = 500,
    left_out: Path | None = None,
    long: str = "split",
    **source,
) -> Mixture:
    (folder / "data.json").write_text(json.dumps(records))
    GREY.save(folder / "a.png")
    sources = [DataSource(kind, str(folder / "data.json"), str(folder), **source)]
    token = {"image_token_id": PICTURE_TOKEN, "tokens_per_image": 4}
    return Mixture(sources, spell, **token, max_length=max_length, seed=3, left_out=left_out, long=long)


def test_chance_follows_from_seed_epoch_and_index(tmp_path):
    data, again = (mixture(tmp_path, *[EXAMPLES["sg"]] * 30) for _ in range(2))
    assert [data[key].input_ids for key in range(30)] == [again[key].input_ids for key in reversed(range(30))][::-1]
    assert [data[key].input_ids for key in range(30)] != [data[key].input_ids for key in range(30, 60)]


def test_a_missing_picture_is_counted_and_replaced_by_the_next_sample(tmp_path, caplog):
    data = mixture(tmp_path, {"image": "gone.png", "caption": "gone"}, {"image": "a.png", "caption": "here"})
    assert "here" in "".join(map(chr, data[0].input_ids))
    assert data.skipped.counts() == {MISSING: 1}
    assert "gone.png" in caplog.text


def test_when_nothing_can_be_used_the_user_is_told(tmp_path):
    with pytest.raises(UserError, match="not one of 1 samples"):
        mixture(tmp_path, {"image": "gone.png", "caption": "gone"})[0]


def said(question: str, answer: str) -> dict:
    return {"conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]}


def test_only_the_end_of_an_answer_may_be_cut(tmp_path):
    fitting = said("q", "a")
    data = mixture(tmp_path, said("q" * 5, "a" * 50), said("q" * 50, "a"), fitting, kind="text", max_length=20)
    assert len(data[0].input_ids) == len(data[0].labels) == 20
    assert data.skipped.counts() == {CUT: 2}
    assert data[1].input_ids == spell(converse("text", fitting)).input_ids
    assert data.skipped.counts() == {CUT: 2, TOO_LONG: 1}


def test_a_picture_is_never_cut(tmp_path):
    late = [*said("q", "a")["conversations"], {"from": "human", "value": "<image>"}, {"from": "gpt", "value": "b"}]
    data = mixture(tmp_path, {"image": "a.png", "conversations": late}, said("q", "a"), kind="vqa", max_length=5,
                   long="cut")  # fmt: skip
    assert data[0].images == ()
    assert data.skipped.counts() == {TOO_LONG: 1}


def test_a_sample_without_an_answer_is_counted(tmp_path):
    data = mixture(tmp_path, said("q", " "), said("q", "a"), kind="text")
    assert data[0].input_ids == [ord("q"), ord("a")]
    assert data.skipped.counts() == {UNANSWERED: 1}


@pytest.mark.parametrize(("share", "count"), [(1.0, 10), (0.5, 5), (2.5, 25)])
def test_the_share_says_how_much_of_a_source_an_epoch_takes(tmp_path, share, count):
    data = mixture(tmp_path, *[EXAMPLES["sg"]] * 10, share=share)
    rows, times = np.unique(data.rows[:, 1], return_counts=True)
    assert len(data) == count
    assert times.max() - times.min() <= 1 or len(rows) < 10


def test_a_split_shares_no_record(tmp_path):
    train, held_out = mixture(tmp_path, *[EXAMPLES["sg"]] * 20).split(0.25)
    assert len(held_out) == 5
    assert {*train.rows[:, 1].tolist(), *held_out.rows[:, 1].tolist()} == set(range(20))
    assert len(train) == 15


def test_rough_lengths_follow_words_and_pictures(tmp_path):
    data = mixture(tmp_path, EXAMPLES["vqa"], said("q", "a" * 99), said("q", "a"), kind="vqa")
    with_picture, long, short = data.lengths()
    assert long == 25
    assert with_picture > short


def test_a_source_is_written_as_one_flag():
    assert DataSource.parse("sg=d/a.json,images=d/i,share=0.5") == DataSource("sg", "d/a.json", "d/i", 0.5)
    assert DataSource.parse("text=a.json") == DataSource("text", "a.json")
    told = DataSource.parse("sg=a,layout=coco-2023,language=zh,paint=0.5,per_vqa=0.25")
    assert told == DataSource("sg", "a", layout="coco-2023", language="zh", paint=0.5, per_vqa=0.25)
    for text in ("sg", "sg=a,colour=red", "sg=a,share=lots", "sg=a,images=b,images=c"):
        with pytest.raises(UserError):
            DataSource.parse(text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("cats=a", "unknown kind of data 'cats'"),
        ("sg=a,share=0", "share of 'a' is 0.0"),
        ("sg=a,layout=1999", "unknown layout"),
        ("sg=a,language=fr", "unknown language"),
        ("sg=a,paint=2", "paint of 'a' is 2.0"),
        ("edit=a,paint=0.5", "for the kinds sg and t2i"),
        ("vqa=a,per_vqa=0.5", "for kinds but vqa"),
        ("sg=a,per_vqa=0.5,share=2", "leave one of the two out"),
    ],
)
def test_a_wrong_source_is_told(text, sentence):
    with pytest.raises(UserError, match=sentence):
        DataSource.parse(text).check()


def test_a_source_may_choose_its_language_and_how_often_a_picture_is_asked_for(tmp_path):
    chinese = converse_as("sg", DataSource("sg", "", language="zh", paint=1))
    assert {question in CHINESE.regenerate for question, _ in chinese} == {True}
    described = converse_as("t2i", DataSource("t2i", "", language="zh", paint=0))
    assert {answer for _, answer in described} == {"a grey cat"}


def converse_as(kind: str, source: DataSource) -> list[list[str]]:
    make, record = KINDS[kind].to_conversation, EXAMPLES[kind]
    return [words(make(record, lambda name: GREY, np.random.default_rng(n), source.phrasing)) for n in range(20)]


def test_sources_of_a_kind_share_what_they_give_for_each_visual_conversation(tmp_path):
    GREY.save(tmp_path / "a.png")
    for name, record, count in (
        ("vqa", EXAMPLES["vqa"], 40),
        ("coco", EXAMPLES["sg"], 30),
        ("laion", EXAMPLES["sg"], 10),
    ):
        (tmp_path / name).write_text("\n".join([json.dumps(record)] * count))
    kinds = {"vqa": "vqa", "coco": "sg", "laion": "sg"}
    sources = [
        DataSource(kind, str(tmp_path / name), str(tmp_path), **({"per_vqa": 0.5} if kind == "sg" else {"share": 0.5}))
        for name, kind in kinds.items()
    ]
    data = Mixture(sources, spell, image_token_id=PICTURE_TOKEN, tokens_per_image=4, max_length=500)
    assert np.bincount(data.rows[:, 0]).tolist() == [20, 15, 5]
    with pytest.raises(UserError, match="needs a source of kind vqa"):
        Mixture(sources[1:], spell, image_token_id=PICTURE_TOKEN, tokens_per_image=4, max_length=500)


def test_what_is_left_out_is_listed_once_and_a_bad_picture_not_tried_again(tmp_path):
    gone = {"image": "gone.png", "caption": "gone"}
    data = mixture(tmp_path, gone, EXAMPLES["sg"], left_out=tmp_path / "run/left_out.jsonl")
    for key in (0, 1, 2, 0):
        data[key]
    (line,) = (tmp_path / "run/left_out.jsonl").read_text().splitlines()
    listed = json.loads(line)
    assert (listed["record"], listed["reason"]) == (0, MISSING)
    assert "gone.png" in listed["told"]
    assert data.skipped.counts() == {MISSING: 1}


@pytest.mark.parametrize("spoilt", [{"caption": "  "}, {"caption": None}, {"caption": 7}, "words", None])
def test_a_record_that_is_none_of_its_kind_is_left_out_and_told(spoilt, tmp_path):
    good = [{"ori_caption": "cat", "caption": f"a cat {number}"} for number in range(3)]
    bad = {**good[0], **spoilt} if isinstance(spoilt, dict) else spoilt
    data = mixture(tmp_path, *good, bad, kind="t2i", left_out=tmp_path / "left_out.jsonl")
    taught = ["".join(map(chr, data[key].input_ids)) for key in range(12)]
    assert all("a cat" in text for text in taught)
    assert data.skipped.counts() == {"malformed record": 1}
    (listed,) = map(json.loads, (tmp_path / "left_out.jsonl").read_text().splitlines())
    assert (listed["record"], listed["reason"]) == (3, "malformed record")
    assert "a record " in listed["told"]


def test_workers_share_one_count_and_one_list(tmp_path):
    bad = [{"image": f"gone{number}.png", "caption": "gone"} for number in range(8)]
    data = mixture(tmp_path, *bad, *[EXAMPLES["sg"]] * 8, left_out=tmp_path / "left_out.jsonl")
    for _ in torch.utils.data.DataLoader(data, batch_size=4, num_workers=2, collate_fn=len):
        pass
    lines = (tmp_path / "left_out.jsonl").read_text().splitlines()
    assert {json.loads(line)["record"] for line in lines} == set(range(8))
    assert data.skipped.counts()[MISSING] >= 8


@pytest.mark.parametrize(
    "turns",
    [
        ["no turn"],
        [{"from": "human", "value": "q"}, {"from": "gpt", "value": "\ud800"}],
        [{"from": "nobody", "value": "a"}],
    ],
)
def test_no_record_is_fatal(turns, tmp_path):
    def strict(conversation: Conversation) -> Encoded:
        for message in conversation.messages:
            message.text.encode()
        return spell(conversation)

    data = mixture(tmp_path, {"conversations": turns}, said("q", "a"), kind="text")
    data.encode = strict
    assert data[0].input_ids == [ord("q"), ord("a")]
    assert data.skipped.counts() == {MALFORMED: 1}


def test_a_batch_is_padded_on_the_right_and_carries_all_pictures():
    def pixel_values(images):
        return torch.zeros(len(images), 3, 2, 2)

    collate = Collate(0, pixel_values)
    batch = collate([Sample([5, 6, 7], [IGNORED, 6, 7], (GREY, GREY)), Sample([8], [8], ())])
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 0, 0]]
    assert batch["labels"].tolist() == [[IGNORED, 6, 7], [8, IGNORED, IGNORED]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["pixel_values"].shape == (2, 3, 2, 2)
    assert "pixel_values" not in collate([Sample([8], [8], ())])


@pytest.mark.parametrize("grouped", [False, True])
def test_an_epoch_shows_every_sample_once_in_an_order_of_its_own(grouped):
    lengths = np.random.default_rng(0).integers(1, 100, 1000) if grouped else None
    order = Shuffled(1000, seed=1, lengths=lengths, batch_size=8)
    first = list(order)
    assert first == list(order)
    order.set_epoch(1)
    second = list(order)
    assert sorted(first) == list(range(1000))
    assert sorted(second) == list(range(1000, 2000))
    assert [key - 1000 for key in second] != first


def test_grouping_saves_padding():
    lengths = np.random.default_rng(0).integers(1, 100, 1000)

    def padded(order: Shuffled) -> int:
        return int(lengths[list(order)].reshape(-1, 8).max(1).sum() * 8)

    together = padded(Shuffled(1000, seed=1, lengths=lengths, batch_size=8))
    assert together < 1.1 * lengths.sum() < padded(Shuffled(1000, seed=1))

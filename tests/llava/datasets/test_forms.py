"""Every form in which others write records is read as what it says, or refused by its name.

The records are laid out as the tools and data sets that are named write them.
"""

import base64
import bz2
import csv
import gzip
import io
import json
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import webdataset
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as Pillow

from llmga.errors import UserError
from llmga.llava.conversation import Conversation
from llmga.llava.datasets import compressed, hub
from llmga.llava.datasets.compressed import COMPRESSIONS
from llmga.llava.datasets.file_kinds import FILE_KINDS
from llmga.llava.datasets.forms import FORMS, REFUSED
from llmga.llava.datasets.kinds import KINDS
from llmga.llava.datasets.mixture import conversation_of, open_sources
from llmga.llava.datasets.pictures import opener
from llmga.llava.datasets.records import open_records
from llmga.llava.datasets.shards import shards
from llmga.llava.datasets.sources import DataSource

PAGE = Path(__file__).parents[3] / "data/README.md"


def png(colour: str = "red", size: tuple[int, int] = (3, 2), kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Pillow.new("RGB", size, colour).save(file, kind)
    return file.getvalue()


RED, BLUE = png("red"), png("blue", (5, 4))
ASK, SAY = {"role": "user", "content": "<image>\nWhat?"}, {"role": "assistant", "content": "A cat."}
URI = "data:image/png;base64," + base64.b64encode(RED).decode()


def parts(kind: str, **picture: Any) -> list[dict]:
    said = {"role": "assistant", "content": [{"type": "text", "text": "A cat."}]}
    return [{"role": "user", "content": [{"type": kind, **picture}, {"type": "text", "text": "What?"}]}, said]


# The same exchange, a picture, "What?", "A cat.", as each form has it; (name, record) with rows of one name in a row.
SAME: list[tuple[str, dict[str, Any]]] = [
    ("llava", {"id": "1", "image": "a.png", "conversations": [
        {"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A cat."}]}),
    ("llava", {"image": "a.png", "conversations": [ASK, SAY]}),
    ("messages", {"messages": [ASK, SAY], "images": ["a.png"]}),
    ("messages", {"messages": [{"role": "user", "content": "<image>What?"}, SAY], "images": [{"path": "a.png"}]}),
    ("messages", {"messages": parts("image_url", image_url={"url": URI, "detail": "high"})}),
    ("messages", {"messages": parts("input_image", image_url=URI)}),
    ("messages", {"messages": parts("image", source={"type": "base64", "media_type": "image/png",
                                                      "data": base64.b64encode(RED).decode()})}),
    ("messages", {"messages": [{"role": "user", "content": [{"image": "a.png"}, {"text": "What?"}]},
                               {"role": "assistant", "content": [{"text": "A cat."}]}]}),
    ("conversation", {"conversation": [ASK, SAY], "image": "a.png"}),
    ("dialogue", {"dialogue": [{"speaker": "User", "text": "<image>What?"}, {"speaker": "Bot", "text": "A cat."}],
                  "img": "a.png"}),
    ("texts", {"images": ["a.png"], "texts": [{"user": "What?", "assistant": "A cat.", "source": "VQAv2"}]}),
    ("pairs", {"image": "a.png", "conversation": [{"human": "What?", "assistant": "A cat."}]}),
    ("qa-pairs", {"image": "a.png", "qa_pairs": [{"question": "What?", "answer": "A cat."}]}),
    ("alternating", {"image": "a.png", "data": ["What?", "A cat."]}),
    ("query-response", {"query": "<image>What?", "response": "A cat.", "images": ["a.png"]}),
    ("alpaca", {"instruction": "What?", "input": "", "output": "A cat.", "images": ["a.png"]}),
    ("prompt-completion", {"prompt": "What?", "completion": "A cat.", "image": "a.png"}),
    ("prompt-completion", {"prompt": [ASK], "completion": [SAY], "images": ["a.png"]}),
    ("prompt-response", {"prompt": "What?", "response": "A cat.", "image": "a.png"}),
    ("instruction-response", {"instruction": "What?", "context": "", "response": "A cat.", "image": "a.png"}),
    ("question-answer", {"question": "What?", "answer": "A cat.", "image_path": "a.png"}),
    ("question-answers", {"question": "What?", "answers": ["A dog.", "A cat.", "A cat."], "image": "a.png"}),
    ("question-answers", {"question": "What?", "image": "a.png", "answers": [
        {"answer": "A cat.", "answer_confidence": "yes", "answer_id": n} for n in range(3)]}),
    ("question-response", {"system_prompt": "", "question": "What?", "response": "A cat.", "image": "a.png"}),
    ("problem-solution", {"problem": "What?", "solution": "A cat.", "image": "a.png"}),
    ("inputs-targets", {"inputs": "What?", "targets": "A cat.", "image": "a.png"}),
    ("text-input-output", {"text_input": "What?", "text_output": "A cat.", "image": "a.png"}),
    ("input-output", {"input": "What?", "output": "A cat.", "image": "a.png"}),
]  # fmt: skip
OTHERS = {"choices", "caption", "edit-prompt"}  # which say something else


def read(tmp_path: Path, *records: Any, kind: str = "vqa", name: str = "a.json", **source: Any) -> list[Conversation]:
    (tmp_path / name).write_text(json.dumps(list(records)))
    return read_file(tmp_path / name, kind, **source)


def read_file(file: Path | str, kind: str = "vqa", **source: Any) -> list[Conversation]:
    """All conversations of a file, with pictures that are opened."""
    source = DataSource(kind, str(file), **source)
    folder = source.image_folder or str(Path(file).parent)
    return [conversation_of(source, one, opener(folder), np.random.default_rng(0)) for one in open_records(source)]


def told(conversation: Conversation) -> tuple[list[str], list[tuple[int, int]]]:
    return [message.text for message in conversation.messages], [one.size for one in conversation.images()]


@pytest.mark.parametrize("table", [False, True], ids=["json", "parquet"])
@pytest.mark.parametrize(("name", "record"), SAME, ids=[f"{number}-{name}" for number, (name, _) in enumerate(SAME)])
def test_a_form_says_the_same_in_json_and_in_a_table(name, record, table, tmp_path):
    (tmp_path / "a.png").write_bytes(RED)
    if table:
        Dataset.from_list([record]).to_parquet(tmp_path / "a.parquet")
        (found,) = read_file(tmp_path / "a.parquet")
    else:
        (found,) = read(tmp_path, record)
    assert told(found) == (["What?", "A cat."], [(3, 2)])


def test_every_row_is_tried():
    assert {name for name, _ in SAME} | OTHERS == set(FORMS)


@pytest.mark.parametrize("ask", ["human", "user", "Human", "USER", "<|User|>", "prompter", "customer"])
@pytest.mark.parametrize("say", ["gpt", "assistant", "bing", "chatgpt", "bard", "model", "ASSISTANT", "<|Assistant|>"])
def test_speakers_are_known_in_every_spelling(ask, say):
    record = {"conversations": [{"from": "developer", "value": "Rhyme."}, {"from": ask, "value": "What?"},
                                {"from": say, "value": "A cat."}]}  # fmt: skip
    found = KINDS["text"].to_conversation(record, opener(""), np.random.default_rng(0))
    assert (told(found)[0], found.system) == (["What?", "A cat."], "Rhyme.")


def test_history_system_and_input_keep_their_places(tmp_path):
    swift, alpaca = read(
        tmp_path,
        {"system": "Rhyme.", "query": "And?", "response": "Two.", "history": [["Hi", "Hello"]]},
        {"instruction": "Translate.", "input": "猫", "output": "cat", "history": [["Hi", "Hello"]], "system": "Rhyme."},
        kind="text",
    )
    assert (told(swift)[0], swift.system) == (["Hi", "Hello", "And?", "Two."], "Rhyme.")
    assert (told(alpaca)[0], alpaca.system) == (["Hi", "Hello", "Translate.\n猫", "cat"], "Rhyme.")


@pytest.mark.parametrize(
    "record",
    [
        {"choices": ["red", "blue"], "answer": 1},
        {"options": "['red', 'blue']", "answer": "B"},
        {"A": "red", "B": "blue", "answer": "B"},
        {"choices": ["red", "blue"], "answer": "blue"},
    ],
    ids=["ScienceQA", "MMMU", "MMBench", "in words"],
)
def test_choices_are_listed_and_answered_by_a_letter(record, tmp_path):
    (tmp_path / "a.png").write_bytes(RED)
    (found,) = read(tmp_path, {"image": "a.png", "question": "Which?", "hint": "Look.", **record})
    asked = "Look.\nWhich?\nA. red\nB. blue\nAnswer with the option's letter from the given choices directly."
    assert told(found) == ([asked, "B"], [(3, 2)])


@pytest.mark.parametrize("key", ["caption", "text", "txt", "captions"])
def test_a_caption_is_one_for_every_kind_that_wants_one(key, tmp_path):
    (tmp_path / "a.png").write_bytes(RED)
    record = {"image": "a.png", key: ["a cat", "an animal"] if key == "captions" else "a cat"}
    (shown,) = read(tmp_path, record)
    assert told(shown) == (["", "a cat"], [(3, 2)])
    for kind in ("sg", "inpainting"):
        assert "a cat" in told(read(tmp_path, record, kind=kind)[0])[0][1]


def test_a_change_and_its_result_are_an_edit(tmp_path):
    """As InstructPix2Pix is kept on the Hub."""
    Dataset.from_list([{"original_image": {"bytes": RED, "path": None}, "edit_prompt": "make it blue.",
                        "original_prompt": "red", "edited_prompt": "a blue square",
                        "edited_image": {"bytes": BLUE, "path": None}}]).to_parquet(tmp_path / "a.parquet")  # fmt: skip
    (found,) = read_file(tmp_path / "a.parquet", "edit")
    assert told(found) == (["make it blue", "<gen_image> a blue square </gen_image>"], [(3, 2)])


def test_others_marks_of_pictures_are_ours(tmp_path):
    (tmp_path / "a.png").write_bytes(RED)
    (tmp_path / "b.png").write_bytes(BLUE)
    qwen = [{"from": "user", "value": "Picture 1: <img>a.png</img>\nPicture 2: <img>b.png</img>\nSame?"}, SAY]
    minicpm = [{"role": "user", "content": "<image_01>\n<image_00>\nSame?"}, SAY]
    deepseek = [{"role": "<|User|>", "content": "<image_placeholder>\n<image_placeholder>\nSame?"},
                {"role": "<|Assistant|>", "content": "A cat."}]  # fmt: skip
    phi = [{"role": "user", "content": "<|image_1|>\n<|image_2|>\nSame?"}, SAY]
    found = read(
        tmp_path,
        {"conversations": qwen},
        {"image": {"<image_00>": "a.png", "<image_01>": "b.png"}, "conversations": minicpm},
        {"images": ["a.png", "b.png"], "conversations": deepseek},
        {"images": ["a.png", "b.png"], "messages": phi},
    )
    assert told(found[0]) == (["Picture 1: <image>\nPicture 2: <image>\nSame?", "A cat."], [(3, 2), (5, 4)])
    assert told(found[1]) == (["<image>\n<image>\nSame?", "A cat."], [(5, 4), (3, 2)])
    assert told(found[2]) == told(found[3]) == (["<image>\n<image>\nSame?", "A cat."], [(3, 2), (5, 4)])


# What is refused, and a part of the sentence that names it.
TOOL = [{"from": "human", "value": "Weather?"}, {"from": "function_call", "value": "{}"},
        {"from": "observation", "value": "sun"}, {"from": "gpt", "value": "Sunny."}]  # fmt: skip
NOT_READ: list[tuple[str, dict[str, Any], str]] = [
    ("preference", {"prompt": "q", "chosen": "a", "rejected": "b"}, r"a pair of preference \(chosen, .*--map"),
    ("preference", {"conversations": [ASK], "chosen": SAY, "rejected": SAY}, "as DPO compares them"),
    ("preference-swift", {"messages": [ASK, SAY], "rejected_response": "b"}, r"\(rejected_response\), as DPO"),
    ("preference-messages", {"messages": [ASK, SAY], "rejected_messages": [ASK, SAY]}, r"\(rejected_messages\), as"),
    ("kto", {"prompt": "q", "completion": "a", "label": True}, "a judged answer .*, as KTO takes them"),
    ("kto", {"messages": [ASK, SAY], "label": False}, "a judged answer .*, as KTO takes them"),
    ("masked", {"messages": [ASK, {**SAY, "weight": 0}, ASK, SAY]}, r"some answers are not to be learnt \(weight"),
    ("masked", {"messages": [ASK, {**SAY, "loss": False}, ASK, SAY]}, "some answers are not to be learnt"),
    ("kto-tag", {"messages": [ASK, SAY], "kto_tag": False}, r"a judged answer \(kto_tag\)"),
    ("tools", {"conversations": TOOL, "tools": "[]"}, "a dialogue with tools, whose turns call a function"),
    ("tools", {"messages": [ASK, {"role": "assistant", "tool_calls": [{"id": 1}]}]}, "a dialogue with tools"),
    ("interleaved", {"images": ["a.png", None], "texts": [None, "words"]}, "a document of texts and pictures in turn"),
    ("grounding", {"messages": [ASK, SAY], "images": ["a.png"], "objects": {"ref": ["x"], "bbox": [[1, 2, 3, 4]]}},
     "a record of boxes"),
    ("coco-annotations", {"images": [{"id": 1}], "annotations": [{"caption": "c"}]}, "a whole file of COCO's annotat"),
    ("plain-text", {"text": "Once upon a time"}, "a text without a question"),
    ("videos", {"messages": [{"role": "user", "content": "<video>What?"}, SAY], "videos": ["a.mp4"]},
     "has 'videos', which the model cannot see; leave such records out"),
    ("audios", {"messages": [{"role": "user", "content": "<audio>What?"}, SAY], "audios": ["a.mp3"]},
     "has 'audios', which the model cannot see"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "record", "sentence"), NOT_READ, ids=[name for name, _, _ in NOT_READ])
def test_what_cannot_be_learnt_from_is_refused_by_its_name(name, record, sentence, tmp_path):
    with pytest.raises(UserError, match=f"record 0 of .*{sentence}") as complaint:
        read(tmp_path, record)
    assert name not in REFUSED or REFUSED[name].way_out in str(complaint.value)


def test_every_refused_row_is_tried():
    assert {name for name, _, _ in NOT_READ} - {"videos", "audios"} == set(REFUSED)


def test_the_better_answer_of_a_pair_is_learnt_when_that_is_said(tmp_path):
    record = {"prompt": "q", "chosen": "good", "rejected": "bad"}
    (found,) = read(tmp_path, record, kind="text", columns="question=prompt,answer=chosen")
    assert told(found)[0] == ["q", "good"]


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        ({"question": "q", "reply": "a"}, "with its keys question, reply it is nearest to the form 'question-answer' "
                                          r"\(.*\), but lacks 'answer'"),
        ({"instructions": "q", "output": "a"}, "nearest to the form 'alpaca' .* but lacks 'instruction'"),
        ({"instruction": "q", "output": ""}, "the form 'alpaca' .* but nothing stands in 'output'; fill it, or leave"),
        ({"messages": "words"}, "nearest to the form 'messages' .* but has other values in messages"),
        ({"zebra": 1}, "but it has zebra; --map gives keys other names"),
    ],
)  # fmt: skip
def test_what_has_no_form_is_told_the_nearest_one(record, sentence, tmp_path):
    with pytest.raises(UserError, match=f"record 0 of .* has no 'conversations'; .*{sentence}"):
        read(tmp_path, record)


def test_keys_are_given_other_names(tmp_path):
    (tmp_path / "a.png").write_bytes(RED)
    record = {"meta": {"picture": "a.png"}, "q": "What?", "gold": "A cat."}
    (found,) = read(tmp_path, record, columns="question=q, answer=gold, image=meta.picture")
    assert told(found) == (["What?", "A cat."], [(3, 2)])
    for wrong, sentence in {
        "question": "must look like",
        "query=": "must look like",
        "zebra=q": "names 'zebra'",
    }.items():
        with pytest.raises(UserError, match=sentence):
            DataSource("vqa", "a.json", columns=wrong).check()


# Files.
ROWS = [{"image": "a.png", "question": f"What? {number}", "answer": 'A "cat",\nhere.'} for number in range(3)]


def wrote_csv(file: Path, by: str = ",") -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, [*ROWS[0], "empty"], delimiter=by)
    writer.writeheader()
    writer.writerows([{**row, "empty": ""} for row in ROWS])
    file.write_text(text.getvalue())


def wrote_tar(file: Path) -> None:
    with webdataset.TarWriter(str(file)) as shard:
        for number, row in enumerate(ROWS):
            shard.write({"__key__": f"{number:06d}", "png": png(), "json": row})


WRITE: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "json": ("a.jsonl", lambda file: file.write_text("\n".join(map(json.dumps, ROWS)))),
    "csv": ("a.csv", wrote_csv),
    "tsv": ("a.tsv", lambda file: wrote_csv(file, "\t")),
    "webdataset": ("a.tar", wrote_tar),
    "parquet": ("a.parquet", lambda file: Dataset.from_list(ROWS).to_parquet(file)),
    "arrow": ("saved", lambda file: Dataset.from_list(ROWS).save_to_disk(file)),
}


@pytest.mark.parametrize("kind", FILE_KINDS)
def test_every_type_of_file_holds_the_same_records(kind, tmp_path):
    name, write = WRITE[kind]
    write(tmp_path / name)
    (tmp_path / "a.png").write_bytes(RED)
    found = [told(one) for one in read_file(tmp_path / name)]
    assert found == [([f"What? {number}", 'A "cat",\nhere.'], [(3, 2)]) for number in range(3)]


def test_arrow_of_both_formats_is_read(tmp_path):
    """`save_to_disk` leaves streams, Arrow's own programs files."""
    table = pa.Table.from_pylist(ROWS)
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as file:
        file.write_table(table)
    (tmp_path / "a.png").write_bytes(RED)
    assert len(read_file(tmp_path / "a.arrow")) == len(ROWS)


PACK = {
    "gzip": gzip.compress,
    "zstd": lambda data: pa.compress(data, "zstd", asbytes=True),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}


@pytest.mark.parametrize("packing", COMPRESSIONS)
@pytest.mark.parametrize("kind", ["json", "csv"])
def test_a_packed_file_is_read_as_it_is(packing, kind, tmp_path):
    name, write = WRITE[kind]
    write(tmp_path / name)
    packed = tmp_path / (name + COMPRESSIONS[packing].suffixes[0])
    packed.write_bytes(PACK[packing]((tmp_path / name).read_bytes()))
    (tmp_path / name).unlink()
    source = DataSource("vqa", str(tmp_path))
    assert [one["conversations"][0]["value"] for one in open_records(source)] == [f"What? {n}" for n in range(3)]
    packed.write_bytes(packed.read_bytes()[: len(packed.read_bytes()) // 2])
    with pytest.raises(UserError, match=f"is a {packing} file that is damaged or breaks off .*; fetch it again"):
        open_records(source)


def test_a_list_that_is_packed_behind_a_plain_name_opens(tmp_path):
    """At 0.1.0: data file 'train.json' is not in UTF-8 (invalid start byte); save it so."""
    (tmp_path / "train.json").write_bytes(
        gzip.compress(json.dumps([{"messages": [ASK, SAY], "images": ["a.png"]}]).encode())
    )
    assert len(open_records(DataSource("vqa", str(tmp_path / "train.json")))) == 1


@pytest.mark.parametrize("packing", COMPRESSIONS)
def test_a_bomb_is_not_unpacked(packing, tmp_path, monkeypatch):
    monkeypatch.setattr(compressed, "ALWAYS", 1 << 16)
    line = json.dumps({"messages": [ASK, SAY]}) + "\n"
    (tmp_path / "a.jsonl").write_bytes(PACK[packing]((line * 40_000).encode()))
    with pytest.raises(UserError, match="unpacks to more than 200 times its size"):
        open_records(DataSource("vqa", str(tmp_path / "a.jsonl")))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("question,answer\nq,a\nq\n", r"is no table of text: .*Expected 2 columns, got 1"),
        ("question,question\nq,a\n", "names the column 'question' twice; give each one name"),
        ("\n", "has no first line with the names of its columns"),
        ("question,answer\n", "holds no records"),
        ("a lighthouse\thttps://a.b/c.jpg\n" * 2, "has no 'conversations'; .* but it has a lighthouse"),
    ],
)
def test_a_table_of_text_that_is_none_is_told(text, sentence, tmp_path):
    file = tmp_path / ("a.tsv" if "\t" in text else "a.csv")
    file.write_text(text)
    with pytest.raises(UserError, match=sentence):
        open_records(DataSource("vqa", str(file)))


def test_turns_in_the_cell_of_a_table_are_turns(tmp_path):
    """As `pandas` writes a list: in JSON, or as Python prints it."""
    said = [{"role": "user", "content": "It's <image>?"}, SAY]
    (tmp_path / "a.png").write_bytes(RED)
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["images", "messages"], ["a.png", json.dumps(said)], ["['a.png']", str(said)]])
    assert [told(one) for one in read_file(tmp_path / "a.csv")] == [(["It's ?", "A cat."], [(3, 2)])] * 2


def test_shards_in_braces_are_all_of_them(tmp_path):
    for number in range(8, 12):
        (tmp_path / f"s-{number:04d}.tar").touch()
    assert [file.name for file in shards(f"{tmp_path}/s-{{0009..0011}}.tar")] == [
        "s-0009.tar", "s-0010.tar", "s-0011.tar"]  # fmt: skip


def members(file: Path, *of: tuple[str, bytes]) -> None:
    with tarfile.open(file, "w") as archive:
        for name, content in of:
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))


def test_an_archive_gives_captions_and_several_pictures(tmp_path):
    """As img2dataset writes it (jpg, txt, json), and with two pictures of one record."""
    said = json.dumps({"messages": [{"role": "user", "content": "<image><image>Same?"}, SAY]}).encode()
    members(tmp_path / "a.tar", ("0.jpg", RED), ("0.txt", b"a cat"), ("0.json", b'{"url": "http://x", "width": 3}'))
    (one,) = read_file(tmp_path / "a.tar", "sg")
    assert "a cat" in told(one)[0][1] and told(one)[1] == [(3, 2)]
    members(tmp_path / "b.tar", ("d/1.0.png", RED), ("d/1.1.png", BLUE), ("d/1.json", said))
    (two,) = read_file(tmp_path / "b.tar")
    assert told(two) == (["<image><image>Same?", "A cat."], [(3, 2), (5, 4)])


def test_nothing_of_an_archive_is_a_path_and_double_keys_are_told(tmp_path):
    text = json.dumps({"question": "q", "answer": "a"}).encode()
    outside = tmp_path / "x/../../evil.json"
    members(tmp_path / "a.tar", ("../../evil.json", text), ("/abs/1.json", text), ("2.json", text), ("3.json", text),
            ("2.txt", b"again"), ("4.json", text), ("4.json", text), ("5.json", text))  # fmt: skip
    with tarfile.open(tmp_path / "a.tar", "a") as archive:
        link = tarfile.TarInfo("6.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    found = open_records(DataSource("text", str(tmp_path / "a.tar")))
    assert dict(found.faults()) == {
        4: "has the key '2', which another record of the archive has, too",
        5: "has the file 4.json twice",
    }
    assert len(found) == 7 and not outside.exists()
    (tmp_path / "b.tar").write_bytes(gzip.compress((tmp_path / "a.tar").read_bytes()))
    with pytest.raises(UserError, match=r"no tar archive.* It is packed as a whole.*unpack it \(gzip -d\)"):
        open_records(DataSource("text", str(tmp_path / "b.tar")))


def test_an_archive_that_moves_holds_the_same_and_another_picture_is_noticed(tmp_path):
    wrote_tar(tmp_path / "a.tar")
    first = open_records(DataSource("vqa", str(tmp_path / "a.tar"))).digest()
    (tmp_path / "moved").mkdir()
    (tmp_path / "a.tar").rename(tmp_path / "moved/a.tar")
    assert open_records(DataSource("vqa", str(tmp_path / "moved/a.tar"))).digest() == first
    content = bytearray((tmp_path / "moved/a.tar").read_bytes())
    at = content.index(b"IEND")
    content[at - 5] ^= 1
    (tmp_path / "moved/a.tar").write_bytes(content)
    assert open_records(DataSource("vqa", str(tmp_path / "moved/a.tar"))).digest() != first


@pytest.mark.parametrize(
    "picture",
    [URI, base64.b64encode(RED).decode(), {"bytes": RED, "path": None}, {"path": "a.png"}, "a.png", RED],
    ids=["data: URI", "base64", "bytes and path", "path", "name", "bytes"],
)
def test_a_picture_may_be_in_the_record(picture, tmp_path):
    (tmp_path / "a.png").write_bytes(RED)
    table = [{"images": [picture, picture], "question": "<image><image>Same?", "answer": "Yes."}]
    Dataset.from_list(table).to_parquet(tmp_path / "a.parquet")
    (found,) = read_file(tmp_path / "a.parquet")
    assert told(found) == (["<image><image>Same?", "Yes."], [(3, 2), (3, 2)])


def test_the_cauldron_and_onevision_as_the_hub_keeps_them(tmp_path):
    """Parquet with `datasets`' own types: lists of structs of bytes, and of texts."""
    text = {"user": Value("string"), "assistant": Value("string"), "source": Value("string")}
    said = {"from": Value("string"), "value": Value("string")}
    stored = {"bytes": RED, "path": None}
    cauldron = Dataset.from_list(
        [{"images": [stored], "texts": [{"user": "What?", "assistant": "A cat.", "source": "x"},
                                         {"user": "Sure?", "assistant": "Yes.", "source": "x"}]}],
        features=Features({"images": List(Image()), "texts": List(text)}),
    )  # fmt: skip
    onevision = Dataset.from_list(
        [{"id": "1", "image": stored, "data_source": "x", "conversations": [
            {"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A cat."}]}],
        features=Features({"id": Value("string"), "image": Image(), "data_source": Value("string"),
                           "conversations": List(said)}),
    )  # fmt: skip
    cauldron.to_parquet(tmp_path / "cauldron.parquet")
    onevision.to_parquet(tmp_path / "onevision.parquet")
    (found,) = read_file(tmp_path / "cauldron.parquet")
    assert told(found) == (["What?", "A cat.", "Sure?", "Yes."], [(3, 2)])
    (found,) = read_file(tmp_path / "onevision.parquet")
    assert told(found) == (["What?", "A cat."], [(3, 2)])


def test_a_data_set_of_the_hub_is_fetched_or_told_in_one_sentence(tmp_path, monkeypatch):
    """Fetching is the library's; here it is given a data set that lies on the disk already."""
    Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved")
    (tmp_path / "a.png").write_bytes(RED)
    sentence = "no file or folder here, and no data set of this name can be had from the Hub (.+); check the path"
    with pytest.raises(UserError, match=f"'nobody/nothing-of-this-name' is {sentence}") as complaint:
        open_sources([DataSource("vqa", "nobody/nothing-of-this-name")])
    assert "\n" not in str(complaint.value)
    asked = []

    def fetched(*names: str, split: str, trust_remote_code: bool) -> Dataset:
        assert not trust_remote_code
        asked.append((*names, split))
        return Dataset.load_from_disk(tmp_path / "saved")

    monkeypatch.setattr("datasets.load_dataset", fetched)
    assert hub.files_of("hub:owner/name/english@validation")[0].suffix == ".arrow"
    assert asked == [("owner/name", "english", "validation")]
    assert [told(one)[0][0] for one in read_file("owner/name", image_folder=str(tmp_path))] == [
        "What? 0",
        "What? 1",
        "What? 2",
    ]
    for named in ("data/train", str(tmp_path / "gone"), "a.json", "owner/name.json"):
        assert not hub.is_meant(named)


def test_messages_open_that_did_not(tmp_path):
    """At 0.1.0: record 0 of 'messages.json' has no 'conversations'; records of this kind have conversations."""
    cases = {
        "LLaMA-Factory": {"messages": [ASK, SAY], "images": ["a.png"]},
        "ms-swift": {"messages": [{"role": "system", "content": "Rhyme."}, ASK, SAY], "images": ["a.png"]},
        "OpenAI": {"messages": parts("image_url", image_url={"url": URI})},
    }
    (tmp_path / "a.png").write_bytes(RED)
    for found in read(tmp_path, *cases.values(), name="messages.json"):
        assert told(found) == (["What?", "A cat."], [(3, 2)])


KNOWN_BY = {"tools": "turns of tools", "masked": "turns with a weight or loss"}


def in_code(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def test_the_page_says_of_every_row_what_the_code_says():
    page = PAGE.read_text("utf-8")
    rows = [f"| `{name}` | {in_code(form.keys)} | {form.said} | {form.tools} |" for name, form in FORMS.items()]
    rows += [f"| `{name}` | {in_code(form.keys) or KNOWN_BY[name]} | {form.said} | {form.way_out} |"
             for name, form in REFUSED.items()]  # fmt: skip
    rows += [f"| `{name}` | {in_code(kind.suffixes)} | {kind.said}{', also packed' * kind.packed} |"
             for name, kind in FILE_KINDS.items()]  # fmt: skip
    rows += [f"| `{name}` | {in_code(row.suffixes)} |" for name, row in COMPRESSIONS.items()]
    assert [row for row in rows if row not in page] == []
    assert len(FORMS) + len(FILE_KINDS) + len(COMPRESSIONS) >= 25

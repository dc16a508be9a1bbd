"""Records of every file type are read alike, any of them at once, and what is wrong with a file is told."""

import io
import json
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow as pa
import pytest
from datasets import Dataset, Image, List
from pyarrow import parquet

from llmga.errors import UserError
from llmga.llava.datasets import json_stream, records
from llmga.llava.datasets.kinds import KINDS
from llmga.llava.datasets.pictures import opener
from llmga.llava.datasets.records import open_records
from llmga.llava.datasets.sources import DataSource
from llmga.llava.datasets.turns import turn_fault

TURNS = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "A cat — 猫."}]
MIXED = [
    {"id": "1", "image": "a.png", "conversations": TURNS},
    {"id": 2, "conversations": TURNS},
    {"image": ["a.png", "b.png"], "conversations": [{**TURNS[0], "note": {"deep": [1, None]}}, TURNS[1]]},
]
CAPTIONED = [{"image": f"{number}.png", "caption": "words " * number} for number in range(1, 8)]


def write(path: Path, rows: list) -> DataSource:
    text = json.dumps(rows, ensure_ascii=False, indent=1)
    if path.suffix != ".json":
        text = "\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text(text, encoding="utf-8")
    return DataSource("vqa" if "conversations" in rows[0] else "sg", str(path))


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.ndjson"])
@pytest.mark.parametrize("rows", [MIXED, CAPTIONED])
def test_json_comes_back_as_it_was(name, rows, tmp_path):
    assert list(open_records(write(tmp_path / name, rows))) == rows


@pytest.mark.parametrize("chunk", [1, 3, 7, 64])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_records_across_the_edges_of_what_is_read_at_once(name, chunk, tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, "CHUNK", chunk)
    write(tmp_path / name, MIXED)
    found = list(json_stream.items(tmp_path / name))
    assert [item.value for item in found] == MIXED
    assert [json.loads(item.text) for item in found] == MIXED


def test_numbers_at_an_edge_are_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, "CHUNK", 2)
    (tmp_path / "a.json").write_text('{"a": 1234567, "b":"x"  }')
    assert list(json_stream.pairs(tmp_path / "a.json")) == [("a", 1234567), ("b", "x")]


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_tables_lose_the_keys_that_a_record_never_had(suffix, tmp_path):
    rows = [{"image": "a.png", "conversations": TURNS}, {"image": None, "conversations": TURNS}]
    table = Dataset.from_list(rows)
    if suffix == "parquet":
        table.to_parquet(tmp_path / "a.parquet")
    else:
        table.save_to_disk(tmp_path / "saved")
    named = tmp_path / ("a.parquet" if suffix == "parquet" else "saved")
    found = open_records(DataSource("vqa", str(named)))
    assert list(found) == [rows[0], {"conversations": TURNS}]
    assert found.pictures().tolist() == [1, 0]


def test_pictures_inside_a_table_stay_bytes(tmp_path):
    table = Dataset.from_list([{"image": {"bytes": b"abc", "path": None}, "caption": "a cat"}])
    table.cast_column("image", Image(decode=False)).to_parquet(tmp_path / "a.parquet")
    (record,) = open_records(DataSource("sg", str(tmp_path / "a.parquet")))
    assert record == {"image": {"bytes": b"abc"}, "caption": "a cat"}


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("typed", [False, True])
def test_conversations_of_a_table_see_the_pictures_in_it(several, typed, tmp_path):
    """Stored as `datasets` stores pictures, with or without its types, one or a list of them a row."""
    stored = {"bytes": picture_bytes(), "path": None}
    rows = [{"image": [stored, stored] if several else stored, "conversations": TURNS}]
    table = Dataset.from_list([*rows, {"image": None, "conversations": TURNS}])
    if typed:
        table = table.cast_column("image", List(Image()) if several else Image())
    table.to_parquet(tmp_path / "a.parquet")
    found = open_records(DataSource("vqa", str(tmp_path / "a.parquet")))
    assert found.pictures().tolist() == [1 + several, 0]
    said = [KINDS["vqa"].to_conversation(record, opener(""), np.random.default_rng(0)) for record in found]
    assert [[image.size for image in one.images()] for one in said] == [[(3, 2)] * (1 + several), []]


ASKED, ANSWERED = {"role": "user", "content": "<image>\nWhat?"}, {"role": "assistant", "content": "A cat."}
PARTS = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}
SPOKEN = [{"role": "assistant", "content": [{"type": "text", "text": "A cat."}]}]
# The same record as other trainers have it.
SPELT = {
    "images, messages": {"images": ["a.png"], "messages": [ASKED, ANSWERED]},
    "image_path": {"image": None, "image_path": "a.png", "messages": [ASKED, ANSWERED]},
    "image_paths": {"image_paths": ["a.png"], "conversations": [ASKED, ANSWERED]},
    "parts": {"images": ["a.png"], "messages": [PARTS, *SPOKEN]},
    "parts that bring a name": {"messages": [
        {"role": "user", "content": [{"type": "image", "image": "file://a.png"}, PARTS["content"][1]]}, *SPOKEN]},
    "parts as over HTTP": {"messages": [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a.png"}}, "What?"]}, ANSWERED]},
}  # fmt: skip


@pytest.mark.parametrize("table", [False, True])
@pytest.mark.parametrize("spelling", SPELT)
def test_other_trainers_spellings_are_read(spelling, table, tmp_path):
    record = SPELT[spelling]
    if table and not spelling.endswith("HTTP"):  # a column holds one type
        Dataset.from_list([record]).to_parquet(tmp_path / "a.parquet")
    else:
        (tmp_path / "a.json").write_text(json.dumps([record]))
    (found,) = records_of = open_records(DataSource("vqa", str(next(tmp_path.glob("a.*")))))
    assert records_of.pictures().tolist() == [1]
    assert records_of.characters().tolist() == [len("<image>\nWhat?A cat.")]
    PIL.Image.new("RGB", (3, 2)).save(tmp_path / "a.png")
    question, answer = KINDS["vqa"].to_conversation(found, opener(str(tmp_path)), np.random.default_rng(0)).messages
    assert (question.text, answer.text) == ("What?", "A cat.")
    assert [image.size for image in question.images] == [(3, 2)]


@pytest.mark.parametrize("spelling", ["conversations", "messages"])
def test_a_system_text_beside_the_turns_is_theirs(spelling, tmp_path):
    own = {"role": "system", "content": "Rhyme."}
    rows = [
        {"system": "Be brief.", spelling: [ASKED, ANSWERED], "image": "a.png"},
        {"system": "Be brief.", spelling: [own, ASKED, ANSWERED], "image": "a.png"},
        {"system": None, spelling: [ASKED, ANSWERED], "image": "a.png"},
        {spelling: [own, own, ASKED, ANSWERED], "image": "a.png"},
    ]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    PIL.Image.new("RGB", (3, 2)).save(tmp_path / "a.png")
    source = open_records(DataSource("vqa", str(tmp_path / "a.json")))
    read = [KINDS["vqa"].to_conversation(one, opener(str(tmp_path)), np.random.default_rng(0)) for one in source]
    assert [one.system for one in read] == ["Be brief.", "Rhyme.", None, "Rhyme.\nRhyme."]
    assert source.characters().tolist() == [len(said) + len("<image>\nWhat?A cat.") for said in
                                            ("Be brief.", "Rhyme.", "", "Rhyme.Rhyme.")]  # fmt: skip


def test_parts_keep_their_order_and_a_strange_one_is_named(tmp_path):
    parts = [
        {"type": "text", "text": "Compare"},
        {"type": "image"},
        {"type": "text", "text": "with"},
        {"type": "image"},
    ]
    film = [{"type": "video", "video": "a.mp4"}, {"type": "text", "text": "What?"}]
    rows = [
        {"images": ["a.png", "b.png"], "messages": [{"role": "user", "content": said}, ANSWERED]}
        for said in (parts, film)
    ]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    good, strange = open_records(DataSource("vqa", str(tmp_path / "a.json")))
    assert good == {"image": ["a.png", "b.png"], "conversations": [
        {"role": "user", "content": "Compare\n<image>\nwith\n<image>"}, ANSWERED]}  # fmt: skip
    assert turn_fault(strange["conversations"][0]) == "has a part 'video' that is neither text nor picture"


def test_a_list_of_one_picture_serves_where_one_is_wanted(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([{"images": ["a.png"], "caption": "a cat"}]))
    assert list(open_records(DataSource("sg", str(tmp_path / "a.json")))) == [{"caption": "a cat", "image": "a.png"}]


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("typed", ["Image", "struct", "binary"])
def test_a_table_may_have_its_pictures_under_images(typed, several, tmp_path):
    stored = picture_bytes() if typed == "binary" else {"bytes": picture_bytes(), "path": "a.png"}
    table = Dataset.from_list([{"images": [stored] * (1 + several), "messages": [ASKED, ANSWERED]}])
    if typed == "Image":
        table = table.cast_column("images", List(Image()))
    table.to_parquet(tmp_path / "a.parquet")
    found = open_records(DataSource("vqa", str(tmp_path / "a.parquet")))
    assert (found.faulty(), found.pictures().tolist()) == (0, [1 + several])
    said = KINDS["vqa"].to_conversation(found[0], opener(""), np.random.default_rng(0))
    assert [image.size for image in said.images()] == [(3, 2)] * (1 + several)


@pytest.mark.parametrize("several", [False, True])
def test_the_digest_follows_words_order_and_pictures_of_a_table_and_not_its_date(several, tmp_path):
    def digest(*rows: tuple[str, str]) -> str:
        pictures = [{"bytes": picture_bytes(colour), "path": None} for colour, _ in rows]
        table = [{"image": [one, one] if several else one, "conversations": [TURNS[0], {"from": "gpt", "value": said}]}
                 for one, (_, said) in zip(pictures, rows, strict=True)]  # fmt: skip
        Dataset.from_list(table).to_parquet(tmp_path / "a.parquet")
        return open_records(DataSource("vqa", str(tmp_path / "a.parquet"))).digest()

    first, second = ("red", "A cat."), ("blue", "A dog.")
    whole = digest(first, second)
    assert digest(first, second) == whole
    others = [(second, first), (first, ("navy", "A dog.")), (first, ("blue", "A cow.")), (first,)]
    assert len({whole, *(digest(*rows) for rows in others)}) == 5


def picture_bytes(colour: str = "black") -> bytes:
    file = io.BytesIO()
    PIL.Image.new("RGB", (3, 2), colour).save(file, "BMP")  # of one size, whatever it shows
    return file.getvalue()


def test_a_table_without_rows_holds_no_records(tmp_path):
    parquet.write_table(pa.table({"image": pa.array([], pa.string())}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="holds no records"):
        open_records(DataSource("sg", str(tmp_path / "a.parquet")))


def test_shards_follow_their_names(tmp_path):
    for number in (2, 0, 1):
        write(tmp_path / f"part-{number}.jsonl", CAPTIONED[number * 2 : number * 2 + 2])
    for named in (tmp_path, tmp_path / "part-*.jsonl"):
        assert list(open_records(DataSource("sg", str(named)))) == CAPTIONED[:6]
    write(tmp_path / "part-9.json", CAPTIONED)
    assert len(open_records(DataSource("sg", str(tmp_path)))) == 13
    Dataset.from_list(CAPTIONED).to_parquet(tmp_path / "more.parquet")
    with pytest.raises(UserError, match="files of different types"):
        open_records(DataSource("sg", str(tmp_path)))


def test_notes_say_lengths_pictures_and_which_records_are_the_same(tmp_path):
    rows = [*MIXED, {**MIXED[0], "id": "another"}]
    found = open_records(write(tmp_path / "a.json", rows))
    assert found.pictures().tolist() == [1, 0, 2, 1]
    assert (found.characters() == len("What?A cat — 猫.")).all()
    same = np.unique(found.digests(), return_inverse=True)[1]
    assert same[0] == same[3] != same[1] != same[2]


def test_another_process_opens_the_file_anew(tmp_path):
    found = open_records(write(tmp_path / "a.json", MIXED))
    assert found[1] == MIXED[1]
    assert list(pickle.loads(pickle.dumps(found))) == MIXED


def test_a_file_that_changed_is_read_again_and_its_old_notes_go(tmp_path):
    source = write(tmp_path / "a.json", CAPTIONED)
    for rows in (CAPTIONED, CAPTIONED[:2], [{**CAPTIONED[0], "caption": "otter "}]):
        write(tmp_path / "a.json", rows)
        assert list(open_records(source)) == rows
        kept = records._cache_file(source, [tmp_path / "a.json"])
        left = {file.stem for file in kept.parent.glob(f"{kept.name.partition('-')[0]}-*")}
        assert left == {kept.stem}


def test_a_change_in_the_middle_of_a_file_is_seen_whatever_its_size_and_date(tmp_path):
    rows = [{"image": "a.png", "caption": f"a cat {number:06}" + "!" * 80} for number in range(2000)]
    source = write(tmp_path / "a.jsonl", rows)
    first, about = open_records(source).digest(), (tmp_path / "a.jsonl").stat()
    rows[1000]["caption"] = rows[1000]["caption"].replace("cat", "cow")
    write(tmp_path / "a.jsonl", rows)
    os.utime(tmp_path / "a.jsonl", ns=(about.st_atime_ns, about.st_mtime_ns))
    assert (tmp_path / "a.jsonl").stat().st_size == about.st_size
    assert open_records(source).digest() != first


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[{", "not JSON"),
        ('[{"image": "a", "caption": "b"}', "not JSON.*after 1 records"),
        ('[{"image": "a", "caption": "b"}] 7', "'7' follows the end"),
        ("[]", "holds no records"),
        ("", "holds no records"),
        ('[{"image": "a"}]', "record 0 .* has no 'caption'"),
        ('[{"image": "a", "caption": "b"}, {"image": "a", "caption": " "}]', "record 1 .* has no 'caption'"),
        ('[{"image": "a", "caption": ["b"]}]', "record 0 .* has a list as 'caption'"),
        ('[{"image": 9, "caption": "b"}]', "record 0 .* has a number as 'image'"),
        ('{"image": "a", "caption": "b"}\n{oh', "record 1 .* is not JSON"),
        ("[3]", "record 0 .* is a number, but must be an object with image, caption"),
        (json.dumps({"mine": [{"image": "a", "caption": "b"}]}, indent=2), "one object over several lines"),
        ('{"data": [{"image": "a", "caption": "b"}', "not JSON.*it ends without ',', after 1 records"),
        ('{"data": [{"image": "a", "caption": "b"}]} {}', "'{' follows the end of the object"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_wrong_file_is_told(text, sentence, tmp_path):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=sentence):
        open_records(DataSource("sg", str(tmp_path / "a.json")))


@pytest.mark.parametrize("indent", [None, 2])
def test_records_of_one_list_in_an_object_are_read_as_in_stage_2(indent, tmp_path):
    for name, rest in (("data", {}), ("records", {"version": 1, "by": [{}]})):
        (tmp_path / f"{name}.json").write_text(json.dumps({name: CAPTIONED, **rest}, indent=indent))
        assert list(open_records(DataSource("sg", str(tmp_path / f"{name}.json")))) == CAPTIONED
    write(tmp_path / "lines.jsonl", [{"data": ["q", "a"]}, {"data": ["q", "a"]}])  # as UltraChat has it
    assert len(open_records(DataSource("text", str(tmp_path / "lines.jsonl")))) == 2


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            b"Frage;Antwort\nq;a\n",
            "parts the columns of its first line with ';' instead of ','; save it with ','",
        ),
        ("question,answer\nWofür?,Schön\n".encode("cp1252"), "is not in UTF-8; save it so"),
        ("Wofür,Schön\nq,a\n".encode("cp1252"), "is not in UTF-8; save it so"),
        ("question,answer\nq,a\n".encode("utf-16"), "is a text in UTF-16; save it in UTF-8"),
    ],
)
def test_tables_of_other_programs_are_told_how_to_save_them(content, sentence, tmp_path):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(UserError, match=sentence) as problem:
        open_records(DataSource("text", str(tmp_path / "a.csv")))
    assert "JSON" not in str(problem.value)


def test_other_wrong_files_are_told(tmp_path):
    for name, content in {
        "a.json": b'[{"image": "a", "caption": "\xff"}]',
        "a.parquet": b"no",
        "a.arrow": b"no",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match="UTF-8|cannot be read"):
            open_records(DataSource("sg", str(tmp_path / name)))
    with pytest.raises(UserError, match="does not exist"):
        open_records(DataSource("sg", str(tmp_path / "gone*.json")))


def packed(kind: str) -> bytes:
    text, file = json.dumps(CAPTIONED).encode(), io.BytesIO()
    if kind in ("zip", "empty zip"):
        with zipfile.ZipFile(file, "w") as archive:
            if kind == "zip":
                archive.writestr("a.json", text)
    elif kind in ("tar", "tar.gz"):
        with tarfile.open(fileobj=file, mode="w:gz" if kind == "tar.gz" else "w") as archive:
            about = tarfile.TarInfo("a.json")
            about.size = len(text)
            archive.addfile(about, io.BytesIO(text))
    elif kind == "parquet":
        Dataset.from_list(CAPTIONED).to_parquet(file)
    else:
        return {"utf-16": lambda text: text.decode(
            ).encode("utf-16"), "lfs": lambda text: b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
            "page": lambda text: b"<!DOCTYPE html><title>404</title>"}[kind](text)  # fmt: skip
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("tar.gz", r"is a tar archive, not JSON; unpack it \(tar -xf\)"),
        ("zip", r"is a zip archive, not JSON; unpack it \(unzip\)"),
        ("empty zip", "is a zip archive"),
        ("tar", r"is a tar archive, not JSON; unpack it \(tar -xf\)"),
        ("parquet", "is a parquet file, not JSON; let its name end with .parquet"),
        ("utf-16", "is a text in UTF-16, not JSON; save it in UTF-8"),
        ("lfs", "is a pointer of Git LFS, not JSON; fetch the file itself with git lfs pull"),
        ("page", "is a web page, not JSON; download the file itself"),
    ],
)
@pytest.mark.parametrize("layout", ["2024", "laion-2023"])
def test_a_file_of_another_type_is_named_with_the_remedy(kind, sentence, layout, tmp_path):
    (tmp_path / "a.json").write_bytes(packed(kind))
    with pytest.raises(UserError, match=f"data file '.*a.json' {sentence}"):
        open_records(DataSource("sg", str(tmp_path / "a.json"), layout=layout))


def test_a_folder_without_records_says_what_it_holds(tmp_path):
    folder = DataSource("sg", str(tmp_path))
    with pytest.raises(UserError, match=r"data folder .* holds no \.json, .*\.arrow \(.*\) files; give another one"):
        open_records(folder)
    for name in ("part-0.tar.gz", "part-1.tar.gz", "all.zip"):
        (tmp_path / name).write_bytes(packed("tar"))
    with pytest.raises(UserError, match=r"holds no \.json, .* files, but archives such as 'all.zip'; unpack them"):
        open_records(folder)


def test_a_few_other_records_are_no_reason_to_refuse_a_file(tmp_path):
    write(tmp_path / "a.jsonl", [*CAPTIONED[:3], {"image": "x.png", "caption": " "}, {"image": "x.png"}])
    found = open_records(DataSource("sg", str(tmp_path / "a.jsonl")))
    assert [row for row, _ in found.faults()] == [3, 4]
    assert found.faulty() == 2
    write(tmp_path / "a.jsonl", [*CAPTIONED[:1], {"image": "x.png"}])
    with pytest.raises(
        UserError, match="record 1 of .* has no 'caption'.* \\(1 of 2 records cannot be learnt from; from half"
    ):
        open_records(DataSource("sg", str(tmp_path / "a.jsonl")))


def test_all_faults_are_listed_when_asked_for(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"image": "a", "caption": "b"}\n{oh\n{"image": "a"}\n')
    found = open_records(DataSource("sg", str(tmp_path / "a.jsonl")), strict=False)
    assert [row for row, _ in found.faults()] == [1, 2]
    assert len(found) == 3


def test_coco_of_2023_names_pictures_by_number(tmp_path):
    rows = [{"image_id": 9, "caption": "long words", "coco_caption": ["short", "other"]}]
    write(tmp_path / "a.jsonl", rows)
    (record,) = open_records(DataSource("t2i", str(tmp_path / "a.jsonl"), layout="coco-2023"))
    assert (record["image"], record["ori_caption"]) == ("000000000009.jpg", "short")
    Dataset.from_list(rows).to_parquet(tmp_path / "a.parquet")
    (record,) = open_records(DataSource("sg", str(tmp_path / "a.parquet"), layout="coco-2023"))
    assert record["image"] == "000000000009.jpg"


def test_prompts_of_2023_are_an_object(tmp_path):
    (tmp_path / "prompts.json").write_text('{"k1": "a cat", "k2": {"caption": "a dog"}}')
    found = open_records(DataSource("sg", str(tmp_path / "prompts.json"), layout="laion-2023"))
    assert list(found) == [{"image": "k1", "caption": "a cat"}, {"image": "k2", "caption": "a dog"}]

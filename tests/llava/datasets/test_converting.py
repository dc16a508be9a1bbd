"""What is written in our own form teaches the same tokens as what it was made of."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, List
from datasets import Image as ImageColumn
from PIL import Image

from llmga.llava.data import main
from llmga.llava.datasets.mixture import conversation_of
from llmga.llava.datasets.pictures import opener
from llmga.llava.datasets.records import open_records
from llmga.llava.datasets.sources import DataSource
from llmga.llava.empty import load_empty_mllm


def picture(colour: str, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (3, 2), colour).save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="module")
def mllm():
    folder = Path(__file__).parents[2] / "fixtures/mllm/qwen2/llmga-Qwen2-0.5B-tiny"
    return load_empty_mllm(folder, conv_mode="qwen_2")


def samples(mllm, source: DataSource) -> list[tuple]:
    """Ids, labels and pixels of every record that can be used."""
    talks = (conversation_of(source, record, opener(source.image_folder), np.random.default_rng(0))
             for record in open_records(source))  # fmt: skip
    encoded = [(talk, mllm.encode(talk)) for talk in talks]
    return [(one.input_ids, one.labels, [image.tobytes() for image in talk.images()]) for talk, one in encoded]


@pytest.fixture
def mixed(tmp_path) -> Path:
    """Dialogues of two pictures, of one that is shown twice, of none, with a system text."""
    (tmp_path / "a.jpg").write_bytes(picture("red", "JPEG"))
    (tmp_path / "b.webp").write_bytes(picture("blue", "WEBP"))
    ask = "Compare <image> with <image>, «é» 猫."
    rows = [
        {"id": 7, "images": ["a.jpg", "b.webp"], "query": ask, "response": "Red and blue."},
        {"images": ["a.jpg"], "query": "What?", "response": " Red. ", "history": [["Hi", "Hello"]], "system": "Rhyme."},
        {"images": ["a.jpg", "b.webp"], "query": "Both?", "response": "<gen_image> two </gen_image>"},
        {"query": "Words?", "response": "Yes."},
    ]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    return tmp_path


@pytest.mark.parametrize("out", ["mine.jsonl", "mine.parquet", "mine"])
def test_nothing_changes_for_a_model(out, mixed, mllm, capsys):
    source = DataSource("vqa", str(mixed / "a.json"), str(mixed))
    place = mixed / "new" / out
    assert main([source.file, "--images", str(mixed), "--to", str(place)]) == 0
    said = capsys.readouterr().out
    assert "4 of 4 records written, with 5 pictures" in said and "left out" not in said
    written = DataSource.parse(said.partition("--data ")[2].strip())
    assert samples(mllm, written) == samples(mllm, source)
    assert open_records(written)[0]["id"] == "7"
    if out == "mine.parquet":
        assert Dataset.from_parquet(str(place)).features["images"] == List(ImageColumn())
        assert [path.name for path in place.parent.iterdir()] == [out]
    else:
        kept = {path.read_bytes() for path in (mixed / "new").rglob("*.*") if path.suffix in (".jpg", ".webp")}
        assert kept == {(mixed / "a.jpg").read_bytes(), (mixed / "b.webp").read_bytes()}


@pytest.mark.parametrize("kind", ["sg", "inpainting", "edit", "t2i"])
@pytest.mark.parametrize("out", ["mine.jsonl", "mine.parquet"])
def test_the_other_kinds_keep_their_fields(kind, out, tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(picture("red"))
    words = {"t2i": {"ori_caption": "cat"}, "edit": {"instruction": "Red!", "new_caption": "a red cat"}}.get(kind, {})
    record = {**({} if kind == "t2i" else {"image": "a.png"}), "caption": "a cat", **words}
    (tmp_path / "a.json").write_text(json.dumps([record]))
    assert main([f"{kind}={tmp_path}/a.json,images={tmp_path}", "--to", str(tmp_path / out)]) == 0
    written = DataSource.parse(capsys.readouterr().out.partition("--data ")[2].strip())
    (again,) = open_records(written)
    shown = again.pop("image", None)
    assert again == {name: said for name, said in record.items() if name in (*words, *written_fields(kind))}
    assert shown is None or opener(written.image_folder)(shown).size == (3, 2)


def written_fields(kind: str) -> tuple[str, ...]:
    return () if kind == "edit" else ("caption",)


def test_what_is_left_out_is_counted_with_the_reason(tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(picture("red"))
    (tmp_path / "broken.png").write_bytes(picture("red")[:45])
    ask = {"from": "human", "value": "<image>What?"}
    rows = [
        {"image": image, "conversations": [ask, {"from": "gpt", "value": answer}]}
        for image, answer in [
            ("a.png", "A cat."),
            ("gone.png", "x"),
            ("broken.png", "x"),
            ("a.png", ""),
            ("a.png", "\ud800"),
        ]
    ]
    (tmp_path / "a.json").write_text(json.dumps([*rows, *rows[:1] * 6, {"video": "a.mp4", "conversations": []}]))
    assert main([str(tmp_path / "a.json"), "--images", str(tmp_path), "--to", str(tmp_path / "o.jsonl")]) == 0
    said = capsys.readouterr().out
    assert "7 of 12 records written, with 7 pictures" in said
    assert "left out, picture missing or unreadable: 2\n    record 1 of" in said and "gone.png" in said
    assert "left out, no answer to learn: 1" in said and "left out, malformed record: 2" in said
    assert "has 'video', which the model cannot see" in said
    assert len((tmp_path / "o.jsonl").read_text().splitlines()) == 7
    assert len(list((tmp_path / "o_images").rglob("*.png"))) == 1


def test_what_is_left_out_is_told_by_its_name_and_its_fault(tmp_path, capsys):
    """Once "a record is a NoneType", and "the uploaded picture" for one in a tar."""
    (tmp_path / "a.jsonl").write_text('{"query": "q", "response": "a"}\n{oh\n{"query": "q", "response": "b"}\n')
    assert main([str(tmp_path / "a.jsonl"), "--to", str(tmp_path / "b.jsonl")]) == 0
    assert "record 1 of" in (said := capsys.readouterr().out) and ": a record is not JSON (Expecting property" in said
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for key, content in (("0", picture("red")), ("1", picture("red")[:45])):
            for name, each in ((f"{key}.png", content), (f"{key}.txt", b"red")):
                info = tarfile.TarInfo(name)
                info.size = len(each)
                tar.addfile(info, io.BytesIO(each))
    assert main([str(tmp_path / "a.tar"), "--kind", "sg", "--to", str(tmp_path / "c.jsonl")]) == 0
    assert f"picture '1.png' of '{tmp_path / 'a.tar'}' is not a readable picture" in capsys.readouterr().out


def test_names_of_pictures_without_a_folder_are_told_the_flag(tmp_path, capsys):
    (tmp_path / "a.json").write_text(json.dumps([{"image": "0.png", "query": "q", "response": "a"}]))
    assert main([str(tmp_path / "a.json"), "--to", str(tmp_path / "b.jsonl")]) == 2
    assert "picture '0.png' is not in the working folder; give the folder where names start as --images" in (
        capsys.readouterr().err
    )


def test_pictures_inside_a_table_leave_those_beside_it_alone(tmp_path):
    (tmp_path / "x_images").mkdir()
    (tmp_path / "x_images/a.png").touch()
    (tmp_path / "a.json").write_text(json.dumps([{"query": "q", "response": "a"}]))
    assert main([str(tmp_path / "a.json"), "--to", str(tmp_path / "x.parquet")]) == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["{d}/a.json", "--to", "{d}/taken.jsonl"], "taken.jsonl' is there already; give another --to"),
        (
            ["{d}/a.json", "--to", "/proc/x.jsonl"],
            "'/proc/x.jsonl' cannot be written .no such file or directory.; make",
        ),
        (["{d}/a.json", "--to", "/proc/x"], "'/proc/x' cannot be written .no such file or directory.; make"),
        (["{d}/a.json", "--to", "{d}/taken.csv"], "taken.csv' ends with '.csv'; use .jsonl, .parquet, or a folder"),
        (["{d}/a.json", "--to", "{d}/a.zip"], "ends with '.zip'; use .jsonl, .parquet, or a folder"),
        (
            ["text={d}/a.json", "sg={d}/a.json", "--to", "{d}/o"],
            "of the kinds sg, vqa do not fit one file|'image'|kinds",
        ),
        (["{d}/gone.json", "--to", "{d}/o"], "gone.json' does not exist"),
        (["{d}/pair.json", "--to", "{d}/o"], r"a pair of preference \(chosen, rejected\)"),
        (["{d}/lost.json", "--to", "{d}/o"], "not one of 1 records can be used .*picture missing"),
        (["{d}/a.json", "--map", "zebra=q", "--to", "{d}/o"], "--map names 'zebra'"),
        (["{d}/a.json", "--kind", "cats", "--to", "{d}/o"], "unknown kind of data 'cats'"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(words, sentence, tmp_path, capsys):
    import re

    said = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    (tmp_path / "a.json").write_text(json.dumps([{"conversations": said}]))
    (tmp_path / "pair.json").write_text(json.dumps([{"prompt": "q", "chosen": "a", "rejected": "b"}]))
    (tmp_path / "lost.json").write_text(json.dumps([{"image": "gone.png", "conversations": said}]))
    (tmp_path / "taken.jsonl").touch()
    (tmp_path / "taken_images").mkdir()
    (tmp_path / "taken_images/a.png").touch()
    before = sorted(tmp_path.iterdir())
    assert main([word.format(d=tmp_path) for word in words]) == 2
    told = capsys.readouterr().err
    assert re.search(sentence, told) and told.startswith("error: ") and told.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before

"""The doctor finds every planted fault, and none where there is none."""

import json
import re
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llmga.errors import UserError
from llmga.llava.datasets.mixture import DataSource
from llmga.llava.inspection import words
from llmga.llava.inspection.findings import CHECKS
from llmga.llava.train import doctor
from llmga.llava.train.callbacks import StopAtLostLoss
from llmga.llava.train.doctor import main
from llmga.llava.train.examination import DoctorConfig, Report, examine
from llmga.llava.train.stage1 import train

Rng = np.random.Generator
COUNT = 6  # records of each kind
WORDS = "a tall red lighthouse on a rocky coast under grey clouds while small boats pass by"


class Corpus:
    """Clean records of all kinds with their pictures, of which one at a time is spoilt.

    Attributes:
        records: by kind; what a fault changes.
        row: the record that is spoilt.
    """

    def __init__(self, folder: Path, seed: int):
        self.folder, self.rng = folder, np.random.default_rng(seed)
        self.images = folder / "images"
        self.images.mkdir(parents=True)
        self.records = {kind: [make(self) for _ in range(COUNT)] for kind, make in CLEAN.items()}
        self.row = int(self.rng.integers(COUNT))
        self.lines: dict[str, str] = {}  # kind -> a line that is no JSON

    def words(self, count: int = 6) -> str:
        return " ".join(self.rng.choice(WORDS.split(), count)) + f" {self.rng.integers(1_000_000)}"

    def picture(self, mode: str = "RGB", size: tuple[int, int] | None = None, ending: str = "png", **options) -> str:
        size = size or tuple(map(int, self.rng.integers(24, 60, 2)))
        name = f"{self.rng.integers(1 << 40):012x}.{ending}"
        pixels = self.rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(self.images / name, **options)
        return name

    def picked(self, *kinds: str) -> dict:
        """The record to spoil, of one of the kinds."""
        return self.records[str(self.rng.choice(kinds))][self.row]

    def pictured(self) -> dict:
        return self.picked("vqa", "sg", "inpainting", "edit")

    def file(self, record: dict) -> Path:
        return self.images / record["image"]

    def write(self) -> tuple[DataSource, ...]:
        for kind, records in self.records.items():
            lines = [json.dumps(record) for record in records]
            if kind in self.lines:
                lines[self.row] = self.lines[kind]
            (self.folder / f"{kind}.jsonl").write_text("\n".join(lines), encoding="utf-8")
        return tuple(DataSource(kind, str(self.folder / f"{kind}.jsonl"), str(self.images)) for kind in self.records)


def talk(corpus: Corpus, image: bool) -> dict:
    said = []
    for _ in range(int(corpus.rng.integers(1, 3))):
        said += [{"from": "human", "value": corpus.words()}, {"from": "gpt", "value": corpus.words()}]
    if image:
        said[0]["value"] = f"<image>\n{said[0]['value']}"
        said[-1]["value"] += f" <gen_image> {corpus.words()} </gen_image>"
    return {"conversations": said} | ({"image": corpus.picture()} if image else {})


CLEAN: dict[str, Callable[[Corpus], dict]] = {
    "vqa": lambda corpus: talk(corpus, image=True),
    "text": lambda corpus: talk(corpus, image=False),
    "sg": lambda corpus: {"image": corpus.picture(), "caption": corpus.words()},
    "inpainting": lambda corpus: {"image": corpus.picture(), "caption": "一座红色的灯塔 " + corpus.words()},
    "edit": lambda corpus: {
        "image": corpus.picture(ending="jpg"), "instruction": "Make it red.", "new_caption": corpus.words()
    },
    "t2i": lambda corpus: {"ori_caption": corpus.words(2), "caption": corpus.words()},
}  # fmt: skip


def swap(corpus: Corpus, **picture) -> None:
    corpus.pictured()["image"] = corpus.picture(**picture)


def cut_file(corpus: Corpus, share: float) -> None:
    file = corpus.file(corpus.pictured())
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])


def answer(corpus: Corpus, text: str) -> None:
    corpus.picked("vqa", "text")["conversations"][-1]["value"] = text


def other_capitals(corpus: Corpus) -> None:
    record = corpus.pictured()
    record["image"] = record["image"].upper()


def animated(corpus: Corpus) -> None:
    more = [Image.new("RGB", (30, 30), colour) for colour in ("red", "blue")]
    name = corpus.picture(ending="gif", save_all=True, append_images=more, size=(30, 30))
    corpus.pictured()["image"] = name


def huge(corpus: Corpus) -> None:
    Image.new("1", (10_000, 7_000)).save(corpus.images / "huge.png")
    corpus.pictured()["image"] = "huge.png"


def twice(corpus: Corpus) -> None:
    records = corpus.records[str(corpus.rng.choice(list(CLEAN)))]
    records[corpus.row] = {"id": "another", **records[corpus.row - 1]}


def broken_line(corpus: Corpus) -> None:
    corpus.lines["sg"] = '{"image": "a.png", "caption": "cut of'


def lone_marker(corpus: Corpus) -> None:
    corpus.picked("text")["conversations"][0]["value"] += " <image>"


def unmarked_pictures(corpus: Corpus) -> None:
    record = corpus.picked("vqa")
    record["image"] = [record["image"], corpus.picture()]


def drop(corpus: Corpus, *places: tuple[str, str]) -> None:
    kind, name = places[corpus.rng.integers(len(places))]
    del corpus.records[kind][corpus.row][name]


def speak(corpus: Corpus, turn: int, **changes) -> None:
    corpus.picked("text")["conversations"][turn].update(changes)


def caption(corpus: Corpus, change: Callable[[str], str]) -> None:
    record = corpus.picked("sg", "inpainting", "t2i")
    record["caption"] = change(record["caption"])


def refine_nothing(corpus: Corpus) -> None:
    record = corpus.picked("t2i")
    record["ori_caption"] = record["caption"]


FAULTS: dict[str, tuple[str, Callable[[Corpus], object]]] = {
    "no such picture": ("picture-missing", lambda c: c.file(c.pictured()).unlink()),
    "other capitals": ("picture-missing", other_capitals),
    "a truncated picture": ("picture-unreadable", lambda c: cut_file(c, 0.5)),
    "an empty picture": ("picture-unreadable", lambda c: cut_file(c, 0)),
    "a page, no picture": ("picture-unreadable", lambda c: c.file(c.pictured()).write_text("<html>404</html>")),
    "a picture in its own name": ("picture-unreadable", lambda c: c.pictured().update(
        image="data:image/png;base64," + "Ab/" * 2000)),
    "too many pixels": ("picture-huge", huge),
    "transparency": ("picture-transparent", lambda c: swap(c, mode="RGBA")),
    "print colours": ("picture-cmyk", lambda c: swap(c, mode="CMYK", ending="jpg")),
    "sixteen bits": ("picture-deep", lambda c: swap(c, mode="I;16")),
    "an animation": ("picture-animated", animated),
    "a tracking pixel": ("picture-tiny", lambda c: swap(c, size=(1, 1))),
    "a banner": ("picture-narrow", lambda c: swap(c, size=(400, 20))),
    "a marker without a picture": ("marker-without-picture", lone_marker),
    "a marker in a caption": ("marker-without-picture", lambda c: caption(c, lambda text: f"{text} <image>")),
    "a picture without a marker": ("picture-without-marker", unmarked_pictures),
    "a prompt left open": ("tag-unclosed", lambda c: answer(c, "Here: <gen_image> a cat")),
    "a prompt never opened": ("tag-unclosed", lambda c: answer(c, "a cat </gen_image>")),
    "a caption with tags of its own": ("tag-nested", lambda c: caption(c, lambda t: f"<gen_image> {t} </gen_image>")),
    "a misspelt tag": ("tag-misspelt", lambda c: answer(c, "<gen image> a cat </gen_image>")),
    "a prompt without words": ("tag-empty", lambda c: answer(c, "<gen_image>  </gen_image>")),
    "an answer without words": ("no-answer", lambda c: answer(c, "  ")),
    "an unknown speaker": ("turns", lambda c: speak(c, 0, **{"from": "nobody"})),
    "a number for a text": ("turns", lambda c: speak(c, -1, value=3)),
    "a part of a film": ("turns", lambda c: speak(c, 0, value=[{"type": "text", "text": "q"}, {"type": "video"}])),
    "a film": ("malformed", lambda c: c.picked("vqa", "text").update(video="a.mp4")),
    "a marker in an answer": ("marker-without-picture", lambda c: answer(c, "![figure](<image>)")),
    "more markers than pictures": ("marker-without-picture", lambda c: c.picked("vqa")["conversations"][0].update(
        value="<image> <image> q")),
    "a marker and no picture": ("marker-without-picture", lambda c: c.picked("vqa").update(image="")),
    "an answer without words among others": ("no-answer", lambda c: c.picked("text")["conversations"].extend(
        [{"from": "human", "value": "And?"}, {"from": "gpt", "value": " "}])),
    "a turn without text": ("turns", lambda c: speak(c, -1, value=None)),
    "only questions": ("turns", lambda c: [turn.update({"from": "human"}) for turn in
                                           c.picked("text", "vqa")["conversations"]]),
    "a question left open": ("dropped-turn", lambda c: c.picked("text")["conversations"].append(
        {"from": "human", "value": "And?"})),
    "half characters": ("damaged-text", lambda c: caption(c, lambda text: text + "\ufffd")),
    "wrongly decoded characters": ("damaged-text", lambda c: caption(c, lambda t: t + "é".encode().decode("latin-1"))),
    "wrongly decoded Chinese": ("damaged-text", lambda c: caption(c, lambda t: t + "一只".encode().decode("latin-1"))),
    "Chinese as Windows reads it": ("damaged-text", lambda c: caption(c, lambda t: t + "ç•«ç‹—")),
    "a lone surrogate": ("damaged-text", lambda c: caption(c, lambda text: text + "\ud800")),
    "an end marker in the words": ("role-marker", lambda c: caption(c, lambda text: f"{text}<|im_end|>")),
    "a question beyond the limit": ("too-long", lambda c: speak(c, 0, value="long " * 600)),
    "an answer beyond the limit": ("cut", lambda c: caption(c, lambda text: text + " long" * 600)),
    "a missing field": ("malformed", lambda c: drop(c, ("sg", "image"), ("t2i", "caption"), ("edit", "instruction"))),
    "a field of another type": ("malformed", lambda c: c.picked("sg").update(caption=["a", "list"])),
    "a line that is no JSON": ("malformed", broken_line),
    "a request refined to itself": ("nothing-refined", refine_nothing),
    "a record said twice": ("duplicate", twice),
}  # fmt: skip


@pytest.fixture
def patient(world, settings, tmp_path) -> Callable[..., DoctorConfig]:
    """The toy preset on other data."""

    def prepared(data: tuple[DataSource, ...], **changes) -> DoctorConfig:
        config = settings(tmp_path / "out", data=data, whole=True, max_length=512)
        own = {one.name: getattr(config, one.name) for one in fields(config)}
        return DoctorConfig(**{**own, "sample": 0, **changes})

    return prepared


def found(report: Report) -> dict[str, int]:
    return dict(report.findings.counts)


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_found_where_nothing_is_wrong(seed, patient, tmp_path):
    report = examine(patient(Corpus(tmp_path / "data", seed).write()))
    assert found(report) == {}
    assert report.healthy
    assert "nothing is lost" in report.text()


@pytest.mark.parametrize("text", ["« désolé…»", "CAFÉ» à «là»", "naïve “quoted” — 5 € …", "日本語", "emoji 😀", "a\tb"])
def test_accents_and_quotes_are_no_damage(text):
    assert not words.DAMAGE.search(text)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("fault", FAULTS)
def test_every_planted_fault_is_found(fault, seed, patient, tmp_path):
    check, spoil = FAULTS[fault]
    corpus = Corpus(tmp_path / "data", seed)
    spoil(corpus)
    report = examine(patient(corpus.write()))
    assert found(report) == {check: 1}
    if check != "duplicate":
        assert f"record {corpus.row} of" in report.findings.places[check][0]
    assert report.healthy == (CHECKS[check].grade == "odd")
    assert check in report.text()


def clean(folder: Path) -> tuple[DataSource, ...]:
    return Corpus(folder / "data", 0).write()


def spoilt(folder: Path, spoil: Callable[[Corpus], object], *kinds: str) -> tuple[DataSource, ...]:
    """Only these kinds, every record of them spoilt."""
    corpus = Corpus(folder / "data", 0)
    corpus.records = {kind: corpus.records[kind] for kind in kinds}
    for corpus.row in range(COUNT):
        spoil(corpus)
    return corpus.write()


def open_prompt(corpus: Corpus) -> None:
    corpus.records["text"][corpus.row]["conversations"][-1]["value"] = "<gen_image> a cat"


def remove_picture(corpus: Corpus) -> None:
    corpus.file(corpus.records["sg"][corpus.row]).unlink()


NEVER = {"never-closed": (open_prompt, "text"), "unsupervised": (remove_picture, "sg")}


@pytest.mark.parametrize("check", NEVER)
def test_a_run_that_cannot_learn_is_stopped_by_the_doctor_and_by_the_training(check, patient, settings, tmp_path):
    data = spoilt(tmp_path, *NEVER[check])
    assert check in examine(patient(data)).findings.of("stop")
    with pytest.raises(UserError, match=f"this run cannot learn: {CHECKS[check].said}"):
        train(settings(tmp_path / "out", data=data, max_length=512))
    assert not list((tmp_path / "out").glob("checkpoint-*"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"value": 3}, "turns: record 0 of .*: turn 1 has a number for a text, 3; put it in quotes"),
        ({"from": "nobody"}, "turn 1 is of 'nobody', but must be of one of system, human, user, gpt, assistant"),
        ({"value": "<image>"}, "marker-without-picture: record 0 of .*: <image> in a record of kind text"),
        ({"value": ""}, "no-answer: record 0 of .*: an answer has no words"),
    ],
)
def test_why_nothing_is_learnt_is_told_before_the_first_step(change, sentence, settings, tmp_path):
    def spoil(corpus: Corpus) -> None:
        for turn in corpus.records["text"][corpus.row]["conversations"][1::2]:
            turn.update(change)

    data = spoilt(tmp_path, spoil, "text")
    with pytest.raises(UserError, match=sentence):
        train(settings(tmp_path / "out", data=data, max_length=512))


def test_a_projector_that_would_never_see_a_picture_is_noticed(world, patient, settings, tmp_path):
    words_only = (DataSource("t2i", str(world / "data/t2i.json")),)
    assert examine(patient(words_only, tune="projector")).findings.of("stop") == ["blind"]
    assert examine(patient(words_only)).findings.of("stop") == []
    with pytest.raises(UserError, match="only the projector learns, and no record shows a picture"):
        train(settings(tmp_path / "out", data=words_only, tune="projector"))


def test_a_limit_that_cuts_every_prompt_open_is_noticed(patient, tmp_path):
    records = [{"ori_caption": f"cat {number}", "caption": "long " * 400} for number in range(4)]
    (tmp_path / "t2i.json").write_text(json.dumps(records))
    report = examine(patient((DataSource("t2i", str(tmp_path / "t2i.json"), paint=1.0),)))
    assert report.findings.of("stop") == ["never-closed"]


def test_a_training_tells_what_it_loses_and_lists_it(settings, tmp_path, capsys):
    corpus = Corpus(tmp_path / "data", 0)
    corpus.file(corpus.records["sg"][2]).unlink()
    train(settings(tmp_path / "out", data=corpus.write(), max_length=512, batch=9, steps=4))
    said = capsys.readouterr().out
    assert "of the tokens are supervised" in said
    assert "picture-missing (1)" in said
    listed = [json.loads(line) for line in (tmp_path / "out/left_out.jsonl").read_text().splitlines()]
    assert {(Path(one["file"]).name, one["record"]) for one in listed} == {("sg.jsonl", 2)}


@pytest.mark.parametrize("loss", [0.0, float("nan"), float("inf")])
def test_a_loss_that_teaches_nothing_ends_the_run(loss):
    state = type("State", (), {"global_step": 3})
    StopAtLostLoss().on_log(None, state, None, {"loss": 2.5})
    StopAtLostLoss().on_log(None, state, None, {"eval_loss": 0.0})
    with pytest.raises(UserError, match="the loss of step 3 is"):
        StopAtLostLoss().on_log(None, state, None, {"loss": loss})


def test_the_loss_watch_sits_in_every_training(settings, tmp_path):
    trainer = train(settings(tmp_path / "out", steps=1))
    assert any(isinstance(callback, StopAtLostLoss) for callback in trainer.callback_handler.callbacks)


def test_the_tail_of_a_long_conversation_is_a_loss_in_numbers(patient, settings, tmp_path, capsys):
    said = [{"from": "human", "value": "What is next?"}, {"from": "gpt", "value": "a red square"}] * 60
    (tmp_path / "text.json").write_text(json.dumps([{"conversations": said}] * 3))
    data = (DataSource("text", str(tmp_path / "text.json")),)
    report = examine(patient(data, long="cut"))
    assert report.findings.counts["cut"] == 3 and not report.healthy
    (line,) = (line for line in report.text().splitlines() if "beyond --max-length 512" in line)
    lost, learnt, broken, answers = map(
        int, re.findall(r"(\d+) of (\d+)", line)[0] + re.findall(r"(\d+) of (\d+)", line)[1]
    )
    assert (answers, learnt % 3, lost % 3, broken % 3) == (180, 0, 0, 0)
    assert 0.4 < lost / learnt < 0.95 and abs(lost / learnt - broken / answers) < 0.05
    train(settings(tmp_path / "out", data=data, max_length=512, steps=1, long="cut"))
    assert "supervised tokens are lost" in capsys.readouterr().out


def test_of_a_long_conversation_that_is_split_nothing_is_lost(patient, settings, tmp_path):
    said = [{"from": "human", "value": "What is next?"}, {"from": "gpt", "value": "a red square"}] * 60
    (tmp_path / "text.json").write_text(json.dumps([{"conversations": [*said, said[0], {**said[1], "value": str(n)}]}
                                                    for n in range(3)]))  # fmt: skip
    data = (DataSource("text", str(tmp_path / "text.json")),)
    report = examine(patient(data))
    assert report.healthy and "beyond --max-length" not in report.text()
    samples = int(re.search(r"(\d+) samples an epoch", report.text())[1])
    assert samples == len(train(settings(tmp_path / "out", data=data, max_length=512, steps=1)).data) > 6
    dropped = examine(patient(data, long="drop"))
    assert dropped.findings.counts["too-long"] == 3 and dropped.findings.of("stop") == ["unsupervised"]


def test_only_a_sample_is_looked_at_unless_all_is_asked_for(patient, tmp_path):
    data = clean(tmp_path)
    assert "6 records, 2 looked at" in examine(patient(data, sample=2)).text()
    assert "6 records, 6 looked at" in examine(patient(data)).text()


def test_steps_and_tokens_are_foretold(patient, tmp_path, settings):
    config = patient(clean(tmp_path), batch=4, accumulation=3)
    text = examine(config).text()
    assert f"{6 * COUNT} samples an epoch in about 3 steps of 12 samples" in text


def test_a_run_without_a_checkpoint_in_between_is_noticed(patient, tmp_path):
    config = patient(clean(tmp_path), steps=None, batch=6, save_steps=6)
    assert "no checkpoint before the last of 6 steps: --save-steps is 6" in examine(config).text()
    assert "no checkpoint before" not in examine(replace(config, save_steps=5)).text()


def test_a_full_disk_is_noticed_before_the_run(patient, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("llmga.llava.train.outlook.shutil.disk_usage", lambda folder: usage)
    assert examine(patient(clean(tmp_path))).findings.of("stop") == ["disk"]


def test_a_memory_that_is_too_small_gets_a_proposal(patient, tmp_path):
    data = clean(tmp_path)
    config = patient(data, batch=64, accumulation=1, max_length=2048, device_memory=2.4, devices=1)
    report = examine(config)
    assert report.findings.of("stop") == ["memory"]
    assert "proposed: --batch" in report.text()
    assert examine(replace(config, device_memory=80.0)).findings.of("stop") == []


def test_a_step_that_devices_cannot_share_is_told(patient, tmp_path):
    config = patient(clean(tmp_path), global_batch=10, devices=3)
    assert examine(config).findings.of("stop") == ["batch"]


def argv(world: Path, data: tuple[DataSource, ...], out: Path, *more: str) -> list[str]:
    told = [f"{source.kind}={source.file},images={source.image_folder}" for source in data]
    start = [
        "--preset",
        "toy_s1",
        "--mllm",
        str(world / "mllm"),
        "--output-dir",
        str(out),
        "--checkpoint-dir",
        str(out),
    ]
    return [*start, "--device", "cpu", "--data", *told, *more]


def test_the_command_exits_with_0_1_or_2(world, tmp_path, capsys):
    corpus = Corpus(tmp_path / "data", 0)
    data = corpus.write()
    assert main(argv(world, data, tmp_path / "out")) == 0
    assert "nothing is lost" in capsys.readouterr().out
    corpus.file(corpus.records["sg"][0]).unlink()
    assert main(argv(world, data, tmp_path / "out")) == 1
    assert "picture-missing (1)" in capsys.readouterr().out
    assert main(argv(world, data, tmp_path / "out", "--sample", "many")) == 2
    assert "--sample is 'many'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_another_kind_of_tower_is_named(patient, world, tmp_path):
    (tmp_path / "dino").mkdir()
    (tmp_path / "dino/config.json").write_text('{"model_type": "dinov2"}')
    missing = (DataSource("sg", str(tmp_path / "gone.json")),)
    config = replace(patient(missing), mllm=None, text_model=str(world / "lm"), vision_tower=str(tmp_path / "dino"))
    (told,) = examine(config).findings.places["model"]
    assert "'dinov2', which cannot be used; give one of clip_vision_model, siglip_vision_model" in told


def test_what_is_not_there_is_all_told_at_once(patient, tmp_path):
    missing = (DataSource("sg", str(tmp_path / "gone.json")), DataSource("t2i", str(tmp_path / "gone2.json")))
    report = examine(replace(patient(missing), mllm=str(tmp_path / "nowhere")))
    assert found(report) == {"data": 2, "model": 1}
    assert "give --billions" in report.text()


@pytest.mark.parametrize("preset", ["llmga_7b_s1", "llmga_13b_s1", "llmga_7b_pretrain"])
def test_presets_without_their_models_get_a_memory_plan(preset, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["--preset", preset, "--devices", "4", "--device-memory", "40"]) == 1
    said = capsys.readouterr().out
    assert "4 device(s) of 40 GiB" in said
    assert "proposed: --batch" in said


def test_a_stated_size_is_planned_for(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    argv = ["--preset", "llmga_7b_s1", "--mllm", "mine", "--devices", "8", "--device-memory", "24"]
    assert main(argv) == 1
    assert "unknown without the language model" in capsys.readouterr().out
    assert main([*argv, "--billions", "7"]) == 1
    assert "8 device(s) of 24 GiB" in capsys.readouterr().out


def test_every_preset_can_be_examined():
    assert set(doctor.PATIENTS) == set(doctor.PRESETS)

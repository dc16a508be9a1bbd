"""Many requests from a file, done once each."""

import io
import json
import signal
from types import SimpleNamespace

import pytest
from PIL import Image

from llmga.assistant.image_files import read
from llmga.assistant.image_folder import ImageFolder
from llmga.assistant.session import Turn
from llmga.errors import UserError
from llmga.serve.batch import batch, open_manifest, read_jobs
from llmga.serve.terminal.drawing import Terminal

NOTHING = Turn("")
ONE = "Here. <gen_image> a red circle </gen_image>"


@pytest.fixture
def work(toy, tmp_path, monkeypatch, toy_pipeline_class):
    """`work(lines, replies…, opening=…)` runs a batch; (exit code, manifest, painter, what was shown)."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (16, 8)).save("a.png")
    mask = Image.new("L", (16, 8))
    mask.paste(255, (0, 0, 8, 8))
    mask.save("m.png")

    def run(lines, *replies, opening=NOTHING, seed=None, painter=None):
        (tmp_path / "requests").write_text("\n".join(lines), "utf-8")
        painter, said = painter or toy_pipeline_class(), [list(each) for each in replies]
        models = SimpleNamespace(assistant=lambda args: toy(*said.pop(0), pipeline=painter, seed=seed))
        terminal = Terminal(ImageFolder("outputs"), out=io.StringIO(), err=io.StringIO())
        code = batch(read_jobs("requests"), SimpleNamespace(seed=seed), models, terminal, opening)
        manifest = json.loads((tmp_path / "outputs" / "manifest.json").read_text("utf-8"))["jobs"]
        shown = terminal.out.getvalue() + terminal.err.getvalue()
        return SimpleNamespace(code=code, jobs=list(manifest.values()), painter=painter, shown=shown)

    return run


def test_every_line_is_a_conversation_of_its_own(work, tmp_path):
    lines = ["a circle", "", "# not this", '{"text": ["画一个圆", "more"], "seed": 40, "steps": 2, "size": "24x16"}']
    done = work(lines, [ONE], [ONE, ONE], seed=5)
    assert done.code == 0 and [job["status"] for job in done.jobs] == ["done", "done"]
    assert [job["pictures"] for job in done.jobs] == [["000.png"], ["001.png", "002.png"]]
    assert [job["line"] for job in done.jobs] == [1, 4]
    assert [call.seed for call in done.painter.calls] == [5, 40, 41]
    assert done.painter.calls[1].steps == 2 and done.painter.calls[1].size == (24, 16)
    assert read(tmp_path / "outputs" / "001.png").request == "画一个圆"
    assert "2 of 2 requests are done" in done.shown


def test_what_is_done_is_not_done_again(work):
    lines = ["one", "two"]
    assert work(lines, [ONE], [ONE]).code == 0
    again = work([*lines, "three"], [ONE])
    assert len(again.painter.calls) == 1 and [job["text"] for job in again.jobs] == [["one"], ["two"], ["three"]]


def test_a_lost_picture_and_a_changed_line_are_done_again(work, tmp_path):
    work(["one", "two"], [ONE], [ONE])
    (tmp_path / "outputs" / "000.png").unlink()
    again = work(["one", "zwei"], [ONE], [ONE])
    assert len(again.painter.calls) == 2


def test_a_failed_line_is_passed_over_and_listed(work):
    lines = ["one", '{"text": "two", "image": "none.png"}', "three", "four"]
    done = work(lines, [ONE], [ONE], ["<gen_image> forbidden </gen_image>"], [ONE])
    assert done.code == 1 and "2 failed: line 2, 3" in done.shown
    assert [job["status"] for job in done.jobs] == ["done", "failed", "failed", "done"]
    again = work(lines, [ONE], [ONE])
    assert len(again.painter.calls) == 1  # line 2 fails before it paints


def test_a_line_may_bring_a_picture_and_a_mask(work):
    lines = [
        '{"text": "fill it", "image": "a.png", "mask": "m.png"}',
        '{"text": "wider", "image": "a.png", "outpaint": "left=8", "fill": "mirror"}',
        "as given",
    ]
    opening = Turn("", (Image.new("RGB", (16, 8), "red"),), outpaint="top=8")
    done = work(lines, [ONE], [ONE], [ONE], opening=opening)
    assert done.code == 0
    assert [call.image.size for call in done.painter.calls] == [(16, 8), (24, 8), (16, 16)]


def test_ctrl_c_ends_the_batch_and_the_next_run_goes_on(work, toy_pipeline_class):
    class Interrupted(toy_pipeline_class):
        def __call__(self, *args, on_step, **rest):
            signal.raise_signal(signal.SIGINT)
            return super().__call__(*args, on_step=on_step, **rest)

    done = work(["one", "two"], [ONE], [ONE], painter=Interrupted())
    assert done.code == 130 and [job["status"] for job in done.jobs] == ["interrupted"]
    assert len(work(["one", "two"], [ONE], [ONE]).painter.calls) == 2


WRONG = {
    '{"text": 5}': "has no text",
    '{"seed": 5}': "has no text",
    '{"text": []}': "has no text",
    '{"text": "a", "colour": "red"}': "'colour', which is unknown",
    '{"text": "a"': "line 1 of the batch is no JSON",
    '{"text": "a", "text": "b"}': "a name is given twice",
    '{"text": ' + "[" * 100_000: "nested too deeply",
    r'{"text": "\ud800"}': "half a character",
    '{"text": "a", "seed": NaN}': "NaN is no number",
    "# nothing": "has no requests",
}


@pytest.mark.parametrize(("line", "message"), WRONG.items(), ids=WRONG)
def test_a_file_that_cannot_be_used_is_one_sentence(tmp_path, line, message):
    (tmp_path / "requests").write_text(line)
    with pytest.raises(UserError, match=message):
        read_jobs(tmp_path / "requests")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "a", "steps": 0}', "1 to 1000"),
        ('{"text": "a", "seed": -1}', "out of range"),
        ('{"text": "a", "mask": "m.png"}', "needs a picture"),
        ('{"text": "a", "image": 5}', "is no text"),
    ],
)
def test_a_line_with_a_wrong_value_fails_alone(work, line, message):
    done = work([line, "two"], [ONE], [ONE])
    assert done.code == 1 and message in done.shown and "error: line 1: " in done.shown
    assert [job["status"] for job in done.jobs] == ["failed", "done"]


def test_files_that_are_no_text_are_told(tmp_path):
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    for name in ("bytes", "missing"):
        with pytest.raises(UserError, match="cannot be read"):
            read_jobs(tmp_path / name)
    (tmp_path / "bom").write_bytes(b"\xef\xbb\xbfa circle\r\n")
    assert [job.asked for job in read_jobs(tmp_path / "bom")] == [{"text": ["a circle"]}]


def test_a_file_without_end_is_not_read_to_its_end(monkeypatch):
    monkeypatch.setattr("llmga.serve.batch.LARGEST_FILE", 1000)
    with pytest.raises(UserError, match="more than 1000 bytes"):
        read_jobs("/dev/zero")


def test_the_words_of_a_file_do_not_steer_the_terminal(work):
    assert "\x1b" not in work(["a \x1b[2J circle"], [ONE]).shown


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "{}",
        "[" * 100_000,
        '{"jobs": []}',
        '{"jobs": {"1-x": 5}}',
        '{"jobs": {"1-x": {"pictures": ["../a"]}}}',
    ],
)
def test_a_manifest_that_is_none_is_refused(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(UserError, match="cannot be used as a manifest"):
        open_manifest(tmp_path / "manifest.json")

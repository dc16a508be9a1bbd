"""A manifest of jobs that are done once each."""

import json
from pathlib import Path
from typing import Any, TypedDict

import pytest

from llmga.errors import UserError
from llmga.jobs import DONE, FAILED, INTERRUPTED, Manifest, write_result


class Shape(TypedDict, total=False):
    settings: dict[str, Any]
    pictures: dict[str, dict[str, Any]]


def opened(path: Path, settings: dict[str, Any] | None = None) -> Manifest:
    return Manifest(path, Shape, "pictures", "choose another --output", settings)


def test_a_file_holds_the_settings_and_what_became_of_each_job(tmp_path: Path) -> None:
    file = tmp_path / "manifest.json"
    opened(file, {"scale": 2}).write("a", DONE, output="ä.png")
    assert json.loads(file.read_text("utf-8")) == {
        "settings": {"scale": 2},
        "pictures": {"a": {"status": "done", "output": "ä.png"}},
    }
    opened(tmp_path / "plain.json").write("a", DONE)
    assert json.loads((tmp_path / "plain.json").read_text()) == {"pictures": {"a": {"status": "done"}}}


def test_what_was_done_with_the_same_settings_is_known_to_the_next_run(tmp_path: Path) -> None:
    first = opened(tmp_path / "m.json", {"scale": 2})
    first.write("a", DONE, size=5)
    first.write("b", INTERRUPTED)
    again = opened(tmp_path / "m.json", {"scale": 2})
    assert again.done("a") == {"status": "done", "size": 5}
    assert again.done("b") is None and again.done("c") is None
    assert opened(tmp_path / "m.json", {"scale": 4}).done("a") is None


def test_what_fails_is_passed_over_written_down_and_counted(tmp_path: Path) -> None:
    manifest = opened(tmp_path / "m.json")
    with manifest.attempt("a", "b"):
        raise UserError("no such picture.")
    with manifest.attempt("c"):
        manifest.write("c", DONE)
    with pytest.raises(RuntimeError), manifest.attempt("d"):
        raise RuntimeError
    assert manifest.failures == {"a": "no such picture.", "b": "no such picture."}
    written = json.loads((tmp_path / "m.json").read_text())["pictures"]
    assert written == {
        "a": {"status": FAILED, "error": "no such picture."},
        "b": {"status": FAILED, "error": "no such picture."},
        "c": {"status": DONE},
    }
    assert opened(tmp_path / "m.json").failures == {}  # of a run, not of the file


@pytest.mark.parametrize("content", ["{", "[]", '{"pictures": []}', '{"pictures": {"a": 5}}', "[" * 100_000])
def test_what_is_no_manifest_is_refused_and_left_alone(tmp_path: Path, content: str) -> None:
    (tmp_path / "m.json").write_text(content)
    with pytest.raises(UserError, match=r"m.json' cannot be used as a manifest \(.*\); choose another --output\."):
        opened(tmp_path / "m.json")
    assert (tmp_path / "m.json").read_text() == content


def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be written \(no such file or directory\); make room\."):
        write_result(tmp_path / "none" / "a.png", b"x", "make room")

"""Files are there whole or not at all."""

import os
from contextlib import nullcontext
from pathlib import Path

import pytest

from llmga.files import whole_folder, write_new, write_whole


@pytest.mark.parametrize("write", [write_whole, write_new])
def test_a_file_is_written_and_nothing_else(write, tmp_path):
    write(tmp_path / "a", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_bytes() == b"x"


def test_what_was_there_is_replaced_or_kept_as_was_asked(tmp_path):
    write_whole(tmp_path / "a", b"1")
    write_whole(tmp_path / "a", b"2")
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "a", b"3")
    assert (tmp_path / "a").read_bytes() == b"2" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("write", [write_whole, write_new])
def test_a_failed_write_leaves_the_old_file_and_no_draft(write, tmp_path, monkeypatch):
    (tmp_path / "old").write_bytes(b"1")
    monkeypatch.setattr(Path, "write_bytes", lambda path, content: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write(tmp_path / "old", b"2")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"1"]


def test_a_disk_without_links_takes_new_files_too(tmp_path, monkeypatch):
    def refused(*_):
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refused)
    write_new(tmp_path / "a", b"1")
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "a", b"2")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"1"]


def test_a_folder_takes_its_place_whole_or_not_at_all(tmp_path):
    place = tmp_path / "a" / "b"
    with pytest.raises(RuntimeError), whole_folder(place) as draft:
        (draft / "file").write_text("half")
        raise RuntimeError
    assert list(place.parent.iterdir()) == []
    place.mkdir()  # an empty folder is free
    for taken in (False, True):
        with pytest.raises(OSError) if taken else nullcontext(), whole_folder(place) as draft:
            (draft / "file").write_text(f"whole {taken}")
        assert (place / "file").read_text() == "whole False"
        assert [each.name for each in place.parent.iterdir()] == ["b"]

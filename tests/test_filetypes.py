"""A list or a table that is something else is called by its name, in every stage."""

import gzip
import zipfile
from pathlib import Path

import pytest

from llmga.diffrir.train.dataset import read_list as read_pictures
from llmga.diffusers.datasets.sources import read_source
from llmga.errors import UserError
from llmga.filetypes import file_type, only_archives


@pytest.mark.parametrize("read", [lambda file: read_source(file, file.parent), read_pictures])
def test_a_packed_list_is_named_with_the_remedy(read, tmp_path):
    file = tmp_path / "train.json"
    file.write_bytes(gzip.compress(b'[{"image": "a.png", "caption": "a cat"}]'))
    with pytest.raises(UserError, match=r"train.json' is a gzip file, not .*; unpack it \(gzip -d\)"):
        read(file)
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("train.json", "[]")
    with pytest.raises(UserError, match="train.json' is a zip archive, not "):
        read(file)


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}\n', "DF2K/0001.png\n", "猫\n", "BZ", "P"])
def test_a_text_is_no_other_type(text, tmp_path):
    (tmp_path / "a").write_text(text, encoding="utf-8")
    assert file_type(tmp_path / "a") is None
    assert file_type(tmp_path / "gone") is None


def test_a_folder_of_archives_is_one_of_nothing_else(tmp_path):
    names = ["a.tar", "b.ZIP"]
    for name in names:
        Path(tmp_path, name).touch()
    assert only_archives(tmp_path) == names
    Path(tmp_path, "c.png").touch()
    assert only_archives(tmp_path) == []

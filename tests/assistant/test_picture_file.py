"""Pictures under a name that a person chose."""

import errno

import pytest
from PIL import Image

from llmga.assistant import picture_file
from llmga.assistant.image_files import kind_of, read
from llmga.assistant.picture_file import PictureFile
from llmga.assistant.record import Record
from llmga.errors import UserError

RECORD = Record(prompt="a red circle", request="a circle", seed=7)


@pytest.mark.parametrize(
    ("name", "kind"), [("a.png", "png"), ("a.JPG", "jpeg"), ("a.jpeg", "jpeg"), ("a.webp", "webp")]
)
def test_the_ending_says_the_format_and_further_pictures_go_beside_it(tmp_path, name, kind):
    pictures, (stem, suffix) = PictureFile(tmp_path / "new" / name), name.split(".")
    pictures.folder.joinpath(name).write_text("was there before")
    paths = [pictures.save(Image.new("RGB", (8, 8)), RECORD) for _ in range(3)]
    assert [path.name for path in paths] == [name, f"{stem}-2.{suffix}", f"{stem}-3.{suffix}"]
    assert {kind_of(path) for path in paths} == {kind} and read(paths[0]).seed == 7
    assert sorted(path.name for path in pictures.folder.iterdir()) == sorted(path.name for path in paths)


def test_what_cannot_be_written_leaves_what_was_there(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_text("was there before")
    pictures = PictureFile(tmp_path / "a.png")

    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(picture_file, "write_whole", full)
    with pytest.raises(UserError, match="no space left on device.; give another --output"):
        pictures.save(Image.new("RGB", (8, 8)), RECORD)
    assert (tmp_path / "a.png").read_text() == "was there before"


@pytest.mark.parametrize(
    ("name", "told"),
    [("a.gif", "use one of .png, .jpg, .webp, .jpeg"), ("", "is a folder"), ("a", "no picture format")],
)
def test_a_name_that_cannot_be_is_one_sentence(tmp_path, name, told):
    with pytest.raises(UserError, match=told):
        PictureFile(tmp_path / name)

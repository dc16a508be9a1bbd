"""Pictures are numbered and never overwritten."""

import pytest
from PIL import Image

from llmga.assistant.image_files import read
from llmga.assistant.image_folder import ImageFolder, new_folder
from llmga.assistant.record import Record
from llmga.errors import UserError

PICTURE = Image.new("RGB", (8, 8))


def record(seed=1):
    return Record(prompt="p", request="r", seed=seed)


def test_numbers_begin_at_zero_and_go_up(tmp_path):
    pictures = ImageFolder(tmp_path / "new" / "folder")
    assert [pictures.save(PICTURE, record()).name for _ in range(3)] == ["000.png", "001.png", "002.png"]
    assert [path.name for path in pictures.paths] == ["000.png", "001.png", "002.png"]


def test_a_later_session_goes_on_after_the_highest_number(tmp_path):
    (tmp_path / "004.png").write_bytes(b"precious")
    (tmp_path / "holiday.png").write_bytes(b"precious")
    assert ImageFolder(tmp_path).save(PICTURE, record()).name == "005.png"
    assert (tmp_path / "004.png").read_bytes() == b"precious"


def test_two_sessions_in_one_folder_do_not_meet(tmp_path):
    first, second = ImageFolder(tmp_path), ImageFolder(tmp_path)
    paths = [first.save(PICTURE, record(1)), second.save(PICTURE, record(2)), first.save(PICTURE, record(3))]
    assert [read(path).seed for path in paths] == [1, 2, 3]


def test_the_thousandth_picture_is_saved(tmp_path):
    (tmp_path / "999.png").touch()
    assert ImageFolder(tmp_path).save(PICTURE, record()).name == "1000.png"


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/nowhere"])
def test_an_unwritable_place_is_refused_at_once(tmp_path, place):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be saved in"):
        ImageFolder(tmp_path / place)


def test_an_empty_place_is_not_the_current_folder():
    with pytest.raises(UserError, match="empty"):
        ImageFolder("")


def test_a_place_that_goes_away_is_one_sentence(tmp_path):
    pictures = ImageFolder(tmp_path / "gone")
    pictures.folder.rmdir()
    with pytest.raises(UserError, match="cannot be saved in"):
        pictures.save(PICTURE, record())


def test_new_folders_are_new(tmp_path):
    assert [new_folder(tmp_path / "out", "demo").name for _ in range(2)] == ["demo-1", "demo-2"]
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="no folder can be made"):
        new_folder(tmp_path / "file", "demo")


def test_numbers_go_on_over_formats(tmp_path):
    paths = [ImageFolder(tmp_path, kind).save(PICTURE, record()) for kind in ("png", "webp", "jpeg")]
    assert [path.name for path in paths] == ["000.png", "001.webp", "002.jpg"]
    assert [read(path) for path in paths] == [record()] * 3
    with pytest.raises(UserError, match="unknown picture format 'gif'"):
        ImageFolder(tmp_path, "gif")


def test_a_stripped_picture_tells_nothing(tmp_path):
    path = ImageFolder(tmp_path, strip=True).save(PICTURE, record())
    assert b"llmga" not in path.read_bytes() and b"parameters" not in path.read_bytes()
    with pytest.raises(UserError, match="no record"):
        read(path)

"""Pictures by name, wherever they lie."""

import io
import unicodedata
import zipfile

import lmdb
import pytest
from PIL import Image

from llmga.errors import UserError
from llmga.llava.datasets.base import UnusableRecord
from llmga.llava.datasets.pictures import check_picture_folders, find_picture, opener, other_spelling

GREY = Image.new("RGB", (6, 4), (90, 90, 90))


def encoded() -> bytes:
    buffer = io.BytesIO()
    GREY.save(buffer, "PNG")
    return buffer.getvalue()


def test_places_are_searched_in_order(tmp_path):
    for name, colour in (("first", "red"), ("second", "blue")):
        (tmp_path / name).mkdir()
        Image.new("RGB", (4, 4), colour).save(tmp_path / name / f"{name}.png")
    Image.new("RGB", (4, 4), "blue").save(tmp_path / "second" / "first.png")
    open_picture = opener(f"{tmp_path}/first;{tmp_path}/second")
    assert open_picture("first.png").getpixel((0, 0)) == (255, 0, 0)
    assert open_picture("second.png").getpixel((0, 0)) == (0, 0, 255)


def test_an_lmdb_is_asked_by_the_name_with_and_without_its_ending(tmp_path):
    with lmdb.open(str(tmp_path / "laion"), map_size=1 << 20) as store, store.begin(write=True) as writing:
        writing.put(b"k1", encoded())
    (tmp_path / "folder").mkdir()
    GREY.save(tmp_path / "folder/b.png")
    open_picture = opener(f"{tmp_path}/laion;{tmp_path}/folder")
    assert open_picture("k1").size == open_picture("k1.jpg").size == open_picture("b.png").size == (6, 4)


def test_a_table_brings_its_pictures_along(tmp_path):
    GREY.save(tmp_path / "a.png")
    assert opener("")({"bytes": encoded()}).size == opener(str(tmp_path))({"path": "a.png"}).size == (6, 4)


@pytest.mark.parametrize("name", ["gone.png", "", None, 7, "nul\0.png", "text.png", "empty.png", "x" * 5000, "."])
def test_no_bad_name_or_file_is_fatal(name, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.png").touch()
    with pytest.raises(UnusableRecord, match="missing or unreadable"):
        opener(str(tmp_path))(name)


def test_a_folder_that_is_not_there_is_told_at_once(tmp_path):
    check_picture_folders(f"{tmp_path};")
    check_picture_folders("")
    with pytest.raises(UserError, match="picture folder '.*gone' does not exist"):
        check_picture_folders(f"{tmp_path};{tmp_path}/gone")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/data.mdb").write_bytes(b"no")
    with pytest.raises(UserError, match="cannot be read as an lmdb"):
        check_picture_folders(f"{tmp_path}/broken")


def test_a_name_that_no_file_can_have_is_told_briefly(tmp_path):
    uri = "data:image/png," + "Ab/" * 2000
    with pytest.raises(UserError, match="is a data: URI without a picture in base64") as told:
        find_picture(str(tmp_path), uri)
    assert len(str(told.value)) < 500
    assert other_spelling(str(tmp_path), uri) is None
    lmdb.open(str(tmp_path / "pictures")).close()
    with pytest.raises(UserError, match="is not in"):
        find_picture(str(tmp_path / "pictures"), "Ab/" * 2000)


def test_accents_in_one_and_apart_are_the_same_name(tmp_path):
    for kept, asked in (("NFC", "NFD"), ("NFD", "NFC")):
        folder = tmp_path / kept
        (folder / unicodedata.normalize(kept, "Zoë")).mkdir(parents=True)
        GREY.save(folder / unicodedata.normalize(kept, "Zoë/café.png"))
        assert opener(str(folder))(unicodedata.normalize(asked, "Zoë/café.png")).size == (6, 4)
    with lmdb.open(str(tmp_path / "lmdb"), map_size=1 << 20) as store, store.begin(write=True) as writing:
        writing.put(unicodedata.normalize("NFD", "café").encode(), encoded())
    assert opener(str(tmp_path / "lmdb"))("caf\u00e9.png").size == (6, 4)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("https://example.com/a.png", "nothing is fetched while training: download it and give the file's name"),
    ],
)
def test_what_is_no_name_of_a_file_is_told_with_its_remedy(name, remedy, tmp_path):
    with pytest.raises(UserError, match=f"is not in .*; {remedy}"):
        find_picture(str(tmp_path), name)


def test_a_backslash_is_told_and_what_it_may_mean(tmp_path):
    (tmp_path / "sub").mkdir()
    GREY.save(tmp_path / "sub/a.png")
    with pytest.raises(UserError, match="is not in .*; write / for .* between folders"):
        find_picture(str(tmp_path), "sub\\a.png")
    assert other_spelling(str(tmp_path), "sub\\a.png") == "sub/a.png"
    assert other_spelling(str(tmp_path), "sub\\A.png") == "a.png"
    assert other_spelling(str(tmp_path), "sub\\b.png") is None


def test_pictures_that_are_still_packed_are_told_at_once(tmp_path):
    with zipfile.ZipFile(tmp_path / "train2017.zip", "w") as packed:
        packed.writestr("a.png", encoded())
    with pytest.raises(UserError, match=r"picture folder '.*train2017.zip' is a zip archive; unpack it \(unzip\)"):
        check_picture_folders(str(tmp_path / "train2017.zip"))
    with pytest.raises(UserError, match="holds only archives such as 'train2017.zip'; unpack them"):
        check_picture_folders(str(tmp_path))
    GREY.save(tmp_path / "a.png")
    check_picture_folders(str(tmp_path))
    with pytest.raises(UserError, match="a.png' is a file; give a folder"):
        check_picture_folders(str(tmp_path / "a.png"))


def test_other_capitals_are_found(tmp_path):
    (tmp_path / "LAION").mkdir()
    (tmp_path / "LAION/A.JPG").touch()
    assert other_spelling(str(tmp_path), "LAION/a.jpg") == "A.JPG"
    assert other_spelling(str(tmp_path), "LAION/A.JPG") is None
    assert other_spelling(str(tmp_path), "LAION/b.jpg") is None

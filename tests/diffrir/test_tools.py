"""Listing and cutting of training pictures."""

import numpy as np
import pytest
from PIL import Image

from llmga.diffrir import crops, listing
from llmga.diffrir.train.dataset import read_list
from llmga.errors import UserError


@pytest.fixture
def shots(tmp_path):
    """Two pictures, one in a folder of its own, one broken file, and one that is no picture."""
    folder = tmp_path / "shots"
    (folder / "more").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, (width, height) in {"a.png": (50, 40), "more/b.jpg": (30, 90)}.items():
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(folder / name)
    (folder / "c.png").write_bytes((folder / "a.png").read_bytes()[:100])
    (folder / "notes.txt").write_text("none")
    return folder


def test_what_is_listed_can_be_trained_on(shots, tmp_path, capsys):
    output = tmp_path / "lists" / "train.txt"
    assert listing.main([str(shots), "--output", str(output)]) == 1
    assert read_list(output) == ["a.png", "more/b.jpg"]
    assert "left out" in (told := capsys.readouterr()).err and "c.png" in told.err and "2 pictures" in told.out


def test_small_pictures_are_left_out_silently(shots, tmp_path):
    (shots / "c.png").unlink()
    assert (
        listing.main(
            [str(shots / "more"), str(shots), "--root", str(shots), "--output", str(tmp_path / "l"), "--least", "35"]
        )
        == 0
    )
    assert read_list(tmp_path / "l") == ["a.png"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nowhere"], "no folder"),
        (["shots", "--least", "500"], "lower --least"),
        (["shots", "--root", "shots/more"], "not below"),
        (["shots", "--output", "shots/a.png/x"], "cannot be written"),
    ],
)
def test_listing_mistakes_are_one_sentence(shots, tmp_path, monkeypatch, capsys, arguments, complaint):
    monkeypatch.chdir(tmp_path)
    arguments = arguments if "--output" in arguments else [*arguments, "--output", "list.txt"]
    assert listing.main(arguments) == 2
    assert complaint in capsys.readouterr().err


def test_squares_cover_the_picture_to_its_last_pixel():
    assert crops.starts(100, 40, 20) == [0, 20, 40, 60]
    assert crops.starts(105, 40, 20) == [0, 20, 40, 60, 65]
    assert crops.starts(40, 40, 20) == [0]


def test_squares_are_the_picture_s_own_pixels(shots, tmp_path, capsys):
    output = tmp_path / "squares"
    assert (
        crops.main([str(shots), "--output", str(output), "--side", "20", "--step", "15", "--scales", "1", "0.5"]) == 1
    )
    assert "c.png" in capsys.readouterr().err
    picture = np.asarray(Image.open(shots / "a.png"))
    first, last = (np.asarray(Image.open(output / f"a_x1_s{number:03d}.png")) for number in (1, 9))
    assert np.array_equal(first, picture[:20, :20]) and np.array_equal(last, picture[-20:, -20:])
    assert Image.open(output / "a_x0.5_s001.png").size == (20, 20)
    assert not list(output.glob("more/b_x0.5*"))  # its shorter side is 15 there


def test_cutting_again_only_adds_what_is_missing(shots, tmp_path):
    output = tmp_path / "squares"
    count, _ = crops.cut_all(shots, output, side=20, step=20, processes=2)
    kept, gone = output / "a_x1_s001.png", output / "a_x1_s002.png"
    before, bytes_before = kept.stat().st_mtime_ns, gone.read_bytes()
    gone.unlink()
    assert crops.cut_all(shots, output, side=20, step=20)[0] == count
    assert kept.stat().st_mtime_ns == before and gone.read_bytes() == bytes_before


@pytest.mark.parametrize("change", [{"side": 0}, {"scales": [2.0]}, {"step": 0}])
def test_measures_that_make_no_sense_are_refused(shots, tmp_path, change):
    with pytest.raises(UserError, match="must be at least 1"):
        crops.cut_all(shots, tmp_path / "squares", **change)


def test_squares_do_not_go_where_they_would_be_cut_again(shots):
    with pytest.raises(UserError, match="choose one outside"):
        crops.cut_all(shots, shots / "squares")

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from llmga import deep
from llmga.diffrir.checkpoints import save_model
from llmga.diffrir.restore import main
from llmga.images import open_image


@pytest.fixture
def folders(tmp_path, scene, monkeypatch):
    """Three folders with the pictures `a` and `b`; the current folder has no weights on its shelf."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("a", "b")):
        add(tmp_path, name, *scene(seed=number))
    return tmp_path


def add(root, name, *pictures):
    for folder, picture in zip(("image", "reference", "mask"), pictures, strict=True):
        (root / folder).mkdir(exist_ok=True)
        picture.save(root / folder / f"{name}.png")


def restore(*more):
    return main(["--image", "image", "--reference", "reference", "--mask", "mask", "--output", "out", *more])


def entries():
    return json.loads(open("out/manifest.json").read())["pictures"]


def test_a_folder_is_restored_and_told_in_the_manifest(folders, capsys):
    assert restore() == 0
    assert "match+blend restores" in capsys.readouterr().err
    found = entries()
    assert [found[name]["status"] for name in "ab"] == ["done", "done"]
    assert found["a"]["seam_after"]["colour"] < found["a"]["seam_before"]["colour"]
    kept = np.asarray(Image.open("mask/a.png")) == 0
    output, reference = (np.asarray(Image.open(f"{folder}/a.png"))[kept] for folder in ("out", "reference"))
    assert np.array_equal(output, reference)


def test_what_is_done_is_not_done_again_until_something_changes(folders):
    def stamps():
        return [(folders / "out" / f"{name}.png").stat().st_mtime_ns for name in "ab"]

    restore()
    first = stamps()
    restore()
    assert stamps() == first
    Image.new("RGB", (48, 40), "red").save("image/b.png")
    restore()
    assert stamps()[0] == first[0] and stamps()[1] != first[1]
    (folders / "out/a.png").unlink()
    restore("--restorer", "match")
    assert stamps()[0] != first[0]


def test_a_folder_goes_on_after_bad_pictures_and_lists_them(folders, scene, capsys):
    image, reference, mask = scene()
    add(folders, "c-sizes", image, reference.resize((9, 9)), mask)
    add(folders, "d-empty", image, reference, Image.new("L", mask.size))
    add(folders, "e-full", image, reference, Image.new("L", mask.size, 255))
    add(folders, "f-broken", image, reference, mask)
    (folders / "image/f-broken.png").write_bytes(b"no picture")
    add(folders, "g-alone", image, reference, mask)
    (folders / "mask/g-alone.png").unlink()
    odd = {"h-image": "image", "i-reference": "reference", "j-mask": "mask"}
    for name, folder in odd.items():
        add(folders, name, image, reference, mask)
        mask.save(folders / folder / f"{name}.png", exif=b"Exif\0\0MM\0*")  # Pillow stumbles over it: struct.error
    add(folders, "k-texture", image, reference, mask)
    (folders / "image/k-texture.png").write_bytes(b"DDS " + bytes([124]) + bytes(123))  # NotImplementedError
    add(folders, "l-pipe", image, reference, mask)
    (folders / "mask/l-pipe.png").unlink()
    os.mkfifo(folders / "mask/l-pipe.png")
    add(folders, "z", *scene(seed=9))
    assert restore() == 1
    told = capsys.readouterr().err
    for name, complaint in {"c-sizes": "9x9", "d-empty": "is empty", "e-full": "covers the whole picture",
                            "f-broken": "not a readable picture", "g-alone": "has no mask",
                            **dict.fromkeys([*odd, "k-texture"], "not a readable picture"),
                            "l-pipe": "is a pipe"}.items():  # fmt: skip
        assert [line for line in told.splitlines() if line.startswith(f"error: {name}: ") and complaint in line]
        assert entries()[name]["status"] == "failed"
    assert entries()["z"]["status"] == "done"


def test_a_network_restores_files_and_batches(folders, tiny, capsys):
    save_model(tiny(), "weights")
    assert restore("--weights", "weights", "--batch", "2") == 0
    batched = np.asarray(Image.open("out/b.png")).astype(int)
    one = ["--image", "image/b.png", "--reference", "reference/b.png", "--mask", "mask/b.png"]
    assert main([*one, "--weights", "weights", "--output", "single.png"]) == 0
    assert np.abs(np.asarray(Image.open("single.png")) - batched).max() <= 1
    assert main([*one, "--weights", "weights", "--output", "single.webp"]) == 0
    assert np.array_equal(np.asarray(Image.open("single.webp")), np.asarray(Image.open("single.png")))
    assert main([*one, "--weights", "weights", "--scale", "2"]) == 2
    assert "restores at scale 1, but 2 was asked for" in capsys.readouterr().err


def test_published_names_of_masks_are_found_and_transparency_survives(folders, scene):
    image, reference, mask = scene()
    add(folders, "p", image, reference, mask)
    (folders / "mask/p.png").rename(folders / "mask/p_mask000.png")
    reference.putalpha(Image.linear_gradient("L").resize(reference.size))
    reference.save("reference/p.png")
    assert restore() == 0
    output = Image.open("out/p.png")
    assert output.mode == "RGBA"
    kept = np.asarray(mask) == 0
    assert np.array_equal(np.asarray(output)[kept], np.asarray(reference)[kept])


def test_a_transparent_mask_marks_nothing_where_it_is_transparent(folders):
    mask = Image.open("mask/a.png")
    strokes = Image.new("RGBA", mask.size, (255, 255, 255, 0))
    strokes.putalpha(mask)
    assert restore() == 0
    plain = Image.open("out/a.png").tobytes()
    strokes.save("mask/a.png")
    assert restore() == 0
    assert Image.open("out/a.png").tobytes() == plain


def test_an_input_is_never_replaced(folders, capsys):
    assert restore("--output", "image") == 2
    assert "would replace the input" in capsys.readouterr().err


def test_two_pictures_of_one_name_are_told(folders, capsys):
    Image.open("image/a.png").save("image/a.webp")
    assert restore() == 2
    assert "'a.png' and 'a.webp'" in capsys.readouterr().err


WRONG = {
    "--scale 2": "no restoration weights of scale 2",
    "--weights nowhere": "are not there",
    "--restorer magic": "unknown restorer",
    "--restorer match --scale 2": "leave out",
    "--restorer diffrir-x2": "give --scale 2",
    "--batch 0": "at least 1",
    "--seed -1": "--seed -1 is out of range",
    f"--seed {2**63}": "out of range; use 0 to 9223372036854775807",
    "--tile 100 --weights weights": "multiples of 32",
    "--device toaster --weights weights": "toaster",
    "--mask mask/a.png": "three folders or three files",
    "--image out.png --reference reference/a.png --mask mask/a.png": "out.png",
    "--image image/a.png --reference reference/a.png --mask mask/a.png --output a.jpg": "would change kept pixels",
    "--colour red": "unrecognized",
}


@pytest.mark.parametrize("line", WRONG)
def test_a_mistake_is_one_sentence(folders, tiny, capsys, line):
    save_model(tiny(), "weights")
    assert restore(*line.split()) in (1, 2)
    told = [text for text in capsys.readouterr().err.splitlines() if text.startswith("error: ")]
    assert len(told) == 1 and WRONG[line] in told[0]


def test_the_module_runs(folders):
    command = [sys.executable, "-m", "llmga.diffrir.restore", "--help"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert run.returncode == 0 and "--reference" in run.stdout


def test_whole_pictures_are_enlarged_without_a_mask(folders, tiny):
    save_model(tiny(2), folders / "weights")
    assert main(["--image", "image", "--scale", "2", "--weights", "weights", "--output", "out"]) == 0
    assert Image.open("out/a.png").size == (96, 80)
    assert entries()["b"]["status"] == "done" and "seam_after" not in entries()["b"]
    assert main(["--image", "image/a.png", "--scale", "2", "--weights", "weights", "--output", "one.png"]) == 0
    assert Image.open("one.png").tobytes() == Image.open("out/a.png").tobytes()


@pytest.mark.parametrize("given", [[], ["--mask", "mask"], ["--reference", "reference", "--scale", "2"]])
def test_a_mask_and_its_reference_belong_together(folders, capsys, given):
    assert main(["--image", "image", "--output", "out", *given]) == 2
    assert "belong together" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content", ["{", "[]", "[" * 100_000, '{"pictures": []}', '{"settings": 5}', '{"pictures": {"a": 7}}', "\0"]
)
def test_a_manifest_that_is_none_is_one_sentence(folders, capsys, content):
    Path("out").mkdir()
    Path("out/manifest.json").write_text(content)
    assert restore() == 2
    assert "cannot be used as a manifest" in capsys.readouterr().err


def deep_case(tmp_path, suffix, channels=3):
    """A smooth original of 16 bits, a darker painting that is as fine, and a mask of the middle, as files."""
    y, x = np.mgrid[:96, :96]
    ramp = np.stack([x * 500 + 3000, y * 400 + 9000, (x + y) * 200 + 20_000, np.full_like(x, 50_000)], -1)
    values = (ramp + np.random.default_rng(0).integers(0, 200, ramp.shape)).astype(np.uint16)[..., :channels]
    original = tmp_path / f"original{suffix}"
    original.write_bytes(_deep_file(values, suffix))
    (tmp_path / "painted.png").write_bytes(_deep_file((values[..., :3] * 0.9).round().astype(np.uint16), ".png"))
    mask = np.zeros((96, 96), np.uint8)
    mask[30:66, 30:66] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    return values, original, mask > 0


def _deep_file(values, suffix):
    if suffix == ".tif":
        return deep.tiff(values, PROFILE)
    buffer = io.BytesIO()
    deep.of_levels(values).save(buffer, "PNG", icc_profile=PROFILE)
    return deep.into_png(buffer.getvalue(), values)


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("restorer", ["none", "match", "match+blend", None])
@pytest.mark.parametrize(("suffix", "channels"), [(".png", 3), (".tif", 3), (".png", 4), (".tif", 4)])
def test_a_picture_of_16_bits_stays_one(tmp_path, tiny, suffix, channels, restorer):
    values, original, hole = deep_case(tmp_path, suffix, channels)
    output = tmp_path / f"result{suffix}"
    weights = ["--restorer", restorer] if restorer else ["--weights", str(save_model(tiny(), tmp_path / "weights"))]
    given = ["--image", tmp_path / "painted.png", "--reference", original, "--mask", tmp_path / "mask.png"]
    assert main([*map(str, given), "--output", str(output), "--device", "cpu", *weights]) == 0
    result = open_image(output, exact=True)
    found = deep.levels(result)
    np.testing.assert_array_equal(found[~hole], values[~hole])
    assert result.info["icc_profile"] == PROFILE
    if channels == 4:
        assert (found[hole][:, 3] == 65_535).all()
    if restorer in ("match", "match+blend"):
        assert np.abs(found[hole][:, :3].astype(float) - values[hole][:, :3]).max() < 3 * 257
        assert len(np.unique(found[hole][:, :3] % 257)) > 100  # no steps of 8 bits


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_gray_picture_of_16_bits_keeps_them_in_colour(tmp_path, suffix):
    values, _, hole = deep_case(tmp_path, ".png")
    gray = values[..., 0]
    Image.fromarray(gray).save(tmp_path / f"gray{suffix}")
    output = tmp_path / f"result{suffix}"
    given = ["--image", tmp_path / "painted.png", "--reference", tmp_path / f"gray{suffix}"]
    given = [*given, "--mask", tmp_path / "mask.png", "--output", output, "--restorer", "match"]
    assert main([*map(str, given)]) == 0
    found = deep.levels(open_image(output, exact=True))
    np.testing.assert_array_equal(found[~hole], np.stack([gray] * 3, -1)[~hole])


def test_a_format_of_8_bits_says_so(tmp_path, capsys):
    _, original, _ = deep_case(tmp_path, ".png")
    given = ["--image", tmp_path / "painted.png", "--reference", original, "--mask", tmp_path / "mask.png"]
    assert main([*map(str, given), "--output", str(tmp_path / "a.webp"), "--restorer", "match"]) == 0
    assert "holds 8 of the original's 16 bits" in capsys.readouterr().err

import functools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llmga import model_directories
from llmga.choices import RESTORER
from llmga.diffrir.checkpoints import save_model
from llmga.diffrir.restore import main
from llmga.diffrir.restorers import RESTORERS, load_restorer, restorer_name
from llmga.errors import UserError

WEIGHTLESS = [name for name in RESTORERS if not name.startswith("diffrir")]


def test_none_leaves_the_picture():
    image = Image.new("RGB", (8, 8), "red")
    assert RESTORERS["none"](image, None, None).tobytes() == image.tobytes()


def test_unknown_restorer_is_named():
    with pytest.raises(UserError, match="none"):
        RESTORERS["nope"]


@pytest.mark.parametrize("name", WEIGHTLESS)
def test_a_row_without_weights_works_at_once(name, scene):
    image, reference, mask = scene()
    assert load_restorer(name)(image, reference, mask).size == image.size
    with pytest.raises(UserError, match="has no weights"):
        load_restorer(name, "somewhere")


def test_without_weights_the_default_matches_and_blends():
    assert load_restorer() is RESTORERS[RESTORER] is RESTORERS["match+blend"]


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_a_network_is_found_by_path_or_on_the_shelf(tiny, scene, scale, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(model_directories, "ROOTS", (Path(),))  # away from the bundled weights
    image, reference, mask = scene(16, 12)
    name = f"diffrir-x{scale}"
    with pytest.raises(UserError, match=f"no restoration weights of scale {scale}"):
        load_restorer(name)
    path = save_model(tiny(scale), tmp_path / "checkpoints/Inference" / f"llmga-toy-diffrir-x{scale}")
    outputs = [
        restorer(image, reference, mask)
        for restorer in (load_restorer(name), load_restorer(name, path), load_restorer(None, path), RESTORERS[name])
    ]
    assert {output.size for output in outputs} == {(16 * scale, 12 * scale)}
    assert len({output.tobytes() for output in outputs}) == 1
    with pytest.raises(UserError, match="restores at scale"):
        load_restorer(f"diffrir-x{scale % 4 * 2 or 1}", path)
    del RESTORERS[name].restorer  # the shelf of another test is another one


def test_a_restorer_knows_its_row_also_under_a_wrapper():
    assert [restorer_name(row) for row in RESTORERS.values()] == list(RESTORERS)
    assert restorer_name(functools.wraps(RESTORERS["match"])(lambda *given: given)) == "match"


@pytest.mark.parametrize("name", [*WEIGHTLESS, "diffrir-x1"])
def test_a_restorer_takes_paths_and_arrays_and_answers_other_things_in_one_sentence(name, scene, tiny, tmp_path):
    restorer = load_restorer(name, None if name in WEIGHTLESS else save_model(tiny(1), tmp_path / "weights"))
    pictures = scene(16, 12)
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for picture, path in zip(pictures, paths, strict=True):
        picture.save(path)
    arrays = [np.asarray(picture) for picture in pictures]
    assert len({restorer(*form).tobytes() for form in (pictures, paths, map(str, paths), arrays)}) == 1
    assert restorer(arrays[0] / 255).size == (16, 12)  # nothing is known of the original
    for wrong in ([pictures[0]], 5, np.zeros((3, 3, 9))):
        with pytest.raises(UserError, match="the picture is"):
            restorer(wrong, *pictures[1:])
    with pytest.raises(UserError, match="no picture to restore"):
        restorer(None, *pictures[1:])


def test_a_restorer_registered_from_outside_works_by_name_and_on_the_command_line(scene, tmp_path, monkeypatch):
    monkeypatch.setattr(RESTORERS, "_rows", dict(RESTORERS))
    for name, picture in zip(("image", "reference", "mask"), scene(), strict=True):
        picture.save(tmp_path / f"{name}.png")

    def gray(image, reference=None, mask=None):
        return image.convert("L").convert("RGB")

    RESTORERS.register("gray", gray)
    assert load_restorer("gray") is gray and restorer_name(gray) == "gray"
    files = [flag for name in ("image", "reference", "mask") for flag in (f"--{name}", str(tmp_path / f"{name}.png"))]
    assert main([*files, "--restorer", "gray", "--output", str(tmp_path / "out.png")]) == 0
    with Image.open(tmp_path / "out.png") as restored, Image.open(tmp_path / "image.png") as image:
        assert restored.tobytes() == gray(image).tobytes()

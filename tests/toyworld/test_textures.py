import numpy as np
import pytest
from PIL import Image

from llmga.toyworld.textures import KINDS, write


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_means_one_picture(kind):
    one, same, other = (np.asarray(kind(np.random.default_rng(seed), 64)) for seed in (1, 1, 2))
    assert one.shape == (64, 64, 3) and np.array_equal(one, same) and not np.array_equal(one, other)


def test_pictures_and_their_lists_are_written(tmp_path):
    assert write(tmp_path, {"train": 5, "validation": 2}, side=48) == 7
    listed = [name for part in ("train", "validation") for name in (tmp_path / f"{part}.txt").read_text().split()]
    pictures = [np.asarray(Image.open(tmp_path / name)) for name in listed]
    assert len(pictures) == 7 and all(picture.shape == (48, 48, 3) for picture in pictures)
    assert len({picture.tobytes() for picture in pictures}) == 7

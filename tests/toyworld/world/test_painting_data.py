import json

import numpy as np
from PIL import Image

from llmga.diffusers.datasets.captioned import CaptionedImages
from llmga.toyworld.world import captions, painting_data
from llmga.toyworld.world.drawing import draw
from llmga.toyworld.world.sampling import is_held_out


def test_stage_2_reads_pictures_and_their_prompts(tmp_path):
    painting_data.write_pictures(tmp_path, 6)
    records = json.loads((tmp_path / "stage2.json").read_text())
    assert len(records) == 12
    for record in records:
        scene = captions.read(record["caption"])
        assert scene is not None and not is_held_out(scene)
        with Image.open(tmp_path / "images" / record["image"]) as picture:
            assert np.array_equal(np.asarray(picture), np.asarray(draw(scene)))
    read = CaptionedImages((str(tmp_path / "stage2.json"),), (str(tmp_path / "images"),), tmp_path / "cache")
    assert len(read) == 12 and read.picture(0).size == (96, 96)


def test_the_same_seed_writes_the_same(tmp_path):
    for name, seed in (("one", 3), ("same", 3), ("other", 4)):
        painting_data.write_pictures(tmp_path / name, 2, seed)
    one, same, other = ((tmp_path / name / "stage2.json").read_bytes() for name in ("one", "same", "other"))
    assert one == same != other

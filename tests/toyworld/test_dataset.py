import json

import pytest

from llmga.llava.datasets.records import open_records
from llmga.llava.datasets.sources import DataSource
from llmga.toyworld import dataset
from llmga.toyworld.scenes import train_scenes

FEW = dataset.Amounts(
    text=12, vqa=12, holes=5, sg=4, edit=4, inpainting=3, t2i=4, short_captions=2, detailed_captions=2
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toyworld")
    dataset.write(folder, FEW, scenes=train_scenes()[:10])
    return folder


KINDS = {name: name for name in ("text", "vqa", "sg", "edit", "inpainting", "t2i")} | {"holes": "vqa"}


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_every_file_is_of_the_kind_that_stage_1_reads(folder, name, kind):
    records = open_records(DataSource(kind, str(folder / f"{name}.json")))
    assert len(records) == getattr(FEW, name)
    for record in records:
        if "image" in record:
            assert (folder / "images" / record["image"]).is_file()


@pytest.mark.parametrize("name", ["short", "stage2"])
def test_painter_files_hold_pictures_with_captions(folder, name):
    records = json.loads((folder / f"{name}.json").read_text())
    assert len(records) == 20
    assert all((folder / "images" / record["image"]).is_file() and record["caption"] for record in records)


def test_the_same_seed_writes_the_same_files(folder, tmp_path):
    dataset.write(tmp_path, FEW, scenes=train_scenes()[:10])
    for file in sorted(path.relative_to(folder) for path in folder.rglob("*.*")):
        assert (folder / file).read_bytes() == (tmp_path / file).read_bytes()

"""A broken checkpoint is told in one sentence, whatever its layout."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from llmga.errors import UserError
from llmga.llava import checkpoints
from llmga.llava.loading import load_mllm

ROOT = Path(__file__).parents[1] / "fixtures/mllm"
FAMILIES = json.loads((ROOT / "manifest.json").read_text())["families"]
BY_FORMAT = {said["checkpoint_format"]: said for said in FAMILIES.values()}  # one family for each kind of file


@pytest.fixture(params=BY_FORMAT)
def copy(request, tmp_path):
    said = BY_FORMAT[request.param]
    folder = tmp_path / Path(said["checkpoint"]).name
    shutil.copytree(ROOT / said["checkpoint"], folder)
    tower = Path(said["vision_tower"])
    shutil.copytree(ROOT / tower, tmp_path / tower.relative_to(tower.parts[0]))
    return folder


def weight_files(folder):
    return sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")])


def refused(folder, message):
    with pytest.raises(UserError, match=message) as caught:
        load_mllm(folder, device="cpu")
    assert "\n" not in str(caught.value)


def test_a_file_cut_short(copy):
    file = weight_files(copy)[-1]
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    refused(copy, "cannot be read")


def test_a_file_of_other_bytes(copy):
    weight_files(copy)[0].write_bytes(b"not weights at all" * 50)
    refused(copy, "cannot be read")


def test_a_missing_file(copy):
    weight_files(copy)[-1].unlink()
    refused(copy, "lacks")


def test_a_missing_a_strange_and_a_misshapen_weight(copy):
    whole = checkpoints.read_weights(copy)
    for file in [*weight_files(copy), *copy.glob("*.index.json")]:
        file.unlink()
    for changed, message in (
        ({"model.norm.weight": None}, "1 missing keys, such as model.language_model.norm.weight"),
        ({"model.extra.weight": torch.zeros(2)}, "1 unexpected keys, such as model.extra.weight"),
        ({"model.norm.weight": torch.zeros(7)}, "1 mismatched keys, such as model.language_model.norm.weight"),
    ):
        torch.save(
            {key: value for key, value in (whole | changed).items() if value is not None}, copy / "pytorch_model.bin"
        )
        refused(copy, message)


def test_a_tower_that_is_only_beside_the_checkpoint(copy):
    whole = checkpoints.read_weights(copy)
    expected = load_mllm(copy, device="cpu").model.state_dict()
    for file in [*weight_files(copy), *copy.glob("*.index.json")]:
        file.unlink()
    torch.save({key: value for key, value in whole.items() if "vision_tower" not in key}, copy / "pytorch_model.bin")
    found = load_mllm(copy, device="cpu").model.state_dict()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_a_foreign_architecture(copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "mamba"}))
    refused(copy, "unknown model_type 'mamba'")


def test_a_corrupt_tokenizer(copy):
    (copy / "tokenizer.json").write_text('{"version": "1.0", "model": {"type": ')
    refused(copy, "tokenizer")


def test_picture_tokens_of_the_config_join_the_tokenizer(copy):
    """<im_patch> when the config is silent about it, the marks around a picture when it asks for them."""
    config = json.loads((copy / "config.json").read_text())
    before = len(load_mllm(copy, device="cpu").tokenizer)
    del config["mm_use_im_patch_token"]
    (copy / "config.json").write_text(json.dumps(config | {"mm_use_im_start_end": True}))
    mllm = load_mllm(copy, device="cpu")
    assert mllm.tokenizer.convert_tokens_to_ids(["<im_patch>", "<im_start>", "<im_end>"]) == [
        before,
        before + 1,
        before + 2,
    ]
    assert mllm.model.get_input_embeddings().weight.shape[0] >= before + 3
    assert mllm.image_token_id >= before + 3

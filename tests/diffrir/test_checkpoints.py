import json

import pytest
import torch

from llmga.diffrir.checkpoints import load_model, published_state_dict, save_model, start_stage2
from llmga.errors import UserError


def publish(model, path, **changes):
    torch.save({"params": published_state_dict(model), "params_ema": published_state_dict(model) | changes}, path)
    return path


def same(one, other):
    return all(torch.equal(tensor, other.state_dict()[key]) for key, tensor in one.state_dict().items())


@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize("scale", [1, 2, 4])
def test_both_layouts_come_back_as_they_were(tiny, tmp_path, stage, scale):
    model = tiny(scale, stage, LayerNorm_type="WithBias" if scale == 2 else "BiasFree", bias=scale == 4)
    for path in (publish(model, tmp_path / "net.pth"), save_model(model, tmp_path / "own")):
        opened = load_model(path, scale=scale, stage=stage)
        assert opened.config == model.config
        assert same(model, opened)


def test_averaged_weights_are_preferred_and_wrapped_names_are_known(tiny, tmp_path):
    model, other = tiny(), tiny(n_denoise_res=1)
    other.G.tail[1].bias.add_(1)
    wrapped = {f"module.{key}": tensor for key, tensor in published_state_dict(other).items()}
    torch.save({"params": published_state_dict(model), "params_ema": wrapped}, tmp_path / "net.pth")
    assert same(other, load_model(tmp_path / "net.pth"))


def test_a_folder_of_published_files_gives_the_one_of_the_scale(tiny, tmp_path):
    for scale in (1, 4):
        publish(tiny(scale), tmp_path / f"weights{scale}.pth")
    assert load_model(tmp_path, scale=4).config.scale == 4
    with pytest.raises(UserError, match="none of the 2 .pth files"):
        load_model(tmp_path, scale=2)


def test_wrong_scale_and_stage_are_told(tiny, tmp_path):
    path = save_model(tiny(2), tmp_path / "x2")
    with pytest.raises(UserError, match="restores at scale 2, but 1 was asked for"):
        load_model(path, scale=1)
    with pytest.raises(UserError, match="only stage 2 restores"):
        load_model(save_model(tiny(stage=1), tmp_path / "s1"), stage=2)


@pytest.mark.parametrize("name", ["net.pth", "own/model.safetensors", "own/config.json"])
def test_a_truncated_file_is_told(tiny, tmp_path, name):
    publish(tiny(), tmp_path / "net.pth")
    save_model(tiny(), tmp_path / "own")
    file = tmp_path / name
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(UserError, match="copy"):
        load_model(file if name == "net.pth" else file.parent)


DAMAGES = {
    "two different versions": {"diffusion.model.resmlp.0.bias": torch.ones(256)},
    "tensors are unknown, the first is 'G.more'": {"G.more": torch.ones(1)},
    "has the shape": {"G.tail.1.bias": torch.ones(5)},
    "schedule array 'diffusion.alphas_cumprod'": {"diffusion.alphas_cumprod": torch.ones(4)},
}


@pytest.mark.parametrize("complaint", DAMAGES)
def test_weights_that_do_not_fit_are_told(tiny, tmp_path, complaint):
    with pytest.raises(UserError, match=complaint):
        load_model(publish(tiny(), tmp_path / "net.pth", **DAMAGES[complaint]))


def test_a_missing_tensor_is_told(tiny, tmp_path):
    state = published_state_dict(tiny())
    del state["G.down1_2.body.0.weight"]
    torch.save({"params": state}, tmp_path / "net.pth")
    with pytest.raises(UserError, match="1 tensors are missing, the first is 'G.down1_2.body.0.weight'"):
        load_model(tmp_path / "net.pth")


@pytest.mark.parametrize("content", [{"params": {"a.weight": torch.ones(1)}}, {"params": 3}, [1], {"epoch": 3}])
def test_another_file_is_told(tmp_path, content):
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(UserError, match="DiffRIR"):
        load_model(tmp_path / "net.pth")


@pytest.mark.parametrize("values", [{}, [], {"stage": 7}, {"stage": 2, "scale": 3}])
def test_a_wrong_configuration_is_told(tiny, tmp_path, values):
    save_model(tiny(), tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(UserError):
        load_model(tmp_path)


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(UserError, match="are not there"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(UserError, match="neither config.json nor a .pth"):
        load_model(tmp_path)


def test_stage_2_begins_with_the_teachers_image_network(tiny):
    teacher = tiny(stage=1)
    assert same(teacher.G, start_stage2(teacher).G)

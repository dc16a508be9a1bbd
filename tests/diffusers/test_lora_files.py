"""What opens as low-rank weights, and the one sentence for everything else."""

import io
import json
import os
import re
import zipfile
from functools import cache

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from llmga.diffusers.lora_files import open_lora
from llmga.diffusers.lora_layers import layers_of
from llmga.diffusers.lora_origin import check_origin
from llmga.diffusers.pipelines import load_pipeline
from llmga.errors import UserError

PAIR = {"lora_unet_conv_in.lora_down.weight": torch.ones(2, 4), "lora_unet_conv_in.lora_up.weight": torch.ones(8, 2)}


class Stranger:
    """What a pickle may make of whoever opens it."""

    def __reduce__(self):
        return os.mkdir, ("opened",)


def cut(path, share=0.5):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


@pytest.mark.parametrize("name", ["it.safetensors", "it.pt", "it.ckpt", "it.bin", "it.pth"])
def test_files_of_tensors_open_whatever_they_are_called(tmp_path, name):
    (save_file if name.endswith("safetensors") else torch.save)(PAIR, tmp_path / name)
    file = open_lora(tmp_path / name)
    assert file.path == tmp_path / name
    assert all(torch.equal(file.tensors[key], tensor) for key, tensor in PAIR.items())


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}])
def test_a_state_dict_inside_a_checkpoint_of_a_trainer_opens(tmp_path, options):
    torch.save({"epoch": 3, "state_dict": PAIR}, tmp_path / "it.pt", **options)
    assert set(open_lora(tmp_path / "it.pt").tensors) == set(PAIR)


@pytest.mark.parametrize("name", ["pytorch_lora_weights.safetensors", "adapter_model.safetensors", "own.safetensors"])
def test_a_folder_opens_by_the_file_that_its_saver_names(tmp_path, name):
    save_file(PAIR, tmp_path / name)
    (tmp_path / "optimizer.bin").write_bytes(b"")
    (tmp_path / "README.md").write_text("a card")
    assert open_lora(tmp_path).path.name == name


def test_settings_of_peft_are_read_from_beside_the_file_or_from_its_head(tmp_path):
    save_file(PAIR, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text('{"r": 2, "lora_alpha": 6}')
    assert open_lora(tmp_path).configs == {"": {"r": 2, "lora_alpha": 6}}
    save_file(PAIR, tmp_path / "own.safetensors", {"lora_adapter_metadata": '{"unet.r": 2, "text_encoder.r": 4}'})
    assert open_lora(tmp_path / "own.safetensors").configs == {"unet": {"r": 2}, "text_encoder": {"r": 4}}


def told(place):
    with pytest.raises(UserError) as caught:
        open_lora(place)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# name of a file, what writes it, and what is said of it
NOT_ONE = [
    ("it.safetensors", lambda path: path.write_bytes(b""), "is empty"),
    ("it.safetensors", lambda path: path.write_text("hello\n"), "is a text and not weights"),
    ("it.safetensors", lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"), "Git LFS pointer"),
    ("it.safetensors", lambda path: torch.save(PAIR, path), "PyTorch file under the name of another kind"),
    ("it.safetensors", lambda path: path.write_bytes(os.urandom(7) + b"\x00" * 99), "is damaged or not whole"),
    ("it.safetensors", lambda path: (save_file(PAIR, path), cut(path)), "is damaged or not whole"),
    ("it.safetensors", lambda path: (save_file(PAIR, path), cut(path, 0.99)), "is damaged or not whole"),
    ("it.safetensors", lambda path: save_file({}, path), "holds no tensors at all"),
    ("it.safetensors", lambda path: save_file({"a": torch.zeros(1)}, path), "tensors such as 'a'"),
    ("it.gguf", lambda path: path.write_bytes(b"GGUF"), "in no format that is read here"),
    ("it.pt", lambda path: path.write_bytes(b""), "is empty"),
    ("it.pt", lambda path: path.write_text("<!doctype html>"), "is a text and not weights"),
    ("it.pt", lambda path: (torch.save(PAIR, path), cut(path)), "is damaged or not whole"),
    ("it.pt", lambda path: (torch.save(PAIR, path, _use_new_zipfile_serialization=False), cut(path)), "is damaged"),
    ("it.pt", lambda path: zipfile.ZipFile(path, "w").close(), "is"),
    ("it.pt", lambda path: torch.save({}, path), "holds no tensors at all"),
    ("it.pt", lambda path: torch.save([1, 2], path), "holds a list and no named tensors"),
    ("it.pt", lambda path: torch.save(torch.ones(3), path), "holds a Tensor and no named tensors"),
    ("it.pt", lambda path: torch.save(PAIR | {"step": 3}, path), "holds more than tensors, such as 'step'"),
    ("it.ckpt", lambda path: torch.save(PAIR | {"callback": Stranger()}, path), "Python objects beside tensors"),
    ("it.ckpt", lambda path: torch.save({"state_dict": {"model.diffusion_model.out.0.weight": torch.ones(1)}}, path),
     "a whole checkpoint in one file"),
    ("it.pt", lambda path: torch.save({"string_to_param": {"*": torch.ones(1, 8)}, "name": "cat"}, path),
     "a textual inversion"),
    ("it.bin", lambda path: torch.save({"<cat-toy>": torch.ones(8)}, path), "a textual inversion"),
    ("it.pt", lambda path: torch.save({320: (torch.ones(1),), "step": 1}, path), "a hypernetwork"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "write", "said"), NOT_ONE)
def test_other_files_are_told_in_one_sentence(tmp_path, monkeypatch, name, write, said):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / name)
    message = told(tmp_path / name)
    assert said in message and repr(str(tmp_path / name)) in message
    assert not (tmp_path / "opened").exists()


# a key of each kind of file that is taken for low-rank weights, what it is, and where it goes
OTHER_KINDS = {
    "model.diffusion_model.input_blocks.0.0.weight": ("a whole checkpoint in one file", "--sdmodel_id"),
    "first_stage_model.decoder.conv_in.weight": ("a whole checkpoint in one file", "--sdmodel_id"),
    "control_model.input_hint_block.0.weight": ("a ControlNet", "--controlnet"),
    "controlnet_cond_embedding.conv_in.weight": ("a ControlNet", "--controlnet"),
    "image_proj.proj.weight": ("an IP-Adapter", "--ip-adapter"),
    "emb_params": ("a textual inversion", "word"),
    "clip_g": ("a textual inversion", "word"),
    "down_blocks.0.resnets.0.conv1.weight": ("a whole UNet or transformer", "--sdmodel_id"),
    "decoder.mid_block.resnets.0.conv1.weight": ("a VAE", "vae/"),
    "text_model.encoder.layers.0.mlp.fc1.weight": ("a text encoder", "checkpoint"),
}


@pytest.mark.parametrize("key", OTHER_KINDS)
def test_files_of_other_kinds_are_named_with_the_place_where_they_go(tmp_path, key):
    save_file({key: torch.ones(2, 2)}, tmp_path / "it.safetensors")
    what, place = OTHER_KINDS[key]
    assert re.search(f"is {what} and no low-rank weights; .*{place}", told(tmp_path / "it.safetensors"))


def test_missing_files_and_ambiguous_folders_are_told(tmp_path):
    assert "are not there" in told(tmp_path / "nowhere.safetensors")
    assert "holds no low-rank weights" in told(tmp_path)
    for name in ("one.safetensors", "two.safetensors"):
        save_file(PAIR, tmp_path / name)
    assert "holds several files (one.safetensors, two.safetensors)" in told(tmp_path)


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"a":' * 100_000])
def test_settings_that_are_no_json_object_are_told(tmp_path, text):
    save_file(PAIR, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(text)
    assert "no JSON object" in told(tmp_path)


def test_a_pickle_is_read_without_making_anything_of_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(Stranger(), stream := io.BytesIO())
    (tmp_path / "it.pt").write_bytes(stream.getvalue())
    assert "stays closed" in told("it.pt")
    assert not (tmp_path / "opened").exists()


NAMES = st.sampled_from([
    "lora_unet_conv_in", "lora_unet_input_blocks_4_1_proj_in", "lora_te_text_model_encoder_layers_0_mlp_fc1",
    "unet.conv_in", "text_encoder.text_model.encoder.layers.0.mlp.fc1", "base_model.model.conv_in", "clip_l.x", "unet.",
    "", "lora_te1_", "lora_unet_", "transformer.x", "lora_unet_input_blocks_99999999999999999999_1_x", "a\nb",
    "\ud7ff" * 50,
])  # fmt: skip
ENDS = st.sampled_from([
    ".lora_down.weight", ".lora_up.weight", ".lora_A.weight", ".lora_B.weight", ".alpha", ".dora_scale",
    ".lora_mid.weight", ".lora_magnitude_vector", ".lora.down.weight", "_lora.up.weight", ".hada_w1_a", ".weight", "",
])  # fmt: skip
TENSORS = st.builds(
    lambda shape, kind, value: torch.full(shape, value).to(kind),
    st.sampled_from([(), (1,), (0, 4), (2, 4), (8, 2), (2, 4, 3, 3), (8, 2, 1, 1), (1, 8), (2, 2, 3, 3)]),
    st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.float8_e4m3fn]),
    st.sampled_from([0.0, 1.0, float("inf"), float("nan")]),
)
SETTINGS = st.dictionaries(
    st.sampled_from(["unet.r", "unet.lora_alpha", "unet.alpha_pattern", "unet.init_lora_weights", "unet", ".", "r"]),
    st.one_of(
        st.none(), st.booleans(), st.floats(), st.text(), st.lists(st.none()), st.dictionaries(st.text(), st.floats())
    ),
)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.dictionaries(st.tuples(NAMES, ENDS).map("".join), TENSORS, max_size=6),
    SETTINGS,
    st.dictionaries(
        st.sampled_from(["ss_base_model_version", "ss_v2", "modelspec.prediction_type", "llmga.layout"]), st.text()
    ),
)
def test_whatever_a_stranger_writes_is_applied_or_told(goldens, tmp_path, tensors, peft, metadata):
    painter = strangers_painter(goldens)
    save_file(tensors, tmp_path / "it.safetensors", {"lora_adapter_metadata": json.dumps(peft), **metadata})
    try:
        file = open_lora(tmp_path / "it.safetensors")
        check_origin(file, painter)
        layers_of(file, painter.pipe, "sd15")
    except UserError as problem:
        assert len(str(problem).splitlines()) == 1 and len(str(problem)) < 1000


@cache
def strangers_painter(goldens):
    return load_pipeline(goldens.folder("sd15"), device="cpu")

"""Published folders open, save back under their own names, and complain in one sentence."""

import json
import shutil

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from llmga.errors import UserError
from llmga.llava import towers
from llmga.llava.conversation import Conversation
from llmga.llava.loading import load_mllm, new_mllm, save_published
from llmga.llava.mllm import ASPECTS


@pytest.fixture(scope="module")
def published(fixtures):
    golden = json.loads((fixtures / "qwen2/golden.json").read_text())
    return fixtures / "qwen2" / golden["checkpoint"]


@pytest.fixture(scope="module")
def golden(fixtures):
    return load_file(fixtures / "qwen2/golden.safetensors")


@pytest.fixture(scope="module")
def mllm(published):
    return load_mllm(published, device="cpu")


@pytest.fixture
def saved(tiny_mllm, tmp_path):
    save_published(tiny_mllm, tmp_path / "run" / "mine")
    return tmp_path / "run" / "mine"


def logits(mllm, conversation):
    ids = torch.tensor([mllm.encode(conversation, open_turn=True).input_ids])
    images = conversation.images()
    with torch.inference_mode():
        return mllm.model(input_ids=ids, pixel_values=mllm.pixel_values(images) if images else None).logits[0]


def test_a_published_checkpoint_gives_the_recorded_logits(mllm, golden, fixtures):
    mllm.image_aspect = "square_resize"
    image = Image.open(fixtures / "qwen2/image.png")
    found = logits(mllm, Conversation().say("user", "Generate a similar image.", (image,)))
    best = found[:, : len(mllm.tokenizer)].argmax(-1)
    assert best.tolist() == golden["infer.one_turn_image.logits_argmax"].tolist()
    expected = golden["infer.one_turn_image.logits_logsumexp"]
    torch.testing.assert_close(found[:, : len(mllm.tokenizer)].logsumexp(-1), expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("aspect", ["square_resize", "pad", "plain", "train512"])
def test_recorded_pixels(mllm, golden, fixtures, aspect):
    mllm.image_aspect = aspect
    pixels = mllm.pixel_values([Image.open(fixtures / "qwen2/image.png")])
    torch.testing.assert_close(pixels, golden[f"image.{aspect}"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("aspect", ASPECTS)
def test_every_aspect_takes_a_very_long_picture(mllm, aspect):
    mllm.image_aspect = aspect
    assert mllm.pixel_values([Image.new("RGB", (30_000, 100)), Image.new("L", (1, 1))]).shape == (2, 3, 56, 56)


def test_saving_keeps_every_published_name_and_value(mllm, published, tmp_path):
    save_published(mllm, tmp_path, dtype=torch.float16)
    before, after = load_file(published / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_saved_config_keeps_what_the_published_one_says(mllm, published, tmp_path):
    save_published(mllm, tmp_path)
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (published, tmp_path))
    changed = {"mm_vision_tower", "torch_dtype", "transformers_version", "sliding_window"}  # the window is not in use
    unused = {"freeze_mm_mlp_adapter", "tune_mm_mlp_adapter", "mm_projector_lr"}  # how it was trained
    kept = before.keys() - changed - unused
    assert {key: after[key] for key in kept} == {key: before[key] for key in kept}


def test_a_new_model_survives_a_save_in_half_precision(tiny_mllm, tmp_path):
    save_published(tiny_mllm, tmp_path, dtype=torch.float16)
    again = load_mllm(tmp_path, device="cpu")
    assert (again.conv_mode, again.model.dtype, again.stop_ids) == ("qwen_2", torch.float32, tiny_mllm.stop_ids)
    rounded = {key: tensor.half().float() for key, tensor in tiny_mllm.model.state_dict().items()}
    assert all(torch.equal(rounded[key], tensor) for key, tensor in again.model.state_dict().items())
    told = Conversation().say("user", "What is this?", (Image.new("RGB", (50, 20), "red"),))
    tiny_mllm.model.load_state_dict(rounded)
    torch.testing.assert_close(logits(again, told), logits(tiny_mllm, told))


def test_the_projector_and_the_picture_matter(tiny_mllm):
    red, blue = (Conversation().say("user", "?", (Image.new("RGB", (9, 9), name),)) for name in ("red", "blue"))
    assert not torch.allclose(logits(tiny_mllm, red), logits(tiny_mllm, blue))


@pytest.mark.parametrize("projector", ["linear", "mlp1x_gelu", "mlp3x_gelu"])
def test_other_projectors_survive_a_save(tiny_mllm, base_folders, tmp_path, projector):
    mllm = new_mllm(*base_folders, projector_type=projector, conv_mode="qwen_2")
    save_published(mllm, tmp_path)
    assert any(key.startswith("model.mm_projector.") for key in load_file(tmp_path / "model.safetensors"))
    told = Conversation().say("user", "?", (Image.new("RGB", (9, 9)),))
    torch.testing.assert_close(logits(load_mllm(tmp_path, device="cpu"), told), logits(mllm, told))


def test_a_projector_joins_its_base(tiny_mllm, base_folders, tmp_path):
    text, tower = base_folders
    weights = tiny_mllm.model.model.multi_modal_projector.state_dict()
    names = {"linear_1": "0", "linear_2": "2"}
    published = {f"model.mm_projector.{names[key.split('.')[0]]}.{key.split('.')[1]}": weights[key] for key in weights}
    torch.save(published, tmp_path / "mm_projector.bin")
    settings = {"model_type": "llava_Qwen2", "mm_vision_tower": str(tower), "mm_projector_type": "mlp2x_gelu"}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    joined = load_mllm(tmp_path, base=text, device="cpu", conv_mode="qwen_2").model.model
    pixels = tiny_mllm.pixel_values([Image.new("RGB", (9, 9), "red")])
    found, expected = (model.get_image_features(pixels).pooler_output[0] for model in (joined, tiny_mllm.model.model))
    assert torch.equal(found, expected)
    with pytest.raises(UserError, match="does not exist"):
        load_mllm(tmp_path, base=tmp_path / "none", device="cpu", conv_mode="qwen_2")


def test_generate_of_the_library_runs_with_a_picture(tiny_mllm):
    told = Conversation().say("user", "?", (Image.new("RGB", (9, 9)),))
    ids = torch.tensor([tiny_mllm.encode(told, open_turn=True).input_ids])
    pixels = tiny_mllm.pixel_values(told.images())
    out = tiny_mllm.model.generate(ids, pixel_values=pixels, max_new_tokens=3, do_sample=False)
    assert out.shape[1] == ids.shape[1] + 3


def test_picture_tokens_without_their_picture_are_an_error(tiny_mllm):
    told = Conversation().say("user", "<image> <image>")
    ids = torch.tensor([tiny_mllm.encode(told, open_turn=True).input_ids])
    with pytest.raises(ValueError, match="do not match"):
        tiny_mllm.model(input_ids=ids, pixel_values=tiny_mllm.pixel_values([Image.new("RGB", (9, 9))]))


def test_a_known_hub_name_needs_no_folder(tmp_path):
    config = towers.tower_config("openai/clip-vit-large-patch14-336", tmp_path)
    assert (config.hidden_size, config.image_size, config.num_hidden_layers) == (1024, 336, 24)


def test_a_bare_name_is_found_below_checkpoints(saved, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.move(saved, tmp_path / "checkpoints/Inference/mine")
    assert load_mllm("mine", device="cpu").conv_mode == "qwen_2"


def test_the_mode_of_an_intermediate_save_goes_by_its_run(published, fixtures, tmp_path):
    shutil.copytree(fixtures / "qwen2/openai", tmp_path / "llmga-Qwen2-x/openai")
    shutil.copytree(published, tmp_path / "llmga-Qwen2-x/checkpoint-500")
    assert load_mllm(tmp_path / "llmga-Qwen2-x/checkpoint-500", device="cpu").conv_mode == "qwen_2"


def test_an_asked_mode_wins(saved):
    assert load_mllm(saved, device="cpu", conv_mode="chatml_direct").conv_mode == "chatml_direct"


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("config.json", "lacks config.json"),
        ("model.safetensors", "lacks its weights"),
        ("tokenizer.json", "lacks its tokenizer"),
        ("tokenizer_config.json", "lacks tokenizer_config.json"),
        ("vision_tower/config.json", "vision tower 'vision_tower'"),
    ],
)
def test_a_missing_file_is_named(saved, file, message):
    (saved / file).unlink()
    with pytest.raises(UserError, match=message):
        load_mllm(saved, device="cpu")


def test_bad_requests_are_told_in_one_sentence(saved, tmp_path):
    with pytest.raises(UserError, match="neither as a path nor under"):
        load_mllm("llmga-Qwen2-nothing")
    with pytest.raises(UserError, match="unknown conversation mode 'qwen'"):
        load_mllm(saved, conv_mode="qwen")
    with pytest.raises(UserError, match="exclude each other"):
        load_mllm(saved, load_4bit=True, load_8bit=True, device="cpu")
    with pytest.raises(UserError, match="lacks mm_projector.bin"):
        load_mllm(saved, base=saved, device="cpu")


def test_an_unknown_family_is_told(saved):
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | {"model_type": "llava_mpt"}))
    with pytest.raises(UserError, match="unknown model_type 'llava_mpt'"):
        load_mllm(saved, device="cpu")


def test_weights_that_do_not_fit_are_named(saved):
    whole = load_file(saved / "model.safetensors")
    for changed, message in (
        ({"model.norm.weight": None}, "1 missing keys, such as model.language_model.norm.weight"),
        ({"model.extra.weight": torch.zeros(2)}, "1 unexpected keys, such as model.extra.weight"),
        ({"model.norm.weight": torch.zeros(7)}, "1 mismatched keys, such as model.language_model.norm.weight"),
    ):
        weights = {key: tensor for key, tensor in (whole | changed).items() if tensor is not None}
        save_file(weights, saved / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(UserError, match=message):
            load_mllm(saved, device="cpu")


def test_a_truncated_weight_file_is_told(saved):
    file = saved / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UserError, match="cannot be read"):
        load_mllm(saved, device="cpu")

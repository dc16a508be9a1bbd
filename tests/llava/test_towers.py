"""Every kind of vision tower sees what transformers' own class sees, and any other is refused in one sentence."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    AutoProcessor,
    CLIPConfig,
    CLIPModel,
    LlavaForConditionalGeneration,
    Siglip2Config,
    Siglip2ImageProcessorPil,
    Siglip2Model,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from llmga.errors import UserError
from llmga.images import stretch_square
from llmga.llava import towers
from llmga.llava.conversation import Conversation
from llmga.llava.empty import load_empty_mllm, new_empty_mllm
from llmga.llava.hf_layout.saving import KEPT, save_hf_layout
from llmga.llava.loading import Mllm, load_mllm, new_mllm, save_published
from llmga.llava.modeling import LlmgaForConditionalGeneration
from llmga.llava.towers import TOWERS

SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
SQUARE = {"image_size": 30, "patch_size": 14}  # as so400m at 384: what is left of the side is not looked at
TEXT = {**SIZES, "vocab_size": 20, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 1}
WIDE = Image.linear_gradient("L").resize((90, 40)).convert("RGB")
ASKED = Conversation().say("user", "What is it?", (WIDE,))


def write_processor(folder: Path, **changes: object) -> None:
    side = {"height": SQUARE["image_size"], "width": SQUARE["image_size"]}
    SiglipImageProcessorPil(size=side, **changes).save_pretrained(folder)


def write_siglip(folder: Path) -> SiglipVisionModel:
    torch.manual_seed(3)
    tower = SiglipVisionModel(SiglipVisionConfig(**SIZES, **SQUARE))
    tower.save_pretrained(folder)
    write_processor(folder)
    return tower


def write_old_siglip(folder: Path) -> SiglipVisionModel:
    """Under the names that the hub's own files have."""
    tower = write_siglip(folder)
    named = {f"vision_model.{key}": tensor for key, tensor in tower.state_dict().items()}
    save_file(named, folder / "model.safetensors", metadata={"format": "pt"})
    return tower


def write_whole_siglip(folder: Path) -> SiglipVisionModel:
    """With its text half, as the hub's folders are; the vision config tells only what is not usual."""
    torch.manual_seed(3)
    model = SiglipModel(SiglipConfig(text_config=TEXT, vision_config={**SIZES, **SQUARE}))
    model.save_pretrained(folder)
    said = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(said | {"vision_config": {**SIZES, **SQUARE}}))
    write_processor(folder)
    return model.vision_model


def write_naflex(folder: Path) -> Siglip2Model:
    """SigLIP2 for pictures of any shape, with its text half; it has positions for four patches."""
    torch.manual_seed(3)
    sizes = {**SIZES, "patch_size": 14, "num_patches": 4}
    model = Siglip2Model(Siglip2Config(text_config=TEXT, vision_config=sizes)).eval()
    model.save_pretrained(folder)
    Siglip2ImageProcessorPil(patch_size=14, max_num_patches=4).save_pretrained(folder)
    return model


FOLDERS = {"vision": write_siglip, "old names": write_old_siglip, "whole": write_whole_siglip}


@pytest.fixture
def text(base_folders) -> Path:
    return base_folders[0]


@pytest.fixture
def mllm(text, tmp_path) -> Mllm:
    write_siglip(tmp_path / "tower")
    torch.manual_seed(2)
    return new_mllm(text, tmp_path / "tower", conv_mode="qwen_2")


@torch.inference_mode()
def logits(mllm: Mllm) -> torch.Tensor:
    ids = torch.tensor([mllm.encode(ASKED, open_turn=True).input_ids])
    return mllm.model(input_ids=ids, pixel_values=mllm.pixel_values((WIDE,))).logits[0, :, : len(mllm.tokenizer)]


@pytest.mark.parametrize("name", TOWERS)
def test_every_kind_is_a_class_of_transformers_that_stays_whole_on_one_device(name):
    kind = TOWERS[name]
    assert kind.config.model_type == name
    assert getattr(transformers, kind.model).config_class is kind.config
    assert kind.model in LlmgaForConditionalGeneration._no_split_modules


@pytest.mark.parametrize("layer", [-2, -1, 1])
@pytest.mark.parametrize("kind", FOLDERS)
def test_the_projector_reads_what_transformers_own_siglip_sees(text, tmp_path, kind, layer):
    own = FOLDERS[kind](tmp_path / "tower").eval()
    mllm = new_mllm(text, tmp_path / "tower", select_layer=layer, conv_mode="qwen_2")
    pixels = mllm.pixel_values((WIDE,))
    processor = SiglipImageProcessorPil.from_pretrained(tmp_path / "tower")
    assert torch.equal(pixels, processor([stretch_square(WIDE, 30)], return_tensors="pt")["pixel_values"])
    with torch.inference_mode():
        expected = own(pixels, output_hidden_states=True).hidden_states[layer]
        seen = mllm.model.model.get_image_features(pixels)
        assert torch.equal(seen.hidden_states[layer], expected)
        projected = mllm.model.model.multi_modal_projector(expected)  # every position: there is none of a class
        assert torch.equal(torch.stack(list(seen.pooler_output)), projected)
    assert mllm.tokens_per_image == expected.shape[1] == 4


def test_siglip2_for_any_shape_sees_squares_as_transformers_own_class_sees_them(text, tmp_path):
    own = write_naflex(tmp_path / "tower").vision_model
    mllm = new_mllm(text, tmp_path / "tower", conv_mode="qwen_2")
    square = stretch_square(WIDE, 28)
    inputs = Siglip2ImageProcessorPil.from_pretrained(tmp_path / "tower")([square], return_tensors="pt")
    with torch.inference_mode():
        expected = own(**inputs, output_hidden_states=True).hidden_states[-2]
        seen = mllm.model.model.get_image_features(mllm.pixel_values((WIDE,)))
    torch.testing.assert_close(seen.hidden_states[-2], expected, atol=1e-5, rtol=0)
    assert mllm.tokens_per_image == expected.shape[1] == 4
    save_published(mllm, tmp_path / "saved")
    assert torch.equal(logits(load_mllm(tmp_path / "saved", device="cpu", dtype=torch.float32)), logits(mllm))


def test_a_siglip_model_survives_a_save_and_says_so_in_the_published_words(mllm, tmp_path):
    save_published(mllm, tmp_path / "saved")
    said = json.loads((tmp_path / "saved/config.json").read_text())
    assert (said["mm_vision_select_feature"], said["mm_hidden_size"]) == ("patch", 16)
    prefix = "model.vision_tower.vision_tower.vision_model."
    named = {key.removeprefix(prefix) for key in load_file(tmp_path / "saved/model.safetensors") if prefix in key}
    assert named == set(mllm.model.model.vision_tower.state_dict())
    again = load_mllm(tmp_path / "saved", device="cpu", dtype=torch.float32)
    assert torch.equal(logits(again), logits(mllm))
    assert again.image_processor.to_dict() == mllm.image_processor.to_dict()
    described = load_empty_mllm(tmp_path / "saved", conv_mode="qwen_2")
    assert described.encode(ASKED) == mllm.encode(ASKED) and described.tokens_per_image == 4


def test_a_checkpoint_without_a_copy_takes_the_named_siglip(mllm, tmp_path):
    save_published(mllm, tmp_path / "saved")
    file = tmp_path / "saved/model.safetensors"
    kept = {key: tensor for key, tensor in load_file(file).items() if "vision_tower" not in key}
    save_file(kept, file, metadata={"format": "pt"})
    said = json.loads((tmp_path / "saved/config.json").read_text())
    (tmp_path / "saved/config.json").write_text(json.dumps(said | {"mm_vision_tower": "tower"}))
    assert torch.equal(logits(load_mllm(tmp_path / "saved", device="cpu", dtype=torch.float32)), logits(mllm))


@pytest.mark.parametrize("aspect", ["stretch", "pad", "plain"])
def test_plain_transformers_opens_a_converted_siglip_model(mllm, tmp_path, aspect):
    mllm.image_aspect = aspect
    save_hf_layout(mllm, tmp_path / "stock")
    model = LlavaForConditionalGeneration.from_pretrained(tmp_path / "stock", dtype=torch.float32)
    content = [{"type": "image", "image": WIDE}, {"type": "text", "text": "What is it?"}]
    inputs = AutoProcessor.from_pretrained(tmp_path / "stock").apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    assert torch.equal(inputs["pixel_values"], mllm.pixel_values((WIDE,)))
    with torch.inference_mode():
        found = model(**inputs).logits[0, :, : len(mllm.tokenizer)]
    torch.testing.assert_close(found, logits(mllm), atol=1e-5, rtol=0)
    back = load_mllm(tmp_path / "stock", device="cpu", dtype=torch.float32)
    back.image_aspect = aspect  # which a config tells only where it is "pad"
    assert torch.equal(logits(back), logits(mllm))
    shutil.rmtree(tmp_path / "stock" / KEPT)  # as a folder of other origin
    other = load_mllm(tmp_path / "stock", device="cpu", dtype=torch.float32)
    assert other.tokens_per_image == 4 and isinstance(other.image_processor, SiglipImageProcessorPil)


def test_a_tower_looks_with_its_own_mean_and_a_folder_without_a_processor_with_its_kinds(text, tmp_path):
    write_siglip(tmp_path / "tower")
    write_processor(tmp_path / "tower", image_mean=[0.1, 0.2, 0.3])
    mllm = new_mllm(text, tmp_path / "tower", conv_mode="qwen_2")
    black = Image.new("RGB", (30, 30))
    assert mllm.pixel_values((black,))[0, :, 0, 0].tolist() == pytest.approx([-0.2, -0.4, -0.6])
    (tmp_path / "tower/preprocessor_config.json").unlink()
    mllm = new_mllm(text, tmp_path / "tower", conv_mode="qwen_2")
    assert mllm.pixel_values((black,))[0, :, 0, 0].tolist() == [-1.0, -1.0, -1.0]
    assert mllm.pixel_values((WIDE,)).shape == (1, 3, 30, 30)


@pytest.mark.parametrize("name", towers.KNOWN_TOWERS)
def test_every_known_name_has_the_size_that_it_tells(name, tmp_path):
    config = towers.tower_config(name, tmp_path)
    side = int(name.rpartition("-")[2]) if name.count("-") > 3 or "siglip" in name else 224
    patch = int(name.partition("patch")[2].partition("-")[0])
    assert (config.image_size, config.patch_size) == (side, patch)
    assert towers.positions(config, keeps_class=False) == (side // patch) ** 2
    assert config.model_type == ("siglip_vision_model" if "siglip" in name else "clip_vision_model")


def test_a_clip_folder_with_its_text_half_is_its_vision_half(text, tmp_path):
    torch.manual_seed(3)
    model = CLIPModel(CLIPConfig(text_config=TEXT, vision_config={**SIZES, **SQUARE}, projection_dim=8)).eval()
    model.save_pretrained(tmp_path / "clip")
    mllm = new_mllm(text, tmp_path / "clip", conv_mode="qwen_2")
    pixels = mllm.pixel_values((WIDE,))
    with torch.inference_mode():
        expected = model.vision_model(pixels, output_hidden_states=True).hidden_states[-2]
        assert torch.equal(mllm.model.model.get_image_features(pixels).hidden_states[-2], expected)
    assert mllm.tokens_per_image == expected.shape[1] - 1


OTHERS = {
    "'dinov2'": {"model_type": "dinov2", "hidden_size": 16},
    "'clip_text_model'": {"model_type": "clip_text_model"},
    "'aimv2'": {"model_type": "aimv2", "vision_config": {"model_type": "aimv2_vision_model"}},
    "'chinese_clip'": {"model_type": "chinese_clip", "vision_config": {"hidden_size": 16}},
    "'never-heard-of'": {"model_type": "never-heard-of", "auto_map": {"AutoConfig": "own.Config"}},
    "names no model_type": {"hidden_size": 16},
}


@pytest.mark.parametrize("named", OTHERS)
def test_another_tower_is_refused_before_anything_is_read(named, text, tmp_path, tiny_mllm):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/config.json").write_text(json.dumps(OTHERS[named]))
    (tmp_path / "other/model.safetensors").write_bytes(b"not read")
    save_published(tiny_mllm, tmp_path / "saved")
    said = json.loads((tmp_path / "saved/config.json").read_text())
    (tmp_path / "saved/config.json").write_text(json.dumps(said | {"mm_vision_tower": "other"}))
    (tmp_path / "saved/model.safetensors").write_bytes(b"not read")
    for act in (
        lambda: new_mllm(text, tmp_path / "other", conv_mode="qwen_2"),
        lambda: new_empty_mllm(text, tmp_path / "other", projector_type="linear", select_layer=-2, conv_mode="qwen_2"),
        lambda: load_mllm(tmp_path / "saved", device="cpu"),
        lambda: load_empty_mllm(tmp_path / "saved", conv_mode="qwen_2"),
    ):
        with pytest.raises(UserError, match="give one of clip_vision_model, siglip_vision_model") as caught:
            act()
        assert named in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", {"model_type": "siglip_vision_model", "hidden_size": "wide"}, "is not understood"),
        ("preprocessor_config.json", {"size": {"height": 224, "width": 224}}, "makes pictures of 224x224"),
        ("preprocessor_config.json", ["no object"], "cannot be used"),
        ("preprocessor_config.json", {"size": "large"}, "cannot be used"),
    ],
)
def test_a_tower_folder_that_is_not_whole_is_told(text, tmp_path, file, content, message):
    write_siglip(tmp_path / "tower")
    (tmp_path / "tower" / file).write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        new_mllm(text, tmp_path / "tower", conv_mode="qwen_2")


def test_weights_that_a_tower_or_a_text_model_lacks_are_never_made_up(text, tmp_path):
    write_siglip(tmp_path / "tower")
    shutil.copytree(text, tmp_path / "text")
    for folder, lacking in (("tower", "encoder.layers.1.mlp.fc1.weight"), ("text", "model.norm.weight")):
        file = tmp_path / folder / "model.safetensors"
        whole = load_file(file)
        save_file({k: v for k, v in whole.items() if k != lacking}, file, metadata={"format": "pt"})
        with pytest.raises(UserError, match="1 missing keys"):
            new_mllm(tmp_path / "text", tmp_path / "tower", conv_mode="qwen_2")
        file.unlink()
        with pytest.raises(UserError, match="weights in .* cannot be read"):
            new_mllm(tmp_path / "text", tmp_path / "tower", conv_mode="qwen_2")
        save_file(whole, file, metadata={"format": "pt"})

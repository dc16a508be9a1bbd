import copy
import re

import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionPipeline
from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from llmga.diffusers.adapters import add_loras, use_controlnet, use_ip_adapter
from llmga.diffusers.control import Control
from llmga.diffusers.pipelines import load_pipeline
from llmga.errors import UserError

FAMILIES = ["sd15", "sdxl"]
PICTURE = Image.linear_gradient("L").convert("RGB")


@pytest.fixture
def open_painter(goldens):
    return lambda family, **options: load_pipeline(goldens.folder(family), device="cpu", **options)


def paint(generator):
    return generator("a cat", seed=1, steps=2).tobytes()


@pytest.fixture(scope="module")
def lora(goldens, tmp_path_factory):
    """A folder of random low-rank weights for each family."""

    def make(family):
        torch.manual_seed(0)
        unet = copy.deepcopy(goldens.pipeline(family).unet)
        unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
        folder = tmp_path_factory.mktemp(family)
        StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=get_peft_model_state_dict(unet))
        return folder

    return {family: make(family) for family in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES)
def test_low_rank_weights_change_the_picture_by_their_weight(open_painter, lora, family):
    plain, full, none, half = (
        paint(open_painter(family, loras=given))
        for given in ([], [f"{lora[family]}"], [f"{lora[family]}:0"], [f"{lora[family]}:0.5"])
    )
    assert plain == none
    assert len({plain, full, half}) == 3


def test_low_rank_weights_with_blocks_numbered_as_other_trainers_do_are_taken(open_painter, tmp_path):
    """The form in which most of SDXL's are shared: `input_blocks_4_1` is `down_blocks.1.attentions.0`."""
    generator = open_painter("sdxl")
    unet, tensors = generator.pipe.unet, {}
    per_level = unet.config.layers_per_block + 1
    for name, layer in unet.named_modules():
        if match := re.fullmatch(r"down_blocks\.(\d)\.attentions\.(\d)\.(.+\.to_[qv])", name):
            block = per_level * int(match[1]) + int(match[2]) + 1
            own = f"lora_unet_input_blocks_{block}_1_{match[3].replace('.', '_')}"
            tensors[f"{own}.lora_down.weight"] = torch.ones(2, layer.in_features)
            tensors[f"{own}.lora_up.weight"] = torch.ones(layer.out_features, 2)
            tensors[f"{own}.alpha"] = torch.tensor(2.0)
    assert tensors
    save_file(tensors, tmp_path / "shared.safetensors")
    plain = paint(generator)
    add_loras(generator, [str(tmp_path / "shared.safetensors")])
    assert paint(generator) != plain


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
def test_low_rank_weights_in_the_first_spelling_are_taken_and_checked(open_painter, tmp_path, part):
    generator, tensors = open_painter("sd15"), {}
    spelt = {"to_q": "processor.to_q", "to_out.0": "processor.to_out", "q_proj": "to_q", "out_proj": "to_out"}
    for name, layer in getattr(generator.pipe, part).named_modules():
        for end in (end for end in spelt if name.endswith(f"attn1.{end}") or name.endswith(f"self_attn.{end}")):
            own = f"{part}.{name.removesuffix(end)}{spelt[end]}_lora"
            tensors[f"{own}.down.weight"] = torch.ones(2, layer.in_features)
            tensors[f"{own}.up.weight"] = torch.ones(layer.out_features, 2)
    save_file(tensors, tmp_path / "first.safetensors")
    plain = paint(generator)
    add_loras(generator, [str(tmp_path / "first.safetensors")])
    assert paint(generator) != plain
    widened = {key: torch.ones(2, 99) if "down" in key else tensor for key, tensor in tensors.items()}
    save_file(widened, tmp_path / "first.safetensors")
    with pytest.raises(UserError, match="another family than sd15"):
        add_loras(open_painter("sd15"), [str(tmp_path / "first.safetensors")])


@pytest.mark.parametrize(("family", "other"), [("sd15", "sdxl"), ("sdxl", "sd15")])
def test_low_rank_weights_of_another_family_are_told(open_painter, lora, family, other):
    with pytest.raises(UserError, match=f"another family than {family}"):
        open_painter(family, loras=[str(lora[other])])


@pytest.mark.parametrize(
    "given", ["nowhere.safetensors", "{folder}", "{folder}/text.safetensors", "{folder}/o.safetensors"]
)
def test_files_that_are_no_low_rank_weights_are_told(open_painter, tmp_path, given):
    (tmp_path / "text.safetensors").write_text("hello")
    save_file({"a": torch.zeros(1)}, tmp_path / "o.safetensors")
    with pytest.raises(UserError) as caught:
        add_loras(open_painter("sd15"), [given.format(folder=tmp_path)])
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def controlnet(goldens, tmp_path_factory):
    def make(family):
        torch.manual_seed(0)
        net = ControlNetModel.from_unet(goldens.pipeline(family).unet)
        for layer in (*net.controlnet_down_blocks, net.controlnet_cond_embedding.conv_out):  # zero at the start
            torch.nn.init.normal_(layer.weight)
        net.save_pretrained(folder := tmp_path_factory.mktemp(family))
        return folder

    return {family: make(family) for family in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_controlnet_guides_the_painting(open_painter, controlnet, family):
    generator = open_painter(family)
    plain = paint(generator)
    use_controlnet(generator, controlnet[family], PICTURE)
    guided = paint(generator)
    generator.guides.standing = (Control("map", image=PICTURE.rotate(90)),)
    assert len({plain, guided, paint(generator)}) == 3


def test_a_controlnet_of_another_family_is_told(open_painter, controlnet):
    with pytest.raises(UserError, match="another family"):
        use_controlnet(open_painter("sd15"), controlnet["sdxl"], PICTURE)
    with pytest.raises(UserError, match="is not there"):
        use_controlnet(open_painter("sd15"), "nowhere", PICTURE)


@pytest.fixture(scope="module")
def ip_adapter(goldens, tmp_path_factory):
    def make(family):
        torch.manual_seed(0)
        unet, width = goldens.pipeline(family).unet, 16
        text = unet.config.cross_attention_dim
        tensors = {
            "image_proj.proj.weight": torch.randn(text * 4, width),
            "image_proj.proj.bias": torch.zeros(text * 4),
        }
        tensors |= {"image_proj.norm.weight": torch.ones(text), "image_proj.norm.bias": torch.zeros(text)}
        cross = [name for name in unet.attn_processors if not name.endswith("attn1.processor")]
        for number, name in enumerate(cross):
            hidden = unet.get_submodule(name.removesuffix(".processor")).to_q.in_features
            processor = IPAdapterAttnProcessor2_0(hidden_size=hidden, cross_attention_dim=text)
            for key, value in processor.state_dict().items():
                tensors[f"ip_adapter.{2 * number + 1}.{key.replace('.0.', '.')}"] = value.clone()
        folder = tmp_path_factory.mktemp(family)
        save_file(tensors, folder / "adapter.safetensors")
        vision = CLIPVisionConfig(hidden_size=16, projection_dim=width, intermediate_size=32, num_hidden_layers=1,
                                  num_attention_heads=2, image_size=32, patch_size=16)  # fmt: skip
        CLIPVisionModelWithProjection(vision).save_pretrained(folder / "image_encoder")
        return folder / "adapter.safetensors"

    return {family: make(family) for family in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_picture_speaks_beside_the_words(open_painter, ip_adapter, family):
    generator = open_painter(family)
    plain = paint(generator)
    use_ip_adapter(generator, ip_adapter[family], PICTURE)
    spoken = paint(generator)
    generator.guides.standing = (Control("ip-adapter", image=Image.new("RGB", (32, 32), "red")),)
    assert len({plain, spoken, paint(generator)}) == 3


def test_a_picture_prompt_of_another_family_is_told(open_painter, ip_adapter, tmp_path):
    with pytest.raises(UserError, match="another family than sd15"):
        use_ip_adapter(open_painter("sd15"), ip_adapter["sdxl"], PICTURE)
    with pytest.raises(UserError, match="missing or damaged"):
        use_ip_adapter(open_painter("sd15"), tmp_path / "nowhere.safetensors", PICTURE)

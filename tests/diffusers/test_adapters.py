import copy
import re
import shutil

import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionPipeline
from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from llmga.diffusers.adapters import add_controlnet, add_ip_adapter, add_loras, use_controlnet, use_ip_adapter
from llmga.diffusers.components import for_task as painter_for
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


@pytest.fixture(scope="module")
def plus(goldens, ip_adapter, tmp_path_factory):
    """Another form of the SD1.5 one: it reads hidden states, is nested in a PyTorch file, and lies as published."""
    torch.manual_seed(0)
    text, width, inner = goldens.pipeline("sd15").unet.config.cross_attention_dim, 16, 64
    layer = {"0.norm1.weight": (inner,), "0.norm1.bias": (inner,), "0.norm2.weight": (inner,), "0.norm2.bias": (inner,),
             "0.to_q.weight": (64, inner), "0.to_kv.weight": (128, inner), "0.to_out.weight": (inner, 64),
             "1.0.weight": (inner,), "1.0.bias": (inner,), "1.1.weight": (4 * inner, inner),
             "1.3.weight": (inner, 4 * inner)}  # fmt: skip
    head = {"latents": (1, 4, inner), "proj_in.weight": (inner, width), "proj_in.bias": (inner,),
            "proj_out.weight": (text, inner), "proj_out.bias": (text,), "norm_out.bias": (text,),
            "norm_out.weight": (text,)}  # fmt: skip
    head |= {f"layers.{number}.{name}": shape for number in range(4) for name, shape in layer.items()}
    layers = {key.removeprefix("ip_adapter."): tensor for key, tensor in load_file(ip_adapter["sd15"]).items()}
    root = tmp_path_factory.mktemp("published")
    state = {
        "image_proj": {key: torch.randn(shape) for key, shape in head.items()},
        "ip_adapter": {key: tensor for key, tensor in layers.items() if not key.startswith("image_proj")},
    }
    (root / "sdxl_models").mkdir()
    torch.save(state, root / "sdxl_models/ip-adapter-plus.bin")
    shutil.copytree(ip_adapter["sd15"].parent / "image_encoder", root / "models/image_encoder")
    return root / "sdxl_models/ip-adapter-plus.bin"


def test_a_picture_prompt_counts_by_its_scale_in_every_task(goldens, plus, ip_adapter):
    mask = Image.new("L", (64, 64))
    mask.paste(255, (10, 10, 40, 30))
    into = {"image": PICTURE.resize((64, 64)), "mask": mask, "seed": 1, "steps": 2}
    for file in (plus, ip_adapter["sd15"]):
        painter = load_pipeline(goldens.folder("sd15"), device="cpu")
        plain = paint(painter), painter_for(painter, "inpainting")("a cat", **into).tobytes()
        add_ip_adapter(painter, file)
        for scale in (0.0, 0.8):
            controls = [Control("ip-adapter", scale, image=PICTURE)]
            both = (
                painter("a cat", seed=1, steps=2, controls=controls).tobytes(),
                painter_for(painter, "inpainting")("a cat", controls=controls, **into).tobytes(),
            )
            assert [one == other for one, other in zip(both, plain, strict=True)] == [scale == 0] * 2
        assert paint(painter) == plain[0]
        with pytest.raises(UserError, match="changed by words alone"):
            painter_for(painter, "editing")("a cat", PICTURE, source_prompt="a dog")
        with pytest.raises(UserError, match="would be the second"):
            add_ip_adapter(painter, file)


def test_a_picture_prompt_and_a_controlnet_guide_together(goldens, ip_adapter, controlnet):
    painter = load_pipeline(goldens.folder("sdxl"), device="cpu")
    add_ip_adapter(painter, ip_adapter["sdxl"])
    add_controlnet(painter, controlnet["sdxl"])
    both = [Control("ip-adapter", 0.5, image=PICTURE), Control("map", 0.5, image=PICTURE.rotate(90))]
    made = {painter("a cat", seed=1, steps=2, controls=some).tobytes() for some in (both, both[:1], both[1:], ())}
    assert len(made) == 4


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        (("image_proj.proj.0.weight", "image_proj.proj.2.weight", "image_proj.norm.weight"), "is an IP-Adapter FaceID"),
        (("image_proj.perceiver_resampler.proj_in.weight", "image_proj.proj.0.weight"), "is an IP-Adapter FaceID"),
        (("image_proj.proj.weight", "ip_adapter.1.to_q_lora.down.weight"), "is an IP-Adapter FaceID"),
        (("else.weight",), "is no IP-Adapter"),
        (("image_proj.proj.weight",), "reads pictures 3 wide, but the encoder in .* gives 16"),
    ],
)
def test_picture_prompts_that_are_not_applied_are_named(goldens, ip_adapter, tmp_path, keys, told):
    text = goldens.pipeline("sd15").unet.config.cross_attention_dim
    keys = (*keys, "ip_adapter.1.to_k_ip.weight")
    save_file({key: torch.zeros(4, text if "to_k_ip" in key else 3) for key in keys}, tmp_path / "it.safetensors")
    shutil.copytree(ip_adapter["sd15"].parent / "image_encoder", tmp_path / "image_encoder")
    with pytest.raises(UserError, match=told):
        add_ip_adapter(load_pipeline(goldens.folder("sd15"), device="cpu"), tmp_path / "it.safetensors")


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

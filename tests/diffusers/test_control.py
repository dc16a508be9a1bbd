"""Paintings along pictures: what is typed, the maps, the networks in their layouts, and diffusers' own pipelines."""

import inspect
import re

import diffusers
import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, ControlNetUnionModel, MultiAdapter, T2IAdapter
from diffusers.loaders import single_file_utils
from PIL import Image
from safetensors.torch import load_file, save_file

from llmga.diffusers.adapters import add_controlnet
from llmga.diffusers.components import for_task
from llmga.diffusers.control import MOST_CONTROLS, Control, controls_text, parse_controls
from llmga.diffusers.control_maps import CONTROLS
from llmga.diffusers.pipelines import load_pipeline
from llmga.errors import UserError

SIZE = (64, 64)
PICTURE = Image.linear_gradient("L").convert("RGB").resize(SIZE)
OTHER = Image.radial_gradient("L").convert("RGB").resize(SIZE)
MASK = Image.new("L", SIZE)
MASK.paste(255, (10, 10, 40, 30))
ONCE = {"seed": 1, "steps": 2, "size": SIZE}


@pytest.mark.parametrize(
    "text", ["canny", "canny:0.6", "depth:0.5:0-0.8,tile", "canny:1.5:0.1-0.9:map", "ip-adapter:0.3", "off"]
)
def test_controls_are_read_and_written_alike(text):
    assert controls_text(parse_controls(text)) == text


def test_parts_of_a_control_may_come_in_any_order():
    assert parse_controls(" Canny:map:0-.5:0.25 ") == (Control("canny", 0.25, 0.0, 0.5, ready=True),)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "unknown control ''"),
        ("cany", "did you mean 'canny'"),
        ("canny:3", "has the scale 3; use 0 to 2"),
        ("canny:0.5:0.5-0.2", "from 0.5 to 0.2 of the steps"),
        ("canny:much", "unclear at 'much'"),
        ("canny:0.5:0.6", "unclear at '0.6'"),
        ("ip-adapter:0-0.5", "works in all steps"),
        (",".join(["tile"] * 5), f"give 1 to {MOST_CONTROLS}"),
        ("canny" * 100, "too long"),
    ],
)
def test_what_is_no_control_is_one_sentence(text, told):
    with pytest.raises(UserError, match=re.escape(told)):
        parse_controls(text)


def test_more_pictures_than_controls_are_told():
    with pytest.raises(UserError, match="2 control pictures are more than the 1"):
        parse_controls("canny", [PICTURE, PICTURE])


@pytest.fixture(scope="module")
def square():
    picture = Image.new("RGB", (48, 32), (40, 60, 80))
    picture.paste((230, 220, 210), (12, 8, 36, 24))
    return picture


@pytest.mark.parametrize("name", CONTROLS)
def test_a_map_is_an_rgb_picture_of_the_same_size(square, name):
    made = CONTROLS[name].take(square)
    assert (made.mode, made.size) == ("RGB", square.size)


@pytest.mark.parametrize("name", ["canny", "softedge"])
def test_edges_are_white_on_black_and_nowhere_else(square, name):
    found = np.asarray(CONTROLS[name].take(square).convert("L"))
    assert found[8, 24] > 200 or found[7, 24] > 200
    assert found[16, 24] == 0 and found[1, 1] == 0
    plain = Image.new("RGB", (48, 32), (40, 60, 80))
    assert not np.asarray(CONTROLS[name].take(plain)).any()


def test_lines_are_what_is_darker_than_around():
    page = Image.new("RGB", (48, 32), "white")
    page.paste("black", (20, 0, 22, 32))
    lines, drawn = (np.asarray(CONTROLS[name].take(page).convert("L")) for name in ("lineart", "scribble"))
    assert lines[16, 20] > 200 and lines[16, 5] == 0 and set(np.unique(drawn)) == {0, 255}


def test_grey_and_blur_keep_what_they_say(square):
    grey = np.asarray(CONTROLS["gray"].take(square))
    assert (grey[..., 0] == grey[..., 2]).all() and CONTROLS["tile"].take(square) is square
    assert np.asarray(CONTROLS["blur"].take(square)).std() < np.asarray(square).std()


# The networks.


def random_net(kind, unet, seed=0, **options):
    torch.manual_seed(seed)
    net = kind.from_unet(unet, conditioning_embedding_out_channels=(16, 32, 96, 256), **options)
    for layer in (*net.controlnet_down_blocks, net.controlnet_mid_block, net.controlnet_cond_embedding.conv_out):
        torch.nn.init.normal_(layer.weight, std=0.3)
    return net.eval()


def random_union(unet, seed=0):
    """As published for SDXL: eight kinds, a transformer over them."""
    torch.manual_seed(seed)
    known, width = inspect.signature(ControlNetUnionModel.__init__).parameters, unet.config.block_out_channels[0]
    taken = {name: value for name, value in unet.config.items() if name in known}
    taken |= {"num_control_type": 8, "num_trans_channel": width, "num_proj_channel": width}
    net = ControlNetUnionModel(**taken | {"conditioning_embedding_out_channels": (16, 32, 96, 256)})
    for layer in (*net.controlnet_down_blocks, net.controlnet_mid_block, net.controlnet_cond_embedding.conv_out):
        torch.nn.init.normal_(layer.weight, std=0.3)
    return net.eval()


def random_adapter(unet, seed=0, **options):
    """As published: one width more for SDXL, whose first block has no attention."""
    torch.manual_seed(seed)
    widths = list(unet.config.block_out_channels)
    if unet.config.addition_embed_type:
        options |= {"channels": [*widths, widths[-1]], "downscale_factor": 16, "adapter_type": "full_adapter_xl"}
    else:
        options |= {"channels": widths, "downscale_factor": 8, "adapter_type": "full_adapter"}
    return T2IAdapter(num_res_blocks=1, **options).eval()


@pytest.fixture(scope="module")
def nets(goldens, tmp_path_factory):
    """Folders as diffusers saves them, by family and kind."""
    root, made = tmp_path_factory.mktemp("nets"), {}
    for family in ("sd15", "sdxl"):
        unet = goldens.pipeline(family).unet
        for name, net in {
            "one": random_net(ControlNetModel, unet, 1),
            "two": random_net(ControlNetModel, unet, 2),
            "adapter": random_adapter(unet, 3),
            "sketch": random_adapter(unet, 4, in_channels=1),
        }.items():
            net.save_pretrained(root / family / name)
        made[family] = root / family
    random_union(goldens.pipeline("sdxl").unet).save_pretrained(root / "sdxl/union")
    return made


@pytest.fixture(scope="module")
def painters(goldens, nets):
    """One painter for each golden folder, task and set of networks, with all of them loaded."""
    opened = {}

    def painter(folder, *loaded, task=None):
        key = (folder, loaded, task)
        if key not in opened:
            opened[key] = load_pipeline(goldens.folder(folder), device="cpu", task=task)
            for given in loaded:
                name, _, net = given.rpartition("=")
                add_controlnet(opened[key], nets[folder.partition("_")[0]] / net, name or "map")
        return opened[key]

    return painter


def by_hand(painter, class_name, network, **told):
    """The stock pipeline of diffusers on the same parts, called with the same embeddings."""
    kind = getattr(diffusers, class_name)
    parts, taken = {**painter.pipe.components, **network}, inspect.signature(kind.__init__).parameters
    pipe = kind(**{name: part for name, part in parts.items() if name in taken})
    pipe.set_progress_bar_config(disable=True)
    scale = painter.guidance_scale
    words = painter.family.prompt_arguments(painter.encoder("a cat", None, guided=scale > 1))
    generator = torch.Generator("cpu").manual_seed(1)
    return pipe(**words, num_inference_steps=2, width=64, height=64, guidance_scale=scale, generator=generator,
                output_type="pil", **told).images[0]  # fmt: skip


def close(one, other):
    return np.abs(np.asarray(one, int) - np.asarray(other, int)).max() <= 1


XL = {"sd15": "StableDiffusion", "sdxl": "StableDiffusionXL"}


@pytest.mark.parametrize("family", XL)
def test_two_controlnets_paint_as_diffusers_multi_pipeline(painters, family):
    painter = painters(family, "canny=one", "two")
    controls = [Control("canny", 0.6, 0.0, 0.5, ready=True, image=OTHER), Control("map", 0.4, image=PICTURE)]
    ours = painter("a cat", controls=controls, **ONCE)
    models = [each.model for each in painter.guides.networks]
    theirs = by_hand(
        painter, f"{XL[family]}ControlNetPipeline", {"controlnet": models}, image=[OTHER, PICTURE],
        controlnet_conditioning_scale=[0.6, 0.4], control_guidance_start=[0.0, 0.0], control_guidance_end=[0.5, 1.0],
    )  # fmt: skip
    assert close(ours, theirs)
    assert ours.tobytes() != painter("a cat", controls=controls[:1], **ONCE).tobytes()


@pytest.mark.parametrize(
    ("folder", "loaded", "task"),
    [("sd15", ("one",), None), ("sdxl", ("one",), None), ("sdxl", ("union",), None), ("sd15", ("adapter",), None),
     ("sdxl", ("adapter",), None), ("sd15", ("one",), "inpainting"), ("sdxl", ("union",), "inpainting"),
     ("sdxl_inpaint", ("one",), None)],
)  # fmt: skip
def test_a_control_of_scale_0_paints_what_is_painted_without(painters, folder, loaded, task):
    painter = painters(folder, *loaded, task=task)
    into = {"image": PICTURE, "mask": MASK} if painter.family.task == "inpainting" else {}
    plain, nothing, guided = (
        painter("a cat", controls=controls, **into, **ONCE).tobytes()
        for controls in ((), [Control("depth", 0.0, image=OTHER)], [Control("depth", image=OTHER)])
    )
    assert plain == nothing != guided


def test_a_union_paints_by_the_number_of_the_kind(painters):
    painter = painters("sdxl", "union")
    controls = [Control("depth", image=OTHER), Control("canny", 0.5, ready=True, image=PICTURE)]
    theirs = by_hand(
        painter, "StableDiffusionXLControlNetUnionPipeline", {"controlnet": painter.guides.networks[0].model},
        control_image=[OTHER, PICTURE], control_mode=[1, 3], controlnet_conditioning_scale=[1.0, 0.5],
    )  # fmt: skip
    assert close(painter("a cat", controls=controls, **ONCE), theirs)
    same_kind = [Control("canny", ready=True, image=OTHER), Control("lineart", 0.5, ready=True, image=PICTURE)]
    assert painter("a cat", controls=same_kind, **ONCE).size == SIZE
    with pytest.raises(
        UserError, match="nothing that is loaded reads the control 'map' .loaded: map by a ControlNet-U"
    ):
        painter("a cat", controls=[Control("map", image=OTHER)], **ONCE)


@pytest.mark.parametrize("family", XL)
def test_adapters_paint_as_diffusers_own(painters, family):
    painter = painters(family, "tile=adapter", "depth=sketch")
    controls = [Control("tile", 0.7, image=OTHER), Control("depth", 0.4, image=PICTURE)]
    model = MultiAdapter([each.model for each in painter.guides.networks])
    theirs = by_hand(painter, f"{XL[family]}AdapterPipeline", {"adapter": model}, image=[OTHER, PICTURE.convert("L")],
                     adapter_conditioning_scale=[0.7, 0.4])  # fmt: skip
    steps = []
    ours = painter("a cat", controls=controls, on_step=lambda step, total: steps.append((step, total)), **ONCE)
    assert close(ours, theirs) and steps == [(1, 2), (2, 2)]


def test_an_inpainted_part_follows_its_control(painters):
    painter = painters("sd15", "one", task="inpainting")
    own, given = (
        painter("a cat", PICTURE, MASK, controls=[Control("tile", image=image)], **ONCE) for image in (None, PICTURE)
    )
    assert own.tobytes() == given.tobytes()
    kept = np.asarray(MASK) == 0
    assert (np.asarray(own)[kept] == np.asarray(PICTURE)[kept]).all()
    shared = for_task(painters("sd15", "one"), "inpainting")
    assert close(shared("a cat", PICTURE, MASK, controls=[Control("tile")], **ONCE), own)


def test_a_map_of_another_size_is_its_middle_at_the_painting_size(painters):
    painter, wide = painters("sd15", "one"), Image.new("RGB", (256, 128), "black")
    wide.paste(OTHER.resize((128, 128)), (64, 0))
    fitted = OTHER.resize((128, 128)).resize(SIZE, Image.Resampling.LANCZOS)
    both = [painter("a cat", controls=[Control("map", image=image)], **ONCE) for image in (wide, fitted)]
    assert close(*both)


@pytest.mark.parametrize(
    ("folder", "loaded", "task", "controls", "told"),
    [
        ("sd15", ("canny=one",), None, "depth", "reads the control 'depth' (loaded: canny by a ControlNet)"),
        ("sd15", ("one",), None, "ip-adapter", "no IP-Adapter is loaded"),
        ("sd15", ("adapter",), "inpainting", "depth", "a T2I-Adapter cannot guide sd15-inpainting; it guides"),
        ("sd15", ("adapter",), None, "depth:0-0.5", "works from the first step on"),
        ("sdxl", ("adapter",), None, "depth:0.2-0.5", "works from the first step on"),
    ],
)  # fmt: skip
def test_what_cannot_guide_is_one_sentence(painters, folder, loaded, task, controls, told):
    painter = painters(folder, *loaded, task=task)
    with pytest.raises(UserError) as caught:
        painter("a cat", controls=parse_controls(controls, [OTHER]), **ONCE)
    assert re.search(told.replace("(", r"\(").replace(")", r"\)"), str(caught.value))


def test_networks_of_two_kinds_do_not_paint_together(painters):
    painter = painters("sd15", "canny=one", "tile=adapter")
    controls = [Control("canny", ready=True, image=OTHER), Control("tile", image=OTHER)]
    with pytest.raises(UserError, match="ControlNet '.*' and T2I-Adapter '.*' do not paint together"):
        painter("a cat", controls=controls, **ONCE)


def test_a_change_by_words_takes_no_control(painters):
    painter = painters("sd15", "one", task="editing")
    with pytest.raises(UserError, match="changed by words alone"):
        painter("a cat", PICTURE, source_prompt="a dog", controls=[Control("map", image=OTHER)])


# One file.


def to_ldm(tensors, unet):
    """The layout of the first ControlNets, by diffusers' own tables and the numbering of LDM's blocks."""
    layers, out = single_file_utils.DIFFUSERS_TO_LDM_MAPPING["controlnet"]["layers"], {}
    per_level = unet.config.layers_per_block + 1
    resnet = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
              "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}  # fmt: skip
    head = re.compile(r"controlnet_cond_embedding\.(conv_in|blocks\.(\d+)|conv_out)\.(\w+)")
    for name, tensor in tensors.items():
        if name in layers:
            key = layers[name]
        elif match := re.fullmatch(r"add_embedding\.linear_(\d)\.(\w+)", name):
            key = f"label_emb.0.{2 * int(match[1]) - 2}.{match[2]}"
        elif match := head.fullmatch(name):
            place = {"conv_in": 0, "conv_out": 14}.get(match[1], 2 * int(match[2] or 0) + 2)
            key = f"input_hint_block.{place}.{match[3]}"
        elif match := re.fullmatch(r"controlnet_down_blocks\.(\d+)\.(\w+)", name):
            key = f"zero_convs.{match[1]}.0.{match[2]}"
        elif match := re.fullmatch(r"controlnet_mid_block\.(\w+)", name):
            key = f"middle_block_out.0.{match[1]}"
        elif match := re.fullmatch(r"down_blocks\.(\d)\.(resnets|attentions|downsamplers)\.(\d)\.(.+)", name):
            level, kind, number, rest = int(match[1]), match[2], int(match[3]), match[4]
            block = per_level * level + (per_level if kind == "downsamplers" else number + 1)
            inner = {"resnets": "0", "attentions": "1", "downsamplers": "0.op"}[kind]
            rest = rest.removeprefix("conv.") if kind == "downsamplers" else rest
            part, _, end = rest.rpartition(".")
            key = f"input_blocks.{block}.{inner}.{resnet.get(part, part)}.{end}".replace("op..", "op.")
        elif match := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d)\.(.+)", name):
            place = 1 if match[1] == "attentions" else 2 * int(match[2])
            part, _, end = match[3].rpartition(".")
            key = f"middle_block.{place}.{resnet.get(part, part)}.{end}"
        else:
            raise AssertionError(name)
        out[f"control_model.{key}"] = tensor
    return out


@pytest.mark.parametrize(
    ("family", "layout"),
    [("sd15", "control_model."), ("sd15", ""), ("sd15", "diffusers"), ("sdxl", "diffusers"), ("sdxl", ".pth")],
)
def test_one_file_is_the_same_network_as_its_folder(goldens, nets, tmp_path, family, layout):
    unet, tensors = goldens.pipeline(family).unet, load_file(nets[family] / "one/diffusion_pytorch_model.safetensors")
    written = tensors if layout == "diffusers" else to_ldm(tensors, unet)
    if layout == "":
        written = {key.removeprefix("control_model."): tensor for key, tensor in written.items()}
    file = tmp_path / f"net{layout if layout == '.pth' else '.safetensors'}"
    torch.save({"state_dict": written}, file) if layout == ".pth" else save_file(written, file)
    painter = load_pipeline(goldens.folder(family), device="cpu")
    add_controlnet(painter, file)
    opened = painter.guides.networks[0].model
    found = opened.state_dict()
    assert found.keys() == tensors.keys() and all(torch.equal(found[key], tensors[key]) for key in tensors)
    assert not any(parameter.is_meta for parameter in [*opened.parameters(), *opened.buffers()])
    assert painter("a cat", controls=[Control("map", image=OTHER)], **ONCE).size == SIZE


def test_a_union_in_one_file_is_known_by_its_keys(goldens, nets, tmp_path):
    file = tmp_path / "promax.safetensors"
    file.write_bytes((nets["sdxl"] / "union/diffusion_pytorch_model.safetensors").read_bytes())
    painter = load_pipeline(goldens.folder("sdxl"), device="cpu")
    add_controlnet(painter, file)
    assert painter.guides.networks[0].kind == "controlnet-union"
    assert painter.guides.networks[0].model.config.num_control_type == 8


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        (["lora_controlnet", "input_blocks.0.0.weight"], "is a Control-LoRA"),
        (["difference", "control_model.input_hint_block.0.weight"], "the difference to its base"),
        (["image_proj.latents"], "is an IP-Adapter; give it as --ip-adapter"),
        (["lora_unet_conv_in.lora_down.weight"], "are low-rank|is low-rank"),
        (["model.diffusion_model.out.2.weight"], "is a whole checkpoint"),
        (["else"], "is no ControlNet in one file: its tensors are such as 'else'"),
        (["controlnet_cond_embedding.conv_in.weight", "conv_in.weight"], "lacks .*conv_in.weight"),
    ],
)
def test_a_file_that_is_no_controlnet_is_told(painters, tmp_path, keys, told):
    save_file({key: torch.zeros(4, 3, 1, 1) for key in keys}, tmp_path / "it.safetensors")
    with pytest.raises(UserError, match=told) as caught:
        add_controlnet(painters("sd15"), tmp_path / "it.safetensors")
    assert "\n" not in str(caught.value) and not painters("sd15").guides.networks


def test_folders_of_other_families_and_too_many_are_told(goldens, painters, nets, tmp_path):
    painter = load_pipeline(goldens.folder("sd15"), device="cpu")
    with pytest.raises(UserError, match="was made for another family: its text is"):
        add_controlnet(painter, nets["sdxl"] / "one")
    (tmp_path / "config.json").write_text('{"_class_name": "FluxControlNetModel"}')
    with pytest.raises(UserError, match="is a FluxControlNetModel, which guides no SD1.5"):
        add_controlnet(painter, tmp_path)
    for _ in range(MOST_CONTROLS):
        add_controlnet(painter, nets["sd15"] / "one")
    with pytest.raises(UserError, match="one more than the 4"):
        add_controlnet(painter, nets["sd15"] / "one")
    with pytest.raises(UserError, match="is no ControlNet; give it as --ip-adapter"):
        add_controlnet(painters("sd15"), nets["sd15"] / "one", "ip-adapter")

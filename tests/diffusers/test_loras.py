"""Low-rank weights in the spelling of each trainer, against the same difference merged into the weights by hand.

The layouts are the trainers' own: kohya's sd-scripts and LyCORIS (`networks/lora.py`, SDXL on the first authors' UNet),
OneTrainer (`convert_sdxl_lora.py`, its legacy and its OMI names), diffusers' DreamBooth of 2023 and of today, and peft.
"""

import json
import re
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from torch import nn

from llmga.diffusers.adapters import add_loras, remove_loras
from llmga.diffusers.components import for_task
from llmga.diffusers.lora_files import open_lora
from llmga.diffusers.lora_layers import layers_of
from llmga.diffusers.pipelines import load_pipeline
from llmga.errors import UserError

FAMILIES = ["sd15", "sdxl"]
ATTENTION = r"(to_[qkv]|to_out\.0|[qkv]_proj|out_proj)$"
BAR = 0.01  # levels of 255, mean over the picture


class Painter:
    """One loaded painter for all cases of a family: every test leaves it as it was."""

    def __init__(self, folder, **options):
        self.pipeline = load_pipeline(folder, device="cpu", dtype="fp32", **options)
        pipeline = self.pipeline.pipe
        self.parts = {part: getattr(pipeline, part, None) for part in ("unet", "text_encoder", "text_encoder_2")}
        self.parts = {part: module for part, module in self.parts.items() if module is not None}
        self.plain = self.paint()

    def paint(self):
        self.pipeline.encoder.forget()
        return np.asarray(self.pipeline("a cat on a red roof", seed=1, steps=2)).astype(float)

    def layers(self, wanted=".*"):
        """(part, name as published models spell it, layer)"""
        for part, module in self.parts.items():
            for name, layer in module.named_modules():
                if isinstance(layer, nn.Linear | nn.Conv2d) and re.search(wanted, name):
                    text = part != "unet" and not name.startswith(("text_model.", "text_projection"))
                    yield part, f"text_model.{name}" if text else name, layer

    def learnt(self, wanted=ATTENTION, parts=("unet", "text_encoder", "text_encoder_2"), seed=0):
        """(part, name) -> (down, up, alpha); ranks and alphas differ from layer to layer."""
        chance = torch.Generator().manual_seed(seed)
        found = {}
        for number, (part, name, layer) in enumerate(self.layers(wanted)):
            if part in parts:
                rank, shape = 2 + number % 3, layer.weight.shape
                down = torch.randn(rank, *shape[1:], generator=chance) / layer.weight[0].numel() ** 0.5
                up = torch.randn(shape[0], rank, *(1 for _ in shape[2:]), generator=chance) * layer.weight.std()
                found[part, name] = down, up, float(1 + number % 4)
        assert found
        return found

    @contextmanager
    def merged(self, changed):
        """(part, name) -> the whole new weight, for the time of the body."""
        layers = {(part, name): layer for part, name, layer in self.layers()}
        before = {place: layers[place].weight.data for place in changed}
        for place, weight in changed.items():
            layers[place].weight.data = weight
        yield
        for place, weight in before.items():
            layers[place].weight.data = weight

    def by_hand(self, learnt, share=1.0, scaled=True):
        layers = {(part, name): layer for part, name, layer in self.layers()}
        changed = {}
        for place, (down, up, alpha) in learnt.items():
            weight = layers[place].weight.data
            product = (up.float().flatten(1) @ down.float().flatten(1)).reshape(weight.shape)
            changed[place] = weight + share * product * (alpha / len(down) if scaled else 1)
        with self.merged(changed):
            return self.paint()

    def with_files(self, *given):
        try:
            add_loras(self.pipeline, [str(each) for each in given])
            return self.paint()
        finally:
            remove_loras(self.pipeline)


@pytest.fixture(scope="module")
def painters(goldens):
    opened = {}

    def painter(family):
        if family not in opened:
            opened[family] = Painter(goldens.folder(family))
        return opened[family]

    yield painter
    for each in opened.values():
        assert np.array_equal(each.paint(), each.plain)  # nothing of all the files is left


@pytest.fixture(params=FAMILIES)
def painter(request, painters):
    return painters(request.param)


def first_authors(name, levels):
    """A UNet's layer as `input_blocks`, `middle_block` and `output_blocks` number it; `levels` is layers per block."""
    alone = {
        "conv_in": "input_blocks.0.0", "conv_out": "out.2",
        "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
        "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
    }  # fmt: skip
    if name in alone:
        return alone[name]
    kind = {"resnets": 0, "attentions": 1}
    if match := re.match(r"down_blocks\.(\d+)\.downsamplers\.0\.conv$", name):
        return f"input_blocks.{(int(match[1]) + 1) * (levels + 1)}.0.op"
    if match := re.match(r"up_blocks\.(\d+)\.upsamplers\.0\.conv$", name):
        return f"output_blocks.{(int(match[1]) + 1) * (levels + 1) - 1}.2.conv"
    if match := re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", name):
        place = f"middle_block.{2 * int(match[2]) + kind[match[1]]}"
    else:
        match = re.match(r"(down|up)_blocks\.(\d+)\.(resnets|attentions)\.(\d)\.(.*)", name)
        number = int(match[2]) * (levels + 1) + int(match[4]) + (match[1] == "down")
        place = f"{'input' if match[1] == 'down' else 'output'}_blocks.{number}.{kind[match[3]]}"
    inner = match[match.lastindex]
    if ".attentions." not in f".{name}":
        inner = {"conv1": "in_layers.2", "conv2": "out_layers.3", "time_emb_proj": "emb_layers.1",
                 "conv_shortcut": "skip_connection"}[inner]  # fmt: skip
    return f"{place}.{inner}"


def kohya(part, name, painter, *, authors):
    """`authors`: SDXL on the first authors' UNet, SD1.5 on diffusers'."""
    if part == "unet":
        name = first_authors(name, painter.parts["unet"].config.layers_per_block) if authors else name
        return "lora_unet_" + name.replace(".", "_")
    text = {"text_encoder": "te1" if "text_encoder_2" in painter.parts else "te", "text_encoder_2": "te2"}[part]
    return f"lora_{text}_" + name.replace(".", "_")


def spelt_kohya(painter, learnt, *, authors=False, alpha=True, dtype=torch.float32, name=kohya):
    tensors = {}
    for (part, layer), (down, up, its_alpha) in learnt.items():
        module = name(part, layer, painter, authors=authors)
        tensors[f"{module}.lora_down.weight"], tensors[f"{module}.lora_up.weight"] = down.to(dtype), up.to(dtype)
        if alpha:
            tensors[f"{module}.alpha"] = torch.tensor(its_alpha, dtype=dtype)
    return tensors


def omi(part, name, painter, *, authors):
    if part == "unet":
        return "unet." + first_authors(name, painter.parts["unet"].config.layers_per_block)
    return {"text_encoder": "clip_l", "text_encoder_2": "clip_g"}[part] + "." + name


def spelt_peft(painter, learnt, down_end=".lora_A.weight", up_end=".lora_B.weight", text_ends=None):
    tensors = {}
    for (part, name), (down, up, _) in learnt.items():
        ends = (down_end, up_end) if part == "unet" or text_ends is None else text_ends
        tensors |= {f"{part}.{name}{end}": tensor for end, tensor in zip(ends, (down, up), strict=True)}
    return tensors


def spelt_dreambooth(painter, learnt):
    text = (".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight")
    return spelt_peft(painter, learnt, ".lora.down.weight", ".lora.up.weight", text)


def spelt_processors(painter, learnt):
    """As attention processors of early 2023."""
    renamed = {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "out_proj": "to_out"}
    tensors = {}
    for (part, name), (down, up, _) in learnt.items():
        block, _, end = name.removesuffix(".0").rpartition(".")
        own = f"{part}.{block}.{'processor.' * (part == 'unet')}{renamed.get(end, end)}_lora"
        tensors |= {f"{own}.down.weight": down, f"{own}.up.weight": up}
    return tensors


# what a trainer writes -> whether alpha / rank scales it
TRAINERS = {
    "kohya on the first authors' UNet": (lambda p, t: spelt_kohya(p, t, authors=True), True),
    "kohya on diffusers' UNet": (spelt_kohya, True),
    "kohya without alpha": (lambda p, t: spelt_kohya(p, t, alpha=False), False),
    "OneTrainer, OMI": (lambda p, t: spelt_kohya(p, t, name=omi), True),
    "peft": (spelt_peft, False),
    "DreamBooth": (spelt_dreambooth, False),
    "attention processors": (spelt_processors, False),
    "peft, named by its adapter": (
        lambda p, t: spelt_peft(p, t, ".lora_A.default_0.weight", ".lora_B.default_0.weight"),
        False,
    ),
}


@pytest.mark.parametrize("trainer", TRAINERS)
def test_every_spelling_paints_as_the_merged_weights_do(painter, tmp_path, trainer):
    spelt, scaled = TRAINERS[trainer]
    learnt = painter.learnt()
    save_file(spelt(painter, learnt), tmp_path / "it.safetensors")
    painted = painter.with_files(tmp_path / "it.safetensors")
    assert np.abs(painted - painter.plain).mean() > 1
    assert np.abs(painted - painter.by_hand(learnt, scaled=scaled)).mean() <= BAR


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_files_in_half_precision_are_as_good_as_their_values(painter, tmp_path, dtype):
    learnt = {place: (down.to(dtype), up.to(dtype), alpha) for place, (down, up, alpha) in painter.learnt().items()}
    save_file(spelt_kohya(painter, learnt, authors=True, dtype=dtype), tmp_path / "it.safetensors")
    assert np.abs(painter.with_files(tmp_path / "it.safetensors") - painter.by_hand(learnt)).mean() <= BAR


@pytest.mark.parametrize("authors", [True, False])
def test_every_layer_can_have_learnt(painter, tmp_path, authors):
    """Convolutions, feed-forward parts, embeddings of time and size, and the projection of SDXL's second tower."""
    learnt = painter.learnt(".*")
    assert {part for part, _ in learnt} == set(painter.parts)
    save_file(spelt_kohya(painter, learnt, authors=authors), tmp_path / "it.safetensors")
    painted = painter.with_files(f"{tmp_path / 'it.safetensors'}:0.1")
    assert np.abs(painted - painter.plain).mean() > 1
    assert np.abs(painted - painter.by_hand(learnt, share=0.1)).mean() <= BAR


@pytest.mark.parametrize(
    ("part", "wanted"), [("unet", ATTENTION), ("text_encoder", ATTENTION), ("text_encoder", "fc1$")]
)
def test_files_may_hold_a_part_only(painter, tmp_path, part, wanted):
    learnt = painter.learnt(wanted, parts=(part,))
    save_file(spelt_kohya(painter, learnt), tmp_path / "it.safetensors")
    painted = painter.with_files(tmp_path / "it.safetensors")
    assert np.abs(painted - painter.plain).mean() > 0.1
    assert np.abs(painted - painter.by_hand(learnt)).mean() <= BAR


def test_several_files_add_up_by_their_weights(painter, tmp_path):
    one, two = painter.learnt(parts=("unet",), seed=1), painter.learnt("fc|to_q|q_proj", seed=2)
    save_file(spelt_kohya(painter, one, authors=True), tmp_path / "one.safetensors")
    save_file(spelt_peft(painter, two), tmp_path / "two.safetensors")
    painted = painter.with_files(f"{tmp_path}/one.safetensors:0.8", f"{tmp_path}/two.safetensors:-.5")
    both = {place: (down, up * 0.8, alpha) for place, (down, up, alpha) in one.items()}
    for place, (down, up, _) in two.items():
        mine = both.get(place)
        scale = len(mine[0]) / mine[2] if mine else 1  # `by_hand` applies alpha / rank of the first half alone
        rank = (len(mine[0]) if mine else 0) + len(down)
        before = (mine[0] / scale, mine[1]) if mine else (down[:0], up[:, :0])
        both[place] = torch.cat([before[0], down]), torch.cat([before[1], up * -0.5], 1), float(rank)
    assert np.abs(painted - painter.by_hand(both)).mean() <= BAR


def test_a_second_call_adds_to_the_first(painter, tmp_path):
    for number in (1, 2):
        save_file(spelt_peft(painter, painter.learnt(seed=number)), tmp_path / f"{number}.safetensors")
    files = [tmp_path / f"{number}.safetensors" for number in (1, 2)]
    together = painter.with_files(*files)
    add_loras(painter.pipeline, [str(files[0])])
    one_by_one = painter.with_files(files[1])
    assert np.array_equal(one_by_one, together)
    assert painter.pipeline.added == []


def test_painters_of_other_tasks_that_share_the_weights_paint_with_them(painters, tmp_path):
    """What they remember of prompts is of the text towers as they were."""
    painter = painters("sd15")
    twin = for_task(painter.pipeline, "inpainting")
    paint = lambda: twin("a cat", seed=1, steps=2).tobytes()  # noqa: E731
    before = paint()
    save_file(spelt_kohya(painter, painter.learnt(parts=("text_encoder",))), tmp_path / "it.safetensors")
    add_loras(painter.pipeline, [str(tmp_path / "it.safetensors")])
    assert paint() != before
    assert for_task(painter.pipeline, "inpainting").describe()["added"] == painter.pipeline.added
    remove_loras(painter.pipeline)
    assert paint() == before


def test_the_record_names_the_file_and_its_weight(painter, tmp_path):
    save_file(spelt_peft(painter, painter.learnt()), tmp_path / "it.safetensors")
    add_loras(painter.pipeline, [f"{tmp_path / 'it.safetensors'}:0.5"])
    (entry,) = painter.pipeline.describe()["added"]
    remove_loras(painter.pipeline)
    assert (entry["kind"], entry["name"], entry["weight"]) == ("lora", "it.safetensors", 0.5)
    assert len(entry["sha256"]) == 64


@pytest.mark.parametrize("family", FAMILIES)
def test_inpainters_take_them_too(goldens, tmp_path, family):
    painter = Painter(goldens.folder(family), task="inpainting")
    learnt = painter.learnt(ATTENTION + "|conv_in$")
    save_file(spelt_kohya(painter, learnt, authors=True), tmp_path / "it.safetensors")
    painted = painter.with_files(tmp_path / "it.safetensors")
    assert np.abs(painted - painter.plain).mean() > 1
    assert np.abs(painted - painter.by_hand(learnt)).mean() <= BAR


def decomposed(painter, learnt, share=1.0, magnitudes=None, axis=0):
    """The picture of DoRA merged by hand as LyCORIS does (`apply_weight_decompose`), and its magnitudes.

    `axis` 0 measures rows, one magnitude for each output.
    """
    layers = {(part, name): layer for part, name, layer in painter.layers()}
    chance, changed, found = torch.Generator().manual_seed(3), {}, {}
    for place, (down, up, alpha) in learnt.items():
        weight = layers[place].weight.data
        new = weight + (up.flatten(1) @ down.flatten(1)).reshape(weight.shape) * alpha / len(down)
        length = new.flatten(1).norm(dim=1).reshape(-1, *(1 for _ in weight.shape[1:]))
        if magnitudes is None or place in magnitudes:
            found[place] = length * (0.7 + 0.6 * torch.rand(length.shape, generator=chance))
            new = new * found[place] / length
        changed[place] = weight + share * (new - weight)
    with painter.merged(changed):
        return painter.paint(), found


@pytest.mark.parametrize("share", [1.0, 0.8, 0.0])
@pytest.mark.parametrize("wanted", [ATTENTION, "to_q|conv|proj_in|fc1"])
def test_decomposed_weights_paint_as_the_merged_ones_do(painter, tmp_path, wanted, share):
    """DoRA as LyCORIS and OneTrainer save it; its weight is a share of the difference."""
    learnt = painter.learnt(wanted)
    merged, magnitudes = decomposed(painter, learnt, share)
    tensors = spelt_kohya(painter, learnt, authors=True)
    tensors |= {f"{kohya(*place, painter, authors=True)}.dora_scale": each for place, each in magnitudes.items()}
    save_file(tensors, tmp_path / "it.safetensors")
    painted = painter.with_files(f"{tmp_path / 'it.safetensors'}:{share}")
    assert np.abs(painted - merged).mean() <= BAR
    assert (np.abs(painted - painter.plain).mean() > 0.3) == (share > 0)


def test_a_file_may_decompose_some_layers_only(painter, tmp_path):
    learnt = painter.learnt()
    some = set(list(learnt)[::2])
    merged, magnitudes = decomposed(painter, learnt, 1.0, some)
    tensors = spelt_kohya(painter, learnt)
    tensors |= {f"{kohya(*place, painter, authors=False)}.dora_scale": each for place, each in magnitudes.items()}
    save_file(tensors, tmp_path / "it.safetensors")
    assert set(magnitudes) == some
    assert np.abs(painter.with_files(tmp_path / "it.safetensors") - merged).mean() <= BAR


def test_a_plain_file_beside_a_decomposed_one_adds_its_difference(painter, tmp_path):
    one, two = painter.learnt(parts=("unet",), seed=1), painter.learnt("q_proj|to_v|ff", seed=2)
    _, magnitudes = decomposed(painter, one)
    tensors = spelt_kohya(painter, one)
    tensors |= {f"{kohya(*place, painter, authors=False)}.dora_scale": each for place, each in magnitudes.items()}
    save_file(tensors, tmp_path / "decomposed.safetensors")
    save_file(spelt_kohya(painter, two), tmp_path / "plain.safetensors")
    first = painter.with_files(tmp_path / "decomposed.safetensors", tmp_path / "plain.safetensors")
    assert np.array_equal(
        first, painter.with_files(tmp_path / "plain.safetensors", tmp_path / "decomposed.safetensors")
    )
    layers = {(part, name): layer for part, name, layer in painter.layers()}
    changed = {}
    for place, (down, up, alpha) in (two).items():
        weight = layers[place].weight.data
        changed[place] = weight + (up.flatten(1) @ down.flatten(1)).reshape(weight.shape) * alpha / len(down)
    for place, (down, up, alpha) in one.items():
        weight = layers[place].weight.data
        new = weight + (up.flatten(1) @ down.flatten(1)).reshape(weight.shape) * alpha / len(down)
        length = new.flatten(1).norm(dim=1).reshape(-1, *(1 for _ in weight.shape[1:]))
        changed[place] = changed.get(place, weight) + new * magnitudes[place] / length - weight
    with painter.merged(changed):
        assert np.abs(first - painter.paint()).mean() <= BAR


def test_two_decomposed_files_add_up_and_the_order_does_not_matter(painter, tmp_path):
    """peft takes one DoRA only; differences of the checkpoint's own weights are a sum."""
    layers, changed, files = {(part, name): layer for part, name, layer in painter.layers()}, {}, []
    for number, share in ((1, 0.75), (2, 0.5)):
        learnt = painter.learnt(parts=("unet",), seed=number)
        _, magnitudes = decomposed(painter, learnt)
        tensors = spelt_kohya(painter, learnt)
        for place, (down, up, alpha) in learnt.items():
            tensors[f"{kohya(*place, painter, authors=False)}.dora_scale"] = magnitudes[place]
            weight = layers[place].weight.data
            new = weight + (up.flatten(1) @ down.flatten(1)).reshape(weight.shape) * alpha / len(down)
            length = new.flatten(1).norm(dim=1).reshape(magnitudes[place].shape)
            changed[place] = changed.get(place, weight) + share * (new * magnitudes[place] / length - weight)
        save_file(tensors, tmp_path / f"{number}.safetensors")
        files.append(f"{tmp_path / f'{number}.safetensors'}:{share}")
    painted = painter.with_files(*files)
    assert np.array_equal(painted, painter.with_files(*files[::-1]))
    with painter.merged(changed):
        assert np.abs(painted - painter.paint()).mean() <= BAR


def test_magnitudes_of_inputs_are_those_of_onetrainer(painter, tmp_path):
    """OneTrainer's default ("apply on output axis" off): `dora_scale` is (1, in), a length for each column."""
    learnt, changed = painter.learnt("to_q|fc1|conv1$"), {}
    layers = {(part, name): layer for part, name, layer in painter.layers()}
    tensors = spelt_kohya(painter, learnt)
    for place, (down, up, alpha) in learnt.items():
        weight = layers[place].weight.data
        new = weight + (up.flatten(1) @ down.flatten(1)).reshape(weight.shape) * alpha / len(down)
        others = [axis for axis in range(weight.ndim) if axis != 1]
        length = torch.linalg.vector_norm(new, dim=others, keepdim=True)
        magnitude = length * (0.7 + 0.6 * torch.rand(length.shape, generator=torch.Generator().manual_seed(3)))
        tensors[f"{kohya(*place, painter, authors=False)}.dora_scale"] = magnitude
        changed[place] = new * magnitude / length
    save_file(tensors, tmp_path / "it.safetensors")
    with painter.merged(changed):
        merged = painter.paint()
    painted = painter.with_files(tmp_path / "it.safetensors")
    assert np.abs(painted - painter.plain).mean() > 0.3
    assert np.abs(painted - merged).mean() <= BAR


def test_a_core_between_the_matrices_of_convolutions_is_multiplied_in(painter, tmp_path):
    """LyCORIS' Tucker decomposition: down (rank, in, 1, 1), mid (rank, rank, 3, 3), up (out, rank, 1, 1)."""
    learnt, whole = painter.learnt(r"conv[12]$", parts=("unet",)), {}
    tensors = {}
    for (part, name), (down, up, alpha) in learnt.items():
        module, rank = kohya(part, name, painter, authors=False), len(down)
        narrow, mid = down[:, :, :1, :1].contiguous(), torch.randn(rank, rank, 3, 3)
        tensors |= {f"{module}.lora_down.weight": narrow, f"{module}.lora_mid.weight": mid,
                    f"{module}.lora_up.weight": up, f"{module}.alpha": torch.tensor(alpha)}  # fmt: skip
        chain = sum(mid[:, [k]] * narrow[[k]] for k in range(rank))  # what the middle convolution sees of the first
        whole[part, name] = chain, up, alpha
    save_file(tensors, tmp_path / "it.safetensors")
    painted = painter.with_files(tmp_path / "it.safetensors")
    assert np.abs(painted - painter.plain).mean() > 0.3
    assert np.abs(painted - painter.by_hand(whole)).mean() <= BAR


OF_OTHER_FAMILIES = {
    "Wan, ComfyUI's": "diffusion_model.blocks.0.self_attn.q.lora_{}.weight",
    "Qwen-Image, diffusers": "transformer.transformer_blocks.0.img_mlp.net.2.lora.{}.weight",
    "FLUX, kohya": "lora_unet_double_blocks_0_img_attn_proj.lora_{}.weight",
    "FLUX, diffusers": "transformer.single_transformer_blocks.0.attn.to_q.lora.{}.weight",
    "FLUX, ai-toolkit": "diffusion_model.double_blocks.0.img_attn.proj.lora_{}.weight",
    "FLUX, kohya's text": "lora_te3_encoder_block_0_layer_0_SelfAttention_q.lora_{}.weight",
    "SD3, kohya": "lora_unet_joint_blocks_0_context_block_attn_qkv.lora_{}.weight",
    "SD1.5 in the first authors' names": "unet.input_blocks.11.0.in_layers.2.lora_{}.weight",
    "a block that is no number": "lora_unet_input_blocks_x_1_proj_in.lora_{}.weight",
}


@pytest.mark.parametrize("names", OF_OTHER_FAMILIES)
def test_files_of_other_families_are_told(painters, tmp_path, names):
    name = OF_OTHER_FAMILIES[names]
    save_file({name.format("down"): torch.ones(2, 8), name.format("up"): torch.ones(8, 2)}, tmp_path / "it.safetensors")
    with pytest.raises(UserError, match="another family than sdxl: 1 of their 1 modules") as caught:
        painters("sdxl").with_files(tmp_path / "it.safetensors")
    family = {"FLUX": "flux", "SD3": "sd3", "Wan": "wan", "Qwen-Image": "qwen-image"}.get(names.split(",")[0])
    if family and "text" not in names:
        assert f"and are low-rank weights (LoRA) of {family}; choose others" in str(caught.value)


def test_files_of_the_other_family_are_told(painters, tmp_path):
    for own, other in (FAMILIES, FAMILIES[::-1]):
        save_file(spelt_kohya(painters(own), painters(own).learnt(), authors=True), tmp_path / "it.safetensors")
        with pytest.raises(UserError, match=f"made for another family than {other}"):
            painters(other).with_files(tmp_path / "it.safetensors")


def test_nothing_changes_when_one_of_several_files_is_refused(painter, tmp_path):
    save_file(spelt_peft(painter, painter.learnt()), tmp_path / "it.safetensors")
    with pytest.raises(UserError, match="are not there"):
        add_loras(painter.pipeline, [str(tmp_path / "it.safetensors"), "nowhere.safetensors"])
    assert np.array_equal(painter.paint(), painter.plain)
    assert painter.pipeline.added == []


# What no library reads, or none without peft's settings: tensors of one module.
METHODS = {
    "OFT of LyCORIS before version 2": ["oft_diag", "alpha"],
    "OFT of peft": ["oft_R.weight"],
    "BOFT of peft": ["boft_R", "boft_s"],
    "IA3 of peft": ["ia3_l"],
    "AdaLoRA": ["lora_A", "lora_B", "lora_E"],
    "VeRA": ["vera_lambda_b"],
    "T-LoRA": ["q_layer.weight", "p_layer.weight", "lambda_layer", "alpha"],
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("beside_lora", [False, True])
def test_other_methods_are_refused_by_their_name(painters, tmp_path, method, beside_lora):
    painter = painters("sd15")
    modules = ["lora_unet_mid_block_attentions_0_proj_in", "lora_unet_mid_block_attentions_0_proj_out"]
    tensors = {f"{module}.{end}": torch.ones(2, 2) for module in modules for end in METHODS[method]}
    if beside_lora:
        tensors |= spelt_kohya(painter, dict(list(painter.learnt().items())[:3]))
    save_file(tensors, tmp_path / "it.safetensors")
    with pytest.raises(UserError) as caught:
        painter.with_files(tmp_path / "it.safetensors")
    assert f"hold {method} in 2 of {5 if beside_lora else 2} modules" in str(caught.value)
    assert "merge them into their checkpoint" in str(caught.value) or "adapter_config.json" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("unet.mid_block.attentions.0.proj_in.lora_B.bias", "lack a half of 1 modules"),
        ("lora_unet_mid_block_attentions_0_proj_in.lokr_w1", "lack a half of 1 modules"),
        ("unet.conv_norm_out.weight", "1 tensors that are no part of LoRA, such as 'unet.conv_norm_out.weight'"),
        ("lora_unet_mid_block_attentions_0_proj_in.lora_up.weight", "lack a half of 1 modules"),
    ],
)
def test_nothing_of_a_file_is_left_out_in_silence(painter, tmp_path, name, said):
    tensors = spelt_peft(painter, dict(list(painter.learnt().items())[:3]))
    save_file(tensors | {name: torch.ones(2, 2)}, tmp_path / "it.safetensors")
    with pytest.raises(UserError, match=re.escape(said)):
        painter.with_files(tmp_path / "it.safetensors")


def test_values_that_are_no_numbers_are_told(painter, tmp_path):
    tensors = spelt_peft(painter, painter.learnt())
    next(iter(tensors.values()))[0, 0] = float("nan")
    save_file(tensors, tmp_path / "it.safetensors")
    with pytest.raises(UserError, match="no numbers"):
        painter.with_files(tmp_path / "it.safetensors")


# peft's own folders, as `save_pretrained` of a wrapped UNet or text model writes them.
SETTINGS = {
    "plain": {},
    "ranks and alphas of their own": {"rank_pattern": {"to_q": 4, "q_proj": 4}, "alpha_pattern": {"to_q": 3.0}},
    "rank-stabilised": {"use_rslora": True},
    "decomposed": {"use_dora": True},
}


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize(
    ("family", "part"), [("sd15", "unet"), ("sd15", "text_encoder"), ("sdxl", "unet"), ("sdxl", "text_encoder_2")]
)
def test_folders_of_peft_open_with_their_settings(painters, tmp_path, family, part, settings):
    painter = painters(family)
    torch.manual_seed(0)
    targets = ["to_q", "to_v"] if part == "unet" else ["q_proj", "fc1"]
    config = LoraConfig(r=2, lora_alpha=6, target_modules=targets, init_lora_weights=False, **SETTINGS[settings])
    module = getattr(painter.pipeline.pipe, part)
    wrapped = get_peft_model(module, config)
    try:
        wrapped.save_pretrained(tmp_path / "folder")
        merged = painter.paint()  # wrapped in place: peft itself paints
    finally:
        setattr(painter.pipeline.pipe, part, wrapped.unload())
        painter.parts[part] = getattr(painter.pipeline.pipe, part)
    painted = painter.with_files(tmp_path / "folder")
    assert np.abs(painted - painter.plain).mean() > 0.1
    assert np.abs(painted - merged).mean() <= BAR


def test_beginnings_that_changed_the_base_are_refused(painter, tmp_path):
    save_file({f"base_model.model.{name.removeprefix('unet.')}": tensor for name, tensor in
               spelt_peft(painter, painter.learnt(parts=("unet",))).items()},
              tmp_path / "adapter_model.safetensors")  # fmt: skip
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 2, "lora_alpha": 2, "init_lora_weights": "corda"}))
    with pytest.raises(UserError, match="begun with 'corda', which changed their base"):
        painter.with_files(tmp_path)


def test_files_of_peft_without_its_settings_are_told(painters, tmp_path, caplog):
    painter = painters("sdxl")
    tensors = {f"base_model.model.{name.removeprefix('unet.')}": tensor for name, tensor in
               spelt_peft(painter, painter.learnt(parts=("unet",))).items()}  # fmt: skip
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    layers_of(open_lora(tmp_path), painter.pipeline.pipe, "sdxl")
    assert "without peft's adapter_config.json" in caplog.text and str(tmp_path) in caplog.text
    caplog.clear()
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 2, "lora_alpha": 2}))
    layers_of(open_lora(tmp_path), painter.pipeline.pipe, "sdxl")
    assert caplog.text == ""


@pytest.mark.parametrize("weight", ["x", "nan", "1e9", "-1001", ""])
def test_weights_that_are_no_share_are_told(painters, tmp_path, weight):
    painter = painters("sdxl")
    save_file(spelt_peft(painter, painter.learnt()), tmp_path / "it.safetensors")
    with pytest.raises(UserError, match=f"the weight '{weight}'; give a number from -1000 to 1000"):
        add_loras(painter.pipeline, [f"{tmp_path / 'it.safetensors'}:{weight}"])


# Names in published files, and the layers that they mean in SDXL.
PUBLISHED = {
    "lora_unet_input_blocks_0_0": ("unet", "conv_in"),
    "lora_unet_input_blocks_1_0_in_layers_2": ("unet", "down_blocks.0.resnets.0.conv1"),
    "lora_unet_input_blocks_3_0_op": ("unet", "down_blocks.0.downsamplers.0.conv"),
    "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q": (
        "unet", "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"),
    "lora_unet_input_blocks_8_1_proj_in": ("unet", "down_blocks.2.attentions.1.proj_in"),
    "lora_unet_middle_block_1_transformer_blocks_0_attn2_to_out_0": (
        "unet", "mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0"),
    "lora_unet_middle_block_2_emb_layers_1": ("unet", "mid_block.resnets.1.time_emb_proj"),
    "lora_unet_output_blocks_2_2_conv": ("unet", "up_blocks.0.upsamplers.0.conv"),
    "lora_unet_output_blocks_3_0_skip_connection": ("unet", "up_blocks.1.resnets.0.conv_shortcut"),
    "lora_unet_output_blocks_5_1_transformer_blocks_0_ff_net_0_proj": (
        "unet", "up_blocks.1.attentions.2.transformer_blocks.0.ff.net.0.proj"),
    "lora_unet_output_blocks_8_0_out_layers_3": ("unet", "up_blocks.2.resnets.2.conv2"),
    "lora_unet_time_embed_0": ("unet", "time_embedding.linear_1"),
    "lora_unet_label_emb_0_2": ("unet", "add_embedding.linear_2"),
    "lora_unet_out_2": ("unet", "conv_out"),
    "lora_unet_up_blocks_1_attentions_2_transformer_blocks_0_attn2_to_k": (
        "unet", "up_blocks.1.attentions.2.transformer_blocks.0.attn2.to_k"),
    "lycoris_mid_block_attentions_0_proj_out": ("unet", "mid_block.attentions.0.proj_out"),
    "lora_te1_text_model_encoder_layers_1_self_attn_out_proj": ("text_encoder", "layers.1.self_attn.out_proj"),
    "lora_te2_text_model_encoder_layers_0_mlp_fc2": ("text_encoder_2", "layers.0.mlp.fc2"),
    "lora_te2_text_projection": ("text_encoder_2", "text_projection"),
    "clip_g.text_model.encoder.layers.2.mlp.fc1": ("text_encoder_2", "layers.2.mlp.fc1"),
    "unet.output_blocks.4.1.transformer_blocks.0.attn1.to_v": (
        "unet", "up_blocks.1.attentions.1.transformer_blocks.0.attn1.to_v"),
}  # fmt: skip


@pytest.fixture(scope="module")
def toy():
    """The bundled painter: blocks and levels are SDXL's."""
    return Painter("checkpoints/Inference/llmga-toy-sdxl-t2i")


@pytest.mark.parametrize("module", PUBLISHED)
def test_published_names_mean_these_layers(toy, tmp_path, module):
    part, ending = PUBLISHED[module]
    ((path, layer),) = [(path, layer) for path, layer in toy.parts[part].named_modules() if path.endswith(ending)]
    down, up = torch.ones(2, *layer.weight.shape[1:]), torch.ones(len(layer.weight), 2)
    save_file({f"{module}.lora_down.weight": down, f"{module}.lora_up.weight": up}, tmp_path / "it.safetensors")
    layers = layers_of(open_lora(tmp_path / "it.safetensors"), toy.pipeline.pipe, "sdxl")
    assert {part: list(found) for part, found in layers.beside.items()} == {part: [path]}

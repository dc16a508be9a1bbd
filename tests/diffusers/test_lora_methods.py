"""LyCORIS' kinds and peft's other methods, against the trainers themselves.

The modules of `lycoris-lora` and of peft stand around the painter's layers and paint, as in training; then the painter
is plain again, and what they saved is given as `--lora`.
"""

import copy
import json
import re

import numpy as np
import peft
import pytest
import torch
from lycoris import modules
from lycoris.modules import dylora
from peft import get_peft_model
from safetensors.torch import save_file
from torch import nn

from llmga.diffusers.adapters import add_loras, remove_loras
from llmga.diffusers.lora_files import open_lora
from llmga.diffusers.lora_layers import layers_of
from llmga.diffusers.lora_merging import merge, unmerge
from llmga.diffusers.lora_methods import METHODS, methods_of
from llmga.diffusers.pipelines import load_pipeline
from llmga.errors import UserError

BAR = 0.01  # levels of 255, mean over the picture
LINEAR, CONV = r"to_[qkv]$|fc1$|[qkv]_proj$", r"resnets\.\d\.conv[12]$"


class Painter:
    def __init__(self, folder):
        self.pipeline = load_pipeline(folder, device="cpu", dtype="fp32")
        self.parts = {part: getattr(self.pipeline.pipe, part, None) for part in ("unet", "text_encoder")}
        self.plain = self.paint()

    def paint(self):
        self.pipeline.encoder.forget()
        return np.asarray(self.pipeline("a cat on a red roof", seed=1, steps=2)).astype(float)

    def layers(self, wanted, kinds):
        for part, module in self.parts.items():
            for name, layer in module.named_modules():
                if isinstance(layer, kinds) and re.search(wanted, name):
                    yield part, name, layer

    def with_files(self, *given):
        try:
            add_loras(self.pipeline, [str(each) for each in given])
            return self.paint()
        finally:
            remove_loras(self.pipeline)


@pytest.fixture(scope="module")
def painter(goldens):
    painter = Painter(goldens.folder("sd15"))
    before = {part: copy.deepcopy(module.state_dict()) for part, module in painter.parts.items()}
    yield painter
    for part, tensors in before.items():  # to the last bit
        assert all(torch.equal(tensor, tensors[name]) for name, tensor in painter.parts[part].state_dict().items())


def trained(painter, kind, wanted, kinds=(nn.Linear, nn.Conv2d), size=0.3, **options):
    """The picture that LyCORIS' modules paint around the layers, and what they save, in kohya's names."""
    chance, around, tensors = torch.Generator().manual_seed(5), [], {}
    for part, name, layer in painter.layers(wanted, kinds):
        start = "lora_unet_" if part == "unet" else "lora_te_text_model_"
        module = kind(start + name.removeprefix("text_model.").replace(".", "_"), layer, **options)
        for parameter in module.parameters():
            parameter.data += size * torch.randn(parameter.shape, generator=chance) * (parameter.ndim > 0)
        around.append(module.eval())
    for module in around:
        module.apply_to()
        saved = {f"{module.lora_name}.{key}": tensor.detach().clone() for key, tensor in module.state_dict().items()}
        tensors |= {name: tensor.contiguous() for name, tensor in saved.items()}
    painted = painter.paint()
    for module in reversed(around):
        module.restore()
        module.org_module[0].__dict__.pop("forward", None)
    assert tensors and np.array_equal(painter.paint(), painter.plain)
    return painted, tensors


L, C = {"wanted": LINEAR}, {"wanted": CONV}
TRAINED = {
    "LoHa": (modules.LohaModule, L | {"lora_dim": 3, "alpha": 2, "size": 0.5}),
    "LoHa of convolutions": (modules.LohaModule, C | {"lora_dim": 2, "alpha": 1, "size": 0.5}),
    "LoHa with Tucker cores": (modules.LohaModule, C | {"lora_dim": 3, "alpha": 2, "use_tucker": True, "size": 0.6}),
    "LoHa, decomposed": (modules.LohaModule, L | {"lora_dim": 3, "alpha": 2, "weight_decompose": True}),
    "LoKr, both whole": (modules.LokrModule, L | {"lora_dim": 3, "full_matrix": True, "factor": 4}),
    "LoKr, the second of low rank": (modules.LokrModule, L | {"lora_dim": 2, "alpha": 1, "factor": 2}),
    "LoKr, both of low rank": (modules.LokrModule, L | {"lora_dim": 1, "alpha": 3, "decompose_both": True}),
    "LoKr of convolutions": (modules.LokrModule, C | {"lora_dim": 2, "alpha": 1, "factor": 2}),
    "LoKr with Tucker cores": (modules.LokrModule, C | {"lora_dim": 2, "alpha": 1, "factor": 2, "use_tucker": True}),
    "LoKr, decomposed over inputs": (
        modules.LokrModule, L | {"lora_dim": 2, "factor": 2, "weight_decompose": True, "wd_on_out": False}),
    "LoRA, decomposed over inputs": (
        modules.LoConModule, C | {"lora_dim": 2, "weight_decompose": True, "wd_on_out": False}),
    "LoRA with Tucker cores": (modules.LoConModule, C | {"lora_dim": 2, "alpha": 1, "use_tucker": True}),
    "DyLoRA": (modules.DyLoraModule, L | {"lora_dim": 4, "alpha": 2, "block_size": 1, "size": 0.1}),
    "(IA)^3 of outputs": (modules.IA3Module, {"wanted": f"{LINEAR}|{CONV}"}),
    "(IA)^3 of inputs": (modules.IA3Module, {"wanted": f"{LINEAR}|{CONV}", "train_on_input": True}),
    "full differences": (modules.FullModule, {"wanted": f"{LINEAR}|{CONV}", "size": 0.05}),
    "differences of norms": (modules.NormModule, {"wanted": "norm", "kinds": (nn.LayerNorm, nn.GroupNorm)}),
    "GLoRA": (modules.GLoRAModule, L | {"lora_dim": 2, "alpha": 1, "size": 0.2}),
    "GLoRA of convolutions": (modules.GLoRAModule, C | {"lora_dim": 2, "alpha": 1, "size": 0.1}),
    "OFT": (modules.DiagOFTModule, {"wanted": f"{LINEAR}|{CONV}", "lora_dim": 4}),
    "OFT, bounded and rescaled": (
        modules.DiagOFTModule, L | {"lora_dim": 4, "constraint": 0.05, "rescaled": True}),
    "BOFT": (modules.ButterflyOFTModule, {"wanted": f"{LINEAR}|{CONV}", "lora_dim": 4}),
    "BOFT, bounded and rescaled": (
        modules.ButterflyOFTModule, L | {"lora_dim": 4, "constraint": 0.05, "rescaled": True}),
}  # fmt: skip


@pytest.mark.parametrize("kind", TRAINED)
def test_lycoris_paints_the_same_as_its_file_does_here(painter, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(dylora.random, "randint", lambda least, most: most)  # it paints with all of its blocks
    module, options = TRAINED[kind]
    painted, tensors = trained(painter, module, **options)
    save_file(tensors, tmp_path / "it.safetensors")
    assert np.abs(painted - painter.plain).mean() > 0.3
    assert np.abs(painter.with_files(tmp_path / "it.safetensors") - painted).mean() <= BAR


def test_every_row_of_the_table_is_proven():
    told = {row.said for row in METHODS}
    assert {said for said in told if any(kind.startswith(said) for kind in TRAINED)} == told - {
        "low-rank embeddings", "differences of biases"}  # of peft, below  # fmt: skip


@pytest.mark.parametrize("kind", ["LoHa", "LoKr, the second of low rank", "OFT", "full differences"])
def test_a_weight_is_a_share_of_the_difference(painter, tmp_path, kind):
    _, tensors = trained(painter, TRAINED[kind][0], **TRAINED[kind][1])
    save_file(tensors, tmp_path / "it.safetensors")
    pipe = painter.pipeline.pipe
    changes = layers_of(open_lora(tmp_path / "it.safetensors"), pipe, "sd15").merged
    (place, difference), *_ = changes["unet"].items()
    layer = pipe.unet.get_submodule(place[0])
    before = layer.weight.detach().clone()
    for share in (0.25, 0.5):  # together: 0.75
        merge(pipe, changes, share)
    assert torch.allclose(layer.weight, before + 0.75 * difference(before), atol=1e-6)
    unmerge(pipe)
    assert torch.equal(layer.weight, before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_rounds_the_sum_once(painter, goldens, tmp_path, dtype):
    _, tensors = trained(painter, *TRAINED["LoHa"][:1], **TRAINED["LoHa"][1])
    save_file({name: tensor.to(dtype) for name, tensor in tensors.items()}, tmp_path / "it.safetensors")
    short = "bf16" if dtype == torch.bfloat16 else "fp16"
    pipe = load_pipeline(goldens.folder("sd15"), device="cpu", dtype=short).pipe
    changes = layers_of(open_lora(tmp_path / "it.safetensors"), pipe, "sd15").merged
    for part, changed in changes.items():
        own = {path: getattr(pipe, part).get_submodule(path).weight.detach().clone() for path, _ in changed}
        merge(pipe, {part: changed}, 0.5)
        merge(pipe, {part: changed}, 0.25)
        for (path, _), difference in changed.items():
            before, layer = own[path].float(), getattr(pipe, part).get_submodule(path)
            assert torch.equal(
                layer.weight, (before + (0.5 * difference(before) + 0.25 * difference(before))).to(dtype)
            )
    unmerge(pipe)


def test_a_lokr_and_a_loha_of_the_same_layers_add_up_in_any_order(painter, tmp_path):
    files = []
    for kind in ("LoKr, both whole", "LoHa"):
        _, tensors = trained(painter, TRAINED[kind][0], **TRAINED[kind][1])
        save_file(tensors, tmp_path / f"{kind[:4]}.safetensors")
        files.append(f"{tmp_path / kind[:4]}.safetensors:0.5")
    alone, both = painter.with_files(files[0]), painter.with_files(*files)
    assert np.abs(both - painter.with_files(*files[::-1])).mean() <= BAR < np.abs(both - alone).mean()


# What the first authors' UNet calls norms, which trainers of SDXL write, and the layers here.
def test_norms_have_the_first_authors_names_too(goldens, tmp_path):
    pipe = load_pipeline("checkpoints/Inference/llmga-toy-sdxl-t2i", device="cpu").pipe
    names = {
        "lora_unet_input_blocks_1_0_in_layers_0": "down_blocks.0.resnets.0.norm1",
        "lora_unet_middle_block_2_out_layers_0": "mid_block.resnets.1.norm2",
        "lora_unet_out_0": "conv_norm_out",
        "lora_unet_input_blocks_4_1_norm": "down_blocks.1.attentions.0.norm",
    }
    widths = {name: len(pipe.unet.get_submodule(own).weight) for name, own in names.items()}
    save_file({f"{name}.w_norm": torch.ones(width) for name, width in widths.items()}, tmp_path / "it.safetensors")
    changes = layers_of(open_lora(tmp_path / "it.safetensors"), pipe, "sdxl").merged
    assert {path for path, _ in changes["unet"]} == set(names.values())


PEFT = {
    "LoHa": peft.LoHaConfig(r=3, alpha=2, target_modules=["to_q", "to_v"], init_weights=False),
    "LoKr": peft.LoKrConfig(r=3, alpha=2, target_modules=["to_q", "conv1"], init_weights=False),
    "OFT": peft.OFTConfig(oft_block_size=4, r=0, target_modules=["to_q", "to_v"], init_weights=False),
    "BOFT": peft.BOFTConfig(boft_block_size=4, target_modules=["to_q", "to_v"], init_weights=False),
    "IA3": peft.IA3Config(target_modules=["to_k", "to_v"], feedforward_modules=[], init_ia3_weights=False),
    "VeRA": peft.VeraConfig(r=4, target_modules=["attn1.to_q"], init_weights=False),
    "AdaLoRA": peft.AdaLoraConfig(init_r=4, target_r=2, lora_alpha=3, target_modules=["to_q"], total_step=10),
    "LoRA begun by PiSSA": peft.LoraConfig(r=3, lora_alpha=2, target_modules=["to_q"], init_lora_weights="pissa"),
    "LoRA with biases": peft.LoraConfig(r=3, target_modules=["to_out.0", "conv1"], lora_bias=True,
                                        init_lora_weights=False),
}  # fmt: skip


@pytest.mark.parametrize("method", PEFT)
def test_folders_of_pefts_other_methods_paint_as_peft_does(painter, tmp_path, method):
    unet = painter.pipeline.pipe.unet
    torch.manual_seed(0)
    wrapped = get_peft_model(copy.deepcopy(unet), copy.deepcopy(PEFT[method]))
    for parameter in wrapped.parameters():
        if parameter.requires_grad:
            parameter.data += 0.2 * torch.randn(parameter.shape)
    wrapped.save_pretrained(tmp_path / "folder")
    painter.pipeline.pipe.unet = wrapped.get_base_model().eval()
    painted = painter.paint()
    painter.pipeline.pipe.unet = unet
    assert np.abs(painted - painter.plain).mean() > 0.3
    assert np.abs(painter.with_files(tmp_path / "folder") - painted).mean() <= BAR


def test_tables_of_embeddings_may_have_learnt(painter, tmp_path):
    """peft's form for an embedding: the two matrices of `token_embedding` have no `.weight`."""
    tower = painter.pipeline.pipe.text_encoder
    config = peft.LoraConfig(r=3, lora_alpha=6, target_modules=["token_embedding"], init_lora_weights=False)
    torch.manual_seed(0)
    wrapped = get_peft_model(copy.deepcopy(tower), config)
    wrapped.save_pretrained(tmp_path / "folder")
    painter.pipeline.pipe.text_encoder = wrapped.get_base_model().eval()
    painted = painter.paint()
    painter.pipeline.pipe.text_encoder = tower
    assert np.abs(painted - painter.plain).mean() > 0.3
    assert np.abs(painter.with_files(tmp_path / "folder") - painted).mean() <= BAR


def test_a_method_of_peft_for_another_family_is_told(painter, tmp_path):
    save_file({"base_model.model.transformer_blocks.0.attn.to_q.hada_w1_a": torch.ones(2, 2)},
              tmp_path / "adapter_model.safetensors")  # fmt: skip
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LOHA", "r": 2, "alpha": 2}))
    with pytest.raises(UserError, match="another family than sd15: none of their modules fits"):
        painter.with_files(tmp_path)


@pytest.mark.parametrize(
    "tensors",
    [
        {"lokr_w1": (2, 2), "lokr_w2": (3, 5)},  # 6 outputs
        {"hada_w1_a": (7, 2), "hada_w1_b": (2, 7), "hada_w2_a": (7, 2), "hada_w2_b": (2, 7)},
        {"diff": (3, 3)},
        {"weight": (5,), "on_input": ()},
        {"oft_blocks": (3, 5, 5)},
        {"oft_blocks": (2, 3, 5, 5)},
    ],
)
def test_shapes_of_another_family_are_told(painter, tmp_path, tensors):
    name = "lora_unet_mid_block_attentions_0_proj_in"
    save_file({f"{name}.{role}": torch.ones(shape) for role, shape in tensors.items()}, tmp_path / "it.safetensors")
    with pytest.raises(UserError, match="another family than sd15: 1 of their 1 modules"):
        painter.with_files(tmp_path / "it.safetensors")


def test_quantised_painters_take_products_only(painter, tmp_path):
    _, tensors = trained(painter, modules.LohaModule, r"down_blocks\.0.*attn1\.to_q$", lora_dim=2)
    save_file(tensors, tmp_path / "it.safetensors")
    layers = [layer for _, _, layer in painter.layers(r"attn1\.to_q$", nn.Linear)]
    before = [layer.weight.data for layer in layers]
    for layer in layers:
        layer.weight.data = layer.weight.data.to(torch.float8_e4m3fn)
    try:
        with pytest.raises(UserError, match="float8_e4m3fn of a quantised painter cannot hold"):
            painter.with_files(tmp_path / "it.safetensors")
    finally:
        for layer, weight in zip(layers, before, strict=True):
            layer.weight.data = weight


def test_halves_are_of_no_method():
    ones = {"lokr_w1": torch.ones(1)}
    assert methods_of(ones) == [] and methods_of(ones | {"lokr_w2_a": torch.ones(1)}) == []
    assert [row.said for row in methods_of(ones | {"lokr_w2": torch.ones(1)})] == ["LoKr"]

"""A painter in little memory: what its denoiser's weights become, where they wait, and what that is said to take."""

import shutil

import gguf
import numpy as np
import pytest
import torch
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from diffusers import QwenImageTransformer2DModel, SD3Transformer2DModel, UNet2DConditionModel
from diffusers.quantizers.bitsandbytes import BnB4BitDiffusersQuantizer, BnB8BitDiffusersQuantizer
from diffusers.quantizers.gguf.utils import GGUFLinear
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from llmga.diffusers import quantisation
from llmga.diffusers.adapters import add_controlnet, add_ip_adapter, add_loras
from llmga.diffusers.checkpoints import open_part
from llmga.diffusers.control import Control
from llmga.diffusers.memory import execution_device, execution_group, move_to
from llmga.diffusers.pipelines import load_pipeline
from llmga.diffusers.plan import GIB, painter_memory
from llmga.diffusers.quantisation import check_quant, config_of
from llmga.diffusers.single_file.writing import to_file
from llmga.errors import UserError
from llmga.serve.inspect import main

CPU = torch.device("cpu")
PICTURE = Image.linear_gradient("L").convert("RGB").resize((64, 64))
NF4_HALF_GAP = (1.0 - 0.6961928) / 2  # between the two outermost of its sixteen levels, which lie furthest apart


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A UNet whose matrices are large enough to be quantised in blocks of 64."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(64, 64), layers_per_block=1, cross_attention_dim=64, attention_head_dim=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )  # fmt: skip
    unet.save_pretrained(folder := tmp_path_factory.mktemp("wide"))
    return folder


@pytest.fixture
def without_gpu(monkeypatch):
    """bitsandbytes computes on a CPU, too, where diffusers does not let it."""
    for quantizer in (BnB4BitDiffusersQuantizer, BnB8BitDiffusersQuantizer):
        monkeypatch.setattr(quantizer, "validate_environment", lambda self, *args, **kwargs: None)


@pytest.mark.parametrize(("quant", "kind"), [("nf4", Linear4bit), ("int8", Linear8bitLt)])
def test_matrices_of_few_bits_are_near_the_originals(wide, without_gpu, quant, kind):
    plain = UNet2DConditionModel.from_pretrained(wide)
    options = {"quantization_config": config_of(quant, torch.float32), "device_map": {"": CPU}}
    held = open_part(wide, "diffusers", "UNet2DConditionModel", torch.float32, **options)
    layers = {name: layer for name, layer in held.named_modules() if isinstance(layer, kind)}
    assert layers.keys() == {name for name, layer in plain.named_modules() if type(layer) is nn.Linear}
    for name, layer in layers.items():
        weight = plain.get_submodule(name).weight.detach()
        if quant == "nf4":
            from bitsandbytes.functional import dequantize_4bit

            found = dequantize_4bit(layer.weight.data, layer.weight.quant_state)
            top = weight.reshape(-1, 64).abs().amax(1, keepdim=True).expand(-1, 64).reshape(weight.shape)
            assert (
                layer.weight.quant_state.quant_type == "nf4"
                and ((found - weight).abs() <= top * NF4_HALF_GAP * 1.01).all()
            )
        else:
            scales = weight.abs().amax(1, keepdim=True) / 127
            assert layer.weight.dtype == torch.int8
            found = (
                layer.weight.data.float()
                * (layer.weight.SCB if layer.weight.SCB is not None else layer.state.SCB)[:, None]
                / 127
            )
            assert ((found - weight).abs() <= scales * 0.51 + weight.abs() * 1e-3).all()
    assert held.dtype == torch.float32


def test_fp8_storage_is_the_weights_rounded_to_fp8(goldens):
    plain, held = (load_pipeline(goldens.folder("sd15"), device="cpu", quant=quant) for quant in (None, "fp8-storage"))
    stored = {
        name: tensor for name, tensor in held.denoiser.state_dict().items() if tensor.dtype == torch.float8_e4m3fn
    }
    originals = plain.denoiser.state_dict()
    assert len(stored) > len(originals) / 3
    rounded = {name: originals[name].to(torch.float8_e4m3fn) for name in stored}
    assert all(torch.equal(stored[name].float(), rounded[name].float()) for name in stored)
    plain.denoiser.load_state_dict({name: tensor.float() for name, tensor in rounded.items()}, strict=False)
    both = [painter("a cat", seed=1, steps=2).tobytes() for painter in (plain, held)]
    assert both[0] == both[1] and held.denoiser.dtype == torch.float32
    assert held.describe()["quant"] == "fp8-storage"
    with pytest.raises(UserError, match="cannot be added to a denoiser in fewer bits"):
        add_loras(held, ["it.safetensors"])


def test_low_rank_weights_that_are_given_at_once_stay_wide_beside_fp8(goldens, tmp_path):
    weight = load_pipeline(goldens.folder("sd15"), device="cpu").denoiser.mid_block.resnets[0].conv1.weight
    name = "lora_unet_mid_block_resnets_0_conv1"
    save_file({f"{name}.lora_down.weight": torch.ones(2, *weight.shape[1:]),
               f"{name}.lora_up.weight": torch.ones(len(weight), 2, 1, 1)}, tmp_path / "it.safetensors")  # fmt: skip
    with_it, without = (
        load_pipeline(goldens.folder("sd15"), device="cpu", quant="fp8-storage", loras=loras)
        for loras in ([str(tmp_path / "it.safetensors")], [])
    )
    state = with_it.denoiser.state_dict()
    assert {tensor.dtype for name, tensor in state.items() if "lora_" in name} == {torch.float32}
    assert torch.float8_e4m3fn in {tensor.dtype for tensor in state.values()}
    assert with_it("a cat", seed=1, steps=2).tobytes() != without("a cat", seed=1, steps=2).tobytes()


def write_gguf(file, tensors, quantised=gguf.GGMLQuantizationType.Q8_0):
    """As the converters do: matrices in blocks, the rest as it is."""
    writer = gguf.GGUFWriter(file, "flux")
    for name, tensor in tensors.items():
        array = np.ascontiguousarray(tensor.float().numpy())
        fits = array.ndim == 2 and array.shape[1] % 32 == 0
        kind = quantised if fits else gguf.GGMLQuantizationType.F32
        writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def ldm_unet(tensors, layers_per_block):
    """The names under which UNets are shared in one file."""
    resnet = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
              "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}  # fmt: skip
    heads = {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2", "conv_out": "out.2",
             "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0"}  # fmt: skip
    out = {}
    for name, tensor in tensors.items():
        module, _, end = name.rpartition(".")
        place, kind, level, number, rest = heads.get(module), *([""] * 4)
        if place is None:
            parts = module.split(".")
            middle = parts[0] == "mid_block"
            level, kind, number = ("0", *parts[1:3]) if middle else parts[1:4]
            rest = ".".join(parts[3 if middle else 4 :])
            inner = resnet.get(rest, rest)
            if middle:
                place = f"middle_block.{2 * int(number) if kind == 'resnets' else 1}.{inner}"
            elif parts[0] == "down_blocks":
                block = (layers_per_block + 1) * int(level) + (
                    int(number) + 1 if kind != "downsamplers" else layers_per_block + 1
                )
                place = f"input_blocks.{block}." + {"resnets": f"0.{inner}", "attentions": f"1.{inner}"}.get(
                    kind, "0.op"
                )
            else:
                block = (layers_per_block + 1) * int(level) + int(number)
                own = {"resnets": f"0.{inner}", "attentions": f"1.{inner}"}
                place = f"output_blocks.{block}.{own[kind]}" if kind in own else None
                place = (
                    place or f"output_blocks.{(layers_per_block + 1) * (int(level) + 1) - 1}.{UPSAMPLER[level]}.conv"
                )
        out[f"{place}.{end}"] = tensor
    return out


UPSAMPLER = {"0": "1"}  # behind the attentions, of which the first level has none


@pytest.fixture(scope="module")
def painter_folder(goldens, wide, tmp_path_factory):
    """The SD1.5 toy with the wide UNet's text width."""
    folder = tmp_path_factory.mktemp("painter") / "it"
    shutil.copytree(goldens.folder("sd15"), folder)
    return folder


@pytest.mark.parametrize("layout", ["ldm", "diffusers"])
def test_a_unet_of_a_gguf_file_is_that_of_its_blocks(wide, tmp_path, layout):
    plain = UNet2DConditionModel.from_pretrained(wide)
    tensors = plain.state_dict()
    file = write_gguf(tmp_path / "unet.gguf", ldm_unet(tensors, 1) if layout == "ldm" else tensors)
    held = quantisation._from_gguf(file, UNet2DConditionModel, wide, torch.float32)
    quantised = {name for name, layer in held.named_modules() if isinstance(layer, GGUFLinear)}
    assert quantised == {name for name, layer in plain.named_modules() if type(layer) is nn.Linear}
    rounded = {}
    for name, tensor in tensors.items():
        array = tensor.numpy()
        blocks = array.ndim == 2 and array.shape[1] % 32 == 0
        kind = gguf.GGMLQuantizationType.Q8_0
        rounded[name] = (
            torch.tensor(gguf.quants.dequantize(gguf.quants.quantize(array, kind), kind)) if blocks else tensor
        )
    plain.load_state_dict(rounded)
    given = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)), 7, torch.ones(1, 3, 64)
    with torch.no_grad():
        assert torch.allclose(held(*given).sample, plain(*given).sample, atol=1e-3)


def test_a_painter_paints_with_a_gguf_file(goldens, tmp_path):
    folder = goldens.folder("sd15")
    plain = load_pipeline(folder, device="cpu")
    file = write_gguf(tmp_path / "unet-Q8_0.gguf", plain.denoiser.state_dict())
    held = load_pipeline(folder, device="cpu", quant=str(file))
    both = [np.asarray(painter("a cat", seed=1, steps=2), int) for painter in (plain, held)]
    assert np.abs(both[0] - both[1]).max() <= 12
    with pytest.raises(UserError, match="cannot be put into a denoiser that is held as gguf"):
        add_ip_adapter(held, "adapter.safetensors")
    described = held.describe()
    assert described["quant"] == "gguf" and [entry["name"] for entry in described["added"]] == ["unet-Q8_0.gguf"]


def test_a_gguf_file_of_qwen_image_has_diffusers_own_names(tmp_path):
    """As city96's and QuantStack's are."""
    torch.manual_seed(0)
    plain = QwenImageTransformer2DModel(patch_size=2, in_channels=16, out_channels=4, num_layers=1,
                                        attention_head_dim=16, num_attention_heads=2, joint_attention_dim=32,
                                        axes_dims_rope=(4, 6, 6))  # fmt: skip
    plain.save_pretrained(tmp_path / "transformer")
    file = write_gguf(tmp_path / "qwen.gguf", plain.state_dict())
    held = quantisation._from_gguf(file, QwenImageTransformer2DModel, tmp_path / "transformer", torch.float32)
    assert any(isinstance(layer, GGUFLinear) for layer in held.modules())
    assert not any(tensor.is_meta for tensor in held.state_dict().values())


def original_sd3(tensors):
    """The names under which SD3's authors, and who quantises it, share a model of one block."""
    heads = {"time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0", "pos_embed.proj": "x_embedder.proj",
             "time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2", "context_embedder": "context_embedder",
             "time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0", "proj_out": "final_layer.linear",
             "time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2", "norm1.linear": "x_block.adaLN_modulation.1",
             "attn.to_out.0": "x_block.attn.proj", "ff.net.0.proj": "x_block.mlp.fc1", "ff.net.2": "x_block.mlp.fc2",
             "norm1_context.linear": "context_block.adaLN_modulation.1", "norm_out.linear":
             "final_layer.adaLN_modulation.1"}  # fmt: skip
    out = {"pos_embed": tensors["pos_embed.pos_embed"]}
    for name, tensor in tensors.items():
        module, _, end = name.rpartition(".")
        place = heads.get(module.removeprefix("transformer_blocks.0."))
        if place is not None:
            halves = tensor.chunk(2) if module.endswith(("norm1_context.linear", "norm_out.linear")) else [tensor]
            start = "joint_blocks.0." if module.startswith("transformer_blocks") else ""
            out[f"{start}{place}.{end}"] = torch.cat(list(reversed(halves)))
    for block, layers in (("x_block", "to_{}"), ("context_block", "add_{}_proj")):
        for end in ("weight", "bias"):
            three = [tensors[f"transformer_blocks.0.attn.{layers.format(each)}.{end}"] for each in "qkv"]
            out[f"joint_blocks.0.{block}.attn.qkv.{end}"] = torch.cat(three)
    return out


def test_a_gguf_file_of_sd3_has_its_authors_names(tmp_path):
    torch.manual_seed(0)
    plain = SD3Transformer2DModel(
        sample_size=8, patch_size=1, in_channels=16, out_channels=16, num_layers=1, attention_head_dim=8,
        num_attention_heads=4, caption_projection_dim=32, joint_attention_dim=32, pooled_projection_dim=64,
    )  # fmt: skip
    plain.save_pretrained(tmp_path / "transformer")
    file = write_gguf(tmp_path / "sd3.gguf", original_sd3(plain.state_dict()), gguf.GGMLQuantizationType.F32)
    held = quantisation._from_gguf(file, SD3Transformer2DModel, tmp_path / "transformer", torch.float32)
    found, originals = held.state_dict(), plain.state_dict()
    assert found.keys() == originals.keys() and all(torch.equal(found[name], originals[name]) for name in found)
    write_gguf(file, original_sd3(originals))
    eight = quantisation._from_gguf(file, SD3Transformer2DModel, tmp_path / "transformer", torch.float32)
    given = dict(
        hidden_states=torch.ones(1, 16, 8, 8), encoder_hidden_states=torch.ones(1, 3, 32),
        pooled_projections=torch.ones(1, 64), timestep=torch.tensor([7]),
    )  # fmt: skip
    with torch.no_grad():
        apart = (eight(**given).sample - plain(**given).sample).abs().max()
    assert any(isinstance(layer, GGUFLinear) for layer in eight.modules()) and 0 < apart < 0.05


@pytest.mark.parametrize(
    ("quant", "offload", "told"),
    [
        ("nf4", "none", "nf4 needs a CUDA GPU, but --device is cpu; use fp8-storage or a .gguf file"),
        ("int8", "none", "int8 needs a CUDA GPU"),
        ("nf5", "none", "unknown --painter-quant 'nf5'; use one of: nf4, int8, fp8-storage, or a .gguf"),
        ("nowhere.gguf", "none", "'nowhere.gguf' is not there"),
    ],
)
def test_what_cannot_be_held_so_here_is_one_sentence(goldens, quant, offload, told):
    with pytest.raises(UserError, match=told):
        load_pipeline(goldens.folder("sd15"), device="cpu", quant=quant, offload=offload)


def test_fewer_bits_and_layers_that_wait_do_not_go_together(tmp_path):
    with pytest.raises(UserError, match="nf4 and --offload group do not go together; use --offload model"):
        check_quant("nf4", torch.device("cuda"), "group")
    with pytest.raises(UserError, match="numbers that MPS does not have"):
        check_quant("fp8-storage", torch.device("mps"), "none")


def test_a_gguf_file_of_another_model_is_told(goldens, tmp_path):
    file = write_gguf(tmp_path / "other.gguf", {"blk.0.attn_q.weight": torch.zeros(32, 32)})
    with pytest.raises(UserError, match="other.gguf' (does not fit|lacks)"):
        load_pipeline(goldens.folder("sd15"), device="cpu", quant=str(file))
    (tmp_path / "text.gguf").write_text("hello")
    with pytest.raises(UserError, match="is a text and no file of weights"):
        load_pipeline(goldens.folder("sd15"), device="cpu", quant=str(tmp_path / "text.gguf"))


@pytest.mark.parametrize("folder", ["sd15", "sdxl"])
def test_layers_that_wait_in_groups_paint_the_same(goldens, folder, tmp_path):
    from diffusers import ControlNetModel

    plain, grouped = (load_pipeline(goldens.folder(folder), device="cpu") for _ in range(2))
    ControlNetModel.from_unet(plain.denoiser).save_pretrained(tmp_path)
    move_to(grouped.pipe, CPU, "group")
    grouped.offload = "group"
    assert execution_device(grouped.denoiser) == CPU
    controls = [Control("map", image=PICTURE)]
    for painter in (plain, grouped):
        add_controlnet(painter, tmp_path)
    for given in ({}, {"controls": controls}, {}):
        both = [painter("a cat", seed=1, steps=2, **given).tobytes() for painter in (plain, grouped)]
        assert both[0] == both[1]
    weight = plain.denoiser.conv_in.weight
    tensors = {"lora_unet_conv_in.lora_down.weight": torch.ones(2, *weight.shape[1:]),
               "lora_unet_conv_in.lora_up.weight": torch.ones(len(weight), 2, 1, 1)}  # fmt: skip
    save_file(tensors, tmp_path / "it.safetensors")
    for painter in (plain, grouped):
        add_loras(painter, [f"{tmp_path / 'it.safetensors'}:0.5"])
    assert grouped("a cat", seed=1, steps=2).tobytes() == plain("a cat", seed=1, steps=2).tobytes() != both[0]
    assert execution_group(grouped.denoiser) == CPU
    with pytest.raises(UserError, match="offload 'group' moves weights from a GPU"):
        load_pipeline(goldens.folder(folder), device="cpu", offload="group")


# What it will take.


@pytest.mark.parametrize("folder", ["sd15", "sdxl", "sdxl_inpaint"])
def test_weights_are_counted_as_they_are_held(goldens, folder):
    plan, painter = (
        painter_memory(goldens.folder(folder), dtype="fp32"),
        load_pipeline(goldens.folder(folder), device="cpu"),
    )
    held = {name: part for name, part in painter.pipe.components.items() if isinstance(part, nn.Module)}
    found = {part.name: part for part in plan.parts}
    assert found.keys() == held.keys()
    for name, part in held.items():
        assert found[name].values == sum(tensor.numel() for tensor in part.parameters())
        assert found[name].bytes == 4 * found[name].values
    half = painter_memory(goldens.folder(folder), dtype="fp16")
    assert half.weights * 2 == plan.weights and plan.on_device > plan.weights


def test_weights_in_fewer_bits_are_counted_near_what_they_take(goldens, wide, without_gpu, tmp_path):
    held = load_pipeline(goldens.folder("sd15"), device="cpu", quant="fp8-storage").denoiser
    takes = sum(tensor.numel() * tensor.element_size() for tensor in held.parameters())
    (part,) = (
        p for p in painter_memory(goldens.folder("sd15"), dtype="fp32", quant="fp8-storage").parts if p.name == "unet"
    )
    assert abs(part.bytes / takes - 1) < 0.1
    shutil.copytree(wide, tmp_path / "unet")
    options = {"quantization_config": config_of("nf4", torch.float16), "device_map": {"": CPU}}
    four = open_part(wide, "diffusers", "UNet2DConditionModel", torch.float16, **options)
    states = sum(p.quant_state.absmax.numel() * 4 for p in four.parameters() if hasattr(p, "quant_state"))
    takes = states + sum(tensor.numel() * tensor.element_size() for tensor in four.parameters())
    (part,) = painter_memory(tmp_path, dtype="fp16", quant="nf4").parts
    assert abs(part.bytes / takes - 1) < 0.02


def test_a_gguf_file_is_counted_by_its_blocks(goldens, tmp_path):
    tensors = load_pipeline(goldens.folder("sd15"), device="cpu").denoiser.state_dict()
    file = write_gguf(tmp_path / "unet.gguf", tensors)
    plan = painter_memory(goldens.folder("sd15"), quant=str(file))
    (part,) = (part for part in plan.parts if part.name == "unet")
    assert part.values == sum(tensor.numel() for tensor in tensors.values()) and part.bytes < file.stat().st_size
    assert painter_memory(file).weights == part.bytes


def test_less_waits_on_the_device_with_more_offloading_and_smaller_pictures(goldens):
    plans = [
        painter_memory(goldens.folder("sd15"), offload=offload) for offload in ("none", "model", "group", "sequential")
    ]
    assert [plan.on_device for plan in plans] == sorted((plan.on_device for plan in plans), reverse=True)
    small, large = (painter_memory(goldens.folder("sd15"), size=size).working for size in ((64, 64), (128, 128)))
    assert large == 4 * small


def test_the_plan_is_printed_part_by_part(goldens, capsys):
    assert main([str(goldens.folder("sdxl")), "--plan", "--size", "64x64", "--offload", "model"]) == 0
    told = capsys.readouterr().out
    assert all(part in told for part in ("unet", "vae", "text_encoder_2", "all weights", "at 64x64", "--offload model"))
    assert f"{painter_memory(goldens.folder('sdxl')).weights / GIB:.2f} GiB" in told


@pytest.mark.parametrize(
    ("given", "told"),
    [(["nowhere"], "'nowhere' is not there; give a file of weights, or a folder"),
     (["{0}", "--dtype", "fp64"], "unknown number format 'fp64'"),
     (["{0}", "--painter-quant", "x.gguf"], "no .gguf file and none of nf4"),
     (["{0}", "--painter-quant", "nf4", "--offload", "group"], "nf4 and --offload group do not go together"),
     (["{0}", "--offload", "all"], "unknown offload")],
)  # fmt: skip
def test_a_plan_that_cannot_be_made_is_one_sentence(goldens, capsys, given, told):
    assert main(["--plan", *(word.format(goldens.folder("sd15")) for word in given)]) == 2
    assert told in capsys.readouterr().err


def test_a_single_file_is_planned_as_its_denoiser_and_the_rest(goldens, tmp_path):
    file = tmp_path / "one.safetensors"
    to_file(goldens.folder("sdxl"), file)
    plain, fewer = (painter_memory(file, quant=quant) for quant in (None, "fp8-storage"))
    of_folder = painter_memory(goldens.folder("sdxl"))
    assert [part.name for part in plain.parts] == ["unet", "one"]
    assert plain.parts[0].values == next(part.values for part in of_folder.parts if part.name == "unet")
    assert fewer.parts[0].bytes < 0.6 * plain.parts[0].bytes and fewer.parts[1] == plain.parts[1]
    with pytest.raises(UserError, match="nf4 is for folders in diffusers layout; make one of the file with llmga conv"):
        painter_memory(file, quant="nf4")

"""Tiny random pipelines, and the single files that their authors would have made of them.

The names in these files are spelled here, block by block as the authors' classes nest, and not by the code under test;
a test holds the names of the published sizes against those that diffusers looks for.
"""

import re
from pathlib import Path

import diffusers
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from llmga.diffusers.published import BETAS

Weights = dict[str, torch.Tensor]
ROWS = 1000  # of the vocabulary of tests/fixtures
SCHEDULERS = {
    "sd15": ("PNDMScheduler", {"skip_prk_steps": True, "set_alpha_to_one": False}),
    "sd2": ("PNDMScheduler", {"skip_prk_steps": True, "set_alpha_to_one": False}),
    "sdxl": ("EulerDiscreteScheduler", {"timestep_spacing": "leading"}),
}
PIPELINES = {
    ("sd15", 4): "StableDiffusionPipeline", ("sd15", 9): "StableDiffusionInpaintPipeline",
    ("sd2", 4): "StableDiffusionPipeline", ("sd2", 9): "StableDiffusionInpaintPipeline",
    ("sdxl", 4): "StableDiffusionXLPipeline", ("sdxl", 9): "StableDiffusionXLInpaintPipeline",
}  # fmt: skip


def clip(kind, width, activation, rows=ROWS, layers=2, projection=24):
    return kind(CLIPTextConfig(
        vocab_size=rows, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=layers,
        num_attention_heads=max(1, width // 64), projection_dim=projection, hidden_act=activation,
        bos_token_id=rows - 2, eos_token_id=rows - 1,
    ))  # fmt: skip


def unet(family, channels):
    shared = {"in_channels": channels, "sample_size": 8}
    if family == "sdxl":
        return UNet2DConditionModel(
            **shared, block_out_channels=(32, 64, 64), layers_per_block=2, cross_attention_dim=72,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 3), attention_head_dim=[1, 1, 1], use_linear_projection=True,
            addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=24 + 48,
        )  # fmt: skip
    return UNet2DConditionModel(
        **shared, block_out_channels=(32, 64), layers_per_block=1, cross_attention_dim=32,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=8 if family == "sd15" else [1, 1], use_linear_projection=family == "sd2",
    )  # fmt: skip


def parts(family, channels=4, seed=0, rows=ROWS):
    """The models of a pipeline by name."""
    torch.manual_seed(seed)
    vae = AutoencoderKL(
        block_out_channels=(32, 32, 64, 64), down_block_types=("DownEncoderBlock2D",) * 4, layers_per_block=1,
        up_block_types=("UpDecoderBlock2D",) * 4, scaling_factor=0.13025 if family == "sdxl" else 0.18215,
    )  # fmt: skip
    found = {"unet": unet(family, channels), "vae": vae}
    if family != "sdxl":
        return found | {"text_encoder": clip(CLIPTextModel, 32, "gelu" if family == "sd2" else "quick_gelu", rows)}
    return found | {
        "text_encoder": clip(CLIPTextModel, 32, "quick_gelu"),
        "text_encoder_2": clip(CLIPTextModelWithProjection, 40, "gelu"),
    }


def pipeline(family, channels, models, tokens: Path, **changed):
    """Of diffusers, as its folder would be opened."""
    kind, settings = SCHEDULERS[family]
    scheduler = getattr(diffusers, kind)(**BETAS | settings | changed)
    pads = {"text_encoder": "!" if family == "sd2" else "<|endoftext|>", "text_encoder_2": "!"}
    tokenizers = {
        name.replace("text_encoder", "tokenizer"): CLIPTokenizer.from_pretrained(tokens, pad_token=pads[name])
        for name in models if name in pads
    }  # fmt: skip
    off = {} if family == "sdxl" else {"safety_checker": None, "feature_extractor": None}
    return getattr(diffusers, PIPELINES[family, channels])(**models, **tokenizers, scheduler=scheduler, **off)


def ldm(family, models, last_layer=True) -> Weights:
    """All tensors of a single file."""
    found = {f"model.diffusion_model.{name}": each for name, each in unet_names(models["unet"]).items()}
    found |= {f"first_stage_model.{name}": each for name, each in vae_names(models["vae"]).items()}
    if family == "sd15":
        found |= {f"cond_stage_model.transformer.{name}": each for name, each in hub(models["text_encoder"]).items()}
    if family == "sd2":
        found |= {f"cond_stage_model.model.{name}": each for name, each in open_clip(models["text_encoder"]).items()}
        if last_layer:  # nothing looks at it
            found |= {name.replace("resblocks.1.", "resblocks.2."): each + 1 for name, each in found.items()
                      if "resblocks.1." in name}  # fmt: skip
            found["cond_stage_model.model.text_projection"] = torch.rand(32, 32)
    if family == "sdxl":
        first, second = "conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."
        found |= {f"{first}{name}": each for name, each in hub(models["text_encoder"]).items()}
        found |= {f"{second}{name}": each for name, each in open_clip(models["text_encoder_2"]).items()}
    return {name: each.detach().contiguous() for name, each in found.items()}


def hub(model) -> Weights:
    names = model.state_dict()
    return {name if name.startswith("text_") else f"text_model.{name}": each for name, each in names.items()}


RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
          "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}  # fmt: skip


def unet_names(model) -> Weights:
    """Blocks are counted as the authors' `UNetModel.__init__` appends them."""
    found: Weights = {}

    def put(theirs, module, renamed=None):
        for name, each in module.state_dict().items():
            first, _, rest = name.partition(".")
            found[f"{theirs}.{(renamed or {}).get(first, first)}.{rest}" if rest else f"{theirs}.{name}"] = each

    put("time_embed", model.time_embedding, {"linear_1": "0", "linear_2": "2"})
    if model.config.addition_embed_type:
        put("label_emb.0", model.add_embedding, {"linear_1": "0", "linear_2": "2"})
    put("input_blocks.0.0", model.conv_in)
    count = 1
    for block in model.down_blocks:
        for number, resnet in enumerate(block.resnets):
            put(f"input_blocks.{count}.0", resnet, RESNET)
            if getattr(block, "attentions", None):
                put(f"input_blocks.{count}.1", block.attentions[number])
            count += 1
        if block.downsamplers:
            put(f"input_blocks.{count}.0.op", block.downsamplers[0].conv)
            count += 1
    for number, module in enumerate((model.mid_block.resnets[0], model.mid_block.attentions[0],
                                     model.mid_block.resnets[1])):  # fmt: skip
        put(f"middle_block.{number}", module, RESNET if number != 1 else None)
    count = 0
    for block in model.up_blocks:
        for number, resnet in enumerate(block.resnets):
            inside = [(resnet, RESNET)]
            if getattr(block, "attentions", None):
                inside.append((block.attentions[number], None))
            if block.upsamplers and resnet is block.resnets[-1]:
                inside.append((block.upsamplers[0], None))
            for place, (module, renamed) in enumerate(inside):
                put(f"output_blocks.{count}.{place}", module, renamed)
            count += 1
    put("out.0", model.conv_norm_out), put("out.2", model.conv_out)
    return found


def vae_names(model) -> Weights:
    """As the authors' `Encoder` and `Decoder` have them: the decoder counts its levels from the coarsest up."""
    found, levels = {}, len(model.config.block_out_channels)
    for name, each in model.state_dict().items():
        name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
        name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
        name = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", name)
        name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
        name = re.sub(r"up_blocks\.(\d)\.resnets", lambda m: f"up.{levels - 1 - int(m[1])}.block", name)
        name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{levels - 1 - int(m[1])}.upsample", name)
        if "attentions" in name:
            name = re.sub(r"mid_block\.attentions\.0", "mid.attn_1", name).replace("group_norm", "norm")
            name = re.sub(r"to_([qkv])", r"\1", name).replace("to_out.0", "proj_out")
            each = each[:, :, None, None] if each.ndim == 2 else each
        found[name] = each
    return found


def open_clip(model) -> Weights:
    """As the class `TextTransformer` of open_clip names them."""
    tensors, found = hub(model), {}
    for number in range(model.config.num_hidden_layers):
        ours, theirs = f"text_model.encoder.layers.{number}.", f"transformer.resblocks.{number}."
        for end in ("weight", "bias"):
            three = [tensors[f"{ours}self_attn.{letter}_proj.{end}"] for letter in "qkv"]
            found[f"{theirs}attn.in_proj_{end}"] = torch.cat(three)
            for old, new in (("self_attn.out_proj", "attn.out_proj"), ("layer_norm1", "ln_1"), ("layer_norm2", "ln_2"),
                             ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj")):  # fmt: skip
                found[f"{theirs}{new}.{end}"] = tensors[f"{ours}{old}.{end}"]
    for end in ("weight", "bias"):
        found[f"ln_final.{end}"] = tensors[f"text_model.final_layer_norm.{end}"]
    found["token_embedding.weight"] = tensors["text_model.embeddings.token_embedding.weight"]
    found["positional_embedding"] = tensors["text_model.embeddings.position_embedding.weight"]
    if "text_projection.weight" in tensors:
        found["text_projection"] = tensors["text_projection.weight"].T
    return found


def write(path: Path, tensors: Weights, metadata=None, **more: torch.Tensor) -> Path:
    save_file(tensors | {name: each.contiguous() for name, each in more.items()}, path, metadata)
    return path

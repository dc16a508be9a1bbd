"""Heads of files of weights under the names of their authors, with the published shapes: a few tensors of each kind.

A safetensors file is its head and as many bytes as it says, which a disk does not store until somebody writes them.
"""

import json
from math import prod

SIZES = {"F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1}
U, D = "model.diffusion_model.", "down_blocks."
OLD = {f"{U}input_blocks.0.0.weight": (320, 4, 3, 3), f"{U}input_blocks.1.1.proj_in.weight": (320, 320, 1, 1),
       f"{U}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768),
       f"{U}output_blocks.11.0.skip_connection.weight": (320, 640, 1, 1)}  # fmt: skip
TWO = OLD | {f"{U}input_blocks.1.1.proj_in.weight": (320, 320),
             f"{U}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 1024)}  # fmt: skip
XL = {f"{U}input_blocks.0.0.weight": (320, 4, 3, 3), f"{U}label_emb.0.0.weight": (1280, 2816),
      f"{U}input_blocks.4.1.transformer_blocks.1.attn2.to_k.weight": (640, 2048)}  # fmt: skip
REFINER = {f"{U}input_blocks.0.0.weight": (384, 4, 3, 3), f"{U}label_emb.0.0.weight": (1536, 2560),
           f"{U}input_blocks.4.1.transformer_blocks.3.attn2.to_k.weight": (768, 1280),
           f"{U}input_blocks.11.0.in_layers.0.weight": (1536,),
           "conditioner.embedders.0.model.text_projection": (1280, 1280)}  # fmt: skip
VAE = {"first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3),
       "first_stage_model.decoder.mid.block_1.conv1.weight": (512, 512, 3, 3),
       "first_stage_model.decoder.up.0.block.0.conv1.weight": (128, 256, 3, 3)}  # fmt: skip
CLIP = {"cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": (49408, 768)}
OPEN = {"cond_stage_model.model.token_embedding.weight": (49408, 1024)}
XL_TEXT = {"conditioner.embedders.0.transformer.text_model.embeddings.position_embedding.weight": (77, 768),
           "conditioner.embedders.1.model.positional_embedding": (77, 1280)}  # fmt: skip
NINE = {f"{U}input_blocks.0.0.weight": (320, 9, 3, 3)}
LAYER = f"{D}1.attentions.0.transformer_blocks.0.attn2"
HUB_UNET = {"conv_in.weight": (320, 4, 3, 3), "time_embedding.linear_1.weight": (1280, 320),
            f"{D}0.resnets.0.conv1.weight": (320, 320, 3, 3), f"{D}1.attentions.0.proj_in.weight": (640, 640, 1, 1),
            f"{LAYER}.to_k.weight": (640, 768)}  # fmt: skip
HUB_XL = HUB_UNET | {f"{D}1.attentions.0.proj_in.weight": (640, 640), f"{LAYER}.to_k.weight": (640, 2048),
                     "add_embedding.linear_1.weight": (1280, 2816)}  # fmt: skip
HUB_VAE = {"decoder.conv_in.weight": (512, 4, 3, 3), "decoder.mid_block.attentions.0.to_q.weight": (512, 512),
           "decoder.up_blocks.0.resnets.0.conv1.weight": (512, 512, 3, 3)}  # fmt: skip
FLUX = {"img_in.weight": (3072, 64), "double_blocks.0.img_attn.norm.key_norm.scale": (128,),
        "guidance_in.in_layer.weight": (3072, 256)}  # fmt: skip
HUB_FLUX = {"x_embedder.weight": (3072, 64), "single_transformer_blocks.0.norm.linear.weight": (9216, 3072),
            "time_text_embed.guidance_embedder.linear_1.weight": (3072, 256)}  # fmt: skip
SD3 = {"joint_blocks.0.context_block.adaLN_modulation.1.bias": (9216,), "x_embedder.proj.weight": (1536, 16, 2, 2)}


def without(shapes, *names):
    return {name: shape for name, shape in shapes.items() if name not in names}


def lora(name, *, down="lora_down.weight", up="lora_up.weight", rank=16, width=(640, 2048), alpha=True):
    found = {f"{name}.{down}": (rank, width[1]), f"{name}.{up}": (width[0], rank)}
    return found | ({f"{name}.alpha": ()} if alpha else {})


SD15_KEY = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
XL_KEY = "lora_unet_input_blocks_8_1_transformer_blocks_2_attn2_to_k"
HUB_KEY = f"unet.{LAYER}.to_k"
KOHYA = {"ss_network_module": "networks.lora", "ss_network_dim": "16", "ss_network_alpha": "8.0",
         "ss_base_model_version": "sdxl_base_v1-0", "ss_output_name": "my_style",
         "ss_sd_model_name": "base.safetensors",
         "ss_tag_frequency": json.dumps({"10_sks dog": {"sks dog": 20, "sitting": 3, "grass": 9}}),
         "ss_dataset_dirs": json.dumps({"10_sks dog": {"n_repeats": 10, "img_count": 20}})}  # fmt: skip
OLDER = KOHYA | {"ss_base_model_version": "sd_v1"}
LYCORIS = OLDER | {"ss_network_module": "lycoris.kohya"}

# What it is -> (names and shapes, text pairs, what it is said to be, its family, what opens it)
KINDS = {
    "SD1.5": (OLD | VAE | CLIP, {}, "a whole Stable Diffusion 1.5 checkpoint in one file", "sd15", "--sdmodel_id"),
    "SD1.5, inpainting": (OLD | VAE | CLIP | NINE, {}, "Stable Diffusion 1.5 checkpoint in one file for inpainting",
                          "sd15", "--sdmodel_id"),
    "InstructPix2Pix": (OLD | VAE | CLIP | {f"{U}input_blocks.0.0.weight": (320, 8, 3, 3)}, {},
                        "changes a picture by an instruction", "sd15", "--sdmodel_id"),
    "SD2.1": (TWO | VAE | OPEN, {}, "a whole Stable Diffusion 2 checkpoint", "sd2", "--sdmodel_id"),
    "SD2, depth": (TWO | VAE | OPEN | {f"{U}input_blocks.0.0.weight": (320, 5, 3, 3)}, {}, "that sees depth", "sd2",
                   "--sdmodel_id"),
    "SDXL": (XL | VAE | XL_TEXT, {}, "a whole SDXL checkpoint in one file", "sdxl", "--sdmodel_id"),
    "SDXL, inpainting": (XL | VAE | XL_TEXT | NINE, {}, "SDXL checkpoint in one file for inpainting", "sdxl",
                         "--sdmodel_id"),
    "SDXL refiner": (REFINER | VAE, {}, "an SDXL refiner", "sdxl-refiner", "give the SDXL base"),
    "SD upscaler": (TWO | VAE | OPEN | {f"{U}label_emb.weight": (1000, 1024)}, {}, "a Stable Diffusion upscaler",
                    "upscaler", "--upscale"),
    "UNet of SD1.5, LDM": (OLD, {}, "the UNet of Stable Diffusion 1.5 alone", "sd15", "--unet"),
    "UNet of SD1.5, diffusers": (HUB_UNET, {}, "the UNet of Stable Diffusion 1.5 alone", "sd15", "--unet"),
    "UNet of SDXL, LDM": (XL, {}, "the UNet of SDXL alone", "sdxl", "--unet"),
    "UNet of SDXL, Lightning": (HUB_XL, {}, "the UNet of SDXL alone", "sdxl", "--unet"),
    "UNet of SDXL, LCM": (HUB_XL | {"time_embedding.cond_proj.weight": (320, 256)}, {}, "alone, distilled (LCM)",
                          "sdxl", "--unet"),
    "SD3": (SD3, {}, "a Stable Diffusion 3 transformer", "sd3", "diffusers folder"),
    "SD3.5": (SD3 | {"joint_blocks.0.x_block.attn.ln_q.weight": (64,)}, {}, "a Stable Diffusion 3 transformer (3.5)",
              "sd3", "diffusers folder"),
    "SD3, all in one file": (
        {f"{U}{name}": shape for name, shape in SD3.items()} | VAE
        | {"text_encoders.clip_l.transformer.text_model.embeddings.position_embedding.weight": (77, 768)},
        {}, "a Stable Diffusion 3 transformer", "sd3", "diffusers folder"),
    "FLUX.1 dev": (FLUX, {}, "a FLUX.1 transformer, dev", "flux", "diffusers folder"),
    "FLUX.1 schnell": (without(FLUX, "guidance_in.in_layer.weight"), {}, "a FLUX.1 transformer, schnell", "flux",
                       "diffusers folder"),
    "FLUX.1 Fill": (FLUX | {"img_in.weight": (3072, 384)}, {}, "for inpainting or control", "flux", "diffusers folder"),
    "FLUX.1, diffusers": (HUB_FLUX, {}, "a FLUX.1 transformer, dev", "flux", "diffusers folder"),
    "FLUX.2": ({"single_stream_modulation.lin.weight": (36864, 6144)}, {}, "a FLUX.2 transformer", "flux2",
               "diffusers folder"),
    "Qwen-Image": ({"transformer_blocks.0.img_mod.1.weight": (18432, 3072)}, {}, "a Qwen-Image transformer",
                   "qwen-image", "diffusers folder"),
    "Z-Image": ({"layers.0.adaLN_modulation.0.weight": (15360, 256), "cap_embedder.0.weight": (2560,)}, {},
                "a Z-Image transformer", "z-image", "diffusers folder"),
    "PixArt": ({"adaln_single.linear.weight": (6912, 1152), "pos_embed.proj.weight": (1152, 4, 2, 2)}, {},
               "a PixArt transformer", "pixart", "diffusers folder"),
    "Sana": ({"blocks.0.cross_attn.q_linear.weight": (2240, 2240)}, {}, "a Sana transformer", "sana",
             "diffusers folder"),
    "Wan": ({"head.modulation": (1, 2, 1536), "blocks.0.self_attn.q.weight": (1536, 1536)}, {}, "a Wan video", "wan",
            "diffusers folder"),
    "HunyuanVideo": ({"txt_in.individual_token_refiner.blocks.0.adaLN_modulation.1.bias": (6144,)}, {},
                     "a HunyuanVideo", "hunyuan-video", "diffusers folder"),
    "LTX video": ({"patchify_proj.weight": (2048, 128), "transformer_blocks.27.scale_shift_table": (6, 2048)}, {},
                  "an LTX video", "ltx-video", "diffusers folder"),
    "Chroma": ({"distilled_guidance_layer.in_proj.bias": (5120,)}, {}, "a Chroma", "chroma", "diffusers folder"),
    "AuraFlow": ({"double_layers.0.attn.w2q.weight": (3072, 3072)}, {}, "an AuraFlow", "auraflow", "diffusers folder"),
    "Lumina 2": ({"cap_embedder.0.weight": (2304,)}, {}, "a Lumina 2", "lumina2", "diffusers folder"),
    "Stable Cascade": ({"clip_txt_mapper.weight": (2048, 1280)}, {}, "a Stable Cascade", "stable-cascade",
                       "diffusers folder"),
    "VAE, LDM": ({name.removeprefix("first_stage_model."): shape for name, shape in VAE.items()}, {},
                 "a VAE of 4 channels", None, "--vae"),
    "VAE, diffusers": (HUB_VAE, {}, "a VAE of 4 channels", None, "--vae"),
    "VAE of FLUX": (HUB_VAE | {"decoder.conv_in.weight": (512, 16, 3, 3)}, {}, "a VAE of 16 channels", None, "--vae"),
    "CLIP-L": ({"text_model.embeddings.token_embedding.weight": (49408, 768)}, {}, "text encoder (CLIP-L)", "clip",
               "diffusers folder"),
    "CLIP-G": ({"text_model.embeddings.token_embedding.weight": (49408, 1280)}, {}, "text encoder (CLIP-G)", "clip",
               "diffusers folder"),
    "T5": ({"encoder.block.0.layer.0.SelfAttention.q.weight": (4096, 4096)}, {}, "a T5 text encoder", "t5",
           "diffusers folder"),
    "ControlNet, LDM": ({"control_model.time_embed.0.weight": (1280, 320),
                         "control_model.input_hint_block.0.weight": (16, 3, 3, 3)}, {}, "a ControlNet", None,
                        "--controlnet"),
    "ControlNet, diffusers": ({"controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3)}, {}, "a ControlNet", None,
                              "--controlnet"),
    "ControlNet-Union": ({"controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3), "task_embedding": (6, 320)}, {},
                         "a ControlNet-Union", None, "--controlnet"),
    "ControlNet of FLUX": ({"controlnet_blocks.0.weight": (3072, 3072), "x_embedder.weight": (3072, 64)}, {},
                           "a ControlNet of a transformer", None, "not read here"),
    "T2I-Adapter": ({"adapter.body.0.resnets.0.block1.weight": (320, 320, 3, 3)}, {}, "a T2I-Adapter", None,
                    "--controlnet"),
    "IP-Adapter": ({"image_proj.proj.weight": (3072, 1024), "ip_adapter.1.to_k_ip.weight": (320, 768)}, {},
                   "an IP-Adapter", None, "--ip-adapter"),
    "IP-Adapter Plus": ({"image_proj.latents": (1, 16, 768), "ip_adapter.1.to_k_ip.weight": (320, 768)}, {},
                        "an IP-Adapter Plus", None, "--ip-adapter"),
    "IP-Adapter FaceID": ({"image_proj.proj.0.weight": (1024, 512), "ip_adapter.0.to_q_lora.down.weight": (128, 320)},
                          {}, "an IP-Adapter of faces", None, "not read here"),
    "AnimateDiff": ({f"{D}0.motion_modules.0.temporal_transformer.norm.weight": (320,)}, {}, "a motion module", None,
                    "not read here"),
    "LoRA, kohya, SD1.5": (lora(SD15_KEY, width=(640, 768)), OLDER, "low-rank weights (LoRA)", "sd15", "--lora"),
    "LoRA, kohya, SDXL": (lora(XL_KEY), KOHYA, "low-rank weights (LoRA)", "sdxl", "--lora"),
    "LoRA, diffusers": (lora(HUB_KEY, down="lora.down.weight", up="lora.up.weight", width=(640, 768), alpha=False), {},
                        "low-rank weights (LoRA)", "sd15", "--lora"),
    "LoRA, peft": (lora(f"base_model.model.{LAYER}.to_k", down="lora_A.weight", up="lora_B.weight", width=(640, 768),
                        alpha=False), {}, "low-rank weights (LoRA)", "sd15", "--lora"),
    "LoRA, OneTrainer": (lora("unet.input_blocks.4.1.transformer_blocks.0.attn2.to_k", width=(640, 2048)),
                         {"ot_revision": "1", "modelspec.architecture": "stable-diffusion-xl-v1-base/lora"},
                         "low-rank weights (LoRA)", "sdxl", "--lora"),
    "LoRA, ai-toolkit, FLUX": (
        lora("transformer.single_transformer_blocks.0.attn.to_q", down="lora_A.weight", up="lora_B.weight",
             width=(3072, 3072), alpha=False),
        {"software": '{"name": "ai-toolkit", "version": "0.1.0"}'}, "low-rank weights (LoRA)", "flux", "--lora"),
    "LoRA of SD3": (lora("lora_unet_joint_blocks_0_x_block_attn_qkv", width=(4608, 1536)), {},
                    "low-rank weights (LoRA)", "sd3", "--lora"),
    "LoRA of Wan": (lora("diffusion_model.blocks.0.self_attn.q", down="lora_A.weight", up="lora_B.weight",
                         width=(1536, 1536), alpha=False), {}, "low-rank weights (LoRA)", "wan", "--lora"),
    "LoRA of Qwen-Image": (lora("transformer.transformer_blocks.0.img_mlp.net.2", down="lora_A.weight",
                                up="lora_B.weight", width=(3072, 12288), alpha=False), {},
                           "low-rank weights (LoRA)", "qwen-image", "--lora"),
    "DoRA": (lora(SD15_KEY, width=(640, 768)) | {f"{SD15_KEY}.dora_scale": (640, 1)}, OLDER, "(DoRA)", "sd15",
             "--lora"),
    "LoHa": ({f"{SD15_KEY}.hada_w{n}_{s}": (8, 8) for n in (1, 2) for s in "ab"} | {f"{SD15_KEY}.alpha": ()}, LYCORIS,
             "(LoHa)", "sd15", "--lora"),
    "LoKr": ({f"{SD15_KEY}.lokr_w1": (8, 8), f"{SD15_KEY}.lokr_w2_a": (80, 4), f"{SD15_KEY}.lokr_w2_b": (4, 96)},
             LYCORIS, "(LoKr)", "sd15", "--lora"),
    "(IA)^3": ({f"{SD15_KEY}.weight": (640,), f"{SD15_KEY}.on_input": ()}, LYCORIS, "(IA3)", "sd15", "--lora"),
    "GLoRA": ({f"{SD15_KEY}.{name}.weight": (4, 4) for name in ("a1", "a2", "b1", "b2")}, LYCORIS, "(GLoRA)", "sd15",
              "--lora"),
    "OFT": ({f"{SD15_KEY}.oft_blocks": (80, 8, 8)}, LYCORIS, "(OFT)", "sd15", "--lora"),
    "BOFT": ({f"{SD15_KEY}.oft_blocks": (3, 80, 8, 8)}, LYCORIS, "(OFT)", "sd15", "--lora"),
    "full differences": ({f"{SD15_KEY}.diff": (640, 768)}, LYCORIS, "(full differences)", "sd15", "--lora"),
    "textual inversion, A1111": ({"emb_params": (8, 768)}, {}, "a textual inversion", None, "--embedding"),
    "textual inversion, SDXL": ({"clip_l": (8, 768), "clip_g": (8, 1280)}, {}, "a textual inversion", None,
                                "--embedding"),
    "textual inversion, diffusers": ({"<cat-toy>": (768,)}, {}, "a textual inversion", None, "--embedding"),
    "textual inversion, diffusers, a plain word": ({"sks": (768,)}, {}, "a textual inversion", None, "--embedding"),
    "LLaVA": ({"model.mm_projector.0.weight": (4096, 1024), "model.layers.0.self_attn.q_proj.weight": (4096, 4096)},
              {}, "a language model that sees (LLaVA)", None, "--model-path"),
    "LLaVA of transformers": ({"multi_modal_projector.linear_1.weight": (4096, 1024),
                               "language_model.model.layers.0.self_attn.q_proj.weight": (4096, 4096)}, {},
                              "LLaVA of transformers", None, "--model-path"),
    "projector": ({"model.mm_projector.0.weight": (4096, 1024), "model.mm_projector.2.bias": (4096,)}, {},
                  "a projector between", None, "--model-base"),
    "language model": ({"model.layers.0.self_attn.q_proj.weight": (4096, 4096), "lm_head.weight": (32000, 4096)}, {},
                       "a language model", None, "--model-path"),
    "vision tower": ({"vision_model.encoder.layers.0.self_attn.q_proj.weight": (1024, 1024)}, {}, "a vision tower",
                     None, "tower"),
    "DiffRIR": ({"G.decoder_level1.0.attn.qkv.weight": (72, 24, 1, 1)}, {}, "a DiffRIR restorer", None,
                "--restorer-path"),
    "Real-ESRGAN": ({"params_ema.body.0.rdb1.conv1.weight": (32, 64, 3, 3)}, {}, "an upscaling network", None,
                    "--upscale"),
    "safety checker": ({"concept_embeds": (17, 768)}, {}, "a safety checker", None, "--safety-checker"),
    "TAESD": ({"decoder.layers.1.conv.0.weight": (64, 64, 3, 3)}, {}, "a tiny VAE", None, "not read here"),
    "optimiser": ({"state.0.exp_avg": (8, 8)}, {}, "the state of an optimiser", None, "beside it"),
    "unknown": ({"a.b.c": (3, 3)}, {}, "known from nowhere", None, "give another file"),
}  # fmt: skip


def write(path, shapes, text=None, dtype="F16"):
    """A safetensors file of nothing but a head."""
    head, end = {"__metadata__": text} if text else {}, 0
    for name, shape in shapes.items():
        start, end = end, end + SIZES[dtype] * prod(shape)
        head[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    content = json.dumps(head).encode()
    with path.open("wb") as stream:
        stream.write(len(content).to_bytes(8, "little") + content)
        stream.truncate(8 + len(content) + end)
    return path

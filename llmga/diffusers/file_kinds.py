"""What a file of weights is, told by the names and shapes of its tensors: a table that is read from the top.

header = read_header(path)
kind = recognise(header.shapes, header.metadata)
print(kind.said, kind.opens)
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from llmga.diffusers.file_headers import Header as Header
from llmga.diffusers.file_headers import read_header as read_header

Shapes = Mapping[str, tuple[int, ...]]
PAINTER, BASE = "give it as --sdmodel_id", "give it as --unet beside an --sdmodel_id of its family"
FOLDER = "give its diffusers folder, the whole pipeline, as --sdmodel_id"
NOT_HERE = "it is not read here"


@dataclass(frozen=True)
class FileKind:
    """A kind of file.

    Attributes:
        name: what it is for: `checkpoint` (a whole pipeline), `unet`, `transformer`, `vae`, `text-encoder`, `lora`,
            `embedding`, `controlnet`, `adapter`, `vision-tower`, `language-model`, `restorer`, `other`, `unknown`.
        said: what it is, with its article, for sentences.
        opens: the way out, in words that follow a semicolon.
        family: `sd15`, `sd2`, `sdxl`, `flux`, `sd3` …; None where the file does not tell it.
        layout: how its tensors are named: `ldm` (the original authors'), `diffusers`, `transformers`, `openclip`,
            `kohya`, `peft` …
        channels: what the denoiser takes in, 9 for inpainting; or the latent channels of a VAE; None for others.
        detail: which member of its family it is, to be said after `said`.
    """

    name: str
    said: str
    opens: str = NOT_HERE
    family: str | None = None
    layout: str | None = None
    channels: int | None = None
    detail: str = ""

    @property
    def whole(self) -> str:
        """`said` and `detail` together."""
        return self.said + self.detail


class Keys:
    """The tensors of a file, asked for by patterns of their names.

    Args:
        shapes: of every tensor by its name.
    """

    def __init__(self, shapes: Shapes):
        self.shapes = shapes
        self.text = "\n".join(shapes)

    def has(self, *patterns: str) -> bool:
        """Whether each pattern is the beginning of a name."""
        return all(re.search(f"^(?:{pattern})", self.text, re.MULTILINE) for pattern in patterns)

    def shape(self, pattern: str) -> tuple[int, ...]:
        """Shape of the first tensor whose whole name fits; () where none does."""
        found = re.search(f"^(?:{pattern})$", self.text, re.MULTILINE)
        return self.shapes[found.group()] if found else ()


Test = Callable[[Keys], bool]


def _any(*patterns: str) -> Test:
    return lambda keys: any(keys.has(pattern) for pattern in patterns)


def _all(*patterns: str) -> Test:
    return lambda keys: keys.has(*patterns)


LDM, DENOISER = r"model\.diffusion_model\.", r"(?:model\.)?(?:diffusion_model\.)?"
UNET = rf"{DENOISER}input_blocks\.0\.0\."
CLASSES = rf"{DENOISER}label_emb\."
WHOLE = rf"{LDM}|first_stage_model\.|cond_stage_model\.|conditioner\."
CROSS = r"(?:unet\.)?down_blocks\.\d\.attentions\.\d\.transformer_blocks\.0\.attn2\."
OPEN_CLIP = r"(?:cond_stage_model|conditioner\.embedders\.0)\.model\."


def _first_conv(keys: Keys) -> int | None:
    shape = keys.shape(rf"(?:{DENOISER}input_blocks\.0\.0|(?:unet\.)?conv_in)\.weight")
    return shape[1] if len(shape) == 4 else None


def _linear(keys: Keys) -> bool:
    """Attention's way in is a linear layer, since SD2; SD1.5 had a convolution."""
    return len(keys.shape(r".*(?:input_blocks|down_blocks)\..*proj_in\.weight")) == 2


def _deep(keys: Keys) -> bool:
    """SDXL has no attention at the finest level; its refiner, of four levels, is told by the depth of the second."""
    return keys.has(rf"{DENOISER}input_blocks\.4\.1\.transformer_blocks\.3\.", rf"{DENOISER}input_blocks\.11\.")


def _unclip(keys: Keys) -> bool:
    return keys.has(rf"{CLASSES}0\.0\.weight", rf"{DENOISER}input_blocks\.1\.1\.")


def _ldm(family: str, test: Test) -> Test:
    """A UNet in the layout of its authors, alone or in a whole file."""
    return lambda keys: keys.has(UNET) and FAMILIES_OF_UNETS[family](keys) and test(keys)


FAMILIES_OF_UNETS: dict[str, Test] = {
    "sdxl": lambda keys: keys.has(rf"{CLASSES}0\.0\.weight") and not _deep(keys) and not _unclip(keys),
    "refiner": lambda keys: keys.has(rf"{CLASSES}0\.0\.weight") and _deep(keys),
    "unclip": _unclip,
    "sd2": lambda keys: not keys.has(CLASSES) and (_linear(keys) or keys.has(OPEN_CLIP)),
    "sd15": lambda keys: not keys.has(CLASSES) and not _linear(keys),
}
SAID = {"sdxl": "SDXL", "sd2": "Stable Diffusion 2", "sd15": "Stable Diffusion 1.5"}
_whole = _any(r"first_stage_model\.", r"cond_stage_model\.", r"conditioner\.")


def _alone(keys: Keys) -> bool:
    return not _whole(keys)


# What trainers write for a few layers; the first that fits.
ADAPTERS = (
    (r".*\.dora_scale|.*lora_magnitude_vector", "DoRA"),
    (r".*hada_w1", "LoHa"),
    (r".*lokr_w1", "LoKr"),
    (r".*\.(?:oft_blocks|oft_diag|oft_R|boft)", "OFT"),
    (r".*\.on_input$|.*ia3_l", "IA3"),
    (r".*vera_lambda", "VeRA"),
    (r".*\.[ab][12]\.weight$", "GLoRA"),
    (r".*(?:lora_(?:down|up|A|B|mid)|lora\.(?:down|up)|_lora\.|lora_linear_layer)", "LoRA"),
    (r".*\.(?:diff|diff_b|w_norm|b_norm)$", "full differences"),
)
ADAPTER_FAMILIES = (
    (r".*individual_token_refiner", "hunyuan-video"),
    (r".*transformer_blocks[._]\d+[._](?:img|txt)_(?:mlp|mod)", "qwen-image"),
    (r".*blocks[._]\d+[._](?:self|cross)_attn[._][qkvo]\b", "wan"),
    (r".*\blayers[._]\d+[._](?:attention|adaLN_modulation)[._]", "z-image"),
    (r".*(?:double_blocks|single_transformer_blocks|single_blocks)", "flux"),
    (r".*joint_blocks", "sd3"),
    (r"lora_te[12]_|(?:text_encoder_2|clip_g)\.|.*(?:down|input)_blocks[._]\d+.*transformer_blocks[._][23]", "sdxl"),
)
CONTEXTS = {768: "sd15", 1024: "sd2", 2048: "sdxl"}

# Other people's transformers: family, name in sentences, and sets of names that only it has, one for each layout.
TRANSFORMERS: tuple[tuple[str, str, tuple[tuple[str, ...], ...]], ...] = (
    ("auraflow", "an AuraFlow", ((r"double_layers\.0\.attn\.",), (r"joint_transformer_blocks\.",))),
    ("sd3", "a Stable Diffusion 3", ((r"joint_blocks\.",), (r"pos_embed\.pos_embed$", r"context_embedder\."))),
    ("flux2", "a FLUX.2", ((r"single_stream_modulation\.lin",), (r"double_stream_modulation_img\.",))),
    ("chroma", "a Chroma", ((r"distilled_guidance_layer\.",),)),
    ("hunyuan-video", "a HunyuanVideo", ((r"txt_in\.individual_token_refiner\.",),
                                         (r"context_embedder\.token_refiner\.",))),
    ("flux", "a FLUX.1", ((r"double_blocks\.0\.img_attn\.norm",), (r"single_transformer_blocks\.0\.norm\.linear",))),
    ("qwen-image", "a Qwen-Image", ((r"transformer_blocks\.0\.img_mod\.1\.",), (r"txt_in\.text_norm\.",))),
    ("z-image", "a Z-Image", ((r"layers\.0\.adaLN_modulation\.0\.", r"(?:cap_embedder|all_x_embedder)\."),)),
    ("lumina2", "a Lumina 2", ((r"cap_embedder\.0\.",), (r"time_caption_embed\.",))),
    ("wan", "a Wan video", ((r"head\.modulation$",), (r"condition_embedder\.time_proj\.",))),
    ("ltx-video", "an LTX video", ((r"patchify_proj\.",), (r"transformer_blocks\.0\.scale_shift_table", r"proj_in\."))),
    ("mochi", "a Mochi video", ((r"blocks\.0\.attn\.qkv_x\.",), (r"pos_frequencies$",))),
    ("cogvideox", "a CogVideoX", ((r"patch_embed\.text_proj\.",),)),
    ("hidream", "a HiDream", ((r"double_stream_blocks\.0\.block\.",),)),
    ("cosmos", "a Cosmos", ((r"net\.x_embedder\.proj\.",),)),
    ("pixart", "a PixArt", ((r"adaln_single\.", r"pos_embed\.proj\."), (r"y_embedder\.y_proj\.", r"t_block\."))),
    ("sana", "a Sana", ((r"blocks\.0\.cross_attn\.q_linear\.",), (r"transformer_blocks\.0\.ff\.conv_inverted\.",))),
    ("krea2", "a Krea 2", ((r"txtfusion\.projector\.",),)),
    ("stable-cascade", "a Stable Cascade", ((r"clip_txt_mapper\.",), (r"down_blocks\.1\.0\.channelwise\.",))),
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A row of the table: a kind, and the test that a file of it passes."""

    kind: FileKind
    fits: Test


def _adapter(keys: Keys) -> FileKind:
    method = next(said for pattern, said in ADAPTERS if keys.has(pattern))
    family = next((family for pattern, family in ADAPTER_FAMILIES if keys.has(pattern)), None)
    context = keys.shape(r".*attn2[._]to_k.*(?:lora_down|lora_A|lora\.down|to_k_lora\.down).*")
    layout = "kohya" if keys.has(r"lora_(?:unet|te|te1|te2|transformer)_") else "peft"
    family = family or (CONTEXTS.get(context[-1]) if len(context) == 2 else None)
    return FileKind("lora", f"low-rank weights ({method})", "give it as --lora", family, layout)


def _painters() -> tuple[Row, ...]:
    rows = []
    for family, said in SAID.items():
        whole = FileKind("checkpoint", f"a whole {said} checkpoint in one file", PAINTER, family, "ldm")
        alone = FileKind("unet", f"the UNet of {said} alone", BASE, family, "ldm")
        rows += [Row(whole, _ldm(family, _whole)), Row(alone, _ldm(family, _alone))]
    return tuple(rows)


def _transformers() -> tuple[Row, ...]:
    rows = []
    for family, said, patterns in TRANSFORMERS:
        kind = FileKind("transformer", f"{said} transformer", FOLDER, family)
        for names in patterns:
            rows.append(Row(kind, _all(*(rf"(?:{LDM}|transformer\.)?{name}" for name in names))))
    return tuple(rows)


ROWS: tuple[Row, ...] = (
    Row(FileKind("other", "the state of an optimiser", "give the weights that lie beside it"),
        _any(r"(?:state|optimizer)\.(?:.*\.)?exp_avg\b", r"optimizer_states\.")),
    Row(FileKind("controlnet", "a ControlNet-Union", "give its diffusers folder as --controlnet", layout="diffusers"),
        _any(r"task_embedding$", r"transformer_layes\.")),
    Row(FileKind("controlnet", "a ControlNet of a transformer such as FLUX", NOT_HERE, layout="diffusers"),
        _any(r"controlnet_blocks\.", r"control_all_x_embedder\.", r"control_layers\.")),
    Row(FileKind("controlnet", "a ControlNet", "give its diffusers folder as --controlnet", layout="diffusers"),
        _any(r"controlnet_cond_embedding\.", r"controlnet_down_blocks\.")),
    Row(FileKind("controlnet", "a ControlNet", "give its diffusers folder as --controlnet", layout="ldm"),
        _any(r"(?:control_model\.)?input_hint_block\.", r"control_model\.", r"(?:control_model\.)?zero_convs\.")),
    Row(FileKind("controlnet", "a ControlLoRA"), _any(r"lora_controlnet$")),
    Row(FileKind("adapter", "an IP-Adapter of faces (FaceID)", NOT_HERE),
        _all(r"image_proj\.proj\.(?:0|2)\.", r"ip_adapter\.")),
    Row(FileKind("adapter", "an IP-Adapter Plus", "give it as --ip-adapter"), _all(r"image_proj\.latents$")),
    Row(FileKind("adapter", "an IP-Adapter", "give it as --ip-adapter"), _any(r"image_proj\b", r"ip_adapter\b")),
    Row(FileKind("adapter", "a T2I-Adapter", "give its diffusers folder as --controlnet"),
        _any(r"(?:adapter\.)?body\.\d+\.(?:resnets|block1|in_conv)\.")),
    Row(FileKind("adapter", "a motion module of AnimateDiff"), _any(r".*motion_modules\.")),
    Row(FileKind("lora", "low-rank weights", "give it as --lora"), _any(*(pattern for pattern, _ in ADAPTERS))),
    Row(FileKind("embedding", "a textual inversion", "give it as --embedding"),
        lambda keys: len(keys.shapes) <= 4 and keys.has(r"string_to_param|emb_params$|clip_[lg]$|<.+>$|tensor$")),
    Row(FileKind("other", "a hypernetwork"), _any(r"\d+\.\d+\.linear\.", r"\d+\.linear1\.weight$")),
    *_painters(),
    Row(FileKind("checkpoint", "an SDXL refiner", "give the SDXL base as --sdmodel_id", "sdxl-refiner", "ldm"),
        _ldm("refiner", lambda keys: True)),
    Row(FileKind("checkpoint", "a Stable Diffusion unCLIP checkpoint", NOT_HERE, "unclip", "ldm"),
        _ldm("unclip", lambda keys: True)),
    Row(FileKind("checkpoint", "a Stable Diffusion upscaler", "it enlarges pictures; --upscale does that here",
                 "upscaler", "ldm"), _all(UNET, rf"{CLASSES}weight")),
    *_transformers(),
    Row(FileKind("unet", "the UNet of SDXL alone", BASE, "sdxl", "diffusers"),
        _all(r"(?:unet\.)?down_blocks\.0\.resnets\.", r"(?:unet\.)?add_embedding\.")),
    Row(FileKind("unet", "the UNet of Stable Diffusion 2 alone", BASE, "sd2", "diffusers"),
        lambda keys: keys.has(CROSS, r"(?:unet\.)?time_embedding\.") and _linear(keys)),
    Row(FileKind("unet", "the UNet of Stable Diffusion 1.5 alone", BASE, "sd15", "diffusers"),
        _all(CROSS, r"(?:unet\.)?time_embedding\.")),
    Row(FileKind("vae", "a VAE of a video model"),
        lambda keys: len(keys.shape(r"(?:vae\.)?decoder\.(?:conv_in|conv_in\.conv|conv1)\.weight")) == 5),
    Row(FileKind("vae", "a VAE of codes (VQ)"), _all(r"decoder\.", r"quantize\.embedding\.weight")),
    Row(FileKind("vae", "a VAE", "give it as --vae", layout="diffusers"),
        _all(r"(?:vae\.)?decoder\.mid_block\.(?:attentions|resnets)\.", r"(?:vae\.)?decoder\.up_blocks\.")),
    Row(FileKind("vae", "a VAE", "give it as --vae", layout="ldm"),
        _all(r"(?:first_stage_model\.|vae\.)?decoder\.mid\.", r"(?:first_stage_model\.|vae\.)?decoder\.up\.")),
    Row(FileKind("vae", "a tiny VAE for previews"),
        _any(r"(?:taesd_decoder\.|taesd_encoder\.|decoder\.|encoder\.)?(?:layers\.)?\d+\.conv\.0\.weight$")),
    Row(FileKind("vae", "a VAE of a family of its own"),
        _any(r"decoder\.middle\.0\.residual\.", r"(?:vae\.)?decoder\.(?:conv_in|up_blocks|stages|project_in)\.")),
    Row(FileKind("other", "a safety checker", "give its folder as --safety-checker"),
        _any(r"concept_embeds(?:_weights)?$")),
    Row(FileKind("text-encoder", "a T5 text encoder", FOLDER, "t5", "transformers"),
        _any(r"(?:.*\.)?encoder\.block\.0\.layer\.0\.SelfAttention\.")),
    Row(FileKind("text-encoder", "a CLIP or SigLIP with vision and text", FOLDER, layout="transformers"),
        _all(r"vision_model\.", r"text_model\.")),
    Row(FileKind("text-encoder", "a CLIP text encoder", FOLDER, "clip", "transformers"),
        _any(r"(?:cond_stage_model\.transformer\.|conditioner\.embedders\.\d\.transformer\.|transformer\.)?text_model\."
             r"(?:encoder|embeddings)\.", r"embeddings\.token_embedding\.weight$(?s:.*)^encoder\.layers\.")),
    Row(FileKind("text-encoder", "an OpenCLIP text encoder", FOLDER, "clip", "openclip"),
        _any(r"(?:cond_stage_model\.|conditioner\.embedders\.\d\.)?(?:model\.)?transformer\.resblocks\.")),
    Row(FileKind("projector", "a projector between a vision tower and a language model",
                 "give its folder as --model-path, and the language model as --model-base", layout="llava"),
        lambda keys: keys.has(r"(?:model\.)?mm_projector\.") and not keys.has(r".*layers\.\d+\.")),
    Row(FileKind("language-model", "a language model that sees (LLaVA)", "give its folder as --model-path",
                 layout="llava"),
        _all(r"(?:model\.)?mm_projector\.", r"(?:model\.)?layers\.\d+\.self_attn\.")),
    Row(FileKind("language-model", "a language model that sees (LLaVA of transformers)",
                 "give its folder as --model-path", layout="transformers"),
        _any(r"(?:model\.)?multi_modal_projector\.")),
    Row(FileKind("restorer", "a DiffRIR restorer", "give it as --restorer-path or --upscaler-path", layout="llmga"),
        _all(r"(?:params(?:_ema)?\.)?(?:module\.)?G\.(?:decoder|encoder)_level\d\.")),
    Row(FileKind("language-model", "a language model of llama.cpp", "let llama.cpp's server or Ollama run it, and give "
                 "its address as --mllm-url", layout="gguf"), _all(r"blk\.\d+\.attn_", r"token_embd\.")),
    Row(FileKind("projector", "a vision tower of llama.cpp (mmproj)", "give it to llama.cpp's server as --mmproj",
                 layout="gguf"), _any(r"v\.blk\.\d+\.", r"v\.patch_embd\.")),
    Row(FileKind("text-encoder", "a T5 text encoder of llama.cpp", NOT_HERE, "t5", "gguf"), _any(r"enc\.blk\.\d+\.")),
    Row(FileKind("vision-tower", "a vision tower", "give its folder as the tower of a language model"),
        _any(r"(?:vision_model|vision_tower|visual)\.(?:encoder|embeddings|transformer|conv1|patch_embed)\b",
             r"embeddings\.patch_embedding\.")),
    Row(FileKind("language-model", "a language model", "give its folder as --model-path"),
        _any(r"(?:model\.)?(?:language_model\.)?(?:model\.)?layers\.\d+\.self_attn\.", r"mm_projector\.",
             r"model\.mm_projector\.", r"lm_head\.", r"transformer\.h\.\d+\.")),
    Row(FileKind("restorer", "a restoration network (DiffRIR)", "give it as --restorer-path"),
        _any(r"(?:params\.|params_ema\.)?(?:G\.)?(?:en|de)coder_level1\.")),
    Row(FileKind("other", "an upscaling network of another house", "--upscale enlarges with DiffRIR"),
        _any(r"(?:params(?:_ema)?\.)?(?:body\.0\.rdb1|RRDB_trunk\.|model\.1\.sub\.|layers\.0\.residual_group\.)")),
    Row(FileKind("checkpoint", "parts of a checkpoint in one file, without a UNet", NOT_HERE, layout="ldm"),
        _any(WHOLE)),
    Row(FileKind("embedding", "a textual inversion", "give it as --embedding", layout="diffusers"),
        lambda keys: len(keys.shapes) <= 4 and all("." not in name and len(shape) in (1, 2) and shape[-1] % 32 == 0
                                                   for name, shape in keys.shapes.items())),
)  # fmt: skip
# What tells the members of a family from each other: family or name, the test, and what is added to the sentence.
DETAILS: tuple[tuple[str, Test, str], ...] = (
    (
        "flux",
        lambda keys: keys.shape(rf"(?:{LDM})?(?:img_in|x_embedder)\.weight")[-1:] in ((384,), (128,)),
        ", for inpainting or control",
    ),
    ("flux", _any(r".*guidance_(?:in|embedder)\."), ", dev"),
    ("flux", lambda keys: True, ", schnell"),
    ("sd3", _any(r".*x_block\.attn\.ln_q\.", r".*transformer_blocks\.0\.attn\.norm_q\."), " (3.5)"),
    ("sdxl", _any(r".*time_embedding\.cond_proj\."), ", distilled (LCM)"),
    ("sd15", _any(r".*time_embedding\.cond_proj\."), ", distilled (LCM)"),
    ("clip", lambda keys: keys.shape(r".*token_embedding\.weight")[-1:] == (768,), " (CLIP-L)"),
    ("clip", lambda keys: keys.shape(r".*token_embedding\.weight")[-1:] == (1280,), " (CLIP-G)"),
    ("vae", lambda keys: _latent(keys) == 4, " of 4 channels (SD1.5, SDXL)"),
    ("vae", lambda keys: _latent(keys) == 16, " of 16 channels (SD3, FLUX.1)"),
    ("vae", lambda keys: _latent(keys) == 32, " of 32 channels (FLUX.2)"),
)


def _latent(keys: Keys) -> int | None:
    shape = keys.shape(r"(?:first_stage_model\.|vae\.)?decoder\.conv_in\.weight")
    return shape[1] if len(shape) == 4 else None


UNKNOWN = FileKind("unknown", "a file of tensors that are known from nowhere", "give another file")
EMPTY = FileKind("unknown", "a file without tensors", "fetch it again")

PURPOSES = {
    9: "for inpainting",
    8: "that changes a picture by an instruction (InstructPix2Pix)",
    7: "that enlarges pictures",
    5: "that sees depth",
}


def recognise(shapes: Shapes, metadata: Mapping[str, str]) -> FileKind:
    """What a file is.

    Args:
        shapes: of every tensor by its name, as `read_header` gives them.
        metadata: the text pairs of a safetensors file, which say of low-rank weights what their names do not.

    Returns:
        The kind; `unknown` for what no row fits.
    """
    if not shapes:
        return EMPTY
    keys = Keys(shapes)
    kind = next((row.kind for row in ROWS if row.fits(keys)), UNKNOWN)
    if kind.name == "lora":
        kind = _adapter(keys)
        return kind if kind.family else replace(kind, family=_stated(metadata))
    own = (kind.family, kind.name)
    kind = replace(kind, detail=next((told for row, test, told in DETAILS if row in own and test(keys)), ""))
    if kind.name in ("checkpoint", "unet") and (channels := _first_conv(keys)):
        purpose = PURPOSES.get(channels)
        return replace(kind, channels=channels, said=f"{kind.said} {purpose}" if purpose else kind.said)
    return replace(kind, channels=_latent(keys)) if kind.name == "vae" else kind


STATED = (
    (r"sdxl|stable-diffusion-xl", "sdxl"), (r"sd_v2|stable-diffusion-v2", "sd2"), (r"flux", "flux"),
    (r"sd_v1|stable-diffusion-v?1", "sd15"), (r"sd3|stable-diffusion-3", "sd3"),
)  # fmt: skip


def _stated(metadata: Mapping[str, str]) -> str | None:
    version = metadata.get("ss_base_model_version") or metadata.get("modelspec.architecture") or ""
    return next((family for pattern, family in STATED if re.match(pattern, version)), None)

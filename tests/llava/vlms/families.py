"""Tiny models of random weights with the processors of published vision-language models, as their folders are on hubs.

Each row says what its family's folders are made of: the model's config, the processor's class with its picture part,
the tokens that both name, and the chat template.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers import processors as tokenizer_processors
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    GenerationConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    SiglipImageProcessorPil,
)
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.gemma3.processing_gemma3 import Gemma3Processor
from transformers.models.glm4v.image_processing_pil_glm4v import Glm4vImageProcessorPil
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.idefics3.processing_idefics3 import Idefics3Processor
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.llava.processing_llava import LlavaProcessor
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.llava_next.processing_llava_next import LlavaNextProcessor
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil
from transformers.models.paligemma.processing_paligemma import PaliGemmaProcessor
from transformers.models.pixtral.image_processing_pil_pixtral import PixtralImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from llmga.processors import processor_class
from tests.llava.conftest import byte_tokenizer
from tests.llava.vlms import templates

CONTEXT = 6000
LAYERS = {"intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
TEXT = {"hidden_size": 32, "head_dim": 8, "max_position_embeddings": CONTEXT, "initializer_range": 0.3} | LAYERS
SEES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
CLIP = SEES | {"model_type": "clip_vision_model", "image_size": 28, "patch_size": 14}
SIGLIP = SEES | {"model_type": "siglip_vision_model", "image_size": 28, "patch_size": 14}
MROPE = {"rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4}}
CROPS = [[28, 56], [56, 28], [56, 56], [28, 84]]  # the grids of LLaVA-NeXT


@dataclass(frozen=True)
class Family:
    """What a folder is made of.

    Attributes:
        model_type: of the config.
        template: None for a model that cannot chat.
        config: (ids by token) -> the rest of the config.
        processor: (tokenizer) -> the processor; the films' part, which needs torchvision, is written by `files`.
        tokens: special tokens of the tokenizer, the end of a turn first.
        named: those of them that the tokenizer has an attribute for.
        bos: the tokenizer puts it in front.
        files: JSON files by name that a published folder has, besides.
        generation: of generation_config.json.
    """

    model_type: str
    template: str | None
    config: Callable[[dict[str, int]], dict[str, Any]]
    processor: Callable[[PreTrainedTokenizerBase], Any]
    tokens: tuple[str, ...]
    named: dict[str, str] = field(default_factory=dict)
    bos: str | None = None
    files: dict[str, dict[str, Any]] = field(default_factory=dict)

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """One token a byte."""
        plain = byte_tokenizer().backend_tokenizer
        known = PreTrainedTokenizerFast(
            tokenizer_object=plain,
            eos_token=self.tokens[0],
            pad_token="<pad>",
            bos_token=self.bos,
            extra_special_tokens=self.named,
            model_input_names=["input_ids", "attention_mask"],
        )
        known.add_special_tokens(
            {"additional_special_tokens": [t for t in self.tokens if t not in self.named.values()]}
        )
        if self.bos:
            known.backend_tokenizer.post_processor = tokenizer_processors.TemplateProcessing(
                single=f"{self.bos} $A", special_tokens=[(self.bos, known.bos_token_id)]
            )
        return known

    def save(self, folder: Path, seed: int = 0) -> Path:
        """Write the folder.  The model writes printable letters only."""
        tokenizer = self.tokenizer()
        ids = {token: tokenizer.convert_tokens_to_ids(token) for token in tokenizer.get_added_vocab()}
        described = self.config(ids)
        described["text_config"] |= {"vocab_size": len(tokenizer), "bos_token_id": tokenizer.bos_token_id}
        described["text_config"] |= {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
        config = AutoConfig.for_model(self.model_type, **described)
        torch.manual_seed(seed)
        model: Any = AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
        _let_speak(model, tokenizer)
        model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id)
        model.save_pretrained(folder)
        self.processor(tokenizer).save_pretrained(folder)
        if self.template is not None:
            (folder / "chat_template.jinja").write_text(self.template, encoding="utf-8")
        return folder


@torch.no_grad()
def _let_speak(model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    """Random weights that see, and that write printable letters only."""
    printable = tokenizer("".join(map(chr, range(33, 127))).replace("<", ""), add_special_tokens=False)["input_ids"]
    for name, weight in model.named_parameters():
        if weight.ndim > 1 and "embed" not in name and "lm_head" not in name:
            weight.normal_(0, 1.5 * weight[0].numel() ** -0.5)
    mute = torch.ones(len(tokenizer), dtype=torch.bool)
    mute[printable] = False
    head = model.get_output_embeddings()
    head.weight = torch.nn.Parameter(torch.randn(len(tokenizer), head.weight.shape[1]))
    head.weight[mute] = 0.0


def _llava(ids: dict[str, int]) -> dict[str, Any]:
    return {
        "vision_config": dict(CLIP),
        "text_config": {"model_type": "llama"} | TEXT,
        "image_token_index": ids["<image>"],
        "tie_word_embeddings": False,
    }


def _next(ids: dict[str, int]) -> dict[str, Any]:
    return _llava(ids) | {"text_config": {"model_type": "mistral"} | TEXT, "image_grid_pinpoints": CROPS}


def _onevision(ids: dict[str, int]) -> dict[str, Any]:
    return {
        "vision_config": dict(SIGLIP),
        "text_config": {"model_type": "qwen2"} | TEXT,
        "image_token_index": ids["<image>"],
        "video_token_index": ids["<video>"],
        "image_grid_pinpoints": CROPS,
        "vision_aspect_ratio": "anyres_max_9",
        "tie_word_embeddings": False,
    }


def _qwen(seeing: dict[str, Any], **text: Any) -> Callable[[dict[str, int]], dict[str, Any]]:
    def config(ids: dict[str, int]) -> dict[str, Any]:
        return {
            "text_config": TEXT | MROPE | text,
            "vision_config": dict(seeing),
            "vision_start_token_id": ids["<|vision_start|>"],
            "image_token_id": ids["<|image_pad|>"],
            "video_token_id": ids["<|video_pad|>"],
            "vision_end_token_id": ids["<|vision_end|>"],
            "tie_word_embeddings": False,
        }

    return config


def _gemma(ids: dict[str, int]) -> dict[str, Any]:
    layered = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 24}
    return {
        "vision_config": dict(SIGLIP) | {"vision_use_head": False},
        "text_config": {"model_type": "gemma3_text", "query_pre_attn_scalar": 8} | layered | TEXT,
        "mm_tokens_per_image": 4,
        "boi_token_index": ids["<start_of_image>"],
        "eoi_token_index": ids["<end_of_image>"],
        "image_token_index": ids["<image_soft_token>"],
        "tie_word_embeddings": False,
    }


def _idefics(ids: dict[str, int]) -> dict[str, Any]:
    return {
        "vision_config": SEES | {"image_size": 28, "patch_size": 7},
        "text_config": {"model_type": "llama"} | TEXT,
        "image_token_id": ids["<image>"],
        "scale_factor": 2,
        "tie_word_embeddings": False,
    }


def _mistral(ids: dict[str, int]) -> dict[str, Any]:
    return {
        "vision_config": SEES | {"model_type": "pixtral", "image_size": 64, "patch_size": 8, "head_dim": 8},
        "text_config": {"model_type": "mistral"} | TEXT,
        "image_token_index": ids["[IMG]"],
        "spatial_merge_size": 2,
        "tie_word_embeddings": False,
    }


def _pixtral(ids: dict[str, int]) -> dict[str, Any]:
    rest = {name: value for name, value in _mistral(ids).items() if name != "spatial_merge_size"}
    return rest | {"vision_feature_layer": -1, "vision_feature_select_strategy": "full"}


def _internvl(ids: dict[str, int]) -> dict[str, Any]:
    return {
        "vision_config": SEES | {"image_size": [28, 28], "patch_size": [7, 7]},
        "text_config": {"model_type": "qwen2"} | TEXT,
        "image_token_id": ids["<IMG_CONTEXT>"],
        "image_seq_length": 4,
        "tie_word_embeddings": False,
    }


def _glm(ids: dict[str, int]) -> dict[str, Any]:
    ends = {"image_start_token_id": "<|begin_of_image|>", "image_end_token_id": "<|end_of_image|>"}
    ends |= {"video_start_token_id": "<|begin_of_video|>", "video_end_token_id": "<|end_of_video|>"}
    return {
        "text_config": TEXT | {"rope_parameters": MROPE["rope_parameters"] | {"partial_rotary_factor": 1.0}},
        "vision_config": QWEN25_SEES | {"depth": 1, "image_size": 56},
        "image_token_id": ids["<|image|>"],
        "video_token_id": ids["<|video|>"],
        "tie_word_embeddings": False,
    } | {name: ids[token] for name, token in ends.items()}


def _paligemma(ids: dict[str, int]) -> dict[str, Any]:
    return {
        "vision_config": SIGLIP | {"projection_dim": 32},
        "text_config": {"model_type": "gemma"} | TEXT,
        "image_token_index": ids["<image>"],
        "projection_dim": 32,
    }


CHATML = ("<|im_end|>", "<|im_start|>", "<|endoftext|>")
QWEN = (*CHATML, "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
QWEN_PICTURES = {"min_pixels": 28 * 28, "max_pixels": 56 * 56}
QWEN2_SEES = {"depth": 1, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2}
QWEN25_SEES = {"depth": 2, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32}
QWEN3_SEES = QWEN25_SEES | {"num_position_embeddings": 16, "deepstack_visual_indexes": [0, 1]}
SMOL = {"size": {"longest_edge": 56}, "max_image_size": {"longest_edge": 28}}
SMOL_TOKENS = ("<end_of_utterance>", "<|im_start|>", "<fake_token_around_image>", "<image>", "<global-img>")
SMOL_ROWS = tuple(f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2))
MISTRAL_TOKENS = (
    "</s>",
    "[INST]",
    "[/INST]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[IMG]",
    "[IMG_BREAK]",
    "[IMG_END]",
)
INTERN_NAMED = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>"}
GLM_PARTS = tuple(f"<|{end}_of_{kind}|>" for kind in ("image", "video") for end in ("begin", "end"))
GLM_TOKENS = ("<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>", "[gMASK]", "<sop>", "<|image|>", "<|video|>")
SQUARE = {"height": 28, "width": 28}

FAMILIES: dict[str, Family] = {
    "llava-1.5": Family(
        "llava",
        templates.LLAVA_15,
        _llava,
        lambda known: LlavaProcessor(
            LlavaImageProcessorPil(size={"shortest_edge": 28}, crop_size=SQUARE),
            known,
            patch_size=14,
            vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
        ),
        ("</s>", "<image>"),
        {"image_token": "<image>"},
        bos="<s>",
    ),
    "llava-next": Family(
        "llava_next",
        templates.LLAVA_NEXT,
        _next,
        lambda known: LlavaNextProcessor(
            LlavaNextImageProcessorPil(size={"shortest_edge": 28}, crop_size=SQUARE, image_grid_pinpoints=CROPS),
            known,
            patch_size=14,
            vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
        ),
        ("</s>", "<image>"),
        {"image_token": "<image>"},
        bos="<s>",
    ),
    "llava-onevision": Family(
        "llava_onevision",
        templates.LLAVA_ONEVISION,
        _onevision,
        lambda known: processor_class("LlavaOnevisionProcessor")(
            LlavaOnevisionImageProcessorPil(size=SQUARE, image_grid_pinpoints=CROPS),
            known,
            num_image_tokens=4,
            vision_feature_select_strategy="full",
        ),
        (*CHATML, "<image>", "<video>"),
        {"image_token": "<image>", "video_token": "<video>"},
    ),
    "qwen2-vl": Family(
        "qwen2_vl",
        templates.QWEN2_VL,
        _qwen(QWEN2_SEES),
        lambda known: processor_class("Qwen2VLProcessor")(Qwen2VLImageProcessorPil(**QWEN_PICTURES), known),
        QWEN,
    ),
    "qwen2.5-vl": Family(
        "qwen2_5_vl",
        templates.QWEN2_VL,
        _qwen(QWEN25_SEES | {"fullatt_block_indexes": [1], "window_size": 56}),
        lambda known: processor_class("Qwen2_5_VLProcessor")(Qwen2VLImageProcessorPil(**QWEN_PICTURES), known),
        QWEN,
    ),
    "qwen3-vl": Family(
        "qwen3_vl",
        templates.QWEN3_VL,
        _qwen(QWEN3_SEES),
        lambda known: processor_class("Qwen3VLProcessor")(
            Qwen2VLImageProcessorPil(patch_size=16, min_pixels=32 * 32, max_pixels=64 * 64), known
        ),
        QWEN,
    ),
    "gemma-3": Family(
        "gemma3",
        templates.GEMMA_3,
        _gemma,
        lambda known: Gemma3Processor(Gemma3ImageProcessorPil(size=SQUARE), known, image_seq_length=4),
        ("<eos>", "<end_of_turn>", "<start_of_turn>", "<start_of_image>", "<end_of_image>", "<image_soft_token>"),
        {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"},
        bos="<bos>",
    ),
    "idefics3": Family(
        "idefics3",
        templates.SMOLVLM,
        _idefics,
        lambda known: Idefics3Processor(Idefics3ImageProcessorPil(**SMOL), known, image_seq_len=4),
        (*SMOL_TOKENS, *SMOL_ROWS),
        {"image_token": "<image>", "fake_image_token": "<fake_token_around_image>"},
        bos="<|im_start|>",
    ),
    "smolvlm": Family(
        "smolvlm",
        templates.SMOLVLM,
        _idefics,
        lambda known: processor_class("SmolVLMProcessor").from_args_and_dict(
            [SmolVLMImageProcessorPil(**SMOL), known], {"image_seq_len": 4}
        ),
        (*SMOL_TOKENS, *SMOL_ROWS),
        {"image_token": "<image>", "fake_image_token": "<fake_token_around_image>"},
        bos="<|im_start|>",
    ),
    "mistral-3": Family(
        "mistral3",
        templates.MISTRAL_3,
        _mistral,
        lambda known: processor_class("PixtralProcessor")(
            PixtralImageProcessorPil(size={"longest_edge": 64}, patch_size={"height": 8, "width": 8}),
            known,
            patch_size=8,
            spatial_merge_size=2,
        ),
        MISTRAL_TOKENS,
        bos="<s>",
    ),
    "pixtral": Family(
        "llava",
        templates.MISTRAL_3,
        _pixtral,
        lambda known: processor_class("PixtralProcessor")(
            PixtralImageProcessorPil(size={"longest_edge": 32}, patch_size={"height": 8, "width": 8}),
            known,
            patch_size=8,
        ),
        MISTRAL_TOKENS,
        bos="<s>",
    ),
    "internvl": Family(
        "internvl",
        templates.INTERNVL,
        _internvl,
        lambda known: processor_class("InternVLProcessor")(
            GotOcr2ImageProcessorPil(size=SQUARE, crop_to_patches=True, max_patches=4), known, image_seq_length=4
        ),
        (*CHATML, *INTERN_NAMED.values(), "<video>"),
        INTERN_NAMED | {"video_token": "<video>"},
    ),
    "glm-4.1v": Family(
        "glm4v",
        templates.GLM_4V,
        _glm,
        lambda known: processor_class("Glm4vProcessor")(
            Glm4vImageProcessorPil(size={"shortest_edge": 2 * 28 * 28, "longest_edge": 2 * 56 * 56}), known
        ),
        (*GLM_TOKENS, *GLM_PARTS),
    ),
    "paligemma": Family(
        "paligemma",
        None,
        _paligemma,
        lambda known: PaliGemmaProcessor(_siglip(), known),
        ("<eos>", "<image>"),
        {"image_token": "<image>"},
        bos="<bos>",
    ),
}

# Layers that do not cache each token apart: a conversation is read anew.
QWEN35 = Family(
    "qwen3_5",
    templates.QWEN3_VL,
    _qwen(
        QWEN25_SEES | {"num_position_embeddings": 16},
        layer_types=["linear_attention", "full_attention"],
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        rope_parameters=MROPE["rope_parameters"] | {"partial_rotary_factor": 1.0},
    ),
    FAMILIES["qwen3-vl"].processor,
    QWEN,
)


def _siglip() -> SiglipImageProcessorPil:
    processor = SiglipImageProcessorPil(size=SQUARE)
    processor.image_seq_length = 4
    return processor

"""Families with a transformer in place of the UNet, as rows: stock pipelines that read the text themselves.

Steps and guidance are those of the models' own cards; what a card says of one size or version only, a folder's
`generation_defaults.json` can state.
"""

from dataclasses import replace

from llmga.diffusers.families import (
    AUTO,
    AUTO_INPAINTING,
    EDITING,
    INPAINTING,
    INSTRUCTION,
    LIKENESS,
    UNET_FAMILIES,
    Arguments,
    Family,
    as_they_are,
)
from llmga.diffusers.own_text import (
    OwnText,
    as_embeddings,
    as_words,
    tokens_of,
    tokens_of_chat,
    tokens_of_description,
)
from llmga.errors import UserError

STRENGTH = 0.99  # of filling: nearly nothing of what was there is left
SHORTEST, LONGEST = 64, 8  # side of a picture that FLUX.2 looks at, in pixels and in sides of the other kind


def _with_tasks(row: Family, inpainting: str, editing: str, *, instructed: bool = False) -> tuple[Family, ...]:
    """A row for painting from words, and those of the same weights for filling and for changing pictures."""
    row = replace(row, of=row.name)
    return (
        row,
        replace(row, name=f"{row.name}-inpainting", pipeline_class=inpainting, task=INPAINTING, strength=STRENGTH),
        replace(
            row,
            name=f"{row.name}-editing",
            pipeline_class=editing,
            task=EDITING,
            edits_by=INSTRUCTION if instructed else LIKENESS,
            adapted=_large_enough if instructed else as_they_are,
        ),
    )


def _as_large(arguments: Arguments) -> Arguments:
    """Kontext would take the size for an aspect, and look at the picture at the nearest of its favourite sizes."""
    return arguments | {"max_area": arguments["width"] * arguments["height"], "_auto_resize": False}


def _large_enough(arguments: Arguments) -> Arguments:
    """FLUX.2 looks at pictures of 64 pixels a side and more, up to eight times as long as wide.

    Raises:
        UserError: for any other.
    """
    short, long = sorted((arguments["width"], arguments["height"]))
    if "image" in arguments and (short < SHORTEST or long > LONGEST * short):
        size = f"{arguments['width']}x{arguments['height']}"
        raise UserError(f"size {size} is none that this painter can change a picture at; use {SHORTEST} pixels a side "
                        f"or more, and at most {LONGEST} times as long as wide.")  # fmt: skip
    return arguments


SD3_TEXT = OwnText((256, 512), tokens_of("tokenizer_3"), negative=as_words)
FLUX_TEXT = OwnText((512,), tokens_of("tokenizer_2"), patch=2)  # of the CLIP encoder, FLUX takes one vector only
SCHNELL_TEXT = replace(FLUX_TEXT, lengths=(256,), distilled=True)
KLEIN_TEXT = OwnText((512,), tokens_of_chat(thinking=False), distilled=True, patch=1)
KLEIN_BASE_TEXT = replace(KLEIN_TEXT, distilled=False, negative=as_embeddings)
# Qwen-Image guides only where there is a negative prompt, if a blank one.
QWEN_TEXT = OwnText((512, 1024), tokens_of_description, "true_cfg_scale", negative=as_words, blank=" ", patch=2)
QWEN_EDIT_TEXT = replace(QWEN_TEXT, lengths=())
Z_TEXT = OwnText((512,), tokens_of_chat(thinking=True), threshold=0.0, negative=as_words)
Z_TURBO_TEXT = replace(Z_TEXT, negative=None, distilled=True)

SD3 = Family("sd3", "StableDiffusion3Pipeline", 28, 7.0, text=SD3_TEXT)
SD35 = replace(SD3, name="sd35", guidance_scale=4.5, told_by=("transformer/config.json", "qk_norm", "rms_norm"))
FLUX = Family("flux", "FluxPipeline", 28, 3.5, text=FLUX_TEXT)
FLUX_SCHNELL = replace(
    FLUX,
    name="flux-schnell",
    steps=4,
    guidance_scale=0.0,
    text=SCHNELL_TEXT,
    told_by=("transformer/config.json", "guidance_embeds", False),
)
FLUX_FILL = replace(
    FLUX, name="flux-fill", of="flux-fill", pipeline_class="FluxFillPipeline", steps=50, guidance_scale=30.0,
    task=INPAINTING,
)  # fmt: skip
FLUX_KONTEXT = replace(
    FLUX,
    name="flux-kontext",
    of="flux-kontext",
    pipeline_class="FluxKontextPipeline",
    guidance_scale=2.5,
    task=EDITING,
    edits_by=INSTRUCTION,
    adapted=_as_large,
)
FLUX_KONTEXT_INPAINTING = replace(
    FLUX_KONTEXT,
    name="flux-kontext-inpainting",
    pipeline_class="FluxKontextInpaintPipeline",
    task=INPAINTING,
    strength=STRENGTH,
)
KLEIN_BASE = Family("flux2-klein-base", "Flux2KleinPipeline", 50, 4.0, text=KLEIN_BASE_TEXT)
KLEIN = replace(
    KLEIN_BASE,
    name="flux2-klein",
    steps=4,
    guidance_scale=1.0,
    text=KLEIN_TEXT,
    told_by=("model_index.json", "is_distilled", True),
)
QWEN = Family("qwen-image", "QwenImagePipeline", 50, 4.0, text=QWEN_TEXT)
QWEN_EDIT = Family(
    "qwen-image-edit", "QwenImageEditPipeline", 50, 4.0, task=EDITING, of="qwen-image-edit", text=QWEN_EDIT_TEXT,
    edits_by=INSTRUCTION, from_words=False,
)  # fmt: skip
QWEN_EDIT_PLUS = replace(
    QWEN_EDIT, name="qwen-image-edit-plus", of="qwen-image-edit-plus", pipeline_class="QwenImageEditPlusPipeline",
    steps=40,
)  # fmt: skip
QWEN_EDIT_INPAINTING = replace(
    QWEN_EDIT, name="qwen-image-edit-inpainting", pipeline_class="QwenImageEditInpaintPipeline", task=INPAINTING,
    strength=STRENGTH,
)  # fmt: skip
Z_IMAGE = Family("z-image", "ZImagePipeline", 50, 4.0, text=Z_TEXT)
Z_IMAGE_TURBO = replace(
    Z_IMAGE,
    name="z-image-turbo",
    steps=9,
    guidance_scale=0.0,
    text=Z_TURBO_TEXT,
    told_by=("scheduler/scheduler_config.json", "shift", 3.0),
)

NEWER_FAMILIES = (
    *(row for each in (SD35, SD3) for row in
      _with_tasks(each, "StableDiffusion3InpaintPipeline", "StableDiffusion3Img2ImgPipeline")),
    *(row for each in (FLUX_SCHNELL, FLUX) for row in _with_tasks(each, "FluxInpaintPipeline", "FluxImg2ImgPipeline")),
    FLUX_FILL,
    FLUX_KONTEXT,
    FLUX_KONTEXT_INPAINTING,
    *(row for each in (KLEIN, KLEIN_BASE) for row in
      _with_tasks(each, "Flux2KleinInpaintPipeline", "Flux2KleinPipeline", instructed=True)),
    *_with_tasks(QWEN, "QwenImageInpaintPipeline", "QwenImageImg2ImgPipeline"),
    QWEN_EDIT,
    QWEN_EDIT_PLUS,
    QWEN_EDIT_INPAINTING,
    *(row for each in (Z_IMAGE_TURBO, Z_IMAGE) for row in
      _with_tasks(each, "ZImageInpaintPipeline", "ZImageImg2ImgPipeline")),
)  # fmt: skip

FAMILIES = (*UNET_FAMILIES, *NEWER_FAMILIES, AUTO, AUTO_INPAINTING)

"""The names that flags offer and the values that they have when left out, for a help text that loads no library.

A tuple lists the names of one table, in its order; a test holds the two equal.  Whoever needs the rows asks the table.
"""

# The language model.
TEMPLATES = (  # llmga.llava.templates
    "v1", "vicuna_v1", "llava_v1", "v1_mmtag", "llava_v0", "v0_mmtag", "llama_2", "llava_llama_2", "mistral_instruct",
    "llama_3", "qwen_2", "mpt", "chatml_direct", "mistral_direct", "gemma", "phi_3", "plain", "v0_plain",
)  # fmt: skip
ATTENTIONS = ("sdpa", "eager", "flash_attention_2")  # llmga.llava.placement
PICTURE = ("auto", "always")  # whether an answer holds a generation prompt, see llmga.llava.sampling
CHECKPOINT_LAYOUTS = ("hf", "llmga")  # llmga.llava.conversion
PAINTER_LAYOUTS = ("diffusers", "single-file")  # llmga.diffusers.convert

# The diffusion model.
TASKS = TEXT_TO_IMAGE, INPAINTING, EDITING = "text-to-image", "inpainting", "editing"
SAMPLERS = (  # llmga.diffusers.samplers
    "checkpoint", "ddim", "pndm", "euler", "euler-a", "heun", "unipc", "dpm++-2m", "dpm++-2m-karras", "dpm++-2m-sde",
    "dpm++-2m-sde-karras", "dpm++-2s", "lcm", "tcd", "lightning", "turbo", "hyper", "hyper-1step",
)  # fmt: skip
OFFLOADS = ("none", "model", "sequential", "group")  # what llmga.diffusers.memory may do
PAINTER_QUANTS = ("nf4", "int8", "fp8-storage")  # what llmga.diffusers.quantisation may do, beside a .gguf file
AREAS = ("picture", "mask")  # llmga.diffusers.inpainting
FILLS = ("edge", "mirror", "grey", "black", "white", "noise")  # llmga.diffusers.canvas
CONTROLS = (  # llmga.diffusers.control_maps
    "canny", "softedge", "lineart", "scribble", "depth", "openpose", "normal", "segment", "tile", "blur", "gray", "map",
    "ip-adapter",
)  # fmt: skip
PROMPT_LAYOUTS = ("joined", "a1111", "llmga")  # llmga.diffusers.long_prompt
SKIP, RATIO = 0.25, 3.0  # of editing, see llmga.diffusers.editor

# Restoration.
RESTORERS = ("none", "match", "match+blend", "diffrir-x1", "diffrir-x2", "diffrir-x4")  # llmga.diffrir.restorers
RESTORER = "match+blend"  # the one that is taken when none is named
SCALES = (2, 4)  # by which a DiffRIR network may enlarge
TILE, OVERLAP = 512, 64  # output pixels, see llmga.diffrir.tiles

# Everywhere.
DTYPES = ("fp32", "fp16", "bf16")  # llmga.runtime
FORMATS = ("png", "jpeg", "webp")  # llmga.assistant.image_files
WATERMARK = "llmga"  # the text that is hidden where no other is asked for
INLINE = ("auto", "none", "kitty", "iterm2", "sixel", "blocks", "blocks-256")  # llmga.serve.terminal.inline
SEEDS = ("same", "next")  # llmga.serve.story
MOST_PAGES = 40  # of a picture book
DAMAGES = ("tone", "blur+tone+jpeg", "drift")  # llmga.evaluation.restoration_scores
TOYWORLD_PARTS = (  # llmga.evaluation.toyworld_scores
    "requests", "unseen", "small_talk", "follow_ups", "pictures", "holes", "stage2", "inpainting",
)  # fmt: skip
TOYWORLD_STEPS = ("data", "vae", "clip", "vision", "lm", "sdxl-random", "textures")  # llmga.toyworld.base_models

"""Files of weights are told by their names, and what is lacking is named."""

import pytest

from llmga.errors import UserError
from llmga.weight_files import choose, common_variant, damaged, from_pretrained_options, weight_files

UNET, MODEL = "diffusion_pytorch_model", "model"
SHARDS = [f"{UNET}.fp16-00001-of-00002.safetensors", f"{UNET}.fp16-00002-of-00002.safetensors"]
INDEX = f"{UNET}.safetensors.index.fp16.json"


def write(folder, *names):
    for name in names:
        (folder / name).write_bytes(b"")
    return folder


@pytest.mark.parametrize(
    ("library", "names", "variant", "kind"),
    [
        ("diffusers", [f"{UNET}.safetensors"], None, "safetensors"),
        ("diffusers", [f"{UNET}.bin"], None, "bin"),
        ("diffusers", [f"{UNET}.bin", f"{UNET}.safetensors"], None, "safetensors"),
        ("diffusers", [f"{UNET}.fp16.safetensors", f"{UNET}.safetensors"], None, "safetensors"),
        ("diffusers", [f"{UNET}.bf16.safetensors", f"{UNET}.fp16.safetensors"], "fp16", "safetensors"),
        ("diffusers", [f"{UNET}.bf16.safetensors"], "bf16", "safetensors"),
        ("diffusers", [f"{UNET}.non_ema.safetensors", f"{UNET}.bf16.bin"], "bf16", "bin"),
        ("diffusers", [*SHARDS, INDEX], "fp16", "safetensors"),
        ("diffusers", [name.replace(".fp16", "") for name in (*SHARDS, INDEX)], None, "safetensors"),
        ("diffusers", [f"{UNET}-00001-of-00001.fp16.safetensors", INDEX], "fp16", "safetensors"),
        ("diffusers", [f"{UNET}.safetensors.index.json", f"{UNET}.fp16.safetensors"], "fp16", "safetensors"),
        ("transformers", ["model.safetensors"], None, "safetensors"),
        ("transformers", ["pytorch_model.bin", "model.fp16.safetensors"], None, "bin"),
        ("transformers", ["model.fp16-00001-of-00001.safetensors", "model.safetensors.index.fp16.json"], "fp16",
         "safetensors"),
        ("transformers", ["model.safetensors", "model.safetensors.index.json"], None, "safetensors"),
    ],
)  # fmt: skip
def test_the_first_whole_set_is_chosen(library, names, variant, kind, tmp_path):
    found = choose(write(tmp_path, *names, "config.json", "README.md"), library)
    assert (found.variant, found.kind) == (variant, kind)
    assert from_pretrained_options(tmp_path, library) == {"variant": variant, "use_safetensors": kind == "safetensors"}


@pytest.mark.parametrize(
    ("names", "lacks"),
    [
        ([SHARDS[0], INDEX], SHARDS[1]),
        (SHARDS, INDEX),
        ([INDEX], f"the shards that {INDEX} lists"),
        ([], rf"{UNET}.safetensors .*it holds no weights"),
        (["model.fp16.safetensors", "lora.bin"], rf"{UNET}.safetensors .*it holds lora.bin, model.fp16.safetensors"),
    ],
)
def test_what_is_lacking_is_named_beside_what_is_there(names, lacks, tmp_path):
    with pytest.raises(UserError, match=f"lacks {lacks}") as caught:
        choose(write(tmp_path, *names), "diffusers")
    assert "damage" not in str(caught.value) and all(name in str(caught.value) for name in names)


def test_names_of_other_models_are_none_of_it():
    assert weight_files(["lora.safetensors", "model.fp16.txt", "optimizer.bin", f"{UNET}.ckpt"], "diffusers") == []


@pytest.mark.parametrize(
    ("names", "variant"),
    [
        ([f"unet/{UNET}.safetensors", f"unet/{UNET}.fp16.safetensors", "text_encoder/model.safetensors"], None),
        ([f"unet/{UNET}.safetensors", "text_encoder/model.fp16.safetensors", "x.safetensors"], "fp16"),
        ([f"unet/{UNET}.bf16.safetensors", "model_index.json"], "bf16"),
        (["model_index.json"], None),
    ],
)
def test_a_pipeline_is_fetched_in_the_variant_that_a_part_needs(names, variant):
    assert common_variant(names) == variant


def test_only_what_cannot_be_looked_into_is_called_damaged(tmp_path):
    assert damaged(tmp_path) is None
    file = tmp_path / "model.safetensors"
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    assert "only points to the weights; fetch them with git lfs pull" in damaged(tmp_path)
    file.write_bytes(b"\0" * 5)
    assert f"{str(file)!r} is damaged" in damaged(tmp_path)

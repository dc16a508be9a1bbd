"""Folders as hubs serve them open part by part, each in its own variant; none runs code of its own."""

import io
import json
import shutil
import sys

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from llmga.diffusers.pipelines import load_pipeline
from llmga.errors import UserError
from llmga.weight_files import STEMS

PARTS = {
    "unet": UNet2DConditionModel,
    "vae": AutoencoderKL,
    "text_encoder": CLIPTextModel,
    "text_encoder_2": CLIPTextModelWithProjection,
}
FORMATS = {"fp16": torch.float16, "bf16": torch.bfloat16}
Weights = dict[str, torch.Tensor]


@pytest.fixture
def folder(goldens, tmp_path):
    return shutil.copytree(goldens.folder("sdxl"), tmp_path / "sdxl")


def stem(part, kind):
    return STEMS["transformers" if part.startswith("text") else "diffusers"][kind]


def rewrite(folder, part, variant=None, kind="safetensors", shards=False, old=False) -> Weights:
    """A part's weights in other files, as the libraries write them; what is in them."""
    place = folder / part
    model = PARTS[part].from_pretrained(place)
    for file in place.glob(f"{stem(part, kind)}*"):
        file.unlink()
    model.to(FORMATS.get(variant, torch.float32))
    if kind == "bin":
        named = f".{variant}" if variant else ""
        torch.save(model.state_dict(), place / f"{stem(part, 'bin')}{named}.bin")
        (place / "model.safetensors").unlink(missing_ok=True)
    else:
        size = sum(weight.nbytes for weight in model.parameters()) // 3
        model.save_pretrained(place, variant=variant, max_shard_size=size if shards else "5GB")
    if old:
        index = place / f"{stem(part, kind)}.safetensors.index.{variant}.json"
        text = index.read_text()
        for file in list(place.glob("*-of-*")):
            name = file.name.replace(f".{variant}", "").replace(".safetensors", f".{variant}.safetensors")
            text = text.replace(file.name, name)
            file.rename(place / name)
        index.write_text(text)
    assert (len(list(place.glob("*-of-*"))) > 1) == shards
    return {key: weight.float() for key, weight in model.state_dict().items()}


def compare(folder, changed: dict[str, Weights]) -> None:
    """What was opened is what the files hold, and for the other parts what they held before."""
    pipeline = load_pipeline(folder, device="cpu", dtype="fp32").pipe
    for part in PARTS:
        there = getattr(pipeline, part)
        assert there.dtype == torch.float32
        expected = changed.get(part) or PARTS[part].from_pretrained(folder / part).state_dict()
        found = there.state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in found), part


EVERY = {part: {} for part in PARTS}
HUBS = {
    "fp16 everywhere": {part: {"variant": "fp16"} for part in EVERY},
    "bf16 everywhere": {part: {"variant": "bf16"} for part in EVERY},
    "fp16 in shards": {part: {"variant": "fp16", "shards": True} for part in EVERY},
    "shards": {part: {"shards": True} for part in EVERY},
    "fp16 unet": {"unet": {"variant": "fp16"}},
    "fp16 unet in shards": {"unet": {"variant": "fp16", "shards": True}},
    "fp16 unet in shards of old names": {"unet": {"variant": "fp16", "shards": True, "old": True}},
    "fp16 text encoders": {"text_encoder": {"variant": "fp16"}, "text_encoder_2": {"variant": "fp16"}},
    "each its own": {
        "unet": {"variant": "bf16", "shards": True},
        "vae": {"variant": "fp16"},
        "text_encoder": {"shards": True},
        "text_encoder_2": {"kind": "bin"},
    },
    ".bin everywhere": {part: {"kind": "bin"} for part in EVERY},
    "fp16 .bin beside others": {"unet": {"variant": "fp16", "kind": "bin"}},
}


@pytest.mark.parametrize("hub", HUBS)
def test_every_part_opens_in_its_own_variant(hub, folder):
    compare(folder, {part: rewrite(folder, part, **how) for part, how in HUBS[hub].items()})


def test_whole_precision_is_preferred_to_a_variant_beside_it(folder):
    whole = {part: PARTS[part].from_pretrained(folder / part) for part in PARTS}
    for part, model in whole.items():
        exact = {key: weight.clone() for key, weight in model.state_dict().items()}
        model.half().save_pretrained(folder / part, variant="fp16")
        whole[part] = exact
    compare(folder, whole)


def test_an_index_whose_shards_were_not_fetched_gives_way_to_what_is_whole(folder):
    rewrite(folder, "unet", shards=True)
    index = (folder / "unet/diffusion_pytorch_model.safetensors.index.json").read_text()
    weights = rewrite(folder, "unet", "fp16")
    (folder / "unet/diffusion_pytorch_model.safetensors.index.json").write_text(index)
    compare(folder, {"unet": weights})


def test_what_a_part_lacks_is_told_without_a_word_of_damage(folder):
    rewrite(folder, "unet", "fp16", shards=True)
    first, *_ = sorted((folder / "unet").glob("*-of-*"))
    first.unlink()
    with pytest.raises(UserError, match=rf"unet' lacks {first.name}, which belongs to .*index.fp16.json") as caught:
        load_pipeline(folder, device="cpu")
    assert "damage" not in str(caught.value)
    for file in (folder / "unet").glob("diffusion*"):
        file.rename(file.with_name("other" + file.name))
    with pytest.raises(UserError, match="it holds otherdiffusion_pytorch_model") as caught:
        load_pipeline(folder, device="cpu")
    assert "damage" not in str(caught.value)


def test_weights_that_do_not_fit_are_not_called_damaged(folder):
    config = json.loads((folder / "vae/config.json").read_text())
    (folder / "vae/config.json").write_text(
        json.dumps(config | {"block_out_channels": [2 * width for width in config["block_out_channels"]]})
    )
    with pytest.raises(UserError, match="cannot be opened: ") as caught:
        load_pipeline(folder, device="cpu")
    assert "damage" not in str(caught.value)


@pytest.mark.parametrize("part", PARTS)
def test_weights_that_a_part_lacks_are_never_made_up(part, folder):
    file = folder / part / f"{stem(part, 'safetensors')}.safetensors"
    weights = load_file(file)
    lost = sorted(weights)[3]
    save_file({key: weight for key, weight in weights.items() if key != lost}, file, metadata={"format": "pt"})
    with pytest.raises(UserError, match=f"1 missing keys, such as .*{lost.removeprefix('text_model.')}"):
        load_pipeline(folder, device="cpu")


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """A file that is there once somebody's code ran, or once a question was asked."""
    marker = tmp_path / "ran"
    monkeypatch.setattr("builtins.input", lambda *words: marker.touch() or "y")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    monkeypatch.syspath_prepend(tmp_path / "sdxl")
    return marker


def said(folder, **changes):
    file = folder / "model_index.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def plant(ran, *files):
    for file in files:
        file.write_text(f"open({str(ran)!r}, 'w')\nclass Own: pass\nclass UNet2DConditionModel: pass\n")


@pytest.mark.parametrize(
    ("changes", "files"),
    [
        ({"_class_name": ["own", "Own"]}, ["own.py"]),
        ({"unet": ["own", "Own"]}, ["unet/own.py", "own.py"]),
        ({"unet": ["own.deep", "Own"]}, ["own.py"]),
        ({"unet": ["diffusers", "UNet2DConditionModel"]}, ["unet/diffusers.py"]),
        ({"tokenizer": ["own", "Own"]}, ["tokenizer/own.py", "own.py"]),
    ],
)
def test_a_module_in_the_folder_is_never_run(changes, files, folder, ran):
    said(folder, **changes)
    plant(ran, *(folder / file for file in files))
    with pytest.raises(UserError, match="code of its own.*, which is never"):
        load_pipeline(folder, device="cpu")
    assert not ran.exists() and sys.stdin.read() == "y\n"


@pytest.mark.parametrize(
    ("part", "kind", "config"),
    [
        ("text_encoder", "AutoModel", "config.json"),
        ("tokenizer", "AutoTokenizer", "tokenizer_config.json"),
        ("unet", "AutoModel", "config.json"),
    ],
)
def test_a_map_to_code_is_never_followed(part, kind, config, folder, ran):
    library = "diffusers" if part == "unet" else "transformers"
    said(folder, **{part: [library, kind]})
    content = json.loads((folder / part / config).read_text())
    maps = {"AutoConfig": "own.Own", "AutoModel": "own.Own", "AutoTokenizer": ["own.Own", "own.Own"]}
    (folder / part / config).write_text(json.dumps(content | {"auto_map": maps, "model_type": "own"}))
    plant(ran, folder / part / "own.py")
    with pytest.raises(UserError, match=f"{part}' asks to run code of its own"):
        load_pipeline(folder, device="cpu")
    assert not ran.exists() and sys.stdin.read() == "y\n"


def test_files_that_a_library_might_take_for_code_change_nothing(folder, ran):
    plant(
        ran, folder / "None.py", folder / "pipeline.py", folder / "StableDiffusionXLPipeline.py", folder / "unet/x.py"
    )
    (folder / "None.py").unlink()
    load_pipeline(folder, device="cpu")
    plant(ran, folder / "None.py")
    with pytest.raises(UserError, match="cannot be opened"):
        load_pipeline(folder, device="cpu")
    assert not ran.exists() and sys.stdin.read() == "y\n"

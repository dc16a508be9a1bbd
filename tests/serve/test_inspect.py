"""`llmga inspect`: every kind of file is known by its head."""

import json
import shutil
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

from llmga.__main__ import main
from llmga.serve.inspect import described
from tests.serve.weight_kinds import KINDS, KOHYA, write

TOYS = Path("checkpoints/Inference")


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_known_by_its_head(tmp_path, kind):
    shapes, text, said, family, opens = KINDS[kind]
    path = write(tmp_path / "file.safetensors", shapes, text)
    found = described(path)
    assert said in found["said"] and found["family"] == family and opens in found["opens"], found
    assert found["precision"] == "fp16" and found["tensors"] == len(shapes)
    assert found["size"] == path.stat().st_size


def test_there_are_as_many_kinds_as_were_promised():
    assert len(KINDS) >= 40


@pytest.mark.parametrize("dtype", ["F32", "BF16", "F8_E4M3"])
def test_the_precision_is_told(tmp_path, dtype):
    path = write(tmp_path / "file.safetensors", KINDS["SDXL"][0], dtype=dtype)
    assert described(path)["precision"] == {"F32": "fp32", "BF16": "bf16", "F8_E4M3": "fp8"}[dtype]


WRITERS = {
    "LoRA, kohya, SDXL": "kohya's scripts", "LoHa": "LyCORIS in kohya's scripts", "LoRA, OneTrainer": "OneTrainer",
    "LoRA, ai-toolkit, FLUX": "ai-toolkit", "LoRA, peft": "peft", "LoRA, diffusers": "diffusers",
    "LoRA of Wan": "ai-toolkit, or a tool for ComfyUI", "textual inversion, A1111": "A1111",
    "textual inversion, diffusers": "diffusers",
}  # fmt: skip


@pytest.mark.parametrize("kind", WRITERS)
def test_the_tool_that_wrote_it_is_told(tmp_path, kind):
    assert described(write(tmp_path / "file.safetensors", *KINDS[kind][:2]))["trainer"] == WRITERS[kind]


def test_rank_alpha_and_trigger_words_stand_in_the_head(tmp_path, capsys):
    path = write(tmp_path / "style.safetensors", *KINDS["LoRA, kohya, SDXL"][:2])
    assert main(["inspect", str(path)]) == 0
    told = capsys.readouterr().out
    for line in ("rank            16", "alpha           8.0", "written by      kohya's scripts",
                 "words           sks dog, grass, sitting", "name            my_style", "precision       fp16",
                 "trained beside  base.safetensors", "opens           give it as --lora"):  # fmt: skip
        assert line in told
    assert main(["inspect", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["words"][0] == "sks dog" and found["stated"]["name"] == KOHYA["ss_output_name"]


METHODS = {
    "DoRA": ("LoRA", "DoRA"), "LoHa": ("LoHa",), "LoKr": ("LoKr",), "(IA)^3": ("(IA)^3",), "GLoRA": ("GLoRA",),
    "OFT": ("OFT",), "BOFT": ("BOFT",), "full differences": ("full differences",), "LoRA, diffusers": ("LoRA",),
}  # fmt: skip


@pytest.mark.parametrize("kind", METHODS)
def test_the_methods_of_an_adapter_are_told(tmp_path, kind):
    found = described(write(tmp_path / "file.safetensors", *KINDS[kind][:2]))
    assert sorted(found["methods"]) == sorted(METHODS[kind])


def test_text_of_strangers_stays_in_its_line(tmp_path, capsys):
    text = {"ss_output_name": "a\n\x1b[31mred", "ss_tag_frequency": "[" * 5000, "modelspec.trigger_phrase": "x\ny"}
    main(["inspect", str(write(tmp_path / "it.safetensors", KINDS["LoRA, kohya, SDXL"][0], text))])
    told = capsys.readouterr().out
    assert "\x1b" not in told and "a [31mred" in told and "x y" in told


@pytest.mark.parametrize(("name", "hint"), [("sdxl_lightning_4step_unet", "4 steps"), ("plain", None)])
def test_what_only_a_name_says_is_told_as_that(tmp_path, name, hint):
    found = described(write(tmp_path / f"{name}.safetensors", KINDS["UNet of SDXL, Lightning"][0]))
    assert (hint is None and "hint" not in found) or hint in found["hint"]


PICKLED = {
    "A1111's word": ({"string_to_param": {"*": torch.zeros(2, 768)}, "name": "x", "step": 3}, "a textual inversion"),
    "diffusers' word": ({"<cat-toy>": torch.zeros(768)}, "a textual inversion"),
    "SD1.5": ({"state_dict": {name: torch.zeros(()).half().expand(shape) for name, shape in KINDS["SD1.5"][0].items()},
               "global_step": 3},
              "a whole Stable Diffusion 1.5 checkpoint"),
    "DiffRIR": ({"params_ema": {"G.decoder_level1.0.attn.qkv.weight": torch.zeros(72, 24, 1, 1)}},
                "a DiffRIR restorer"),
    "projector": ({"model.mm_projector.0.weight": torch.zeros(8, 4)}, "a projector"),
    "optimiser": ({"state": {0: {"exp_avg": torch.zeros(8)}}, "param_groups": []}, "the state of an optimiser"),
}  # fmt: skip


@pytest.mark.parametrize("kind", PICKLED)
def test_pytorch_files_are_known_without_their_tensors(tmp_path, kind):
    content, said = PICKLED[kind]
    torch.save(content, tmp_path / "file.pt")
    assert said in described(tmp_path / "file.pt")["said"]


def test_a_file_that_would_run_code_stays_closed(tmp_path, capsys):
    torch.save({"a": Path("x")}, tmp_path / "file.ckpt")
    assert main(["inspect", str(tmp_path / "file.ckpt")]) == 2
    assert "could run code, and stays closed" in capsys.readouterr().err


GGUF = {
    "language model": ("llama", {"blk.0.attn_q.weight": (32, 32), "token_embd.weight": (100, 32)},
                       "a language model of llama.cpp", "--mllm-url"),
    "mmproj": ("clip", {"v.blk.0.attn_q.weight": (32, 32), "v.patch_embd.weight": (32, 3, 14, 14)},
               "a vision tower of llama.cpp", "--mmproj"),
    "FLUX": ("flux", {"double_blocks.0.img_attn.norm.key_norm.scale": (128,), "img_in.weight": (3072, 64)},
             "a FLUX.1 transformer", "give its diffusers folder as --sdmodel_id and this file as --painter-quant"),
    "T5": ("t5encoder", {"enc.blk.0.attn_q.weight": (32, 32)}, "a T5 text encoder", "not read here"),
}  # fmt: skip


@pytest.mark.parametrize("kind", GGUF)
def test_gguf_files_are_known_by_their_head(tmp_path, kind):
    architecture, shapes, said, opens = GGUF[kind]
    writer = gguf.GGUFWriter(tmp_path / "file.gguf", architecture)
    writer.add_name("tiny")
    for name, shape in shapes.items():
        writer.add_tensor(name, np.zeros(shape, np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = described(tmp_path / "file.gguf")
    assert said in found["said"] and opens in found["opens"] and found["precision"] == "fp16"
    assert found["weights"] == sum(int(np.prod(shape)) for shape in shapes.values())
    assert found["stated"]["model"] == "tiny" and found["trainer"] == "llama.cpp"


FOLDERS = {
    "llmga-toy-sdxl-t2i": ("a whole pipeline of diffusers", "--sdmodel_id", "StableDiffusionXLPipeline"),
    "llmga-toy-sdxl-t2i/unet": ("a UNet", "--unet", "UNet2DConditionModel"),
    "llmga-toy-sdxl-t2i/vae": ("a VAE", "--vae", "AutoencoderKL"),
    "llmga-toy-sdxl-t2i/text_encoder_2": ("a CLIP text encoder", "diffusers folder", "CLIPTextModelWithProjection"),
    "llmga-toy-mllm": ("a language model that sees", "--model-path", "LlavaQwen2ForCausalLM"),
    "llmga-toy-mllm/vision_tower": ("a vision tower", "--vision-tower", "CLIPVisionModelWithProjection"),
    "llmga-toy-diffrir-x1": ("a DiffRIR restorer", "--restorer-path", None),
}


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_folders_of_this_repository_are_known(folder):
    found = described(TOYS / folder)
    said, opens, kind = FOLDERS[folder]
    assert said in found["said"] and opens in found["opens"] and found["class"] == kind
    alone = folder.endswith("vision_tower")  # its weights are those of the model
    assert found["weights"] > 1000 and found["precision"] == "fp16" if not alone else found["weights"] == 0


def test_a_model_is_found_by_its_name_as_elsewhere(capsys):
    assert main(["inspect", "llmga-toy-diffrir-x1"]) == 0
    assert "a DiffRIR restorer" in capsys.readouterr().out


CONFIGS = {
    "ControlNet": ({"_class_name": "ControlNetModel"}, "a ControlNet"),
    "ControlNet-Union": ({"_class_name": "ControlNetUnionModel"}, "a ControlNet-Union"),
    "T2I-Adapter": ({"_class_name": "T2IAdapter"}, "a T2I-Adapter"),
    "FLUX": ({"_class_name": "FluxTransformer2DModel"}, "a transformer of a pipeline"),
    "Qwen2.5-VL": ({"architectures": ["Qwen2_5_VLForConditionalGeneration"]}, "a language model that sees"),
    "LLaVA of transformers": ({"architectures": ["LlavaForConditionalGeneration"]}, "a language model that sees"),
    "T5": ({"architectures": ["T5EncoderModel"]}, "a T5 text encoder"),
    "Llama": ({"architectures": ["LlamaForCausalLM"]}, "a model of transformers"),
    "SigLIP": ({"architectures": ["SiglipVisionModel"], "model_type": "siglip_vision_model"}, "a vision tower"),
    "scheduler": ({"_class_name": "PNDMScheduler"}, "a part of a pipeline"),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_folders_are_known_by_their_configuration(tmp_path, kind):
    (tmp_path / "config.json").write_text(json.dumps(CONFIGS[kind][0]))
    write(tmp_path / "model.safetensors", {"a": (2, 2)})
    assert CONFIGS[kind][1] in described(tmp_path)["said"]


def test_an_adapter_of_peft_is_read_with_its_settings(tmp_path):
    write(tmp_path / "adapter_model.safetensors", KINDS["LoRA, peft"][0])
    settings = {"peft_type": "LORA", "lora_alpha": 32, "r": 16, "base_model_name_or_path": "somebody/model"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    found = described(tmp_path)
    assert (found["rank"], found["alpha"], found["base"]) == ("16", "32", "somebody/model")
    assert found["layout"] == "peft" and "--lora" in found["opens"]


def test_a_folder_of_files_lists_them(tmp_path, capsys):
    for kind in ("SDXL", "LoHa"):
        write(tmp_path / f"{kind}.safetensors", *KINDS[kind][:2])
    assert main(["inspect", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "a folder with 2 files" in told and "(LoHa)" in told and "a whole SDXL checkpoint" in told


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("nowhere.safetensors", None, "is not there; give a file of weights, or a folder"),
        ("page.safetensors", b"<!DOCTYPE html><html>", "is a web page and no file of weights"),
        ("pointer.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS"),
        ("cut.safetensors", (9999).to_bytes(8, "little") + b"{}\0", "is damaged or not whole"),
        ("cut.gguf", b"GGUF\x03\0\0\0", "is damaged or not whole"),
        ("picture.png", b"\x89PNG", "is no file of weights that is read; these end with .safetensors"),
        ("q.parquet", b"PAR1", "q.parquet' is a parquet file and no file of weights; these end with .safetensors"),
        ("q.data", b"PAR1", "is a parquet file and no file of weights; let its name end with .parquet; these end"),
        ("weights.zip", b"PK\x03\x04", "is a zip archive and no file of weights; unpack it"),
        ("empty", "folder", "holds no weights that are known here"),
    ],
)
def test_what_cannot_be_described_is_told_in_a_sentence(tmp_path, capsys, name, content, said):
    if content == "folder":
        (tmp_path / name).mkdir()
    elif content is not None:
        (tmp_path / name).write_bytes(content)
    assert main(["inspect", str(tmp_path / name)]) == 2
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1


def test_one_bad_path_does_not_silence_the_others(tmp_path, capsys):
    good = write(tmp_path / "good.safetensors", *KINDS["SDXL"][:2])
    (tmp_path / "bad.safetensors").write_bytes(b"<!DOCTYPE html><html>")
    places = [tmp_path / "nowhere.pt", good, tmp_path / "bad.safetensors", good]
    assert main(["inspect", *map(str, places)]) == 2
    told = capsys.readouterr()
    assert told.out.count("a whole SDXL checkpoint") == 2
    assert "is not there" in told.err and "is a web page" in told.err and told.err.count("error: ") == 2


@pytest.fixture
def copied(tmp_path):
    return shutil.copytree(TOYS / "llmga-toy-sdxl-t2i", tmp_path / "toy")


def test_what_a_pipeline_lacks_is_told(copied, capsys):
    shutil.rmtree(copied / "vae")
    for file in (copied / "unet").glob("*.safetensors"):
        file.unlink()
    found = described(copied)
    assert found["said"].startswith("a pipeline of diffusers that lacks ") and "copy the whole" in found["opens"]
    assert {"vae/", "the weights of unet/"} == set(found["said"].partition(" lacks ")[2].split(", "))
    (copied / "model_index.json").write_text("{")
    assert main(["inspect", str(copied)]) == 2
    assert "model_index.json' is no valid JSON object; copy the file again." in capsys.readouterr().err


def test_what_lies_beside_the_parts_is_not_counted(copied):
    before = described(copied)
    for name in ("other_tensors", "latents-01"):
        write(copied / f"{name}.safetensors", {"a": (3, 5)}, dtype="F32")
    assert described(copied) == before and before["precision"] == "fp16"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lora.safetensors", "--plan"], "is low-rank weights (LoRA), and --plan is for painters; leave --plan out"),
        ([str(TOYS / "llmga-toy-mllm"), "--plan"], "is a language model that sees, and --plan is for painters"),
        (["lora.safetensors", "--size", "64x64"], "--size is for the plan of memory; add --plan"),
        (["lora.safetensors", "--painter-quant", "nf4"], "--painter-quant is for the plan of memory; add --plan"),
    ],
)
def test_a_plan_is_for_painters_and_its_flags_for_a_plan(words, said, tmp_path, monkeypatch, capsys):
    write(tmp_path / "lora.safetensors", *KINDS["LoRA, peft"][:2])
    words = [str(tmp_path / word) if word.endswith(".safetensors") else word for word in words]
    assert main(["inspect", *words]) == 2
    told = capsys.readouterr()
    assert said in told.err and not told.out


def test_a_folder_of_one_single_file_is_planned_as_the_file(tmp_path, capsys):
    file = write(tmp_path / "one.safetensors", *KINDS["SDXL"][:2])
    assert main(["inspect", str(tmp_path), "--plan"]) == main(["inspect", str(file), "--plan"]) == 0
    first, second = capsys.readouterr().out.split("all weights")[:2]
    assert first and second


def test_the_width_of_a_taught_word_is_told(tmp_path, capsys):
    write(tmp_path / "word.safetensors", {"emb_params": (2, 768)})
    assert main(["inspect", str(tmp_path / "word.safetensors")]) == 0
    assert "width           768" in capsys.readouterr().out

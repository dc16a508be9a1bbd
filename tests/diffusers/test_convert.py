"""Folder to file to folder, and file to folder to file: every tensor stays, bit for bit."""

import json

import pytest
import torch
from safetensors.torch import load_file

from llmga.diffusers.convert import main
from llmga.diffusers.file_headers import read_header
from llmga.diffusers.pipelines import load_pipeline
from llmga.diffusers.single_file.writing import to_file, to_folder
from llmga.errors import UserError
from llmga.serve.convert import main as dispatch
from tests.diffusers import tiny_files as tiny

BESIDE = {
    "sd15": {"betas": torch.rand(10), "model_ema.decay": torch.tensor(0.9999), "model_ema.diffusion_modelout2bias":
             torch.rand(4)},
    "sd2": {"cond_stage_model.model.logit_scale": torch.tensor(4.6)},
    "sdxl": {"conditioner.embedders.0.transformer.text_model.embeddings.position_ids": torch.arange(77)[None],
             "conditioner.embedders.1.model.logit_scale": torch.tensor(4.6), "v_pred": torch.empty(0),
             "ztsnr": torch.empty(0), "denoiser.sigmas": torch.rand(10)},
}  # fmt: skip


def tensors_of(folder):
    """By the part and the name in it; whether text towers have a level `text_model` differs from version to version."""
    files = [file for file in sorted(folder.rglob("*.safetensors")) if file.name != "other_tensors.safetensors"]
    return {
        f"{file.parent.name}/{name.removeprefix('text_model.')}": each
        for file in files for name, each in load_file(file).items()
    }  # fmt: skip


def identical(found, expected):
    assert found.keys() == expected.keys()
    for name, each in expected.items():
        assert found[name].dtype == each.dtype and torch.equal(found[name], each), name


@pytest.mark.parametrize("name", ["sd15", "sd15_inpaint", "sdxl", "sdxl_inpaint"])
def test_a_folder_comes_back_from_its_file(name, goldens, tmp_path):
    folder, file, back = goldens.folder(name), tmp_path / "model.safetensors", tmp_path / "back"
    to_file(folder, file)
    to_folder(file, back, tokenizer=folder)
    identical(tensors_of(back), tensors_of(folder))
    whole, single = load_pipeline(folder, device="cpu").pipe, load_pipeline(file, device="cpu", tokenizer=folder).pipe
    for part in ("unet", "vae", "text_encoder"):  # with the heads and groups that no shape tells
        ours, theirs = getattr(single, part).config, getattr(whole, part).config
        ours, theirs = (each if isinstance(each, dict) else each.to_dict() for each in (ours, theirs))
        same = {key for key in theirs if not key.startswith("_") and key not in ("transformers_version", "dtype")}
        assert {key: ours[key] for key in same} == {key: theirs[key] for key in same}
    assert type(single.scheduler) is type(whole.scheduler)


@pytest.mark.parametrize("family", BESIDE)
def test_a_file_comes_back_from_its_folder_with_all_that_it_held(family, goldens, tmp_path):
    held = tiny.ldm(family, tiny.parts(family)) | BESIDE[family]
    held = {name: each.half() if each.is_floating_point() and each.numel() else each for name, each in held.items()}
    metadata = {"modelspec.title": "Ours", "ss_training_comment": "by hand"}
    file, folder, back = tmp_path / "one.safetensors", tmp_path / "folder", tmp_path / "back.safetensors"
    tiny.write(file, held, metadata)
    to_folder(file, folder, tokenizer=goldens.folder("sd15"))
    to_file(folder, back)
    identical(load_file(back), held)
    assert metadata.items() <= read_header(back).metadata.items()
    assert load_pipeline(folder, device="cpu").pipe.unet.dtype == torch.float32


def test_a_folder_that_predicts_the_velocity_is_marked_for_other_programs(goldens, tmp_path):
    folder = tmp_path / "v"
    tiny.pipeline("sdxl", 4, tiny.parts("sdxl"), goldens.folder("sd15") / "tokenizer", prediction_type="v_prediction",
                  rescale_betas_zero_snr=True).save_pretrained(folder)  # fmt: skip
    (folder / "generation_defaults.json").write_text('{"steps": 7}')
    to_file(folder, tmp_path / "v.safetensors")
    header = read_header(tmp_path / "v.safetensors")
    assert header.shapes["v_pred"] == header.shapes["ztsnr"] == (0,)
    assert header.metadata["modelspec.architecture"] == "stable-diffusion-xl-v1-base"
    assert header.metadata["modelspec.prediction_type"] == "v"
    pipeline = load_pipeline(tmp_path / "v.safetensors", device="cpu", tokenizer=folder)
    assert pipeline.own_scheduler.config.prediction_type == "v_prediction" and pipeline.steps == 7
    to_folder(tmp_path / "v.safetensors", tmp_path / "back", tokenizer=folder)
    identical(tensors_of(tmp_path / "back"), tensors_of(folder))
    assert json.loads((tmp_path / "back/generation_defaults.json").read_text()) == {"steps": 7}


def test_shards_variants_and_bins_are_read(goldens, tmp_path):
    models = tiny.parts("sd15")
    pipe = tiny.pipeline("sd15", 4, models, goldens.folder("sd15") / "tokenizer")
    pipe.save_pretrained(tmp_path / "shards", max_shard_size=200_000)
    for file in (tmp_path / "shards/vae").glob("diffusion*"):
        file.unlink()
    torch.save(models["vae"].state_dict(), tmp_path / "shards/vae/diffusion_pytorch_model.bin")
    assert len(list((tmp_path / "shards/unet").glob("*-of-*"))) > 1
    to_file(tmp_path / "shards", tmp_path / "model.safetensors", dtype=torch.float16)
    expected = {name: each.half() for name, each in tiny.ldm("sd15", models).items()}
    identical(load_file(tmp_path / "model.safetensors"), expected)


def test_the_command_writes_either_way(goldens, tmp_path, capsys):
    folder, file, back = str(goldens.folder("sd15")), str(tmp_path / "one.safetensors"), str(tmp_path / "back")
    assert dispatch([folder, file, "--to", "single-file"]) == 0
    assert dispatch([file, back, "--to", "diffusers", "--tokenizer", folder]) == 0
    assert capsys.readouterr().out == f"wrote {file}\nwrote {back}\n"
    identical(tensors_of(tmp_path / "back"), tensors_of(goldens.folder("sd15")))
    assert dispatch([file, "/proc/x", "--to", "diffusers", "--tokenizer", folder]) == 2
    assert capsys.readouterr().err.startswith("error: '/proc/x' cannot be written (no such file or directory); give")


def test_the_command_of_language_models_is_still_reached(capsys):
    assert dispatch(["no-such-model", "out", "--to", "hf"]) == 2
    assert "no-such-model" in capsys.readouterr().err


def test_what_cannot_be_written_is_told(goldens, tmp_path, capsys):
    folder = goldens.folder("sd15")
    (tmp_path / "taken.safetensors").write_bytes(b"mine")
    for words, sentence in (
        ([folder, tmp_path / "taken.safetensors", "--to", "single-file"], "is there already; give a new place"),
        ([folder, "/proc/x.safetensors", "--to", "single-file"], "'/proc/x.safetensors' cannot be written ("),
        ([folder, tmp_path / "one.ckpt", "--to", "single-file"], "does not end with .safetensors"),
        ([folder, tmp_path / "back", "--to", "diffusers"], "is a folder already; give the other --to"),
        ([folder, tmp_path / "x.safetensors", "--to", "single-file", "--tokenizer", "y"], "has no place in a single"),
    ):
        assert main(list(map(str, words))) == 2 and sentence in capsys.readouterr().err
    assert (tmp_path / "taken.safetensors").read_bytes() == b"mine"


def test_an_sd2_without_its_last_layer_is_no_file_for_others(goldens, tmp_path):
    tiny.pipeline("sd2", 4, tiny.parts("sd2"), goldens.folder("sd15") / "tokenizer").save_pretrained(tmp_path / "two")
    with pytest.raises(UserError, match="lacks the last layer of its text encoder"):
        to_file(tmp_path / "two", tmp_path / "two.safetensors")
    assert not (tmp_path / "two.safetensors").exists()


@pytest.mark.parametrize("layout", ["diffusers", "single-file"])
def test_a_place_that_cannot_be_written_is_told_before_the_work(layout, goldens, tmp_path, capsys):
    (tmp_path / "file").write_text("no folder")
    file, folder = tmp_path / "one.safetensors", goldens.folder("sd15")
    if layout == "diffusers":
        to_file(folder, file)
    source = file if layout == "diffusers" else folder
    for place, why in (
        ("/proc/x.safetensors", "no such file or directory"),
        (tmp_path / "file/x.safetensors", "not a"),
    ):
        assert main([str(source), str(place), "--to", layout]) == 2
        told = capsys.readouterr().err
        assert f"{str(place)!r} cannot be written ({why}" in told and told.endswith("give another place.\n")


def test_a_file_that_would_not_open_is_not_written_as_a_folder(goldens, tmp_path, capsys):
    held = tiny.ldm("sd15", tiny.parts("sd15"))
    pruned = {name: each for name, each in held.items() if "encoder.mid.block_1.norm1" not in name}
    tiny.write(tmp_path / "one.safetensors", pruned)
    words = [tmp_path / "one.safetensors", tmp_path / "out", "--to", "diffusers", "--tokenizer", goldens.folder("sd15")]
    assert main(list(map(str, words))) == 2
    told = capsys.readouterr()
    assert "AutoencoderKL lacks 2 tensors" in told.err and "give another file, or its diffusers folder" in told.err
    assert not told.out and not (tmp_path / "out").exists()


def test_a_language_model_is_sent_to_its_own_layouts(capsys):
    assert dispatch(["llmga-toy-mllm", "out", "--to", "diffusers"]) == 2
    told = capsys.readouterr().err
    assert "is no diffusion model" in told and "is written with --to hf or --to llmga." in told

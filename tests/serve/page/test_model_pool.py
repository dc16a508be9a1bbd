"""Models that sessions share, and the list that is offered."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from llmga.assistant.loading import BUNDLED_MLLM, BUNDLED_PIPELINE, Models, bundled
from llmga.errors import UserError
from llmga.serve.gradio_web_server import build_parser, page_options
from llmga.serve.page.model_pool import ModelPool

PAINTER = bundled(BUNDLED_PIPELINE, "")


@pytest.fixture(scope="module")
def models() -> tuple:
    args = build_parser().parse_args(["--seed", "7"])
    options = page_options(args)
    return options, Models.load(options.spec.checked())


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """One language model, one picture model, and what is neither."""
    for name, folder in (("words", bundled(BUNDLED_MLLM, "")), ("paint", PAINTER)):
        (tmp_path / name).symlink_to(folder, target_is_directory=True)
    (tmp_path / "notes").mkdir()
    (tmp_path / "file.txt").write_text("")
    return tmp_path


def pool(models: tuple, directory: Path | None = None, mode: str = "once") -> ModelPool:
    options, loaded = models
    return ModelPool(replace(options, model_directory=directory, mode=mode), loaded)


def test_models_of_the_command_line_are_offered_first(models: tuple, directory: Path) -> None:
    assert pool(models, directory).offered() == (["llmga-toy-mllm", "words"], ["llmga-toy-sdxl-t2i", "paint"])


def test_a_single_file_that_paints_is_offered_and_no_other_file(models: tuple, directory: Path) -> None:
    heads = {
        "one.safetensors": {"model.diffusion_model.input_blocks.0.0.weight": (8, 4, 3, 3), "first_stage_model.x": (1,)},
        "vae.safetensors": {"decoder.mid.block_1.norm1.weight": (1,), "decoder.up.0.block.0.norm1.weight": (1,)},
    }
    for name, shapes in heads.items():
        save_file({key: torch.zeros(shape) for key, shape in shapes.items()}, directory / name)
    (directory / "damaged.safetensors").write_bytes(b"x")
    assert pool(models, directory).offered()[1] == ["llmga-toy-sdxl-t2i", "paint", "one.safetensors"]


@pytest.mark.parametrize(("mode", "later"), [("once", False), ("reload", True)])
def test_a_model_that_comes_later_is_offered_when_the_list_is_read_again(
    models: tuple, directory: Path, mode: str, later: bool
) -> None:
    shared = pool(models, directory, mode)
    (directory / "new").symlink_to(PAINTER, target_is_directory=True)
    assert ("new" in shared.offered()[1]) == later


@pytest.mark.parametrize("name", ["nothing", "notes", "../words", "/etc", str(PAINTER)])
def test_only_what_is_offered_is_opened(models: tuple, directory: Path, name: str) -> None:
    with pytest.raises(UserError, match="not offered"):
        pool(models, directory).assistant(language=name)


def test_a_chosen_model_is_loaded_once_and_named_in_the_records(models: tuple, directory: Path) -> None:
    shared = pool(models, directory)
    one, two = (shared.assistant(picture="paint") for _ in range(2))
    assert one.pipeline.pipeline.denoiser is two.pipeline.pipeline.denoiser
    assert one.pipeline.lock is two.pipeline.lock is not shared.assistant().pipeline.lock
    assert one.models[1].sha256 == models[1].marks[1].sha256


def test_a_model_that_is_torn_is_one_sentence(models: tuple, directory: Path) -> None:
    shutil.copytree(PAINTER, directory / "torn")
    (directory / "torn/unet/config.json").unlink()
    with pytest.raises(UserError, match="torn"):
        pool(models, directory).assistant(picture="torn")


def test_samplers_of_sessions_do_not_meet(models: tuple) -> None:
    shared = pool(models)
    one, two = shared.assistant(), shared.assistant()
    one.pipeline.use_sampler("ddim")
    assert one.pipeline.describe()["sampler_name"] == "ddim"
    assert two.pipeline.describe()["sampler_name"] == "checkpoint"
    with pytest.raises(UserError, match="sampler"):
        two.pipeline.use_sampler("nonsense")

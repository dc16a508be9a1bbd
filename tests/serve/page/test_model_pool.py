"""Models that sessions share, and the list that is offered."""

import shutil
from pathlib import Path

import pytest

from llmga.assistant.loading import Models
from llmga.errors import UserError
from llmga.serve import args as flags
from llmga.serve.args import BUNDLED_MLLM, BUNDLED_PAINTER, shipped
from llmga.serve.gradio_web_server import build_parser
from llmga.serve.page.model_pool import ModelPool

PAINTER = shipped(BUNDLED_PAINTER, "")


@pytest.fixture(scope="module")
def models() -> tuple:
    args = build_parser().parse_args(["--seed", "7"])
    flags.check(args)
    return args, Models.load(args)


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """One language model, one picture model, and what is neither."""
    for name, folder in (("words", shipped(BUNDLED_MLLM, "")), ("paint", PAINTER)):
        (tmp_path / name).symlink_to(folder, target_is_directory=True)
    (tmp_path / "notes").mkdir()
    (tmp_path / "file.txt").write_text("")
    return tmp_path


def test_models_of_the_command_line_are_offered_first(models: tuple, shelf: Path) -> None:
    assert ModelPool(*models, shelf=shelf).offered() == (["llmga-toy-mllm", "words"], ["llmga-toy-sdxl-t2i", "paint"])


@pytest.mark.parametrize(("mode", "later"), [("once", False), ("reload", True)])
def test_a_model_that_comes_later_is_offered_when_the_list_is_read_again(
    models: tuple, shelf: Path, mode: str, later: bool
) -> None:
    pool = ModelPool(*models, mode, shelf)
    (shelf / "new").symlink_to(PAINTER, target_is_directory=True)
    assert ("new" in pool.offered()[1]) == later


@pytest.mark.parametrize("name", ["nothing", "notes", "../words", "/etc", str(PAINTER)])
def test_only_what_is_offered_is_opened(models: tuple, shelf: Path, name: str) -> None:
    with pytest.raises(UserError, match="not offered"):
        ModelPool(*models, shelf=shelf).assistant(words=name)


def test_a_chosen_model_is_loaded_once_and_named_in_the_records(models: tuple, shelf: Path) -> None:
    pool = ModelPool(*models, shelf=shelf)
    one, two = (pool.assistant(paint="paint") for _ in range(2))
    assert one.pipeline.pipeline.denoiser is two.pipeline.pipeline.denoiser
    assert one.pipeline.turns is two.pipeline.turns is not pool.assistant().pipeline.turns
    assert one.models[1].sha256 == models[1].marks[1].sha256


def test_a_model_that_is_torn_is_one_sentence(models: tuple, shelf: Path) -> None:
    shutil.copytree(PAINTER, shelf / "torn")
    (shelf / "torn/unet/config.json").unlink()
    with pytest.raises(UserError, match="torn"):
        ModelPool(*models, shelf=shelf).assistant(paint="torn")


def test_samplers_of_sessions_do_not_meet(models: tuple) -> None:
    pool = ModelPool(*models)
    one, two = pool.assistant(), pool.assistant()
    one.pipeline.use_sampler("ddim")
    assert one.pipeline.describe()["sampler_name"] == "ddim"
    assert two.pipeline.describe()["sampler_name"] == "checkpoint"
    with pytest.raises(UserError, match="sampler"):
        two.pipeline.use_sampler("nonsense")

"""What the heads of files say of their training, in kohya's words, Stability's and our own."""

from pathlib import Path

import pytest

from llmga.diffusers.lora_files import LoraFile
from llmga.diffusers.lora_origin import Origin, check_origin, origin_metadata
from llmga.diffusers.pipelines import load_pipeline
from llmga.errors import UserError

SAYINGS = [
    ({}, Origin()),
    ({"format": "pt", "ss_network_dim": "8"}, Origin()),
    ({"ss_base_model_version": "sd_v1", "ss_v2": "False", "modelspec.prediction_type": "epsilon"},
     Origin("sd15", "epsilon")),
    ({"ss_base_model_version": "sd_v1_v"}, Origin("sd15", "v_prediction")),
    ({"ss_base_model_version": "sd_v2_v", "ss_v2": "True", "modelspec.prediction_type": "v"},
     Origin("sd2", "v_prediction")),
    ({"ss_v2": "True"}, Origin("sd2")),
    ({"ss_base_model_version": "sdxl_base_v1-0", "modelspec.architecture": "stable-diffusion-xl-v1-base/lora"},
     Origin("sdxl")),
    ({"modelspec.architecture": "stable-diffusion-xl-v1-base/lora", "modelspec.prediction_type": "v"},
     Origin("sdxl", "v_prediction")),
    ({"modelspec.architecture": "stable-diffusion-v1/lora"}, Origin("sd15")),
    ({"modelspec.architecture": "stable-diffusion-v2-768-v/lora"}, Origin("sd2")),
    ({"ss_base_model_version": "flux1"}, Origin("flux")),
    ({"modelspec.architecture": "flux-1-dev/lora"}, Origin("flux")),
    ({"modelspec.architecture": "stable-diffusion-3-medium/lora"}, Origin("sd3")),
    ({"ss_base_model_version": "somebody's own"}, Origin()),
    ({"llmga.layout": "llmga", "llmga.base": "x", "llmga.base_sha256": "12"}, Origin(None, None, "llmga", "x", "12")),
]  # fmt: skip


@pytest.mark.parametrize(("metadata", "origin"), SAYINGS)
def test_heads_are_read(metadata, origin):
    assert Origin.read(metadata) == origin


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_what_is_written_is_read_back(goldens, family, prediction):
    base = Path(goldens.folder(family))
    said = origin_metadata(
        family=family, prediction=prediction, layout="a1111", base=base, rank=4, alpha=8.0, steps=10
    )  # fmt: skip
    assert all(isinstance(value, str) for value in said.values())
    assert Origin.read(said) == Origin(family, prediction, "a1111", base.name, said["llmga.base_sha256"])
    assert len(said["llmga.base_sha256"]) == 64


@pytest.fixture(scope="module")
def painters(goldens):
    return {family: load_pipeline(goldens.folder(family), device="cpu") for family in ("sd15", "sdxl")}


def about(metadata, generator):
    return check_origin(LoraFile(Path("it.safetensors"), {}, metadata), generator)


@pytest.mark.parametrize(
    ("family", "metadata"),
    [
        ("sd15", {"ss_base_model_version": "sd_v1", "modelspec.prediction_type": "epsilon"}),
        ("sdxl", {"ss_base_model_version": "sdxl_base_v1-0", "modelspec.prediction_type": "epsilon"}),
        ("sdxl", {"ss_base_model_version": "somebody's own", "modelspec.prediction_type": "sample of another kind"}),
        ("sdxl", {"llmga.layout": "joined"}),
    ],
)
def test_what_fits_passes(painters, family, metadata):
    about(metadata, painters[family])


@pytest.mark.parametrize(
    ("family", "metadata", "said"),
    [
        ("sd15", {"ss_base_model_version": "sdxl_base_v1-0"}, "another family than sd15: their file says sdxl"),
        ("sd15", {"ss_base_model_version": "sd_v2", "ss_v2": "True"}, "another family than sd15: their file says sd2"),
        ("sdxl", {"modelspec.architecture": "flux-1-dev/lora"}, "another family than sdxl: their file says flux"),
        ("sd15", {"ss_base_model_version": "sd_v1_v"}, "trained to predict v_prediction, but .* predicts epsilon"),
        ("sdxl", {"modelspec.prediction_type": "v"}, "trained to predict v_prediction, but .* predicts epsilon"),
        ("sdxl", {"llmga.layout": "llmga"}, "in the layout 'llmga', but .* as 'joined'; .*generation_defaults.json"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_remedy(painters, family, metadata, said):
    with pytest.raises(UserError, match=said):
        about(metadata, painters[family])


def test_a_painter_that_predicts_velocities_takes_only_its_own(goldens):
    painter = load_pipeline(goldens.folder("sdxl"), device="cpu")
    painter.own_scheduler.register_to_config(prediction_type="v_prediction")
    about({"modelspec.prediction_type": "v"}, painter)
    with pytest.raises(UserError, match="trained to predict epsilon, but .* predicts v_prediction"):
        about({"modelspec.prediction_type": "epsilon"}, painter)

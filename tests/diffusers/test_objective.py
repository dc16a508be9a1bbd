import pytest
import torch

from llmga.diffusers.generators import GENERATORS
from llmga.diffusers.train.objective import Objective
from llmga.errors import UserError


def objective_of(pipe, case, **changes):
    settings = {"snr_gamma": case["snr_gamma"], "noise_offset": case["noise_offset"]} | changes
    scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, prediction_type=case["prediction_type"])
    return Objective(scheduler, **settings)


def test_noise_follows_its_generator_and_the_offset_moves_whole_channels(goldens):
    case, pipe = goldens.manifest["train"]["sd15_base"], goldens.pipeline("sd15")
    plain, shifted = objective_of(pipe, case), objective_of(pipe, case, noise_offset=0.5)
    draws = [o.draw(torch.Size((2, 4, 64, 64)), torch.Generator().manual_seed(1))[0] for o in (plain, plain, shifted)]
    assert torch.equal(draws[0], draws[1])
    shift = draws[2] - draws[0]
    torch.testing.assert_close(shift, shift.mean(dim=(2, 3), keepdim=True).expand_as(shift), atol=1e-5, rtol=0)
    assert shift.abs().max() > 0.1


def test_other_predictions_are_refused(goldens):
    case = {**goldens.manifest["train"]["sd15_base"], "prediction_type": "sample"}
    with pytest.raises(UserError, match="sample"):
        objective_of(goldens.pipeline("sd15"), case)


def test_what_the_unet_says_can_be_changed(goldens):
    case, pipe = goldens.manifest["train"]["sd15_base"], goldens.pipeline("sd15")
    other = {"epsilon": "v_prediction", "v_prediction": "epsilon"}[case["prediction_type"]]
    assert objective_of(pipe, case, prediction=other).prediction == other


def test_sizes_are_told_exactly_whatever_the_number_format():
    sizes = torch.tensor([[1023, 801, 3, 0, 1024, 1024]])
    told = GENERATORS["sdxl"].conditions(torch.zeros(1, 4, dtype=torch.bfloat16), sizes)
    assert torch.equal(told["time_ids"].long(), sizes)

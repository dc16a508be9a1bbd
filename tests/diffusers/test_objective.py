import diffusers
import pytest
import torch

from llmga.diffusers.pipelines import PIPELINES
from llmga.diffusers.train.objective import DenoisingObjective
from llmga.errors import UserError


def objective_of(pipe, case, **changes):
    settings = {"snr_gamma": case["snr_gamma"], "noise_offset": case["noise_offset"]} | changes
    scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, prediction_type=case["prediction_type"])
    return DenoisingObjective(scheduler, **settings)


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
    told = PIPELINES["sdxl"].conditions(torch.zeros(1, 4, dtype=torch.bfloat16), sizes)
    assert torch.equal(told["time_ids"].long(), sizes)


STABLE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def test_zero_terminal_snr_is_trained_where_nothing_of_a_picture_is_left():
    own = diffusers.EulerDiscreteScheduler(**STABLE, rescale_betas_zero_snr=True, prediction_type="v_prediction")
    objective, seen = DenoisingObjective(own, snr_gamma=5.0), []

    def velocity(noisy, times):
        seen.append(noisy)
        signal = objective.schedule.alphas_cumprod[times].view(-1, 1, 1, 1).sqrt()
        return signal * noise - (1 - signal**2).sqrt() * latents

    latents, noise = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0)).unbind()
    assert objective.loss(velocity, latents, noise, torch.tensor([999, 500, 0])).item() < 1e-10
    assert torch.equal(seen[0][0], noise[0])
    assert torch.isfinite(objective.loss(lambda noisy, times: noisy, latents, noise, torch.tensor([999, 998, 0])))


def test_the_schedule_is_the_checkpoints_however_little_it_states():
    """Left to the defaults of LCM, which differ from those of other classes."""
    objective = DenoisingObjective(diffusers.LCMScheduler())
    assert torch.equal(objective.schedule.alphas_cumprod, diffusers.LCMScheduler().alphas_cumprod)


@pytest.mark.parametrize(
    ("own", "kind"),
    [
        (diffusers.EDMEulerScheduler(), "EDM"),
        (diffusers.EDMDPMSolverMultistepScheduler(sigma_data=1.0, prediction_type="v_prediction"), "EDM"),
        (diffusers.EulerDiscreteScheduler(timestep_type="continuous", prediction_type="v_prediction"), "EDM"),
        (diffusers.FlowMatchEulerDiscreteScheduler(), "flow-matching"),
        (diffusers.UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction"), "flow-matching"),
        (diffusers.KarrasVeScheduler(), "unknown"),
        (diffusers.DDIMScheduler(rescale_betas_zero_snr=True), "zero-terminal-SNR .*epsilon"),
    ],
)
def test_kinds_that_are_not_trained_are_named(own, kind):
    with pytest.raises(UserError, match=f"^the checkpoint is of the kind {kind}"):
        DenoisingObjective(own)
    if "epsilon" not in kind:
        with pytest.raises(UserError, match=kind):
            DenoisingObjective(own, prediction="v_prediction")

import copy

import pytest
import torch
from diffusers.training_utils import EMAModel

from llmga.diffusers.generators import GENERATORS
from llmga.diffusers.train.objective import Objective
from llmga.errors import UserError

VARIANTS = ["sd15_base", "sd15_minsnr", "sd15_offset", "sd15_vpred_minsnr", "sdxl_base", "sdxl_minsnr", "sdxl_vpred"]


def objective_of(pipe, case, **changes):
    settings = {"snr_gamma": case["snr_gamma"], "noise_offset": case["noise_offset"]} | changes
    scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, prediction_type=case["prediction_type"])
    return Objective(scheduler, **settings)


def predictor(family, unet, base):
    """The UNet, told the recorded prompts and sizes."""
    conditions = GENERATORS[family].conditions(base.get("pooled_embeds"), base.get("time_ids", torch.zeros(0)))
    return lambda noisy, times: unet(noisy, times, base["prompt_embeds"], added_cond_kwargs=conditions).sample


@pytest.mark.parametrize("name", VARIANTS)
def test_loss_is_the_recorded_one(goldens, name):
    case, tensors = goldens.manifest["train"][name], goldens.tensors(f"train_{name}")
    pipe, base = goldens.pipeline(case["pipeline"]), goldens.tensors(f"train_{case['pipeline']}_base")
    predict = predictor(case["pipeline"], pipe.unet, base)
    with torch.no_grad():
        loss = objective_of(pipe, case).loss(predict, *(tensors[f"s0.{n}"] for n in ("latents", "noise", "timesteps")))
    assert loss.item() == pytest.approx(case.get("losses_corrected", case["losses"])[0], abs=1e-5)


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_three_steps_lead_to_the_recorded_weights(goldens, family):
    case, tensors = goldens.manifest["train"][f"{family}_base"], goldens.tensors(f"train_{family}_base")
    pipe = goldens.pipeline(family)
    unet = copy.deepcopy(pipe.unet).train()
    objective, predict = objective_of(pipe, case), predictor(family, unet, tensors)
    ema = EMAModel(unet.parameters(), foreach=True)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=case["optimizer"]["lr"], weight_decay=1e-2)
    names = [name for name, _ in unet.named_parameters()]
    for step, (loss_then, norm_then) in enumerate(zip(case["losses"], case["grad_norms"], strict=True)):
        recorded = (tensors[f"s{step}.{n}"] for n in ("latents", "noise", "timesteps"))
        loss = objective.loss(predict, *recorded)
        loss.backward()
        assert loss.item() == pytest.approx(loss_then, abs=1e-5)
        assert torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0).item() == pytest.approx(norm_then, abs=1e-4)
        optimizer.step()
        optimizer.zero_grad()
        ema.step(unet.parameters())
        weights, averaged = dict(unet.named_parameters()), dict(zip(names, ema.shadow_params, strict=True))
        for name in case["param_names"]:
            torch.testing.assert_close(weights[name].data, tensors[f"s{step}.param.{name}"], atol=1e-5, rtol=0)
            torch.testing.assert_close(averaged[name], tensors[f"s{step}.ema.{name}"], atol=1e-5, rtol=0)


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

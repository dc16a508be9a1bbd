"""Recorded values: whatever the manifest lists is compared, and nothing is left out.

No size, seed or name of one particular set is known here, only how such a set is laid out (its README.md).
"""

import json
import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from llmga.diffrir import degradation, kernels
from llmga.diffrir.checkpoints import published_state_dict, read_config, unaliased
from llmga.diffrir.diffusion import prior_kl, schedule
from llmga.diffrir.discriminator import Discriminator
from llmga.diffrir.jpeg import jpeg
from llmga.diffrir.losses import PERCEPTUAL_WEIGHTS, Pair, adversarial_loss, composite, perceptual_loss, total
from llmga.diffrir.masks import KINDS, PROBABILITIES, SIDE, random_mask
from llmga.diffrir.model import MODELS, WINDOW, DiffRIRConfig, network_input
from llmga.diffrir.restorer import DiffRIR
from llmga.diffrir.tiles import TiledInput, filled, mirrored, restore_pictures
from llmga.diffrir.train.config import PRESETS
from llmga.diffrir.train.objective import OBJECTIVES, Opponent
from llmga.diffrir.train.trainer import learning_rate

ROOT = Path(os.environ.get("LLMGA_FIXTURES", Path(__file__).parents[1] / "fixtures")) / "diffrir"
MANIFEST = json.loads((ROOT / "manifest.json").read_text())
EXPECTED = MANIFEST["expected"]
TOLERANCE = MANIFEST["tolerance"]
IMAGE, PRIOR, LOSS = TOLERANCE["image_max_abs"], TOLERANCE["prior_max_abs"], TOLERANCE["loss_abs"]
JUDGES = [name for name, model in MANIFEST["models"].items() if "discriminator" in model["class"]]
NETWORKS = [name for name in MANIFEST["models"] if name not in JUDGES]
STAGE1 = [name for name in NETWORKS if MANIFEST["models"][name]["class"] == "stage 1"]
STAGE2 = [name for name in NETWORKS if MANIFEST["models"][name]["class"] == "stage 2"]
PIPELINES = [name for name in EXPECTED if name.startswith("pipeline_")]
TRACES = [name for name in EXPECTED if name.startswith("degradation_trace_")]
INFERENCES = sorted(path.stem for path in ROOT.glob("infer_*.safetensors"))
PUBLISHED = sorted((ROOT / "published_state_dict").glob("*.json"))
TRAINING = json.loads((ROOT / "train_step_expected.json").read_text())
STATISTICS = json.loads((ROOT / "mask_statistics.json").read_text())
OPS = load_file(ROOT / "degradation_ops.safetensors")


def close(got, recorded, tolerance):
    torch.testing.assert_close(got, recorded.to(got), atol=tolerance, rtol=0)


def tensors(name):
    """A file of tensors; pictures and masks as float, pictures in [0, 1]."""
    found = load_file(ROOT / f"{name}.safetensors")
    top = {key: 1 if "mask" in key else 255 for key, value in found.items() if value.dtype == torch.uint8}
    return {key: value.float() / top[key] if key in top else value for key, value in found.items()}


@cache
def stored(name):
    """The unique weights of a model, by their published names."""
    files = MANIFEST["models"][name]["weights"]
    return {part["prefix"] + k: v.float() for part in files for k, v in load_file(ROOT / part["file"]).items()}


def opened(name):
    """A fresh model with its stored weights."""
    config = MANIFEST["models"][name]["config"]
    stage = 1 if name in STAGE1 else 2
    model = Discriminator(**config) if name in JUDGES else MODELS[stage](DiffRIRConfig.of(config))
    model.load_state_dict(stored(name))
    return model


def forwards(name):
    """The recorded forward of a network, and that of the stage-1 network of the same input."""
    stage, scale = name.split("_", 1)
    own = tensors(f"{stage}_forward_{scale}")
    return own, tensors(f"s1_forward_{scale}")


@pytest.mark.parametrize("name", STAGE1 + STAGE2)
def test_the_state_dict_is_the_recorded_one(name):
    listed = MANIFEST["models"][name]
    state = published_state_dict(opened(name))
    assert {key: list(tensor.shape) for key, tensor in state.items()} == listed["state_dict_keys"]
    for key, tensor in state.items():
        for alias, own in listed.get("aliases", {}).items():
            if key.startswith(alias):
                assert tensor is state[own + key.removeprefix(alias)] or torch.equal(
                    tensor, state[own + key.removeprefix(alias)]
                )
    assert unaliased(state, "it").keys() == stored(name).keys()


@pytest.mark.parametrize("name", STAGE1 + STAGE2)
def test_the_configuration_is_read_from_the_weights(name):
    config = opened(name).config
    found = read_config(published_state_dict(opened(name)))
    # Several factors may round to the same widths, and any of them is right.
    assert [int(width * found.ffn_expansion_factor) for width in (config.dim, 8 * config.dim)] == [
        int(width * config.ffn_expansion_factor) for width in (config.dim, 8 * config.dim)
    ]
    same = {key: value for key, value in config.to_dict().items() if key != "ffn_expansion_factor"}
    assert {key: found.to_dict()[key] for key in same} == same


@pytest.mark.parametrize("name", STAGE2)
def test_the_schedule_is_the_recorded_one(name):
    config, recorded = opened(name).config, load_file(ROOT / "schedule.safetensors")
    arrays = schedule(config.timesteps, config.linear_start, config.linear_end)
    assert arrays.keys() == recorded.keys()
    for key, array in arrays.items():
        torch.testing.assert_close(array, recorded[key], atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("name", STAGE1)
@torch.inference_mode()
def test_stage_1_restores_as_recorded(name):
    recorded, _ = forwards(name)
    model = opened(name).eval()
    net_input = network_input(recorded["lq"], recorded["gt"], recorded["mask"], model.config.scale)
    close(net_input, recorded["net_input"], 1e-6)
    seen = {}
    for part in (key.split(".")[1] for key in recorded if key.startswith("stage.")):
        module = getattr(model.G, part)
        module = module.proj if part == "patch_embed" else module
        module.register_forward_hook(lambda _, __, out, part=part: seen.__setitem__(part, out))
    sr, prior = model(recorded["net_input"], recorded["gt"])
    close(prior, recorded["prior"], PRIOR)
    close(sr, recorded["sr"], IMAGE)
    for part, features in seen.items():
        first = features if part == "patch_embed" else features.permute(0, 3, 1, 2)
        wanted = recorded[f"stage.{part}"]
        close(first[:1], wanted, IMAGE * max(1, wanted.abs().max().item()))  # features are no pictures and range wider


@pytest.mark.parametrize("name", STAGE1)
@torch.inference_mode()
def test_a_block_computes_what_was_recorded(name):
    recorded, _ = forwards(name)
    block = opened(name).G.encoder_level2[0]

    def of(key):
        return recorded[f"enc2_block0.{key}"].permute(0, 2, 3, 1)

    x, prior = of("block_in"), recorded["enc2_block0.block_prior"]
    close(block.norm1(x), of("norm1_out"), IMAGE)
    close(block.attn(x, block.norm1, prior), of("attn_out"), IMAGE)
    x = x + of("attn_out")
    close(block.norm2(x), of("norm2_out"), IMAGE)
    close(block.ffn(x, block.norm2, prior), of("ffn_out"), IMAGE)
    close(block(of("block_in"), prior), of("block_out"), IMAGE)


@pytest.mark.parametrize("name", STAGE2)
@torch.inference_mode()
def test_stage_2_restores_as_recorded(name):
    recorded, shared = forwards(name)
    model, net_input = opened(name).eval(), shared["net_input"]
    condition = model.conditioned(net_input)
    close(condition, recorded["condition"], PRIOR)
    for step in (key for key in recorded if key.startswith("denoise_t")):
        number = int(step.removeprefix("denoise_t").removesuffix("_out"))
        close(model.denoise(recorded["noise_eval"], number, condition), recorded[step], PRIOR)
    path = model.diffusion.steps(model.denoise, recorded["noise_eval"], condition)
    close(torch.stack([x for x, _ in path]), recorded["eval_steps_x"], PRIOR)
    close(torch.stack([guess for _, guess in path]), recorded["eval_steps_x0"], PRIOR)
    close(model.prior(condition, recorded["noise_eval"]), recorded["prior_eval"], PRIOR)
    close(model(net_input, recorded["noise_eval"]), recorded["sr_eval"], IMAGE)


@pytest.mark.parametrize("name", STAGE2)
@torch.inference_mode()
def test_stage_2_trains_from_the_recorded_prior(name):
    recorded, shared = forwards(name)
    model = opened(name).train()
    noisy = model.diffusion.noised(recorded["teacher_prior"], recorded["noise_train"])
    close(noisy, recorded["x_noisy_train"], PRIOR)
    sr, path = model.train_forward(shared["net_input"], recorded["teacher_prior"], recorded["noise_train"])
    close(torch.stack(path), recorded["train_steps_x"], PRIOR)
    close(sr, recorded["sr_train"], IMAGE)


@pytest.mark.parametrize("name", PIPELINES)
@torch.inference_mode()
def test_any_size_is_restored_as_recorded(name):
    recorded, about = tensors(name), EXPECTED[name]
    scale = name.removeprefix("pipeline_")
    student, teacher = opened(f"s2_{scale}").eval(), opened(f"s1_{scale}").eval()
    gt, mask = recorded["gt"], recorded["mask"]
    pictures = TiledInput(recorded["lq"], gt, mask.bool())
    height, width = pictures.filled_size
    assert (height - recorded["lq"].shape[2], width - recorded["lq"].shape[3]) == (about["pad_h_lq"], about["pad_w_lq"])
    net_input = pictures.read(slice(0, height), slice(0, width))
    if "net_input_padded" in recorded:
        close(net_input, recorded["net_input_padded"], 1e-6)

    def finished(output):
        return composite(output, gt, mask) if about["composited"] else output

    close(finished(restore_pictures(student, pictures, recorded["noise"])), recorded["output_s2"], IMAGE)
    rows, columns = (mirrored(torch.arange(filled(side, WINDOW)), side) for side in gt.shape[2:])
    output, _ = teacher(net_input, gt[:, :, rows][..., columns])
    close(finished(output[:, :, : gt.shape[2], : gt.shape[3]]), recorded["output_s1"], IMAGE)


@pytest.mark.parametrize("name", INFERENCES)
def test_a_picture_file_is_restored_within_one_level(name, monkeypatch):
    recorded = load_file(ROOT / f"{name}.safetensors")
    restorer = DiffRIR(opened(f"s2_{name.removeprefix('infer_')}").eval())
    monkeypatch.setattr(restorer, "_noise", lambda count: recorded["noise"])
    image, reference, mask = (Image.fromarray(recorded[key].numpy()) for key in ("image", "reference", "mask"))
    output = np.asarray(restorer(image, reference, mask)).astype(int)
    assert np.abs(output - recorded["output"].numpy()).max() <= 1
    kept = recorded["mask_binary"].numpy() == 0
    assert np.array_equal(output[kept], recorded["reference"].numpy()[kept])


PHASES = [(scale, phase) for scale, phases in TRAINING.items() for phase in phases]


@pytest.mark.parametrize(("scale", "phase"), PHASES)
def test_a_training_step_has_the_recorded_losses_and_gradients(scale, phase):
    recorded, wanted = tensors(f"train_step_{scale}"), TRAINING[scale][phase]
    pair = Pair(recorded["lq"], recorded["gt"], recorded["mask"])
    teacher = opened(f"s1_{scale}").train()
    model = teacher if phase == "stage1" else opened(f"s2_{scale}").train()
    judge = opened(JUDGES[0]).train() if phase == "gan" else None
    losses = step_losses(phase, model, teacher, pair, recorded["noise"], judge)
    named = {"l_pix": "image", "l_g_pix": "image", "l_g_gan": "adversarial"}
    for name, value in wanted["losses"].items():
        name = (
            "prior" if name.startswith("l_abs_") else "prior_kl" if name.startswith("l_kd_") else named.get(name, name)
        )
        assert losses[name] == pytest.approx(value, abs=LOSS, rel=1e-5)
    check_gradients(model, wanted["grad_l2_g" if judge else "grad_l2"])
    if judge:
        check_gradients(judge, wanted["grad_l2_d"])


# The presets that train the recorded phases; the losses and the rates are theirs.
PHASE_PRESETS = {
    "stage1": "s1", "stage2_prior_phase": "s2-prior", "stage2_joint_phase": "s2-joint", "gan": "gan",
}  # fmt: skip


def step_losses(phase, model, teacher, pair, noise, judge):
    """All losses of a step by name, with every gradient in place."""
    config = PRESETS[f"x{model.config.scale}-{PHASE_PRESETS[phase]}"]
    losses, output = OBJECTIVES[config.objective](model, teacher, composited=config.composited)(pair, noise)
    if judge is None:
        total(losses).backward()
        return {name: loss.item() for name, loss in losses.items()}
    opponent = Opponent(judge)  # without features: the perceptual term is left out of the record
    losses |= opponent.losses(output, pair)
    total(losses).backward()
    for (lesson, logit), side in zip(opponent.lessons(output, pair), ("real", "fake"), strict=True):
        losses[f"out_d_{side}"], losses[f"l_d_{side}"] = logit, lesson[f"judge_{side}"]
        losses[f"l_d_{side}"].backward()
    return {name: loss.item() for name, loss in losses.items()}


def check_gradients(model, wanted):
    got = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert got.keys() >= wanted.keys()
    for name, norm in wanted.items():
        if norm is None:
            assert got[name] is None, name
        else:
            assert got[name].norm().item() == pytest.approx(norm, rel=TOLERANCE["grad_l2_rel"], abs=1e-7), name
    assert {name for name, gradient in got.items() if gradient is not None} <= wanted.keys()


def test_learning_rates_are_the_recorded_ones():
    prior = PRESETS["x1-s2-prior"].steps
    shifts = {
        "stage2_prior_phase_lr": ("s2-prior", 0),
        "stage2_joint_phase_lr": ("s2-joint", prior),
        "gan_generator_lr": ("gan", 0),
    }
    for row in EXPECTED["lr_table"]:
        for key, (preset, shift) in shifts.items():
            for scale in (1, 2, 4):
                config = PRESETS[f"x{scale}-{preset}"]
                if row.get(key) is not None:
                    assert learning_rate(config, row["iteration"] - shift, config.lr) == pytest.approx(row[key])


@pytest.mark.parametrize("name", JUDGES)
def test_the_discriminator_judges_as_recorded(name):
    recorded = tensors("discriminator")
    judge = opened(name)
    assert {k: list(v.shape) for k, v in judge.state_dict().items()} == MANIFEST["models"][name]["state_dict_keys"]
    with torch.no_grad():
        close(judge.eval()(recorded["input"]), recorded["eval_logits"], IMAGE)
        judge.skip_connection = False
        close(judge(recorded["input"]), recorded["eval_logits_no_skip"], IMAGE)
        judge = opened(name).train()
        for call in (1, 2):
            close(judge(recorded["input"]), recorded[f"train_logits_call{call}"], IMAGE)
    for key, value in recorded.items():
        if key.startswith("after2."):
            close(judge.state_dict()[key.removeprefix("after2.")], value, PRIOR)


def test_losses_are_the_recorded_ones():
    recorded, wanted = tensors("losses"), EXPECTED["losses"]
    student, teacher, logits = (recorded[key] for key in ("kd.student", "kd.teacher", "gan.logits"))
    assert wanted["perceptual_layer_weights"] == PERCEPTUAL_WEIGHTS
    features = [{n: recorded[f"percep.{side}.{n}"] for n in PERCEPTUAL_WEIGHTS} for side in ("pred", "target")]
    got = {
        "kd_kl_temperature_0.15_batchmean": prior_kl(student, teacher),
        "kd_l1": (student - teacher).abs().mean(),
        "l1": (recorded["l1.pred"] - recorded["l1.target"]).abs().mean(),
        "perceptual_weighted_l1_from_features": perceptual_loss(*features),
    }
    for key in wanted:
        if key.startswith("gan_generator_w"):
            got[key] = float(key.removeprefix("gan_generator_w")) * adversarial_loss(logits, real=True)
        elif key.startswith("gan_disc_"):
            got[key] = adversarial_loss(logits, real="real" in key)
    for key in wanted.keys() - {"perceptual_layer_weights"}:
        assert got[key].item() == pytest.approx(wanted[key], abs=LOSS), key


@pytest.mark.parametrize("case", EXPECTED["kernels"], ids=lambda case: case["name"])
def test_kernels_are_the_recorded_ones(case):
    if "cutoff" in case:
        kernel = kernels.sinc(case["cutoff"], case["size"], case.get("padded_to", 0))
    else:
        shape = kernels.plateau if case["name"].startswith("plateau") else kernels.gaussian
        sigmas = [case.get(f"sigma_{axis}", case.get("sigma")) for axis in "xy"]
        kernel = shape(case["size"], *sigmas, case.get("theta", 0.0), case.get("beta", 1.0))
    close(kernel, OPS[f"kernel.{case['name']}"], 1e-7)


@pytest.mark.parametrize("name", sorted({key.split(".")[0] for key in OPS} - {"kernel"}))
def test_operations_are_the_recorded_ones(name):
    op = {key.split(".", 1)[1]: value for key, value in OPS.items() if key.startswith(f"{name}.")}
    if name == "gauss":
        noise = op["unit_noise"] * op["sigma"].view(-1, 1, 1, 1) / 255
        close(degradation.add_noise(op["image"], noise), op["out_colour"], 1e-6)
        return
    operations = {
        "lumi": lambda: degradation.luminance(op["image"], op["gain"], op["bias"]),
        "filter": lambda: degradation.blur(op["image"], op["kernels"]),
        "usm": lambda: degradation.sharpen(op["image"]),
        "jpeg": lambda: jpeg(op["image"], op["quality"]),
    }
    close(operations[name](), op["out"], 1e-5)


@pytest.mark.parametrize("name", TRACES)
def test_a_whole_degradation_is_the_recorded_one(name):
    recorded = tensors(name)
    x = recorded["gt_full"]
    for number, step in enumerate(EXPECTED[name]):
        key = f"step{number:02d}"
        if step["op"] == "quantise_and_crop":
            close(degradation.quantise(x), recorded[f"{key}.lq_full"], 1e-6)
            lq, gt, mask = (recorded[f"{key}.{part}"] for part in ("lq", "gt", "mask"))
            assert gt.shape[-1] == step["gt_size"] == lq.shape[-1] * step["scale"]
            close(network_input(lq, gt, mask, step["scale"]), recorded["net_input"], 1e-6)
            continue
        if step["op"] == "blur":
            x = degradation.blur(x, recorded[step["kernel"]])
        elif step["op"] == "resize":
            size = tuple(step["size"]) if step["size"] else None
            x = degradation.resize(x, step["mode"], size=size, scale_factor=step["scale_factor"])
            assert list(x.shape[-2:]) == step["result"]
        elif step["op"] == "jpeg":
            close(x.clamp(0, 1), recorded[f"{key}.in_clamped"], 1e-5)
            x = jpeg(recorded[f"{key}.in_clamped"], torch.tensor(step["quality"]))
        elif step["op"] == "luminance":
            x = degradation.luminance(x, torch.tensor(step["gain"]), torch.tensor(step["bias"]))
        else:
            assert step["op"].endswith("_noise")
        if not step["op"].endswith("_noise"):
            close(x, recorded[f"{key}.out"], 1e-5)
        x = recorded[f"{key}.out"]


def drawn_mask(kind, size, rng):
    """As published: strokes and boxes are so many pixels on every size, which ours are at one size only."""
    if kind == "mixed" and size == (SIDE, SIDE):
        return random_mask(size, rng)
    kind = str(rng.choice(list(PROBABILITIES), p=list(PROBABILITIES.values()))) if kind == "mixed" else kind
    absolute = {} if kind == "outpainting" else {"side": round((size[0] * size[1]) ** 0.5)}
    return KINDS[kind](size, rng, **absolute)


@pytest.mark.parametrize("kind", STATISTICS["kinds"])
def test_masks_cover_what_was_recorded(kind):
    height, width = STATISTICS["image_height_width"]
    wanted, rng = STATISTICS["kinds"][kind], np.random.default_rng(1)
    coverages = np.array([drawn_mask(kind, (width, height), rng).mean() for _ in range(1500)])
    # Both sides are means of so many draws only.
    error = coverages.std() * (1 / 1500 + 1 / STATISTICS["n_samples"]) ** 0.5
    assert coverages.mean() == pytest.approx(wanted["coverage_mean"], abs=max(0.02, 3 * error))
    assert coverages.std() == pytest.approx(wanted["coverage_std"], abs=0.02)
    assert np.mean(coverages == 0) == pytest.approx(wanted["fraction_empty"], abs=0.001)


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_the_published_keys_shapes_and_dtypes_are_ours(path):
    listed = json.loads(path.read_text())
    with torch.device("meta"):
        if listed["stage"] == "discriminator":
            model = Discriminator(**listed["config"])
        else:
            model = MODELS[int(listed["stage"].removeprefix("s"))](DiffRIRConfig.of(listed["config"]))
    state = published_state_dict(model)
    ours = {k: {"shape": list(v.shape), "dtype": str(v.dtype).removeprefix("torch.")} for k, v in state.items()}
    assert ours == listed["keys"]
    assert list(ours) == list(listed["keys"])
    assert sum(parameter.numel() for parameter in model.parameters()) == listed["n_unique_parameters"]

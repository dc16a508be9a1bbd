"""Training: every preset builds and steps, and a run cut in two is the unbroken one."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from llmga.diffrir.checkpoints import CONFIG_FILE, WEIGHTS_FILE, load_model, save_model, start_stage2
from llmga.diffrir.model import DiffRIRConfig, Stage1
from llmga.diffrir.restorer import open_diffrir
from llmga.diffrir.train.config import PRESETS
from llmga.diffrir.train.dataset import CleanBatch, RestorerDataset
from llmga.diffrir.train.pairs import PairMaker
from llmga.diffrir.train.plain_start import BOOST, LUMA, start_plain
from llmga.diffrir.train.train import train
from llmga.diffrir.train.trainer import RestorerTrainer, learning_rate
from llmga.errors import UserError
from llmga.training.checkpoints import checkpoints
from tests.faults import PICTURE_FAULTS

SMALL = dict(
    dim=8, num_blocks=(1, 0, 1, 1), num_refinement_blocks=0, n_encoder_res=0, picture=160, patch=32, pool=4,
    batch_size=2, steps=2, warmup=0, device="cpu", workers=0, perceptual=None, validation=None, checkpoint_every=2,
    validate_every=2,
)  # fmt: skip


@pytest.fixture
def album(tmp_path):
    """Three pictures of waves, one smaller than what is cut, and their list."""
    rng = np.random.default_rng(0)
    names = []
    for number, (width, height) in enumerate([(80, 70), (64, 64), (50, 90)]):
        y, x = np.mgrid[:height, :width]
        waves = np.stack([np.sin(x / rng.uniform(2, 9) + y / rng.uniform(2, 9)) for _ in range(3)], axis=-1)
        Image.fromarray((128 + 90 * waves).astype(np.uint8)).save(tmp_path / f"{number}.png")
        names.append(f"{number}.png")
    (tmp_path / "list.txt").write_text("\n".join(names))
    return tmp_path


@pytest.fixture
def small(album, tiny, tmp_path):
    """`small(preset, **changes)` is the preset's settings at a tiny size, with weights to start from."""

    def make(preset, **changes):
        config = replace(
            PRESETS[preset], **SMALL, data=str(album / "list.txt"), images=str(album), run=str(tmp_path / "run"),
            output=str(tmp_path / "out"), start=None, teacher=None,
        )  # fmt: skip
        if config.objective != "teacher":
            shape = dict(
                scale=config.scale, num_blocks=(1, 0, 1, 1), num_refinement_blocks=0, n_encoder_res=0,
                matched=config.matched,
            )  # fmt: skip
            teacher = tiny(stage=1, **shape)
            student = teacher if config.objective == "prior" else start_stage2(teacher)
            paths = {"teacher": tmp_path / "teacher", "start": tmp_path / "start"}
            for part, network in (("teacher", teacher), ("start", student)):
                save_model(network, paths[part])
            config = replace(config, **{part: str(path) for part, path in paths.items()})
        return replace(config, **changes)

    return make


def lines(config):
    return [json.loads(line) for line in Path(config.run, "log.jsonl").read_text().splitlines()]


def interrupted(trainer, at):
    """A trainer that is stopped in the middle of a step, after its last checkpoint."""
    optimise = trainer._optimise

    def stop(clean):
        if trainer.step == at:
            raise KeyboardInterrupt
        return optimise(clean)

    trainer._optimise = stop
    return trainer


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_builds_and_steps(small, preset):
    config = small(preset)
    output = train(config)
    names = set(lines(config)[-1]) - {"step", "grad_norm", "lr"}
    wanted = {
        "teacher": {"image"},
        "prior": {"prior", "prior_kl"},
        "joint": {"image", "prior", "prior_kl"},
        "adversarial": {"image", "prior", "prior_kl", "adversarial", "judge_real", "judge_fake"},
    }[config.objective]
    assert names == wanted
    made = load_model(output, scale=config.scale, stage=1 if config.objective == "teacher" else 2)
    assert made.config.matched == config.matched


@pytest.mark.parametrize(
    ("preset", "change"),
    [
        ("x1-s1", {}),
        ("x2-s2-prior", {}),
        ("x1-s2-joint", {"drift": 0.1}),
        ("x1-gan-v2", {"patch": 32, "pool": 2}),
        ("toy-x1-s2-joint", {"schedule": "cosine", "pool": 0}),
    ],
)
def test_a_run_cut_in_two_is_the_unbroken_run(small, tmp_path, preset, change):
    config = small(preset, steps=4, **change)
    whole = load_file(train(config) / WEIGHTS_FILE)
    parts = replace(config, run=str(tmp_path / "run2"), output=str(tmp_path / "out2"))
    with pytest.raises(KeyboardInterrupt):
        interrupted(RestorerTrainer(parts), at=3).fit()
    cut = load_file(train(parts) / WEIGHTS_FILE)
    assert [line["step"] for line in lines(parts)] == [1, 2, 3, 3, 4]
    assert max((cut[name].float() - whole[name].float()).abs().max() for name in whole) <= 1e-7


def test_a_damaged_checkpoint_names_what_to_remove_and_what_is_taken_then(small):
    config = small("x1-gan-v2", patch=32, pool=2, steps=2, checkpoint_every=1, keep=2)
    train(config)
    last = checkpoints(Path(config.run))[-1]
    for name in sorted(file.name for file in last.iterdir() if file.suffix != ".txt"):
        kept = (last / name).read_bytes()
        (last / name).write_bytes(kept[: len(kept) // 2])
        with pytest.raises(
            UserError, match=f"{name} is damaged.*; remove this folder, .*goes on from '.*checkpoint-1'"
        ):
            RestorerTrainer(config)
        (last / name).write_bytes(kept)
    assert RestorerTrainer(config).step == 2


def test_the_averaged_weights_are_saved(small):
    trainer = RestorerTrainer(small("x1-s2-joint"))
    trainer.fit()
    averaged = dict(zip(trainer.names, [shadow.clone() for shadow in trainer.ema.shadow_params], strict=True))
    raw = {name: parameter.detach().clone() for name, parameter in trainer.network.named_parameters()}
    saved = load_file(trainer.save() / WEIGHTS_FILE)
    assert all(torch.equal(saved[name], averaged[name]) for name in averaged)
    assert any(not torch.equal(raw[name], averaged[name]) for name in averaged)


def test_the_prior_phase_leaves_the_image_network_alone(small):
    config = small("x1-s2-prior")
    before, after = load_file(Path(config.start) / WEIGHTS_FILE), load_file(train(config) / WEIGHTS_FILE)
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("G."))
    assert any(name.startswith("denoise.") for name in after)


def test_a_new_network_begins_as_the_picture_itself(small):
    trainer = RestorerTrainer(small("x2-s1", plain_start=True))
    lq, gt = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 32, 32)
    net_input = torch.cat([lq, torch.zeros(1, 12, 16, 16)], dim=1)
    output, _ = trainer.network(net_input, gt)
    assert torch.equal(output, torch.nn.functional.interpolate(lq, scale_factor=2))


def test_a_plain_start_lays_fine_detail_before_the_last_convolution():
    network = Stage1(DiffRIRConfig(dim=16, num_blocks=(0, 0, 0, 0), num_refinement_blocks=0, n_encoder_res=0))
    start_plain(network)
    with torch.no_grad():
        network.G.tail[1].weight[:, 0, 1, 1] = 1
        net_input = torch.rand(1, 6, 32, 32, generator=torch.Generator().manual_seed(0))
        added = network.G(net_input, torch.ones(1, 256)) - net_input[:, :3]
    luma = (net_input[:, :3] * torch.tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
    cells = torch.nn.functional.avg_pool2d(torch.nn.functional.avg_pool2d(luma, 4), 3, 1, 1)
    wanted = BOOST * (luma - cells.repeat_interleave(4, 2).repeat_interleave(4, 3))
    torch.testing.assert_close(added, wanted.expand(-1, 3, -1, -1), atol=1e-5, rtol=0)


def test_training_on_one_picture_makes_it_better(small, album):
    blocks = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    Image.fromarray(blocks).save(album / "blocks.png")
    (album / "list.txt").write_text("blocks.png\n")
    config = small("toy-x1-s1", steps=80, pool=0, dim=16, drift=0.0, ema_decay=0.0, checkpoint_every=80)
    config = replace(config, validation=config.data, validate_every=80, schedule="steps", lr=2e-3, picture=64, patch=64)
    train(config)
    last = lines(config)[-1]
    assert last["psnr"] > last["psnr_before"]


def test_validation_scores_whole_pictures_and_the_metrics_at_hand(small, album, monkeypatch):
    monkeypatch.setattr(
        "llmga.diffrir.train.validation.at_hand", lambda *_: {"lpips": lambda one, other: (one - other).abs().mean()}
    )
    config = small("x4-s2-joint", steps=1, validation=str(album / "list.txt"), validate_every=1)
    train(config)
    (last,) = lines(config)
    assert {"psnr", "ssim", "lpips"} <= set(last) and "psnr_before" not in last
    assert all(np.isfinite(value) for value in last.values())


def test_what_is_trained_restores(small, scene):
    config = small("toy-x1-s2-joint")
    image, reference, mask = scene(48, 40)
    restored = open_diffrir(train(config))(image, reference, mask)
    kept = np.asarray(mask) == 0
    assert np.array_equal(np.asarray(restored)[kept], np.asarray(reference)[kept])
    assert json.loads((Path(config.output) / CONFIG_FILE).read_text())["matched"] is True


def test_pairs_are_the_same_for_the_same_seed_and_kept_where_the_mask_is_empty(small):
    config = small("x2-s2-joint", pool=0)
    pairs = PairMaker(config, torch.device("cpu"), network_matched=False)
    clean = CleanBatch(
        torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    )
    one, same, other = (pairs.make(clean, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert torch.equal(one.lq, same.lq) and torch.equal(one.mask, same.mask)
    assert one.lq.shape == (2, 3, 16, 16) and one.gt.shape == (2, 3, 32, 32) and one.mask.shape == (2, 1, 32, 32)
    assert one.lq.shape != other.lq.shape or not torch.equal(one.lq, other.lq)
    assert torch.equal(one.gt, one.real)


def test_a_sharpened_target_is_learnt_while_the_judge_sees_the_original(small):
    pairs = PairMaker(small("x1-gan-v2", pool=0), torch.device("cpu"), network_matched=False)
    noise = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    pair = pairs.make(CleanBatch(noise), torch.Generator().manual_seed(0))
    assert not torch.equal(pair.gt, pair.real)
    assert (pair.gt - 0.5).abs().mean() > (pair.real - 0.5).abs().mean()


def test_the_pool_is_saved_and_taken_up(small):
    config = small("x1-gan-v2")
    pairs, again = (PairMaker(config, torch.device("cpu"), network_matched=False) for _ in range(2))
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        pairs.make(CleanBatch(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=generator)), generator)
    again.restore(pairs.state())
    for one, other in zip(pairs.pool.kept, again.pool.kept, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(("picture", "different"), [(64, 5), (120, 2)])  # cut, and filled up
def test_masks_from_files_turn_and_move_with_their_pictures(small, album, picture, different):
    """The painted region is where the picture is red, in whatever square was cut."""
    masks = album / "masks"
    masks.mkdir()
    red = np.zeros((90, 90, 3), np.uint8)
    red[20:40, 50:80, 0] = 255
    Image.fromarray(red).save(album / "red.png")
    Image.fromarray(red[..., 0]).save(masks / "red.png")
    (album / "list.txt").write_text("red.png\n")
    pictures = RestorerDataset(small("x1-s1", masks=str(masks), picture=picture))
    cuts = [pictures[position, 0] for position in range(8)]
    for clean in cuts:
        assert torch.equal(clean.masks[:, 0] == 1, clean.pictures[:, 0] == 255)
    assert len({clean.pictures.numpy().tobytes() for clean in cuts}) >= different


def test_small_pictures_are_filled_up_by_reflection(small, album):
    (album / "list.txt").write_text("2.png\n")
    pictures = RestorerDataset(small("x1-s1", picture=64))
    pixels = pictures[0, 0].pictures[0].numpy()
    mirrored = pixels[:, :, ::-1] if not np.array_equal(pixels[:, :, 48], pixels[:, :, 50]) else pixels
    assert pixels.shape == (3, 64, 64)
    assert np.array_equal(mirrored[:, :, 50:63], mirrored[:, :, 48:35:-1])


@pytest.mark.parametrize("preset", PRESETS)
def test_rates_fall_and_never_rise_after_the_warm_up(preset):
    config = PRESETS[preset]
    rates = [learning_rate(config, step, config.lr) for step in range(config.warmup, config.steps, config.steps // 50)]
    assert rates[0] == pytest.approx(config.lr, rel=0.01)
    assert all(later <= earlier for earlier, later in zip(rates, rates[1:], strict=False))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"data": "nowhere.txt"}, "nowhere.txt"),
        ({"patch": 48}, "--patch 48"),
        ({"picture": 64}, "--picture 64"),
        ({"pool": 5}, "--pool 5"),
        ({"num_blocks": (1, 1)}, "4"),
        ({"objective": "joint"}, "--start"),
        ({"masks": "no-such-folder"}, "no-such-folder"),
        ({"vae": "no-such-vae"}, "no-such-vae"),
        ({"deepspeed": "no-such.json"}, "no-such.json"),
        ({"deepspeed": "pyproject.toml"}, "needs a GPU"),
        ({"start": "no-such-weights"}, "no-such-weights"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(small, change, complaint):
    from llmga.training.config import check

    with pytest.raises(UserError, match=complaint):
        train(check(small("x1-s1", **change)))


@pytest.mark.parametrize("fault", PICTURE_FAULTS)
def test_the_next_picture_takes_the_place_of_a_damaged_one(small, album, capsys, fault):
    PICTURE_FAULTS[fault](album / "1.png")
    (album / "valid.txt").write_text("1.png\n2.png\n")
    config = small("x1-s1", validation=str(album / "valid.txt"), steps=4)
    pictures = RestorerDataset(config)
    assert torch.equal(pictures[(7, 1)].pictures, pictures[(7, 2)].pictures)
    train(config)
    told = capsys.readouterr().err
    assert told.count("passed over: ") == 1 and "1.png" in told and "1 picture was passed over" in told
    lines = [json.loads(line) for line in Path(config.run, "left_out.jsonl").read_text().splitlines()]
    assert [line["picture"] for line in lines] == ["1.png"]
    assert "psnr" in json.loads(Path(config.run, "log.jsonl").read_text().splitlines()[-1])


def test_a_damaged_mask_takes_its_picture_out(small, album, tmp_path):
    (tmp_path / "masks").mkdir()
    for number, size in enumerate([(80, 70), (64, 64), (50, 90)]):
        Image.new("L", size, 255).save(tmp_path / f"masks/{number}.png")
    (tmp_path / "masks/0.png").write_bytes(b"")
    pictures = RestorerDataset(small("x1-s1", masks=str(tmp_path / "masks")))
    assert torch.equal(pictures[(7, 0)].pictures, pictures[(7, 1)].pictures)


@pytest.mark.parametrize("workers", [0, 1])
def test_when_no_picture_can_be_read_one_sentence_says_so(small, album, workers):
    for number in range(3):
        (album / f"{number}.png").write_bytes(b"no picture")
    with pytest.raises(UserError) as told:
        train(small("x1-s1", workers=workers))
    assert str(told.value).startswith("picture ") and ".png" in str(told.value) and "\n" not in str(told.value)
    assert "Nor can 2 more be used" in str(told.value)


def test_when_no_picture_of_the_validation_can_be_read_one_sentence_says_so(small, album):
    (album / "valid.txt").write_text("gone.png\n")
    with pytest.raises(UserError, match="gone.png' does not exist"):
        train(small("x1-s1", validation=str(album / "valid.txt")))


def test_weights_of_another_stage_or_scale_are_refused(small, tiny, tmp_path):
    config = small("x1-s2-joint")
    save_model(tiny(scale=2, stage=1), tmp_path / "teacher")
    with pytest.raises(UserError, match="scale 2"):
        RestorerTrainer(config)
    save_model(tiny(stage=1, dim=16), tmp_path / "teacher")
    with pytest.raises(UserError, match="another shape"):
        RestorerTrainer(config)


def test_other_settings_are_not_resumed_and_old_checkpoints_go(small):
    config = small("x1-s1", steps=4, checkpoint_every=1, keep=2)
    train(config)
    assert [path.name for path in checkpoints(Path(config.run))] == ["checkpoint-3", "checkpoint-4"]
    with pytest.raises(UserError, match="gain 0.06 -> 0.5"):
        train(replace(config, gain=0.5))
    Path(config.data).write_text("0.png\n1.png\n1.png\n")
    with pytest.raises(UserError, match="digest of the data"):
        train(replace(config, steps=6))
    Path(config.data).write_text("0.png\n1.png\n")
    with pytest.raises(UserError, match="records 3 -> 2"):
        train(replace(config, steps=6))

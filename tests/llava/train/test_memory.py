"""The memory plan: exact where it counts, plausible where it estimates, and never another step than was asked for."""

from dataclasses import fields, replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from llmga.llava.empty import empty_model, load_empty_mllm, new_empty_mllm
from llmga.llava.loading import load_mllm
from llmga.llava.loss import LOGITS_AT_ONCE
from llmga.llava.sizes import SHAPES
from llmga.llava.train.config import PRESETS
from llmga.llava.train.memory import LOGIT, Method, Need, Sizes, batches, flops, learning, methods, need
from llmga.llava.train.parameters import freeze
from llmga.llava.train.planning import Machine, lines, plan
from llmga.training.checkpoints import GIB

ONE = Method(tune="full", devices=1, batch=1, length=128)


@pytest.fixture(scope="module")
def large() -> Sizes:
    return Sizes.of(empty_model(SHAPES["vicuna-7b"].with_tower()))


def test_sizes_are_counted(large):
    assert large.text == 6_738_415_616
    assert large.text + large.projector + large.tower == 7_062_902_784
    assert large.adapted == 32 * (4 * (4096 + 4096) + 3 * (4096 + 11008))


@pytest.mark.parametrize("tune", ["full", "projector"])
@pytest.mark.parametrize("tower", [False, True])
def test_what_learns_is_what_training_frees(world, tune, tower):
    mllm = load_mllm(world / "mllm", device="cpu")
    freeze(mllm, tune, tower)
    free = sum(weight.numel() for weight in mllm.model.parameters() if weight.requires_grad)
    counted = learning(Sizes.of(mllm.model), replace(ONE, tune=tune, tower=tower))
    assert counted == free if not tower else counted > free  # the tower's unread layers stay frozen


def test_weights_gradients_and_moments_are_those_of_a_real_step(world):
    """Of single precision without DeepSpeed, where every byte can be counted."""
    mllm = load_mllm(world / "mllm", device="cpu")
    freeze(mllm, "full")
    learns = [weight for weight in mllm.model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(learns)
    for weight in learns:
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    moments = [tensor for state in optimizer.state.values() for tensor in state.values() if tensor.dim()]
    held = [*mllm.model.parameters(), *(weight.grad for weight in learns), *moments]
    exact = sum(tensor.numel() * tensor.element_size() for tensor in held)
    sizes = Sizes.of(mllm.model)
    method = replace(ONE, half=False, length=0)
    assert (need(sizes, method).device - need(replace(sizes, **NOTHING), method).device) / 1.05 == pytest.approx(exact)


def test_operations_are_those_that_torch_counts(world):
    mllm = load_mllm(world / "mllm", device="cpu")
    freeze(mllm, "full")
    mllm.model.set_attn_implementation("eager")  # whose products torch counts on a CPU, too
    ids = torch.full((2, 64), 5)
    with FlopCounterMode(display=False) as counter:
        mllm.model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    method = replace(ONE, batch=2, length=64, recompute=False)
    assert flops(Sizes.of(mllm.model), method) == pytest.approx(counter.get_total_flops(), rel=0.1)


def test_a_plan_says_what_a_step_computes_on_each_device(large):
    machine, config = Machine(8, 80 * GIB, 500 * GIB, "test"), PRESETS["llmga_7b_s1"]
    found = plan(config, large, machine, 128, {"stage": 3})
    tokens = 128 / 8 * config.max_length
    assert 8 < found.flops / (large.text * tokens) < 10  # there, again, and back for inputs and weights; attention
    assert f"a step: {found.flops / 1e12:.4g} TFLOP on each device at full length" in "\n".join(lines(found))


NOTHING = {"text": 0, "projector": 0, "tower": 0}


@pytest.mark.parametrize(
    ("changes", "low", "high"),
    [
        ({"zero": 3, "devices": 8, "batch": 4}, 20, 45),  # the published recipe, on A100 of 80 GiB
        ({"devices": 1}, 110, 140),  # 16 to 18 bytes a parameter
        ({"devices": 1, "tune": "lora", "bits": 4}, 6, 24),
        ({"devices": 8, "zero": 3, "offload": True}, 2, 20),
    ],
)
def test_seven_billion_parameters_need_what_is_known_of_them(large, changes, low, high):
    assert low < need(large, replace(ONE, length=2048, **changes)).device / GIB < high


def test_what_saves_memory_does(large):
    def device(**changes) -> float:
        return need(large, replace(ONE, devices=8, length=2048, **changes)).device

    assert device(zero=3, offload=True) < device(zero=3) < device(zero=2) < device()
    assert device(zero=3) < device(zero=3, batch=2) < device(zero=3, batch=2, recompute=False)
    assert device(tune="projector") < device(tune="lora") < device()
    assert device(tune="lora", bits=4) < device(tune="lora", bits=8) < device(tune="lora")
    assert need(large, replace(ONE, zero=3, offload=True)).host > 100 * GIB


def test_the_logits_of_a_long_batch_need_no_more_than_a_chunk(large):
    real = replace(large, rows=128_256)
    chunk = 1.05 * LOGITS_AT_ONCE * LOGIT

    def more(batch: int, *, recompute: bool = False) -> float:
        """What a vocabulary takes that has a row for each of 128,256 tokens rather than for none."""
        method = replace(ONE, tune="lora", length=2048, batch=batch, recompute=recompute)
        return need(real, method).device - need(replace(real, rows=0), method).device

    assert [more(1), more(16)] == pytest.approx([chunk, chunk])
    assert 0 <= more(16, recompute=True) <= more(1, recompute=True) < chunk  # a block that is computed again needs more
    assert chunk < 2.2 * GIB < 16 * 2048 * 128_256 * LOGIT / 25


@pytest.mark.parametrize(("total", "devices", "most"), [(128, 8, 4), (128, 3, 4), (96, 4, 16), (2, 4, 1)])
def test_batches_make_the_step_whole(total, devices, most):
    found = batches(total, devices, most)
    assert all(total % (devices * batch) == 0 and batch <= most for batch in found)
    assert bool(found) == (total % devices == 0)


def test_what_is_tried_excludes_what_cannot_be(large):
    tried = list(methods(replace(ONE, devices=4, batch=2), [2, 1]))
    assert not [method for method in tried if method.zero == 3 and method.bits != 16]
    assert {method.tune for method in tried} == {"full", "lora"}
    assert {method.tune for method in methods(replace(ONE, tune="projector"), [1])} == {"projector"}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("memory", [16, 24, 40, 80])
@pytest.mark.parametrize("devices", [1, 4, 8])
def test_a_proposal_fits_and_keeps_the_step(large, preset, memory, devices):
    config = PRESETS[preset]
    found = plan(config, large, Machine(devices, memory * GIB, 500 * GIB, "test"), 128, {"stage": 3})
    for method, needed in found.best:
        assert found.fit(needed)
        assert 128 % (method.devices * method.batch) == 0
    if found.best:
        words = found.flags().split()
        flags = dict(zip(words[::2], words[1::2], strict=True))
        assert int(flags["--batch"]) * int(flags["--accumulation"]) * devices == 128
        assert {name[2:].replace("-", "_") for name in flags} <= {one.name for one in fields(config)}


def test_full_tuning_goes_before_low_rank(large):
    found = plan(PRESETS["llmga_7b_s1"], large, Machine(8, 24 * GIB, 500 * GIB, "test"), 128, {})
    assert found.best[0][0].tune == "full"
    assert not found.fit(found.asked[1])
    small = plan(PRESETS["llmga_7b_s1"], large, Machine(1, 16 * GIB, 8 * GIB, "test"), 128, {})
    assert (small.best[0][0].tune, small.best[0][0].bits) == ("lora", 4)
    assert "--tune lora --bits 4" in small.flags()
    none = plan(PRESETS["llmga_7b_s1"], large, Machine(1, 2 * GIB, 8 * GIB, "test"), 128, {})
    assert none.best == ()


def test_a_blueprint_encodes_and_counts_like_the_model(world, captions):
    from llmga.llava.datasets.kinds import exchange

    whole = load_mllm(world / "mllm", device="cpu", conv_mode="qwen_2")
    drawn = load_empty_mllm(world / "mllm", conv_mode="qwen_2")
    joined = new_empty_mllm(
        world / "lm", world / "tower", projector_type="mlp2x_gelu", select_layer=-2, conv_mode="qwen_2"
    )
    said = exchange("What is it?", captions[0])
    for mllm in (drawn, joined):
        assert mllm.encode(said) == whole.encode(said)
        assert Sizes.of(mllm.model) == Sizes.of(whole.model)
        assert all(weight.is_meta for weight in mllm.model.parameters())
        assert (mllm.image_token_id, mllm.tokens_per_image) == (whole.image_token_id, whole.tokens_per_image)


def test_a_need_is_of_devices_and_of_main_memory():
    machine = Machine(1, 10, 20, "test")
    found = plan(PRESETS["toy_s1"], Sizes(0, 0, 0, 0, 0, 0, 0, 0), machine, 1, {})
    assert found.fit(Need(10, 20))
    assert not found.fit(Need(11, 0))
    assert not found.fit(Need(0, 21))

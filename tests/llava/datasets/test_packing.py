"""Packs: every sample once, rows without padding, and nobody sees a neighbour."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from llmga.errors import UserError
from llmga.llava import packed_attention
from llmga.llava.conversation import Conversation
from llmga.llava.datasets.collate import Collate
from llmga.llava.datasets.mixture import Sample
from llmga.llava.datasets.packing import TOLERATED, PackCollate, PackedSamples, Packs, arranged, padding
from llmga.llava.tokenization import IGNORED

LENGTHS = np.random.default_rng(0).integers(1, 200, 1000)


def test_an_epoch_shows_every_sample_once_in_packs_of_its_own():
    packs = Packs(LENGTHS, seed=1, batch=8, multiple=4)
    first = list(packs)
    assert first == list(packs)
    assert len(first) == len(packs) == 128
    packs.set_epoch(1)
    second = list(packs)
    assert sorted(key for pack in first for key in pack) == list(range(1000))
    assert sorted(key for pack in second for key in pack) == list(range(1000, 2000))
    assert [key + 1000 for pack in first for key in pack] != [key for pack in second for key in pack]


def test_packs_hold_like_numbers_of_tokens():
    packs = Packs(LENGTHS, seed=1, batch=8)
    tokens = [LENGTHS[list(pack)].sum() for pack in packs]
    assert max(tokens) - min(tokens) <= 2 * LENGTHS.max()
    assert np.mean([len(pack) for pack in packs]) == pytest.approx(8, rel=0.01)


@pytest.mark.parametrize("lengths", [[1, 1, 1000, 1, 1], [1000, 1, 1, 1, 1], [1, 1, 1, 1, 1000], [3, 3, 3, 3, 3]])
def test_no_pack_is_empty_however_long_one_sample_is(lengths):
    for seed in range(10):
        packs = list(Packs(np.array(lengths), seed=seed, batch=1))
        assert [len(pack) for pack in packs] == [1] * 5


def test_fewer_samples_than_passes_of_a_step_are_told():
    with pytest.raises(UserError, match="3 samples are too few"):
        Packs(np.array([1, 2, 3]), seed=0, batch=2, multiple=4)


@pytest.mark.parametrize("count", [1, 2, 5, 12, 40])
def test_rows_are_full_and_hold_everybody(count):
    lengths = [int(length) for length in np.random.default_rng(count).integers(100, 2000, count)]
    rows = arranged(lengths)
    assert sorted(index for row in rows for index in row) == list(range(count))
    assert padding(rows, lengths) <= TOLERATED


def test_an_epoch_has_next_to_no_padding():
    """With lengths as LLMGA's: pictures of 576 positions and a caption, prompts, whole conversations."""
    rng = np.random.default_rng(5)
    lengths = np.where(rng.random(2000) < 0.8, 576, 0) + np.exp(rng.uniform(np.log(50), np.log(1400), 2000)).astype(int)
    packs = [[int(lengths[key]) for key in pack] for pack in Packs(lengths, seed=0, batch=4)]
    laid = [
        max(sum(sizes[i] for i in row) for row in rows) * len(rows) for sizes in packs for rows in [arranged(sizes)]
    ]
    assert 1 - lengths.sum() / sum(laid) <= 0.05


def test_samples_of_one_length_keep_rows_of_their_own():
    assert len(arranged([7] * 6)) == 6


def samples(mllm, sizes=(3, 40, 11, 25, 8, 60)) -> list[Sample]:
    red = Image.new("RGB", (20, 20), "red")
    found = []
    for number, size in enumerate(sizes):
        pictures = (red,) * (number % 3)
        told = Conversation().say("user", "look " * size, pictures).say("assistant", "seen " * (size // 2 + 1))
        encoded = mllm.encode(told)
        found.append(Sample(encoded.input_ids, encoded.labels, pictures))
    return found


def losses(mllm, batch) -> tuple[float, torch.Tensor]:
    """The sum over the supervised tokens, and its gradient at the first layer."""
    mllm.model.zero_grad()
    loss = mllm.model(**batch, use_cache=False, num_items_in_batch=1).loss
    loss.backward()
    return loss.item(), mllm.model.model.language_model.layers[0].self_attn.q_proj.weight.grad


@pytest.mark.parametrize("one_row", [True, False])
@pytest.mark.parametrize("attention", ["sdpa", "eager", packed_attention.NAME])
def test_a_packed_loss_is_that_of_its_samples_alone(tiny_mllm, one_row, attention):
    given = samples(tiny_mllm)
    packed_attention.register()
    tiny_mllm.model.set_attn_implementation({"": "sdpa", "vision_config": "sdpa", "text_config": attention})
    assert tiny_mllm.model.model.language_model.config._attn_implementation == attention
    packed = PackCollate(0, tiny_mllm.pixel_values, one_row=one_row)([given[:4], given[4:]])
    assert len(packed["input_ids"]) == (1 if one_row else 2)
    alone = [losses(tiny_mllm, Collate(0, tiny_mllm.pixel_values)([sample])) for sample in given]
    loss, gradient = losses(tiny_mllm, packed)
    count = sum(label != IGNORED for sample in given for label in sample.labels)
    assert loss / count == pytest.approx(sum(one for one, _ in alone) / count, abs=1e-5)
    expected = sum(one for _, one in alone)
    assert torch.allclose(gradient, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_a_neighbour_changes_nothing(tiny_mllm):
    first, *others = samples(tiny_mllm)
    collate = PackCollate(0, tiny_mllm.pixel_values, one_row=True)

    def read(neighbour: Sample) -> torch.Tensor:
        batch = collate([[neighbour, first]])
        start = (batch["position_ids"][0] == 0).nonzero().flatten().tolist()
        own = slice(start[1], None) if len(neighbour.input_ids) >= len(first.input_ids) else slice(0, start[1])
        batch.pop("labels")
        with torch.no_grad():
            return tiny_mllm.model(**batch, use_cache=False).logits[0, own]

    assert torch.allclose(read(others[0]), read(others[2]), atol=1e-4)


def test_the_first_token_of_a_sample_is_foretold_by_nobody():
    batch = PackCollate(0, lambda images: torch.zeros(len(images)), one_row=True)([[Sample([5, 6], [5, 6], ())] * 2])
    assert batch["labels"].tolist() == [[IGNORED, 6, IGNORED, 6]]
    assert batch["position_ids"].tolist() == [[0, 1, 0, 1]]


def test_packed_samples_are_those_of_the_keys():
    data = PackedSamples([Sample([key], [key], ()) for key in range(9)], packs=3)
    assert len(data) == 3
    assert [sample.input_ids for sample in data[4, 2]] == [[4], [2]]


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize(("heads", "groups"), [(4, 4), (4, 2)])
def test_attention_by_sample_is_that_of_the_block_mask(window, heads, groups):
    torch.manual_seed(0)
    query, key, value = torch.randn(2, heads, 9, 8), torch.randn(2, groups, 9, 8), torch.randn(2, groups, 9, 8)
    segments = [[4, 5], [6]]
    owner = torch.tensor([[0] * 4 + [1] * 5, [0] * 6 + [1] * 3])
    age = torch.arange(9)[:, None] - torch.arange(9)
    mask = (owner[:, :, None] == owner[:, None]) & (age >= 0) & (age < (window or 9))
    module = torch.nn.Module()
    module.num_key_value_groups = heads // groups
    found, _ = packed_attention.attend(module, query, key, value, None, segments, window, scaling=0.5)
    expected, _ = sdpa_attention_forward(module, query, key, value, mask[:, None], scaling=0.5)
    assert torch.allclose(found, expected, atol=1e-6)


def test_padding_without_segments_is_no_silent_mistake():
    state = torch.randn(1, 1, 3, 4)
    with pytest.raises(ValueError, match="need their segments"):
        packed_attention.attend(torch.nn.Module(), state, state, state, torch.tensor([[1, 1, 0]]))

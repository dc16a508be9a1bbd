"""The chunked loss is the plain one, whatever the backbone, and holds no large tensor."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoConfig, CLIPVisionConfig
from transformers.loss.loss_utils import ForCausalLMLoss

from llmga.llava import loss, modeling, packed_attention
from llmga.llava.backbones import BACKBONES
from llmga.llava.loss import LOGITS_AT_ONCE, chunked_loss
from llmga.llava.modeling import LlmgaForConditionalGeneration
from llmga.llava.published import make_config
from llmga.llava.tokenization import IGNORED

ROWS, LENGTH = 101, 23
LLAMA_3 = 128_256
KINDS = sorted({row.text_type for row in BACKBONES.values()})


def model_of(kind: str, rows: int = ROWS, width: int = 32, **changes: object) -> LlmgaForConditionalGeneration:
    """A tiny random one; every other head is tied to the embedding, as the library's defaults have it."""
    unset = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None}
    text = AutoConfig.for_model(
        kind, vocab_size=rows, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, head_dim=width // 2, **unset, **changes,
    )  # fmt: skip
    tower = CLIPVisionConfig(image_size=28, patch_size=14, hidden_size=16, intermediate_size=16, num_hidden_layers=2,
                             num_attention_heads=2)  # fmt: skip
    torch.manual_seed(0)
    config = make_config(text, tower, projector_type="mlp2x_gelu", select_layer=-2)
    return LlmgaForConditionalGeneration(config).train()


def padded() -> dict[str, Tensor]:
    """Three rows of several lengths, of which parts are supervised."""
    torch.manual_seed(1)
    ids = torch.randint(1, ROWS, (3, LENGTH))
    mask = torch.arange(LENGTH) < torch.tensor([LENGTH, 9, 14])[:, None]
    labels = ids.masked_fill(~mask | (torch.rand(3, LENGTH) < 0.3), IGNORED)
    return {"input_ids": ids, "attention_mask": mask.long(), "labels": labels}


def packed() -> dict[str, object]:
    """A row of three samples, each of which begins anew."""
    torch.manual_seed(2)
    segments = [9, 5, 9]
    ids = torch.randint(1, ROWS, (1, LENGTH))
    labels = ids.clone()
    labels[0, [0, 9, 14]] = IGNORED
    positions = torch.cat([torch.arange(length) for length in segments])[None]
    return {"input_ids": ids, "position_ids": positions, "labels": labels, "segments": [segments]}


def unsupervised() -> dict[str, Tensor]:
    """One row teaches nothing."""
    batch = padded()
    return {**batch, "labels": batch["labels"].index_fill(0, torch.tensor([1]), IGNORED)}


BATCHES = {"padded": padded, "packed": packed, "a row without labels": unsupervised}


def plain(model: LlmgaForConditionalGeneration, batch: dict[str, object], items: object = None) -> Tensor:
    """The library's loss of all logits at once."""
    inputs = {name: part for name, part in batch.items() if name != "labels"}
    logits = model(**inputs, use_cache=False).logits
    return ForCausalLMLoss(logits, batch["labels"], logits.shape[-1], items)


def gradients(model: nn.Module, value: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    value.backward()
    return {name: part.grad.clone() for name, part in model.named_parameters() if part.grad is not None}


def assert_same(model: LlmgaForConditionalGeneration, batch: dict[str, object], items: object = None) -> None:
    """Loss to 1e-6, gradients to 1e-5 of the largest."""
    expected = plain(model, batch, items)
    wanted = gradients(model, expected)
    found = model(**batch, use_cache=False, num_items_in_batch=items)
    assert found.logits is None
    assert found.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    got = gradients(model, found.loss)
    assert got.keys() == wanted.keys()
    for name, part in wanted.items():
        assert (got[name] - part).abs().max() <= 1e-5 * part.abs().max(), name


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch):
    """Eight positions of the tiny vocabulary, so that every batch takes several chunks and a shorter one."""
    monkeypatch.setattr(loss, "LOGITS_AT_ONCE", 8 * ROWS)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradients_are_those_of_all_logits_at_once(kind, batch):
    model = model_of(kind)
    if batch == "packed":
        packed_attention.register()
        model.set_attn_implementation({"": "sdpa", "vision_config": "sdpa", "text_config": packed_attention.NAME})
    assert_same(model, BATCHES[batch]())


@pytest.mark.parametrize("tied", [True, False])
def test_a_tied_head_learns_as_before(tied):
    model = model_of("gemma", tie_word_embeddings=tied)
    assert (model.lm_head.weight is model.get_input_embeddings().weight) == tied
    assert_same(model, padded())


def test_rows_that_are_never_said_take_no_part():
    model = model_of("llama")
    model.config.spoken_rows = ROWS - 7
    batch = padded()
    batch["labels"] = batch["labels"].where(batch["labels"] < ROWS - 7, IGNORED)
    assert_same(model, batch)


@pytest.mark.parametrize("items", [37, torch.tensor(37)])
def test_the_divisor_of_an_accumulated_step_is_used(items):
    assert_same(model_of("qwen2"), padded(), items)


def test_passes_that_are_accumulated_make_the_whole_step():
    model, batch = model_of("qwen2"), padded()
    whole = model(**batch, use_cache=False).loss
    items = (batch["labels"][:, 1:] != IGNORED).sum()
    parts = [
        model(**{name: part[row : row + 1] for name, part in batch.items()}, num_items_in_batch=items).loss
        for row in range(3)
    ]
    assert sum(parts).item() == pytest.approx(whole.item(), rel=1e-6)


def test_a_frozen_head_gets_no_gradient():
    model = model_of("llama", tie_word_embeddings=False)
    model.lm_head.requires_grad_(False)
    assert_same(model, padded())
    assert model.lm_head.weight.grad is None


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_low_rank_matrices_beside_the_head_learn(dropout, monkeypatch):
    peft = pytest.importorskip("peft")
    model = model_of("llama", tie_word_embeddings=False)
    settings = peft.LoraConfig(r=4, target_modules=["lm_head"], init_lora_weights=False, lora_dropout=dropout)
    adapted = peft.PeftModel(model, settings).base_model.model
    assert not isinstance(adapted.lm_head, modeling.OutputLayer)
    if not dropout:
        assert_same(adapted, padded())
    got = gradients(adapted, adapted(**padded(), use_cache=False).loss)
    assert {name.rpartition("lm_head.")[2] for name in got} == {"lora_A.default.weight", "lora_B.default.weight"}


@pytest.mark.parametrize("length", [1, 5, 16, 40])
def test_another_head_is_called_equally_often_whatever_the_length(length):
    calls = []
    weight = torch.randn(ROWS, 8)

    def head(states: Tensor) -> Tensor:
        calls.append(len(states))
        return states @ weight.T

    chunked_loss(head, torch.randn(1, length, 8), torch.ones(1, length, dtype=torch.long), ROWS, 1, calls=16)
    assert len(calls) == 16
    assert sum(calls) == length


def test_nothing_supervised_is_no_number_as_before():
    batch = padded()
    batch["labels"].fill_(IGNORED)
    assert torch.isnan(model_of("llama")(**batch, use_cache=False).loss)


def test_a_measurement_computes_it_once():
    model, seen = model_of("llama").eval(), []
    model.lm_head.register_forward_hook(lambda layer, inputs, output: seen.append(output.shape))
    with torch.no_grad():
        found = model(**padded(), use_cache=False).loss
    assert seen == [torch.Size([])]
    assert found.item() == pytest.approx(plain(model, padded()).item(), rel=1e-6)


def test_the_layer_is_called_once_whatever_the_length():
    """ZeRO-3 gathers its weight at each call, together with all other processes."""
    model, calls = model_of("llama"), []
    model.lm_head.register_forward_hook(lambda *told: calls.append(told))
    model(**padded(), use_cache=False).loss.backward()
    assert len(calls) == 1


class Largest(TorchDispatchMode):
    """Elements of the largest tensor that any operation gives, without those of the layer's own shape."""

    def __init__(self, layer: nn.Linear):
        super().__init__()
        self._own = {layer.weight.shape, layer.weight.shape[::-1]}
        self.elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        sizes = [
            part.numel() for part in tree_leaves(found) if isinstance(part, Tensor) and part.shape not in self._own
        ]
        self.elements = max([self.elements, *sizes])
        return found


def largest(layer: nn.Linear, value: Callable[[], Tensor]) -> int:
    with Largest(layer) as seen:
        value().backward()
    return seen.elements


@pytest.mark.parametrize("learns", [True, False])
def test_no_tensor_is_larger_than_a_chunk_at_a_real_vocabulary(learns, monkeypatch):
    """16 samples of 2048 tokens at Llama-3's vocabulary are 4.2 thousand million logits; shapes alone are computed."""
    monkeypatch.setattr(loss, "LOGITS_AT_ONCE", LOGITS_AT_ONCE)
    with torch.device("meta"):
        layer = modeling.OutputLayer(model_of("llama", LLAMA_3).config)
        layer.requires_grad_(learns)
        hidden, labels = torch.zeros(16, 2048, 32, requires_grad=True), torch.ones(16, 2048, dtype=torch.long)
    whole = labels.numel() * LLAMA_3
    assert largest(layer, lambda: ForCausalLMLoss(layer(hidden), labels, LLAMA_3)) == whole
    assert largest(layer, lambda: layer(hidden, labels)) < LOGITS_AT_ONCE + LLAMA_3
    assert whole > 30 * LOGITS_AT_ONCE

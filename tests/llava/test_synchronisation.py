"""A device is waited for once for each token: what reads a tensor's value is counted while a reply is written."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache

from llmga.llava.backbones import BACKBONES
from llmga.llava.chat import Chat
from llmga.llava.conversation import Conversation
from llmga.llava.sampling import Sampling

READING = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "unique")
ASKED = Conversation().say("user", "hello")


@dataclass
class Reads:
    """How often a tensor's value was wanted."""

    count: int = 0


class Counted(TorchDispatchMode):
    """`.item()`, `int`, `bool`, `nonzero` and whatever else has a size that only the values tell."""

    def __init__(self, reads: Reads):
        super().__init__()
        self._reads = reads

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self._reads.count += function.overloadpacket.__name__.startswith(READING)
        return function(*args, **(kwargs or {}))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reads]:
    """Counts them, and copies to the CPU, which on a CPU copy nothing."""
    found = Reads()

    def counting(name: str, when: Any = lambda *args, **kwargs: True) -> None:
        method = getattr(Tensor, name)

        def counted(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
            found.count += when(*args, **kwargs)
            return method(tensor, *args, **kwargs)

        monkeypatch.setattr(Tensor, name, counted)

    for name in ("cpu", "tolist", "numpy"):
        counting(name)
    counting("to", lambda *where, **how: "cpu" in [each for each in (*where, *how.values()) if isinstance(each, str)])
    with Counted(found):
        yield found


def test_the_count_sees_every_way_to_read(reads):
    tensor = torch.arange(4)
    ways = [tensor.sum().item, tensor.tolist, tensor.cpu, tensor.nonzero, lambda: bool(tensor[0]),
            lambda: int(tensor[1]), lambda: tensor.to("cpu"), lambda: tensor.masked_select(tensor > 2)]  # fmt: skip
    for number, way in enumerate(ways, 1):
        way()
        assert reads.count == number


@pytest.mark.parametrize("sampling", [{"temperature": 0.0}, {"temperature": 0.7}, {"temperature": 0.7, "top_p": 0.8}])
def test_a_reply_waits_once_for_each_token(tiny_mllm, sampling, reads):
    counts: list[int] = []

    def before_each_token() -> bool:
        counts.append(reads.count)
        return False

    list(Chat(tiny_mllm).reply(ASKED, Sampling(**sampling, max_new_tokens=8, seed=1), before_each_token))
    assert len(counts) == 8
    assert [after - before for before, after in zip(counts[1:], counts[2:], strict=False)] == [1] * 6


@pytest.mark.parametrize("kind", sorted({row.text_type for row in BACKBONES.values()}))
def test_no_language_model_waits_within_a_token(kind, reads):
    unset = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None}
    config = AutoConfig.for_model(
        kind, vocab_size=99, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, head_dim=16, **unset,
    )  # fmt: skip
    model, cache, ids = AutoModelForCausalLM.from_config(config).eval(), DynamicCache(), torch.ones(1, 5, dtype=int)
    with torch.inference_mode():
        model(input_ids=ids, past_key_values=cache)
        before = reads.count
        model(input_ids=ids[:, :1], past_key_values=cache)
    assert reads.count == before


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("top_p", [1.0, 0.7])
def test_a_draw_is_that_of_multinomial(temperature, top_p):
    """Equal tokens for equal seeds, as in every version before."""
    sampling = Sampling(temperature=temperature, top_p=top_p, seed=3)
    ours, theirs = sampling.random(), sampling.random()
    for _ in range(50):
        logits = 3 * torch.randn(300)
        likeliest, tokens = (logits / temperature).softmax(-1).sort(descending=True, stable=True)
        kept = likeliest.masked_fill(likeliest.cumsum(-1) - likeliest >= top_p, 0.0)
        expected = int(tokens[torch.multinomial(kept, 1, generator=theirs)])
        assert sampling.choose(logits, ours) == expected
    assert torch.equal(ours.get_state(), theirs.get_state())


def test_scores_that_are_no_numbers_are_no_token():
    with pytest.raises(RuntimeError, match="no numbers"):
        Sampling(seed=1).choose(torch.tensor([0.0, torch.nan, 1.0]), Sampling(seed=1).random())

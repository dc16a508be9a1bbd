"""One tiny model of each family, opened from its folder."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from PIL import Image

from llmga.llava.vlm import Vlm, load_vlm
from tests.llava.vlms.families import FAMILIES

CHATTING = [name for name, family in FAMILIES.items() if family.template]


@pytest.fixture(scope="session", params=CHATTING)
def vlm(request, tmp_path_factory) -> Vlm:
    return load_vlm(FAMILIES[request.param].save(tmp_path_factory.mktemp("vlm") / request.param), device="cpu")


@pytest.fixture(scope="session")
def qwen(tmp_path_factory):
    """The folder of one family, to be copied and changed."""
    return FAMILIES["qwen2.5-vl"].save(tmp_path_factory.mktemp("vlm") / "qwen")


@pytest.fixture(scope="session")
def pictures() -> list[Image.Image]:
    """Wide, high and square, all different."""
    sizes = [(60, 40), (40, 60), (50, 50), (90, 30)]
    return [Image.effect_noise(size, 80).convert("RGB") for size in sizes]


@dataclass(frozen=True)
class Pass:
    """How many tokens a pass of the model reads, and its scores of what comes next."""

    tokens: int
    scores: torch.Tensor


@pytest.fixture
def passes(vlm) -> Iterator[list[Pass]]:
    """Every pass of the model."""
    found: list[Pass] = []
    handle = vlm.model.register_forward_hook(
        lambda module, args, given, out: found.append(Pass(given["input_ids"].shape[1], out.logits[0, -1])),
        with_kwargs=True,
    )
    yield found
    handle.remove()

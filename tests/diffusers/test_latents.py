from types import SimpleNamespace

import pytest
import torch

from llmga.diffusers.latents import check_finite, decode, posterior
from llmga.errors import UserError


class OverflowingVae:
    """Finite in single precision only."""

    def __init__(self, force_upcast=False, dtype=torch.float16):
        self.config = SimpleNamespace(scaling_factor=1.0, force_upcast=force_upcast)
        self.dtype, self.device, self.used = dtype, torch.device("cpu"), []

    def to(self, dtype):
        self.dtype = dtype

    def _grown(self, values):
        assert values.dtype == self.dtype
        self.used.append(self.dtype)
        return (values * 60_000) * 10 / 600_000

    def decode(self, latents, return_dict):
        return (self._grown(latents),)

    def encode(self, pixels):
        return SimpleNamespace(latent_dist=SimpleNamespace(mean=self._grown(pixels), std=torch.ones_like(pixels)))


@pytest.mark.parametrize("force_upcast", [False, True])
def test_what_overflows_in_half_precision_is_done_in_single(force_upcast):
    for work in (lambda vae, x: decode(vae, x), lambda vae, x: posterior(vae, x)[0]):
        vae = OverflowingVae(force_upcast)
        result = work(vae, torch.ones(1, 4, 2, 2, dtype=torch.float16))
        assert torch.allclose(result, torch.ones_like(result), atol=1e-3)
        assert vae.used == ([torch.float32] if force_upcast else [torch.float16, torch.float32])
        assert vae.dtype == torch.float16


def test_what_is_finite_is_done_once_in_its_own_precision():
    vae = OverflowingVae()
    decode(vae, torch.full((1, 4, 2, 2), 1e-3, dtype=torch.float16))
    assert vae.used == [torch.float16]


def test_no_picture_is_told():
    for latents in (torch.full((1, 4, 2, 2), float("nan")), torch.full((1, 4, 2, 2), float("inf"))):
        with pytest.raises(UserError, match="no finite numbers in float32"):
            decode(OverflowingVae(dtype=torch.float32), latents)
    with pytest.raises(UserError, match="weights are probably damaged"):
        decode(OverflowingVae(dtype=torch.float32), torch.full((1, 4, 2, 2), 1e38))


@pytest.mark.parametrize(
    ("dtype", "remedy"),
    [("float16", "use --dtype bf16 or fp32, or copy"), ("bfloat16", "use --dtype fp32, or copy"), ("float32", "copy")],
)
def test_the_advice_names_wider_formats_than_the_one_in_use(dtype, remedy):
    with pytest.raises(UserError, match=rf"no finite numbers in {dtype}; {remedy} the checkpoint again\.$"):
        check_finite(torch.full((1,), torch.nan, dtype=getattr(torch, dtype)))

import pytest
import torch
from diffusers import AutoencoderKL

from llmga.diffrir.vae import RoundTrip
from llmga.errors import UserError


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(8, 8), norm_num_groups=4, layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    vae.save_pretrained(tmp_path / "pipe" / "vae")
    return tmp_path / "pipe"


def test_the_trip_keeps_size_and_range_and_nothing_else(folder):
    pictures = torch.rand(2, 3, 21, 30)
    for place in (folder, folder / "vae"):
        there_and_back = RoundTrip(place)(pictures)
        assert there_and_back.shape == pictures.shape
        assert there_and_back.min() >= 0 and there_and_back.max() <= 1
        assert not torch.allclose(there_and_back, pictures, atol=0.05)


def test_about_every_second_batch_makes_it_and_a_seed_decides(folder):
    trip, pictures = RoundTrip(folder), torch.rand(1, 3, 8, 8)
    made = [
        not torch.equal(trip.sometimes(pictures, torch.Generator().manual_seed(seed)), pictures) for seed in range(40)
    ]
    assert 10 < sum(made) < 30


def test_a_folder_without_one_is_told(tmp_path):
    with pytest.raises(UserError, match="holds no VAE"):
        RoundTrip(tmp_path)

"""Tiny networks with random weights, and pictures to restore."""

import numpy as np
import pytest
import torch
from PIL import Image

from llmga.diffrir.model import MODELS, DiffRIRConfig

TINY = dict(dim=8, num_blocks=(1, 1, 1, 1), num_refinement_blocks=1, n_encoder_res=1)


@pytest.fixture
def tiny():
    """`tiny(scale=1, stage=2, **changes)` is a network of random weights, the same for the same arguments."""

    def make(scale=1, stage=2, **changes):
        torch.manual_seed(0)
        model = MODELS[stage](DiffRIRConfig(scale=scale, **{**TINY, **changes})).eval()
        return model.requires_grad_(False)

    return make


@pytest.fixture
def scene():
    """`scene(width, height)` is a painted picture, its reference of another tone, and a mask of its middle."""

    def make(width=48, height=40, seed=0):
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[:height, :width]
        waves = [np.sin(x / rng.uniform(3, 9) + y / rng.uniform(3, 9) + c) for c in range(3)]
        reference = 128 + 60 * np.stack(waves, axis=-1)
        hole = np.zeros((height, width), np.uint8)
        hole[height // 4 : -(height // 4) or None, width // 4 : -(width // 4) or None] = 255
        painted = reference * 1.06 - 9
        pictures = [Image.fromarray(part.round().clip(0, 255).astype(np.uint8)) for part in (painted, reference)]
        return *pictures, Image.fromarray(hole)

    return make

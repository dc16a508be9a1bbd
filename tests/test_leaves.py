import subprocess
import sys

import pytest
import torch

from llmga.errors import UserError
from llmga.registry import Registry
from llmga.runtime import pick_device, pick_dtype

TABLE = Registry("conversation mode", {"qwen_2": 1, "gemma": 2})


def test_a_registry_is_a_mapping_in_its_own_order():
    assert list(TABLE) == ["qwen_2", "gemma"] and len(TABLE) == 2 and TABLE["gemma"] == 2
    assert "qwen_2" in TABLE and "vicuna" not in TABLE


def test_an_unknown_name_is_answered_with_the_known_ones_and_a_guess():
    with pytest.raises(UserError, match="unknown conversation mode 'quen_2', did you mean 'qwen_2'.*qwen_2, gemma"):
        TABLE["quen_2"]


@pytest.mark.parametrize("name", ["tpu", "cuda:x", "meta"])
def test_devices_that_cannot_serve_are_refused_by_name(name):
    with pytest.raises(UserError, match=name):
        pick_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_cuda_without_a_gpu_is_refused_with_a_remedy(name):
    with pytest.raises(UserError, match="no CUDA GPU; use --device cpu or auto"):
        pick_device(name)


def test_half_precision_is_for_accelerators():
    assert pick_dtype(None, torch.device("cpu")) == torch.float32
    assert pick_dtype(None, torch.device("cuda")) == torch.float16
    assert pick_dtype("bf16", torch.device("cpu")) == torch.bfloat16
    with pytest.raises(UserError, match="fp64"):
        pick_dtype("fp64", torch.device("cpu"))


def test_a_reader_that_has_seen_enough_ends_a_command_quietly():
    command = f"{sys.executable} -m llmga.download --list | head -1"
    run = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert run.stdout.count("\n") == 1
    assert "Traceback" not in run.stderr

"""What stage 1's loss holds at a real vocabulary, against all logits at once: `python benchmarks/vocabulary_loss.py`.

The output layer alone, forward and backward on the CPU in single precision, at the vocabulary of Llama-3.  Both ways
run in turn in one process, the smaller one first, so that its peak can be seen.  Printed:

* `memory`: main memory that the chunked loss takes, over what the plain one takes.  The longer the batch, the less: the
  chunked loss takes as much for 4,096 positions as for 40,000.  Bar: at most 0.3 with the default of 4,096 positions.
* `gibibytes`: of each.
* `seconds`: time of the chunked loss over that of the plain one, which computes no logits twice.
* `difference`: of the losses, relative.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPVisionConfig, LlamaConfig
from transformers.loss.loss_utils import ForCausalLMLoss

from llmga.llava.modeling import OutputLayer
from llmga.llava.published import make_config
from llmga.runtime import peak_memory


def measured(value: Callable[[], Tensor]) -> dict[str, float]:
    """Loss, seconds of the processor, and by how many bytes the process's peak rose."""
    before, started = peak_memory() or 0, time.process_time()
    loss = value()
    loss.backward()
    seconds = time.process_time() - started
    return {"loss": loss.item(), "seconds": seconds, "bytes": (peak_memory() or 0) - before}


def figures(options: argparse.Namespace) -> dict[str, Any]:
    """Everything that is printed."""
    torch.manual_seed(0)
    text = LlamaConfig(vocab_size=options.vocabulary, hidden_size=options.width, num_attention_heads=2)
    layer = OutputLayer(make_config(text, CLIPVisionConfig(), projector_type="mlp2x_gelu", select_layer=-2))
    hidden = torch.randn(1, options.positions, options.width)
    labels = torch.randint(options.vocabulary, (1, options.positions))
    layer(hidden[:, :8], labels[:, :8]).backward()  # its gradient is there before anything is measured
    chunked = measured(lambda: layer(hidden, labels))
    plain = measured(lambda: ForCausalLMLoss(layer(hidden), labels, options.vocabulary))
    plain["bytes"] += chunked["bytes"]  # by how much the peak rose is counted from the smaller one's peak
    return {
        "memory": round(chunked["bytes"] / max(1, plain["bytes"]), 3),
        "gibibytes": {"chunked": round(chunked["bytes"] / 2**30, 2), "plain": round(plain["bytes"] / 2**30, 2)},
        "seconds": round(chunked["seconds"] / plain["seconds"], 3),
        "difference": abs(chunked["loss"] / plain["loss"] - 1),
    }


def main(argv: list[str] | None = None) -> int:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in {"vocabulary": 128_256, "positions": 4096, "width": 128}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    print(json.dumps(figures(parser.parse_args(argv))))
    return 0


if __name__ == "__main__":
    sys.exit(main())

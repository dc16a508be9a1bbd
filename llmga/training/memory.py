"""What a device needs beside the tensors of a program."""

from llmga.training.checkpoints import GIB

CONTEXT = 1.5 * GIB  # CUDA and its libraries


def on_device(tensors: float) -> float:
    """Bytes that a device needs for tensors of so many: fragments between them, CUDA and its libraries."""
    return 1.05 * tensors + CONTEXT

"""What a training step costs, asked of shapes alone: networks lie on torch's meta device, nothing is computed.

Estimates, not measurements: what autograd would keep is counted, and torch's own counter counts the operations.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import FlopCounterMode

from llmga.training.autocast import LOWER, SINGLE
from llmga.training.checkpoints import GIB
from llmga.training.memory import on_device

aten = torch.ops.aten
MOMENTS = 8  # bytes of Adam's two averages of a parameter
SCORES_BACK = 2.5  # times the scores of attention on the way forward (FlashAttention, arXiv:2205.14135)


@dataclass(frozen=True)
class Plan:
    """What one optimiser step needs on one device.

    Attributes:
        flops: of all its passes.
        tensors: bytes that live at once.
    """

    flops: float
    tensors: float

    @property
    def memory(self) -> float:
        """Bytes, with what the device takes for itself."""
        return on_device(self.tensors)


def lines(ways: Iterable[tuple[str, Plan]]) -> list[str]:
    """For a user, who wants to know what fits: each way to run with its flags, the first one being as set."""
    told = []
    if torch.cuda.is_available():
        told.append(f"the device here has {torch.cuda.get_device_properties(0).total_memory / GIB:.1f} GiB")
    for flags, plan in ways:
        told.append(f"{plan.memory / GIB:.1f} GiB on each device, {plan.flops / 1e12:.4g} TFLOP a step: {flags}")
    return told


class _AsOnGpu(TorchFunctionMode):
    """Number formats as autocast would have them, and attention as a GPU computes it, which never holds its scores."""

    def __init__(self, half: torch.dtype | None):
        super().__init__()
        self.half = half

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.half is not None and (number := self._number(getattr(func, "__name__", ""))) is not None:
            args, kwargs = tree_map_only(Tensor, lambda each: _as(each, number), (args, kwargs))
        if func is nn.functional.scaled_dot_product_attention and kwargs.get("attn_mask") is None:
            return aten._scaled_dot_product_flash_attention(*args[:3], scale=kwargs.get("scale"))[0]
        return func(*args, **kwargs)

    def _number(self, name: str) -> torch.dtype | None:
        name = {"square": "pow", "__matmul__": "matmul", "__rmatmul__": "matmul", "__pow__": "pow"}.get(name, name)
        return self.half if name in LOWER else torch.float32 if name in SINGLE else None


def _as(tensor: Tensor, number: torch.dtype) -> Tensor:
    return tensor.to(number) if tensor.is_floating_point() else tensor


@dataclass
class Footprint:
    """What was done and what waits for the backward pass, filled by `watched`.

    Attributes:
        flops: in all.
        scores: of them, attention's scores.
        blocks: bytes that each block keeps.
        inputs: bytes of what goes into blocks: all that waits where they are computed again.
        outside: bytes that are kept beside the blocks.
    """

    flops: float = 0.0
    scores: float = 0.0
    blocks: list[dict[int, int]] = field(default_factory=list)
    inputs: dict[int, int] = field(default_factory=dict)
    outside: dict[int, int] = field(default_factory=dict)

    def kept(self, *, recompute: bool = False) -> int:
        """Bytes that live when the backward pass begins; with blocks that are computed again, in the largest one."""
        sizes = [sum(block.values()) for block in self.blocks]
        if recompute:
            return sum((self.outside | self.inputs).values()) + max(sizes, default=0)
        return sum(self.outside.values()) + sum(sizes)


@contextmanager
def watched(network: nn.Module, blocks: Iterable[str] = (), autocast: torch.dtype | None = None) -> Iterator[Footprint]:
    """Watch what is done inside with a network.

    Args:
        blocks: names of the classes that gradient checkpointing computes again.
        autocast: the half precision of a mixed one.
    """
    found, names, lives = Footprint(), set(blocks), []
    weights = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    places = [found.outside]

    def keep(tensor: Tensor, where: dict[int, int]) -> Tensor:
        storage = tensor.untyped_storage()
        lives.append(storage)  # so that no other one gets its number
        if storage._cdata not in weights:
            where[storage._cdata] = storage.nbytes()
        return tensor

    def enter(module: nn.Module, args: Any, named: dict[str, Any]) -> None:
        for each in args[:1] or [each for each in named.values() if isinstance(each, Tensor)]:
            keep(each, found.inputs)
        places.append({})

    def leave(module: nn.Module, args: Any, made: Any) -> None:
        found.blocks.append(places.pop())

    hooks = [
        hook
        for module in network.modules()
        if type(module).__name__ in names
        for hook in (module.register_forward_pre_hook(enter, with_kwargs=True), module.register_forward_hook(leave))
    ]
    with (
        FlopCounterMode(display=False) as counter,
        _AsOnGpu(autocast),
        saved_tensors_hooks(_packing(keep, places), _same),
    ):
        yield found
    for hook in hooks:
        hook.remove()
    counts = counter.get_flop_counts().get("Global", {})
    found.flops = float(sum(counts.values()))
    found.scores = float(counts.get(aten._scaled_dot_product_flash_attention, 0))


def _packing(keep: Callable[..., Tensor], places: list[dict[int, int]]) -> Callable[[Tensor], Tensor]:
    return lambda tensor: keep(tensor, places[-1])


def _same(tensor: Tensor) -> Tensor:
    return tensor


def size(modules: Iterable[nn.Module], *, learning: bool) -> int:
    """Bytes of the weights that learn, or of all others."""
    weights = {id(weight): weight for module in modules for weight in module.parameters()}
    return sum(each.numel() * each.element_size() for each in weights.values() if each.requires_grad == learning)

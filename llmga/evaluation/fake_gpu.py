"""A GPU that has shapes, devices and number formats but no numbers: what a program does on it, found out on any CPU.

What is on the CPU stays real; what a program moves to the device becomes a fake tensor (torch's `FakeTensorMode`),
which takes no memory.  Operations on it are watched one by one: their FLOPs, the memory that lives, each time the
program waits for the device, and where a tensor is on the wrong device or in the wrong number format.
"""

import os
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from llmga.evaluation import fake_device
from llmga.evaluation.call_sites import Mistake, caller
from llmga.evaluation.fake_device import (
    HALF,
    NAME,
    Generator,
    attention,
    generators_checked,
    mapped,
    scalar,
    tensors_in,
)
from llmga.evaluation.fake_modules import apply, offloading

BLOCK = 512  # bytes: what CUDA's allocator rounds up to
# accelerate's device, which it would not find by itself; weights are loaded in the thread that is watched.
SURROUNDINGS = {"ACCELERATE_TORCH_DEVICE": NAME, "HF_DEACTIVATE_ASYNC_LOAD": "1"}
WEIGHT = 1 << 24  # bytes from which a tensor that comes back stays fake: it is a weight that waits, nobody reads it

aten = torch.ops.aten


@dataclass
class Trace:
    """What a program did on the device.

    Attributes:
        flops: by number format, counted as `FlopCounterMode` counts them.
        peak: bytes that lived at once, of each device.
        waits: (what made the program wait for the device, the line) -> how often.
        islands: (number format, line) -> FLOPs of matrix products and convolutions in single or double precision.
        doubles: (operation, line) -> how often it made a tensor in double precision on the device.
        moved: (line) -> bytes that were copied from the CPU to the device.
    """

    flops: Counter[str] = field(default_factory=Counter)
    live: Counter[torch.device] = field(default_factory=Counter)
    peak: Counter[torch.device] = field(default_factory=Counter)
    waits: Counter[tuple[str, str]] = field(default_factory=Counter)
    islands: Counter[tuple[str, str]] = field(default_factory=Counter)
    doubles: Counter[tuple[str, str]] = field(default_factory=Counter)
    moved: Counter[str] = field(default_factory=Counter)

    def begin(self) -> None:
        """Forget all but what lives."""
        for counter in (self.flops, self.waits, self.islands, self.doubles, self.moved):
            counter.clear()
        self.peak = Counter(self.live)


class FakeGpu(TorchDispatchMode):
    """While it is entered, `torch.device("fakegpu")` can be computed on.

    Attributes:
        trace: what was done.
    """

    def __init__(self) -> None:
        fake_device.install()
        super().__init__()
        self.trace = Trace()
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        self._known: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = list(tensors_in((*args, *kwargs.values())))
        wanted = kwargs.get("device") or next((each for each in args if isinstance(each, torch.device)), None)
        if not any(isinstance(each, FakeTensor) for each in tensors) and not _is_fake(wanted):
            return self._on_cpu(func, args, kwargs)
        if func in READERS:
            return self._read(func, args, kwargs)
        if func is aten.scaled_dot_product_attention.default:  # in inference mode nothing has taken it apart
            return self._attend(*args, **kwargs)
        if func is torch.ops.prim.device.default:
            return _device_of(args[0])
        if torch.is_inference_mode_enabled() and _is_composite(func):
            with self:
                return func.decompose(*args, **kwargs)
        made = self._run(func, args, kwargs, tensors)
        self._watch(func, args, kwargs, tensors, made)
        return made

    def _attend(self, *args: Any, **kwargs: Any) -> Tensor:
        with self:
            return attention(*args, **kwargs)

    def _on_cpu(self, func: Any, args: Any, kwargs: Any) -> Any:
        made = func(*args, **kwargs)
        if isinstance(made, Tensor) and made.dim():
            made._made_at = f", made at {caller()}"  # type: ignore[attr-defined]
        return made

    def _run(self, func: Any, args: Any, kwargs: Any, tensors: list[Tensor]) -> Any:
        if func is aten._to_copy.default and _leaves(args[0], kwargs):
            return self._brought_back(args[0], kwargs)
        if func in (aten.index.Tensor, aten.index_put.default, aten.index_put_.default):
            args = (args[0], [self._positions(each) for each in args[1]], *args[2:])
        if func is aten.copy_.default and not isinstance(args[0], FakeTensor):
            self.trace.waits["copy to the CPU", caller()] += 1
            return args[0]
        try:
            if not all(isinstance(each, FakeTensor) for each in tensors):
                args, kwargs = mapped(self._shape_of, args), mapped(self._shape_of, kwargs)
            with self.fake:
                return func(*args, **kwargs)
        except RuntimeError as problem:
            if "device" in str(problem).lower():
                raise Mistake(_of_two_devices(func, tensors)) from problem
            raise

    def _shape_of(self, one: Any) -> Any:
        """A real tensor as a fake one."""
        if not isinstance(one, Tensor) or isinstance(one, FakeTensor):
            return one
        with self.fake:
            return torch.empty_strided(one.shape, one.stride(), dtype=one.dtype, device=one.device)

    def _positions(self, index: Any) -> Any:
        """A mask among the indices makes the program wait for the number of its positions."""
        if not isinstance(index, Tensor) or index.dtype not in (torch.bool, torch.uint8):
            return index
        self.trace.waits["index by a mask", caller()] += 1
        with self.fake:
            return torch.empty(index.numel(), dtype=torch.int64, device=index.device)

    def _brought_back(self, tensor: Tensor, kwargs: Any) -> Tensor:
        """A copy on the CPU, real where the program may read it."""
        if _device_of(tensor).type == NAME:
            self.trace.waits["copy to the CPU", caller()] += 1
        dtype = kwargs.get("dtype") or tensor.dtype
        if getattr(tensor, "_is_param", False) or tensor.numel() * tensor.element_size() > WEIGHT:
            with self.fake:
                return aten._to_copy.default(tensor, **kwargs)
        return torch.ones(tensor.shape, dtype=dtype) if dtype == torch.bool else torch.zeros(tensor.shape, dtype=dtype)

    def _read(self, func: Any, args: Any, kwargs: Any) -> Any:
        """What is read of numbers that are not there: plausible, and counted."""
        if _device_of(args[0]).type == NAME:
            self.trace.waits[READERS[func][0], caller()] += 1
        with self.fake:
            return READERS[func][1](*args, **kwargs)

    def _watch(self, func: Any, args: Any, kwargs: Any, tensors: list[Tensor], made: Any) -> None:
        outputs = [each for each in tensors_in((made,)) if isinstance(each, FakeTensor)]
        for each in outputs:
            self._hold(each)
            if each.dim() and _device_of(each).type == "cpu":
                each._made_at = f", made at {caller()}"  # type: ignore[attr-defined]
        if func in (aten._to_copy.default, aten.copy_.default) and outputs and _device_of(outputs[0]).type == NAME:
            source = args[0] if func is aten._to_copy.default else args[1]
            if _device_of(source).type == "cpu" and source.dim():
                self.trace.moved[caller()] += source.numel() * source.element_size()
        if any(each.dtype == torch.float64 and each.dim() and _device_of(each).type == NAME for each in outputs):
            self.trace.doubles[str(func), caller()] += 1
        if (count := flop_registry.get(func._overloadpacket)) and outputs:
            flops = count(*args, **kwargs, out_val=made)
            number = str(outputs[0].dtype).removeprefix("torch.")
            self.trace.flops[number] += flops
            if outputs[0].dtype not in HALF:
                self.trace.islands[number, caller()] += flops

    def _hold(self, tensor: FakeTensor) -> None:
        device, storage = tensor.fake_device, tensor.untyped_storage()
        key = storage._cdata
        if device.type != NAME or key in self._known:
            return
        size = -(-storage.nbytes() // BLOCK) * BLOCK
        self._known[key] = weakref.ref(storage, partial(self._freed, key, device, size))
        self.trace.live[device] += size
        self.trace.peak[device] = max(self.trace.peak[device], self.trace.live[device])

    def _freed(self, key: int, device: torch.device, size: int, _: Any) -> None:
        self._known.pop(key, None)
        self.trace.live[device] -= size


@cache
def _is_composite(func: Any) -> bool:
    """Whether autograd would have taken an operation apart, which inference mode does not."""
    return torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")


def _is_fake(device: Any) -> bool:
    return device is not None and torch.device(device).type == NAME


def _device_of(tensor: Tensor) -> torch.device:
    return tensor.fake_device if isinstance(tensor, FakeTensor) else tensor.device


def _leaves(tensor: Tensor, kwargs: Any) -> bool:
    return isinstance(tensor, FakeTensor) and kwargs.get("device") is not None and kwargs["device"].type == "cpu"


def _of_two_devices(func: Any, tensors: list[Tensor]) -> str:
    told = [
        f"{tuple(each.shape)} on {_device_of(each)}{getattr(each, '_made_at', '')}"
        for each in tensors
    ]  # fmt: skip
    return f"{func} at {caller()} meets tensors of two devices: {'; '.join(told)}"


def _nonzero(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.numel(), tensor.dim(), dtype=torch.int64, device=_device_of(tensor))


READERS: dict[Any, tuple[str, Callable[..., Any]]] = {
    aten._local_scalar_dense.default: ("item", scalar),
    aten.equal.default: ("equal", lambda one, other: True),
    aten.is_nonzero.default: ("item", lambda one: True),
    aten.nonzero.default: ("nonzero", _nonzero),
    aten.masked_select.default: ("masked_select", lambda one, mask: one.new_empty(one.numel())),
    aten._unique2.default: ("unique", lambda one, *rest: tuple(one.new_empty(one.numel()) for _ in range(3))),
}  # fmt: skip


@contextmanager
def fake_gpu() -> Iterator[FakeGpu]:
    """A fake GPU, weights of modules moving to it and from it as on a real one."""
    mode = FakeGpu()
    moved = nn.Module._apply
    nn.Module._apply = apply  # type: ignore[method-assign]
    running = threading.Thread.run

    def run(thread: threading.Thread) -> None:
        torch._C._set_only_lift_cpu_tensors(True)
        with mode:  # a mode is of its thread
            running(thread)

    threading.Thread.run = run  # type: ignore[method-assign,assignment]
    torch.Generator, generator = Generator, torch.Generator  # type: ignore[misc]
    torch._C._set_only_lift_cpu_tensors(True)  # `torch.tensor(…, device=…)` is made on the CPU and moved
    try:
        fake_device.ACTIVE.append(mode)
        with mode, mock.patch.dict(os.environ, SURROUNDINGS), generators_checked(), offloading():
            yield mode
    finally:
        fake_device.ACTIVE.remove(mode)
        threading.Thread.run = running  # type: ignore[method-assign]
        torch._C._set_only_lift_cpu_tensors(False)
        torch.Generator = generator  # type: ignore[misc]
        nn.Module._apply = moved  # type: ignore[method-assign]
        fake_device.forget_casts()

"""A GPU that has shapes, devices and number formats but no numbers: what a program does on it, found out on any CPU.

What is on the CPU stays real; what a program moves to the device becomes a fake tensor (torch's `FakeTensorMode`),
which takes no memory.  Operations on it are watched one by one: their FLOPs, the memory that lives, each time the
program waits for the device, and where a tensor is on the wrong device or in the wrong number format.  Needs torch 2.13
or newer: the device is made by a private function of it.
"""

import os
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache, partial, wraps
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from llmga import runtime
from llmga.training.autocast import LOWER, SINGLE, WIDEST

NAME = "fakegpu"
DEVICES = 2
BLOCK = 512  # bytes: what CUDA's allocator rounds up to
HALF = (torch.float16, torch.bfloat16)
WIDEST_FLASH = 256  # width of a head up to which there are kernels of flash attention
# accelerate's device, which it would not find by itself; weights are loaded in the thread that is watched.
SURROUNDINGS = {"ACCELERATE_TORCH_DEVICE": NAME, "HF_DEACTIVATE_ASYNC_LOAD": "1"}
WEIGHT = 1 << 24  # bytes from which a tensor that comes back stays fake: it is a weight that waits, nobody reads it
_HERE = Path(__file__).parent
OWN_FILES = {__file__, *(str(path) for path in _HERE.glob("dry_run*.py"))}

aten = torch.ops.aten


class Mistake(RuntimeError):
    """What a program does wrong on a device, with the line that did it."""


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


def line_of(frame: FrameType | None) -> str:
    """`folder/file.py:line` of the innermost frame that is no library's; what autograd calls has none."""
    while frame is not None:
        place = _own(frame.f_code.co_filename)
        if place is not None:
            return f"{place}:{frame.f_lineno}"
        frame = frame.f_back
    return "backward"


@cache
def _own(file: str) -> str | None:
    library = "site-packages" in file or file.startswith(("<", sys.base_prefix, sys.prefix)) or file in OWN_FILES
    if library:
        return None
    path = Path(file)
    root = _HERE.parents[1]
    return str(path.relative_to(root)) if path.is_relative_to(root) else f"{path.parent.name}/{path.name}"


def _caller() -> str:
    return line_of(sys._getframe(1))


class FakeGpu(TorchDispatchMode):
    """While it is entered, `torch.device("fakegpu")` can be computed on.

    Attributes:
        trace: what was done.
    """

    def __init__(self) -> None:
        install()
        super().__init__()
        self.trace = Trace()
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        self._known: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = list(_tensors((*args, *kwargs.values())))
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
            made._made_at = f", made at {_caller()}"  # type: ignore[attr-defined]
        return made

    def _run(self, func: Any, args: Any, kwargs: Any, tensors: list[Tensor]) -> Any:
        if func is aten._to_copy.default and _leaves(args[0], kwargs):
            return self._brought_back(args[0], kwargs)
        if func in (aten.index.Tensor, aten.index_put.default, aten.index_put_.default):
            args = (args[0], [self._positions(each) for each in args[1]], *args[2:])
        if func is aten.copy_.default and not isinstance(args[0], FakeTensor):
            self.trace.waits["copy to the CPU", _caller()] += 1
            return args[0]
        try:
            if not all(isinstance(each, FakeTensor) for each in tensors):
                args, kwargs = _mapped(self._shape_of, args), _mapped(self._shape_of, kwargs)
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
        self.trace.waits["index by a mask", _caller()] += 1
        with self.fake:
            return torch.empty(index.numel(), dtype=torch.int64, device=index.device)

    def _brought_back(self, tensor: Tensor, kwargs: Any) -> Tensor:
        """A copy on the CPU, real where the program may read it."""
        if _device_of(tensor).type == NAME:
            self.trace.waits["copy to the CPU", _caller()] += 1
        dtype = kwargs.get("dtype") or tensor.dtype
        if getattr(tensor, "_is_param", False) or tensor.numel() * tensor.element_size() > WEIGHT:
            with self.fake:
                return aten._to_copy.default(tensor, **kwargs)
        return torch.ones(tensor.shape, dtype=dtype) if dtype == torch.bool else torch.zeros(tensor.shape, dtype=dtype)

    def _read(self, func: Any, args: Any, kwargs: Any) -> Any:
        """What is read of numbers that are not there: plausible, and counted."""
        if _device_of(args[0]).type == NAME:
            self.trace.waits[READERS[func][0], _caller()] += 1
        with self.fake:
            return READERS[func][1](*args, **kwargs)

    def _watch(self, func: Any, args: Any, kwargs: Any, tensors: list[Tensor], made: Any) -> None:
        outputs = [each for each in _tensors((made,)) if isinstance(each, FakeTensor)]
        for each in outputs:
            self._hold(each)
            if each.dim() and _device_of(each).type == "cpu":
                each._made_at = f", made at {_caller()}"  # type: ignore[attr-defined]
        if func in (aten._to_copy.default, aten.copy_.default) and outputs and _device_of(outputs[0]).type == NAME:
            source = args[0] if func is aten._to_copy.default else args[1]
            if _device_of(source).type == "cpu" and source.dim():
                self.trace.moved[_caller()] += source.numel() * source.element_size()
        if any(each.dtype == torch.float64 and each.dim() and _device_of(each).type == NAME for each in outputs):
            self.trace.doubles[str(func), _caller()] += 1
        if (count := flop_registry.get(func._overloadpacket)) and outputs:
            flops = count(*args, **kwargs, out_val=made)
            number = str(outputs[0].dtype).removeprefix("torch.")
            self.trace.flops[number] += flops
            if outputs[0].dtype not in HALF:
                self.trace.islands[number, _caller()] += flops

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


def _tensors(values: Any) -> Iterator[Tensor]:
    """Those among an operation's arguments; torch's own way through nested values takes longer than the operation."""
    for one in values:
        if isinstance(one, Tensor):
            yield one
        elif isinstance(one, (list, tuple)):
            yield from _tensors(one)


def _mapped(change: Callable[[Any], Any], values: Any) -> Any:
    if isinstance(values, dict):
        return {name: _mapped(change, one) for name, one in values.items()}
    if isinstance(values, (list, tuple)):
        return type(values)(_mapped(change, one) for one in values)
    return change(values)


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
    return f"{func} at {_caller()} meets tensors of two devices: {'; '.join(told)}"


def _scalar(tensor: Tensor) -> Any:
    return True if tensor.dtype == torch.bool else 1.0 if tensor.dtype.is_floating_point else 1


def _unwatched(tensor: Tensor) -> Any:
    """What `torch.tensor([scalar])` reads behind every mode's back."""
    for mode in _ACTIVE:
        mode.trace.waits["item", _caller()] += 1
    return _scalar(tensor)


def _nonzero(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.numel(), tensor.dim(), dtype=torch.int64, device=_device_of(tensor))


READERS: dict[Any, tuple[str, Callable[..., Any]]] = {
    aten._local_scalar_dense.default: ("item", _scalar),
    aten.equal.default: ("equal", lambda one, other: True),
    aten.is_nonzero.default: ("item", lambda one: True),
    aten.nonzero.default: ("nonzero", _nonzero),
    aten.masked_select.default: ("masked_select", lambda one, mask: one.new_empty(one.numel())),
    aten._unique2.default: ("unique", lambda one, *rest: tuple(one.new_empty(one.numel()) for _ in range(3))),
}  # fmt: skip


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """The kernel that CUDA takes: flash attention, or for masks, single precision and wide heads the efficient one."""
    if enable_gqa:
        share = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(share, -3), value.repeat_interleave(share, -3)
    if attn_mask is None and query.dtype in HALF and query.shape[-1] <= WIDEST_FLASH:
        return aten._scaled_dot_product_flash_attention(query, key, value, dropout_p, is_causal, scale=scale)[0]
    if attn_mask is not None:
        if attn_mask.dtype == torch.bool:
            attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill_(~attn_mask, -torch.inf)
        attn_mask = attn_mask.expand(*query.shape[:-1], key.shape[-2])
    grad = torch.is_grad_enabled()
    return aten._scaled_dot_product_efficient_attention(
        query, key, value, attn_mask, grad, dropout_p, is_causal, scale=scale
    )[0]


class Generator(torch.Generator):
    """A source of random numbers that says it is on the device; an operation sees only that it is the CPU's."""

    place: torch.device

    def __new__(cls, device: Any = "cpu") -> "Generator":
        """Of a device; the one behind it is the CPU's."""
        made = super().__new__(cls, "cpu")  # type: ignore[call-arg]
        made.place = torch.device(device)
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """Where it seems to be."""
        return self.place


DRAWING = {
    torch: ("randn", "rand", "randint", "randperm", "normal", "poisson", "bernoulli", "multinomial"),
    Tensor: ("normal_", "uniform_", "random_", "exponential_", "bernoulli_"),
}


@contextmanager
def _generators_checked() -> Iterator[None]:
    """A generator draws on its own device only, as CUDA wants it; no mode sees whose it is."""
    with ExitStack() as changed:
        for owner, names in DRAWING.items():
            for name in names:
                changed.enter_context(mock.patch.object(owner, name, _drawing(getattr(owner, name))))
        yield


def _drawing(draw: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(draw)
    def drawn(*args: Any, **kwargs: Any) -> Any:
        source: Any = kwargs.get("generator")
        place = kwargs.get("device") or next((one.device for one in args if isinstance(one, Tensor)), "cpu")
        kinds = {torch.device(place).type, source.device.type} if source is not None else set()
        if NAME in kinds and len(kinds) > 1:
            raise Mistake(f"{draw.__name__} at {_caller()} draws on {place} with a generator of {source.device}")
        return draw(*args, **kwargs)

    return drawn


class Device:
    """What `torch.fakegpu` is: the functions that libraries ask a device module for."""

    current = 0

    class device:
        """A context that does nothing."""

        def __init__(self, place: Any = None):
            pass

        def __enter__(self) -> None:
            pass

        def __exit__(self, *problem: Any) -> None:
            pass

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("_initialized", "amp"):
            raise AttributeError(name)
        return ANSWERS.get(name, lambda *args, **kwargs: None)


ANSWERS: dict[str, Callable[..., Any]] = {
    "is_initialized": lambda: True,
    "is_available": lambda: True,
    "is_bf16_supported": lambda *args, **kwargs: True,
    "current_device": lambda: 0,
    "_is_in_bad_fork": lambda: False,
    "device_count": lambda: DEVICES,
    "get_amp_supported_dtype": lambda: list(HALF),
    "mem_get_info": lambda *args: (1 << 36, 1 << 36),
    "memory_allocated": lambda *args: 0,
    "get_rng_state": lambda *args: torch.zeros(16, dtype=torch.uint8),
}


class _Guard(torch._C._acc.DeviceGuard):
    def type_(self) -> Any:
        return torch._C._autograd.DeviceType.PrivateUse1


class _Hook(torch._C._acc.PrivateUse1Hooks):
    def is_available(self) -> bool:
        return True

    def has_primary_context(self, index: int) -> bool:
        return True

    def is_built(self) -> bool:
        return True


@cache
def install() -> None:
    """Make the device known to torch, for the rest of the process."""
    from torch.utils import backend_registration

    backend_registration._setup_privateuseone_for_python_backend(NAME, Device(), _Hook(), _Guard())
    runtime.DEVICE_TYPES.append(NAME)
    _KEPT.append(torch.library.Library("aten", "IMPL", "AutogradPrivateUse1"))
    _KEPT[-1].impl("scaled_dot_product_attention", attention)
    _KEPT.append(torch.library.Library("aten", "IMPL", "PrivateUse1"))
    _KEPT[-1].impl("_local_scalar_dense", _unwatched)
    _install_autocast()


_KEPT: list[Any] = []
_ACTIVE: list[FakeGpu] = []
_CASTS: dict[int, tuple[Any, Tensor]] = {}


def _install_autocast() -> None:
    rest = torch.library.Library("_", "IMPL", "AutocastPrivateUse1")
    rest.fallback(torch.library.fallthrough_kernel)
    library = torch.library.Library("aten", "IMPL", "AutocastPrivateUse1")
    _KEPT.extend((rest, library))
    for names, rule in ((LOWER, _lower), (SINGLE, _single), (WIDEST, _widest)):
        for name in names:
            for overload in getattr(aten, name).overloads() if hasattr(aten, name) else ():
                op = getattr(getattr(aten, name), overload)
                if overload.endswith("out") or "Dimname" in str(op._schema):
                    continue
                library.impl(op, partial(_cast_and_call, op, rule))
    clear = torch.clear_autocast_cache

    def cleared() -> None:
        _CASTS.clear()
        clear()

    torch.clear_autocast_cache = cleared


def _cast_and_call(op: Any, rule: Callable[[Any], Any], *args: Any, **kwargs: Any) -> Any:
    convert = rule(_tensors((*args, *kwargs.values())))
    with torch._C._DisableAutocast():
        return op(*_mapped(convert, args), **_mapped(convert, kwargs))


def _castable(one: Any) -> bool:
    return isinstance(one, Tensor) and one.is_floating_point() and one.device.type == NAME


def _lower(leaves: Any) -> Callable[[Any], Any]:
    target = torch.get_autocast_dtype(NAME)

    def convert(one: Any) -> Any:
        if not _castable(one) or one.dtype in (target, torch.float64):
            return one
        if not (one.dtype == torch.float32 and one.requires_grad and one.is_leaf and torch.is_autocast_cache_enabled()):
            return one.to(target)
        if id(one) not in _CASTS:
            _CASTS[id(one)] = (one, one.to(target))
        return _CASTS[id(one)][1]

    return convert


def _single(leaves: Any) -> Callable[[Any], Any]:
    return lambda one: one.float() if _castable(one) and one.dtype in HALF else one


def _widest(leaves: Any) -> Callable[[Any], Any]:
    single = any(_castable(one) and one.dtype == torch.float32 for one in leaves)
    return _single(leaves) if single else lambda one: one


@contextmanager
def fake_gpu() -> Iterator[FakeGpu]:
    """A fake GPU, weights of modules moving to it and from it as on a real one."""
    mode = FakeGpu()
    moved = nn.Module._apply
    nn.Module._apply = _apply  # type: ignore[method-assign]
    running = threading.Thread.run

    def run(thread: threading.Thread) -> None:
        torch._C._set_only_lift_cpu_tensors(True)
        with mode:  # a mode is of its thread
            running(thread)

    threading.Thread.run = run  # type: ignore[method-assign,assignment]
    torch.Generator, generator = Generator, torch.Generator  # type: ignore[misc]
    torch._C._set_only_lift_cpu_tensors(True)  # `torch.tensor(…, device=…)` is made on the CPU and moved
    try:
        _ACTIVE.append(mode)
        with mode, mock.patch.dict(os.environ, SURROUNDINGS), _generators_checked(), _offloading():
            yield mode
    finally:
        _ACTIVE.remove(mode)
        threading.Thread.run = running  # type: ignore[method-assign]
        torch._C._set_only_lift_cpu_tensors(False)
        torch.Generator = generator  # type: ignore[misc]
        nn.Module._apply = moved  # type: ignore[method-assign]
        _CASTS.clear()


def _apply(self: nn.Module, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """torch's, which cannot exchange what is in a fake parameter: they are replaced, shared ones by the same one."""
    replaced: dict[int, nn.Parameter] = {}
    for module in self.modules() if recurse else (self,):
        for name, parameter in module._parameters.items():
            if parameter is None:
                continue
            if id(parameter) not in replaced:
                replaced[id(parameter)] = _applied(parameter, fn)
            module._parameters[name] = replaced[id(parameter)]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = fn(buffer)
    return self


@contextmanager
def _offloading() -> Iterator[None]:
    """accelerate's hooks make a parameter anew when its weights come and go, which a fake one's class cannot."""
    from accelerate import big_modeling, hooks

    with ExitStack() as changed:
        for module in (hooks, big_modeling):
            if hasattr(module, "set_module_tensor_to_device"):
                changed.enter_context(mock.patch.object(module, "set_module_tensor_to_device", _put))
        yield


def _put(module: nn.Module, name: str, device: Any, value: Tensor | None = None, **_: Any) -> None:
    *path, last = name.split(".")
    owner = module.get_submodule(".".join(path))
    table: Any = owner._parameters if last in owner._parameters else owner._buffers
    old = table[last]
    new = (old if value is None else value).to(device)
    table[last] = nn.Parameter(new, requires_grad=old.requires_grad) if table is owner._parameters else new


def _applied(parameter: Any, fn: Callable[[Tensor], Tensor]) -> Any:
    with torch.no_grad():
        made = fn(parameter)
    return parameter if made is parameter else nn.Parameter(made, requires_grad=parameter.requires_grad)


def to_fake(model: nn.Module, mode: FakeGpu, dtype: torch.dtype | None = None, device: str = "cpu") -> nn.Module:
    """A model of the meta device with weights that take no memory; buffers are fake, too."""

    def empty(tensor: Tensor) -> Tensor:
        number = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
        return torch.empty_strided(tensor.shape, tensor.stride(), dtype=number, device=device)

    with mode.fake:
        return _apply(model, empty)

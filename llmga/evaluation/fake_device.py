"""The device `fakegpu` as torch sees it: autocast, attention and random numbers as CUDA has them.

Needs torch 2.13 or newer: the device is made by a private function of it.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial, wraps
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from llmga import runtime
from llmga.evaluation.call_sites import Mistake, caller
from llmga.training.autocast import LOWER, SINGLE, WIDEST

NAME = "fakegpu"
DEVICES = 2
HALF = (torch.float16, torch.bfloat16)
WIDEST_FLASH = 256  # width of a head up to which there are kernels of flash attention

aten = torch.ops.aten


def tensors_in(values: Any) -> Iterator[Tensor]:
    """Those among an operation's arguments; torch's own way through nested values takes longer than the operation."""
    for one in values:
        if isinstance(one, Tensor):
            yield one
        elif isinstance(one, (list, tuple)):
            yield from tensors_in(one)


def mapped(change: Callable[[Any], Any], values: Any) -> Any:
    """Nested values with each leaf changed."""
    if isinstance(values, dict):
        return {name: mapped(change, one) for name, one in values.items()}
    if isinstance(values, (list, tuple)):
        return type(values)(mapped(change, one) for one in values)
    return change(values)


def scalar(tensor: Tensor) -> Any:
    """A plausible number of such a format."""
    return True if tensor.dtype == torch.bool else 1.0 if tensor.dtype.is_floating_point else 1


def _unwatched(tensor: Tensor) -> Any:
    """What `torch.tensor([scalar])` reads behind every mode's back."""
    for mode in ACTIVE:
        mode.trace.waits["item", caller()] += 1
    return scalar(tensor)


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
def generators_checked() -> Iterator[None]:
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
            raise Mistake(f"{draw.__name__} at {caller()} draws on {place} with a generator of {source.device}")
        return draw(*args, **kwargs)

    return drawn


class Device:
    """What `torch.fakegpu` is: the functions that libraries ask a device module for."""

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
ACTIVE: list[Any] = []  # fake GPUs whose traces are told of what no mode sees
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
        forget_casts()
        clear()

    torch.clear_autocast_cache = cleared


def forget_casts() -> None:
    """What autocast keeps of weights."""
    _CASTS.clear()


def _cast_and_call(op: Any, rule: Callable[[Any], Any], *args: Any, **kwargs: Any) -> Any:
    convert = rule(tensors_in((*args, *kwargs.values())))
    with torch._C._DisableAutocast():
        return op(*mapped(convert, args), **mapped(convert, kwargs))


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

"""Modules whose weights are fake: they move, are exchanged and are offloaded as real ones."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode


@contextmanager
def offloading() -> Iterator[None]:
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


def apply(self: nn.Module, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
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


def _applied(parameter: Any, fn: Callable[[Tensor], Tensor]) -> Any:
    with torch.no_grad():
        made = fn(parameter)
    return parameter if made is parameter else nn.Parameter(made, requires_grad=parameter.requires_grad)


def to_fake(model: nn.Module, mode: FakeTensorMode, dtype: torch.dtype | None = None, device: str = "cpu") -> nn.Module:
    """A model of the meta device with weights that take no memory; buffers are fake, too."""

    def empty(tensor: Tensor) -> Tensor:
        number = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
        return torch.empty_strided(tensor.shape, tensor.stride(), dtype=number, device=device)

    with mode:
        return apply(model, empty)

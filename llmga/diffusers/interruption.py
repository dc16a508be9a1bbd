"""A pipeline's call that can be ended inside a step: between the blocks of its networks."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any, TypeVar, cast

from torch import nn

Look = Callable[[], None]
Call = TypeVar("Call", bound=Callable[..., Any])


@contextmanager
def watched(pipe: Any, look: Look | None) -> Iterator[None]:
    """Call `look` before every block that the pipeline's networks compute in this thread; what it raises ends them.

    A block is a member of a `ModuleList`: the layers of the text encoders, the residual and attention blocks of the
    denoiser and of the VAE.  Nothing that is computed changes.

    Args:
        pipe: a diffusers pipeline, or anything with such `components`.
        look: None leaves the networks alone.
    """
    if look is None:
        yield
        return
    here = threading.get_ident()

    def before(*_: Any) -> None:
        if threading.get_ident() == here:  # a text encoder, for one, may serve another pipeline, too
            look()

    with ExitStack() as hooks:
        for block in blocks(pipe):
            hooks.callback(block.register_forward_pre_hook(before).remove)
        yield


def blocks(pipe: Any) -> list[nn.Module]:
    """The blocks of all its networks, each once."""
    networks = [part for part in pipe.components.values() if isinstance(part, nn.Module)]
    lists = (each for network in networks for each in network.modules() if isinstance(each, nn.ModuleList))
    return list(dict.fromkeys(block for each in lists for block in each if block is not None))  # no attention: a None


def interruptible(call: Call) -> Call:
    """Give a pipeline's call its `still_wanted`, which is called inside its steps, too; what it raises ends it."""

    @wraps(call)
    def watched_call(self: Any, *given: Any, still_wanted: Look | None = None, **options: Any) -> Any:
        with watched(self.pipe, still_wanted):
            return call(self, *given, **options)

    return cast(Call, watched_call)

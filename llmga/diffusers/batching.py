"""Denoising steps of several paintings, computed together.

Every painting is a stock pipeline of its own in a thread of its own, with its own scheduler, seed, prompts, guidance
and number of steps; all that they share is the denoiser.  Where a pipeline calls it, the call waits until the others
have come to theirs, and the calls of one shape are one pass through the network, each with its own time.  So a painting
joins between any two steps of the others, leaves whenever it ends, and what a sampler keeps is nobody else's.
"""

import logging
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from threading import Condition
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from llmga.diffusers.interruption import Look, watched

log: logging.Logger = logging.getLogger(__name__)

PATIENCE = 0.05  # seconds for which a step at least waits for others that are not ready, since they draw a preview …
SHARE = 0.5  # … and the share of the latest pass that is worth waiting for
LOOK_AGAIN = 0.1  # seconds between two looks at whether a painting is still wanted
PLAIN = (bool, int, float, str, type(None))


class _Deserted(BaseException):
    """Raised inside the denoiser where nobody wants any of its results."""


@dataclass(eq=False)
class Step:
    """One call of the denoiser by one painting.

    Attributes:
        sample: (rows, channels, height, width); one row, or two with guidance.
        time: a number, or a tensor of none or one dimension.
        given: the further arguments, tensors with a row for each of the sample.
        still_wanted: what it raises ends the painting.
        outputs: of the network.
        problem: what was raised instead.
        done: whether one of them is there.
        left: whether nobody wants it any more.
    """

    sample: Tensor
    time: Any
    given: Mapping[str, Any]
    still_wanted: Look
    began: float = field(default_factory=time.monotonic)
    outputs: Any = None
    problem: BaseException | None = None
    done: bool = False
    left: bool = False

    def look(self) -> None:
        """Take note of it where nobody wants the painting any more; what tells so is raised by its own thread."""
        if not self.left:
            try:
                self.still_wanted()
            except BaseException as reason:
                self.problem, self.left = reason, True

    @cached_property
    def kind(self) -> Hashable:
        """Steps of one kind are computed together."""
        return self.rows, _kind(self.sample), _kind(self.given)

    @property
    def rows(self) -> int:
        """Of the sample."""
        return self.sample.shape[0]

    @property
    def times(self) -> Tensor:
        """One for each row; the network takes them in single precision, whatever they are."""
        return torch.as_tensor(self.time, device=self.sample.device).float().expand(self.rows)


def _kind(value: Any) -> Hashable:
    if isinstance(value, Tensor):
        return value.shape[1:], value.dtype, value.device
    if isinstance(value, Mapping):
        return tuple((name, _kind(each)) for name, each in value.items())
    return value if isinstance(value, PLAIN) else id(value)  # which is like nobody else's


def _joined(values: Sequence[Any]) -> Any:
    """Arguments of one kind: tensors one under the other."""
    first = values[0]
    if isinstance(first, Tensor):
        return torch.cat(list(values))
    if isinstance(first, Mapping):
        return {name: _joined([value[name] for value in values]) for name in first}
    return first


class EachAlone(TorchFunctionMode):
    """Computes for each painting alone what a CPU rounds otherwise for more rows, and the rest together.

    Measured: matrix products with a row for each picture (times, pooled prompts) and convolutions of one pixel; both
    are a small part of the work.

    Args:
        rows: of each painting.
    """

    def __init__(self, rows: Sequence[int]):
        super().__init__()
        self.rows = list(rows)
        self.total: int = sum(rows)

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._differs(function, args):
            return torch.cat([function(part, *args[1:], **kwargs) for part in args[0].split(self.rows)])
        return function(*args, **kwargs)

    def _differs(self, function: Any, args: Any) -> bool:
        if function is functional.linear:
            return args[0].dim() == 2 and args[0].shape[0] == self.total
        return function is torch.conv2d and args[1].shape[2:] == (1, 1) and args[0].shape[0] == self.total


def compute(network: Any, steps: Sequence[Step]) -> list[Any]:
    """The network's outputs for each of several steps of one kind; one step is computed as if it was alone."""
    if len(steps) == 1:
        (step,) = steps
        return [network(step.sample, step.time, **step.given)]
    rows = [step.rows for step in steps]
    sample, times = torch.cat([step.sample for step in steps]), torch.cat([step.times for step in steps])
    with EachAlone(rows) if sample.device.type == "cpu" else nullcontext():
        outputs = network(sample, times, **_joined([step.given for step in steps]))
    return list(zip(*(output.split(rows) for output in outputs), strict=True))


class StepBatch:
    """Where paintings with one denoiser meet between their steps.

    One thread at a time uses the networks.  Of the steps that wait, it is that of the oldest which computes all of its
    kind; the others wait for it.

    Args:
        network: the denoiser.
        most: paintings that are denoised together; fewer from then on where the device runs out of memory.
        positions: latent positions (height times width) of one pass at most, which bounds its memory; one painting may
            have more.  None is no bound.

    Attributes:
        passes: through the network so far, by the number of paintings that each was for.
    """

    def __init__(self, network: Any, most: int, positions: int | None = None):
        self.network = network
        self.most = most
        self.positions = positions
        self.passes: dict[int, int] = {}
        self._watched = SimpleNamespace(components={"denoiser": network})
        self._members: dict[object, Hashable] = {}  # with the kind of the latest step, None before the first one
        self._waiting: list[Step] = []
        self._busy = False
        self._patience = PATIENCE
        self._moved = Condition()

    @contextmanager
    def member(self) -> Iterator[Callable[[Step], Any]]:
        """Take part in a painting's steps.

        `denoise(step)` returns the network's outputs; it raises what the network raised, or what tells that the
        painting is not wanted any more.
        """
        me = object()

        def denoise(step: Step) -> Any:
            with self._moved:
                self._members[me] = step.kind
            return self._denoise(step)

        with self._moved:
            self._members[me] = None
        try:
            yield denoise
        finally:
            with self._moved:
                del self._members[me]
                self._moved.notify_all()

    @contextmanager
    def alone(self, still_wanted: Look) -> Iterator[None]:
        """Hold the networks between the others' steps, to encode a prompt or to decode a picture.

        Args:
            still_wanted: called while waiting; what it raises ends the wait.
        """
        with self._moved:
            while self._busy:
                self._moved.wait(LOOK_AGAIN)
                still_wanted()
            self._busy = True
        try:
            yield
        finally:
            self._free()

    def _free(self) -> None:
        with self._moved:
            self._busy = False
            self._moved.notify_all()

    def _denoise(self, step: Step) -> Any:
        if group := self._awaited(step):
            began = time.monotonic()
            try:
                with watched(self._watched, lambda: _look_around(step, group)):
                    self._compute(group)
            except _Deserted:
                pass
            finally:
                for each in group:
                    each.done = True
                self._patience = max(PATIENCE, SHARE * (time.monotonic() - began))
                self._free()
        if step.problem is not None:
            raise step.problem
        return step.outputs

    def _awaited(self, step: Step) -> list[Step]:
        """Wait until a step is done, or not wanted any more, or until this thread is to compute it with others."""
        with self._moved:
            self._waiting.append(step)
            self._moved.notify_all()
            while not (group := self._group_of(step)):
                if step.done or step.left:
                    break
                self._moved.wait(LOOK_AGAIN if self._busy else min(LOOK_AGAIN, self._patience))
                step.look()
            self._waiting = [each for each in self._waiting if each is not step and each not in group]
            self._busy |= bool(group)
            return group

    def _group_of(self, step: Step) -> list[Step]:
        """The steps that the thread of this one is to compute now; none where it is not its time."""
        if self._busy or step.done or step.left:
            return []
        for first in (each for each in self._waiting if not each.left):
            fellows = [each for each in self._waiting if each.kind == first.kind and not each.left]
            group = fellows[: self._fit(first)]
            if self._is_complete(group, len(fellows)) or time.monotonic() - first.began > self._patience:
                return group if group[0] is step else []
        return []

    def _fit(self, step: Step) -> int:
        """How many steps of its kind go into one pass."""
        if step.rows == 1 and step.sample.device.type == "cpu":
            return 1  # a CPU rounds nearly everything otherwise for one row than for more
        area = step.sample.shape[-2] * step.sample.shape[-1]
        return self.most if self.positions is None else min(self.most, max(1, self.positions // area))

    def _is_complete(self, group: Sequence[Step], there: int) -> bool:
        """Whether nobody is on the way to a step that would go into the pass, too."""
        kinds = (None, group[0].kind)
        return len(group) < there or there >= sum(kind in kinds for kind in self._members.values())

    def _compute(self, steps: Sequence[Step]) -> None:
        """Give each step its outputs; what fails for several is tried for fewer, so that nobody fails for others."""
        try:
            for step, outputs in zip(steps, compute(self.network, steps), strict=True):
                step.outputs = outputs
            self.passes[len(steps)] = self.passes.get(len(steps), 0) + 1
            return
        except Exception as problem:
            if len(steps) == 1:
                steps[0].problem = problem
                return
            half = len(steps) // 2
            if isinstance(problem, torch.OutOfMemoryError):
                self.most = min(self.most, half)
                log.warning("out of memory; from now on %d pictures are denoised at once.", self.most)
        self._compute(steps[:half])
        self._compute(steps[half:])


def _look_around(leader: Step, steps: Sequence[Step]) -> None:
    leader.look()
    if all(step.left for step in steps):
        raise _Deserted

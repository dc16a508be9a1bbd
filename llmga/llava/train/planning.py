"""How a training is spread over devices: the setting that was asked for, and one that fits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psutil
import torch

from llmga.llava.train.memory import Method, Need, Sizes, batches, flops, methods, need
from llmga.llava.train.settings import DoctorConfig, Stage1Config
from llmga.training.checkpoints import GIB

USUAL_DEVICES, USUAL_MEMORY = 8, 80.0  # the machine for which the presets are written: 8 A100 of 80 GiB


@dataclass(frozen=True)
class Machine:
    """Where a run takes place.

    Attributes:
        devices: that train together.
        memory: bytes of each device.
        host: bytes of the main memory for all of them together.
        source: where these figures come from, in words.
    """

    devices: int
    memory: float
    host: float
    source: str


@dataclass(frozen=True)
class Plan:
    """What a run needs, and how else it could be trained on its machine.

    Attributes:
        machine: where it takes place.
        total: samples of an optimiser step.
        asked: the run as its settings say, and what it needs.
        flops: of an optimiser step on each device, a picture being in every sample.
        best: the largest batch of every way to train that fits, in the order of preference; the first is proposed.
    """

    machine: Machine
    total: int
    asked: tuple[Method, Need]
    flops: float
    best: tuple[tuple[Method, Need], ...]

    @property
    def fits(self) -> bool:
        """Whether the run fits as it was asked for."""
        return self.fit(self.asked[1])

    def fit(self, one: Need) -> bool:
        """Whether the machine has so much memory."""
        return one.device <= self.machine.memory and one.host <= self.machine.host

    def flags(self) -> str:
        """What to add to the command for the proposed way."""
        return flags(self.best[0][0], self.asked[0], self.total)


def flags(method: Method, asked: Method, total: int) -> str:
    """What to add to a command, so that a step of so many samples is made in another way than asked."""
    low = f" --tune {method.tune} --bits {method.bits}" if method.tune != asked.tune else ""
    accumulation = total // (method.devices * method.batch)
    return f"--batch {method.batch} --accumulation {accumulation} --deepspeed {method.deepspeed}{low}"


def machine_of(config: DoctorConfig) -> Machine:
    """The devices here, or the usual ones when DeepSpeed is asked for and no GPU is here."""
    gpus = 0 if config.device == "cpu" else torch.cuda.device_count()
    host = psutil.virtual_memory().total
    usual = USUAL_DEVICES if config.deepspeed else 1
    devices = config.devices or gpus or usual
    stated = (config.device_memory or 0) * GIB
    if gpus:
        return Machine(devices, stated or torch.cuda.get_device_properties(0).total_memory, host, "as here")
    if config.deepspeed or stated:
        source = "no GPU is here; --devices and --device-memory tell of others"
        return Machine(devices, stated or USUAL_MEMORY * GIB, float("inf"), source)
    return Machine(devices, host / devices, host, "the main memory of this machine")


def step_size(config: DoctorConfig) -> int:
    """Samples of an optimiser step; presets with DeepSpeed are written for the usual devices."""
    if config.global_batch:
        return config.global_batch
    return config.batch * config.accumulation * (USUAL_DEVICES if config.deepspeed else config.devices or 1)


def plan(config: Stage1Config, sizes: Sizes, machine: Machine, total: int, zero: Mapping[str, Any]) -> Plan:
    """What the settings need, and every way to make the same step on this machine.

    Args:
        total: samples of an optimiser step.
        zero: "zero_optimization" of the DeepSpeed JSON, empty without.
    """
    asked = Method(
        tune=config.tune,
        devices=machine.devices,
        batch=config.batch,
        length=config.max_length,
        zero=int(zero.get("stage", 0)),
        offload="offload_param" in zero or "offload_optimizer" in zero,
        bits=config.bits,
        rank=config.lora_rank,
        half=config.precision != "fp32",
        recompute=config.gradient_checkpointing,
        tower=config.tune_tower,
    )
    best: dict[tuple, tuple[Method, Need]] = {}
    for method in methods(asked, batches(total, machine.devices, config.batch)):
        needed, way = need(sizes, method), (method.tune, method.bits, method.zero, method.offload)
        if way not in best and needed.device <= machine.memory and needed.host <= machine.host:
            best[way] = (method, needed)
    work = flops(sizes, asked, pictures=asked.batch) * total / (machine.devices * asked.batch)
    return Plan(machine, total, (asked, need(sizes, asked)), work, _preferred(best.values(), config))


def _preferred(found: Any, config: Stage1Config) -> tuple[tuple[Method, Need], ...]:
    """In the order of `methods`, but what keeps the batch that was asked for goes before what shrinks it, as long as
    the same parameters learn."""
    ways = list(dict.fromkeys((method.tune, method.bits) for method, _ in found))
    return tuple(sorted(found, key=lambda one: (ways.index((one[0].tune, one[0].bits)), one[0].batch < config.batch)))


def lines(plan: Plan) -> list[str]:
    """For a report."""
    asked, needed = plan.asked
    found = [
        f"{plan.machine.devices} device(s) of {plan.machine.memory / GIB:.0f} GiB ({plan.machine.source}), "
        f"{plan.total} samples a step",
        f"as set: {_way(asked)}: {_gib(needed)}{'' if plan.fits else ', which does not fit'}",
        f"a step: {plan.flops / 1e12:.4g} TFLOP on each device at full length, a picture in every sample",
    ]
    found += [f"fits: {_way(method)}: {_gib(one)}" for method, one in plan.best]
    if plan.best:
        found.append(f"proposed: {plan.flags()}")
    return found


def _way(method: Method) -> str:
    zero = "no DeepSpeed" if not method.zero else f"ZeRO-{method.zero}" + " offloaded" * method.offload
    bits = f" {method.bits} bit" if method.bits != 16 else ""
    return f"{method.tune}{bits}, {zero}, batch {method.batch}"


def _gib(one: Need) -> str:
    return f"{one.device / GIB:.1f} GiB" + (f" and {one.host / GIB:.0f} GiB of main memory" if one.host else "")

"""How a training is spread over devices: the setting that was asked for, and one that fits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmga.llava.train.memory import GIB, Need, Setup, Sizes, batches, need, setups
from llmga.llava.train.settings import TrainConfig


@dataclass(frozen=True)
class Machine:
    """Attributes:
    devices: that train together.
    memory: bytes of each device.
    host: bytes of the main memory for all of them together.
    said: where these figures come from.
    """

    devices: int
    memory: float
    host: float
    said: str


@dataclass(frozen=True)
class Plan:
    """Attributes:
    total: samples of an optimiser step.
    asked: the run as its settings say, and what it needs.
    best: the largest batch of every way to train that fits, in the order of preference; the first is proposed.
    """

    machine: Machine
    total: int
    asked: tuple[Setup, Need]
    best: tuple[tuple[Setup, Need], ...]

    @property
    def fits(self) -> bool:
        return self.fit(self.asked[1])

    def fit(self, one: Need) -> bool:
        return one.device <= self.machine.memory and one.host <= self.machine.host

    def flags(self) -> str:
        """What to add to the command for the proposed way."""
        setup = self.best[0][0]
        low = f" --tune {setup.tune} --bits {setup.bits}" if setup.tune != self.asked[0].tune else ""
        accumulation = self.total // (setup.devices * setup.batch)
        return f"--batch {setup.batch} --accumulation {accumulation} --deepspeed {setup.deepspeed}{low}"


def plan(config: TrainConfig, sizes: Sizes, machine: Machine, total: int, zero: Mapping[str, Any]) -> Plan:
    """What the settings need, and every way to make the same step on this machine.

    Args:
        total: samples of an optimiser step.
        zero: "zero_optimization" of the DeepSpeed JSON, empty without.
    """
    asked = Setup(
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
    best: dict[tuple, tuple[Setup, Need]] = {}
    for setup in setups(asked, batches(total, machine.devices, config.batch)):
        needed, way = need(sizes, setup), (setup.tune, setup.bits, setup.zero, setup.offload)
        if way not in best and needed.device <= machine.memory and needed.host <= machine.host:
            best[way] = (setup, needed)
    return Plan(machine, total, (asked, need(sizes, asked)), _preferred(best.values(), config))


def _preferred(found: Any, config: TrainConfig) -> tuple[tuple[Setup, Need], ...]:
    """In the order of `setups`, but what keeps the batch that was asked for goes before what shrinks it, as long as
    the same parameters learn."""
    ways = list(dict.fromkeys((setup.tune, setup.bits) for setup, _ in found))
    return tuple(sorted(found, key=lambda one: (ways.index((one[0].tune, one[0].bits)), one[0].batch < config.batch)))


def lines(plan: Plan) -> list[str]:
    """For a report."""
    asked, needed = plan.asked
    told = [
        f"{plan.machine.devices} device(s) of {plan.machine.memory / GIB:.0f} GiB ({plan.machine.said}), "
        f"{plan.total} samples a step",
        f"as set: {_way(asked)}: {_gib(needed)}{'' if plan.fits else ', which does not fit'}",
    ]
    told += [f"fits: {_way(setup)}: {_gib(one)}" for setup, one in plan.best]
    if plan.best:
        told.append(f"proposed: {plan.flags()}")
    return told


def _way(setup: Setup) -> str:
    zero = "no DeepSpeed" if not setup.zero else f"ZeRO-{setup.zero}" + " offloaded" * setup.offload
    bits = f" {setup.bits} bit" if setup.bits != 16 else ""
    return f"{setup.tune}{bits}, {zero}, batch {setup.batch}"


def _gib(one: Need) -> str:
    return f"{one.device / GIB:.1f} GiB" + (f" and {one.host / GIB:.0f} GiB of main memory" if one.host else "")

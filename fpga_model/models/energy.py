"""Energy: how often everything is accessed, and that times constants whose sources are named (docs/energy.md).

Counts are facts of a plan; joules are the product of counts and somebody's constants. No figure in joules is given
without the bytes that it is of.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib import resources
from operator import attrgetter

from fpga_model.machine.accelerator import RECORD_BITS, Accelerator
from fpga_model.machine.platform import Platform
from fpga_model.machine.timeline import Event
from fpga_model.schedule.dram import DramImage
from fpga_model.schedule.plan import Plan

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Accesses:
    """Accesses of one image's computation: words of the buffers, bytes of DRAM.

    Attributes:
        macs: multiply-accumulates that the network needs (idle units are not counted).
        feature_reads, feature_writes: accesses of a bank of a feature page, of each copy its own.
        weight_reads, weight_writes: words of the weight buffer.
        record_reads, record_writes: words of the parameter buffer.
        dram_read_bytes, dram_write_bytes: on the bus.
    """

    macs: int = 0
    feature_reads: int = 0
    feature_writes: int = 0
    weight_reads: int = 0
    weight_writes: int = 0
    record_reads: int = 0
    record_writes: int = 0
    dram_read_bytes: int = 0
    dram_write_bytes: int = 0

    @property
    def dram_bytes(self) -> int:
        return self.dram_read_bytes + self.dram_write_bytes

    def buffer_bits(self, accelerator: Accelerator) -> int:
        """Bits read from and written to all buffers. A word of features counts whole, also where half is written."""
        features = (self.feature_reads + self.feature_writes) * accelerator.feature_word_bytes * 8
        weights = (self.weight_reads + self.weight_writes) * accelerator.weight_word_bytes * 8
        return features + weights + (self.record_reads + self.record_writes) * RECORD_BITS


_COUNTS = attrgetter(*(count.name for count in fields(Accesses)))


def layer_accesses(plan: Plan) -> dict[str, Accesses]:
    """Accesses of every computed layer, in layer order."""
    return {name: _layer(plan, name) for name in plan.layers}


def count_accesses(plan: Plan) -> Accesses:
    """Accesses of the whole network."""
    return Accesses(*map(sum, zip(*map(_COUNTS, layer_accesses(plan).values()), strict=True)))


def _layer(plan: Plan, name: str) -> Accesses:
    layer, accelerator = plan.layers[name], plan.accelerator
    shape = layer.shape
    totals = plan.pipeline(name).totals()
    words = totals.words
    stored, loaded = (size // accelerator.feature_word_bytes for size in (totals.stored_bytes, totals.feature_bytes))
    return Accesses(
        macs=shape.operator.macs(shape.inputs),
        feature_reads=words.reads_a + words.reads_b + stored,
        feature_writes=2 * (words.writes + loaded),
        weight_reads=words.weights,
        weight_writes=totals.weights,
        record_reads=words.records,
        record_writes=totals.records,
        dram_read_bytes=totals.parameter_bytes + totals.feature_bytes,
        dram_write_bytes=totals.stored_bytes,
    )


@dataclass(frozen=True)
class Constant:
    """A figure in pJ and where it is from."""

    pj: float
    source: str


@dataclass(frozen=True)
class Constants:
    """Energy of a multiply-accumulate, and of a bit of the buffers and of several kinds of DRAM."""

    mac: Constant
    buffer_bit: Constant
    dram_bit: Mapping[str, Constant]


@cache
def load_constants() -> Constants:
    """The constants of the package."""
    text = (resources.files("fpga_model") / "constants" / "energy.toml").read_text("utf-8")
    table = tomllib.loads(text)
    return Constants(
        Constant(table["mac"]["pj"], table["mac"]["source"]),
        Constant(table["buffer"]["pj_per_bit"], table["buffer"]["source"]),
        {name: Constant(entry["pj_per_bit"], entry["source"]) for name, entry in table["dram"].items()},
    )


@dataclass(frozen=True)
class Energy:
    """Energy of one image in millijoules, with the DRAM bytes that it is of."""

    mac_mj: float
    buffer_mj: float
    dram_mj: float
    dram_bytes: int

    @property
    def total_mj(self) -> float:
        return self.mac_mj + self.buffer_mj + self.dram_mj

    def to_json(self) -> dict[str, float]:
        """All parts and their sum."""
        return {**asdict(self), "total_mj": self.total_mj}


def energy(
    accesses: Accesses, accelerator: Accelerator, dram_pj_per_bit: float, constants: Constants | None = None
) -> Energy:
    """The energy of these accesses."""
    constants = constants or load_constants()
    return Energy(
        mac_mj=accesses.macs * constants.mac.pj * 1e-9,
        buffer_mj=accesses.buffer_bits(accelerator) * constants.buffer_bit.pj * 1e-9,
        dram_mj=accesses.dram_bytes * 8 * dram_pj_per_bit * 1e-9,
        dram_bytes=accesses.dram_bytes,
    )


@dataclass(frozen=True)
class Sensitivity:
    """The energy under one DRAM constant."""

    name: str
    pj_per_bit: float
    source: str
    energy: Energy


def sensitivity(accesses: Accesses, accelerator: Accelerator, platform: Platform) -> list[Sensitivity]:
    """The energy under the platform's DRAM constant, then under every one of the package."""
    own = Constant(platform.dram_pj_per_bit, f"platform {platform.name}")
    options = {platform.dram_kind: own, **load_constants().dram_bit}
    return [
        Sensitivity(name, constant.pj, constant.source, energy(accesses, accelerator, constant.pj))
        for name, constant in options.items()
    ]


ROW_BYTES = 8192
"""Bytes of an open row over a 64-bit bus: eight x8 devices with rows of 1 KiB, as DDR3 and DDR4 of 4 Gbit have."""
BANKS = 8


def row_activations(
    events: Iterable[Event], image: DramImage, row_bytes: int = ROW_BYTES, banks: int = BANKS
) -> dict[str, int]:
    """Row activations by layer, from the addresses in the order in which their commands start.

    Rows stay open until another of the same bank is needed; consecutive rows lie in consecutive banks. Bursts of LOAD
    and STORE that overlap are taken command by command.
    """
    opened: dict[int, int] = {}
    counts: dict[str, int] = {}
    for event in sorted(events, key=lambda event: event.start):
        layer, runs = event.operation.layer, event.operation.dram
        if runs is None:
            continue
        counts.setdefault(layer, 0)
        base = image.bases[runs.region] + runs.address
        for index in range(runs.count):
            begin = base + index * runs.stride
            for row in range(begin // row_bytes, (begin + runs.bytes - 1) // row_bytes + 1):
                if opened.get(row % banks) != row:
                    opened[row % banks] = row
                    counts[layer] += 1
    return counts

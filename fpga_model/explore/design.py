"""What a configuration costs: by the analytic model over plans, and by the simulator."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Any

from fpga_model.collection import collection_paused
from fpga_model.errors import UserError
from fpga_model.explore.space import Configuration
from fpga_model.graph import LayerGraph
from fpga_model.machine.platform import Platform
from fpga_model.models.analytic import estimate
from fpga_model.models.energy import count_accesses, energy
from fpga_model.models.resources import estimate_resources
from fpga_model.models.simulator import simulate
from fpga_model.schedule.plan import make_plan
from fpga_model.schedule.schedule import schedule_plan
from fpga_model.schedule.sharing import Sharing


@dataclass(frozen=True)
class Design:
    """A configuration with what it costs on its platform.

    Attributes:
        configuration: the configuration.
        cycles: cycles per image, by the analytic model.
        latency_ms: the same at the platform's clock; images run one after another, so its inverse is the throughput.
        dram_bytes, energy_mj: per image; the energy covers multiplications, buffers and DRAM.
        dsp, blocks, ultra, lut, ff: resources that the RTL takes of the part, in the part's own units.
        simulated_cycles: None until the simulator has run it.
    """

    configuration: Configuration
    cycles: int
    latency_ms: float
    dram_bytes: int
    energy_mj: float
    dsp: int
    blocks: int
    ultra: int = 0
    lut: int = 0
    ff: int = 0
    simulated_cycles: int | None = None

    @property
    def best_cycles(self) -> int:
        """The simulator's cycles if it has run, otherwise the analytic model's."""
        return self.cycles if self.simulated_cycles is None else self.simulated_cycles

    @property
    def images_per_second(self) -> float:
        return 1e3 / self.latency_ms

    @property
    def objectives(self) -> tuple[float, ...]:
        """The objectives of the Pareto front; less is better for each."""
        return self.best_cycles, self.dram_bytes, self.energy_mj, self.dsp, self.blocks, self.ultra

    def to_json(self) -> dict[str, Any]:
        """For `json.dump`."""
        return {
            **asdict(self),
            "configuration": self.configuration.to_json(),
            "images_per_second": self.images_per_second,
        }

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> Design:
        """The inverse of `to_json`."""
        values = {key: value for key, value in entry.items() if key != "images_per_second"}
        return cls(**{**values, "configuration": Configuration.from_json(entry["configuration"])})


OBJECTIVES = ("cycles", "DRAM bytes", "energy", "DSP", "memory blocks", "large memory blocks")


def evaluate(sharing: Sharing, platform: Platform, configuration: Configuration) -> Design:
    """A configuration by the analytic model. Raises UserError if the network does not fit it."""
    accelerator, board = configuration.accelerator, configuration.on(platform)
    plan = make_plan(sharing.graph, accelerator, board, configuration.kind, sharing)
    cycles = sum(layer.cycles for layer in estimate(plan).values())
    accesses, usage = count_accesses(plan), estimate_resources(accelerator, board).total
    return Design(
        configuration,
        cycles=cycles,
        latency_ms=cycles / platform.clock_mhz / 1e3,
        dram_bytes=accesses.dram_bytes,
        energy_mj=energy(accesses, accelerator, platform.dram_pj_per_bit).total_mj,
        dsp=math.ceil(usage.dsp),
        blocks=math.ceil(usage.block),
        ultra=math.ceil(usage.ultra),
        lut=math.ceil(usage.lut + usage.lutram),
        ff=math.ceil(usage.ff),
    )


@collection_paused()
def evaluate_group(
    graph: LayerGraph, platform: Platform, configurations: Iterable[Configuration]
) -> tuple[list[Design], int]:
    """Designs of configurations, and how many the network does not fit. Configurations of one array share costs."""
    sharing, found, refused = Sharing(graph), [], 0
    for configuration in configurations:
        try:
            found.append(evaluate(sharing, platform, configuration))
        except UserError:
            refused += 1
    return found, refused


def groups(configurations: Iterable[Configuration]) -> Iterator[list[Configuration]]:
    """The configurations by array and port, which is what shares costs; they come together."""
    for _, group in groupby(configurations, key=lambda c: (c.Pox, c.Poy, c.Pof, c.port_bits)):
        yield list(group)


def confirm(graph: LayerGraph, platform: Platform, design: Design) -> Design:
    """The design with its cycles by the simulator, which are the machine's."""
    configuration = design.configuration
    plan = make_plan(graph, configuration.accelerator, configuration.on(platform), configuration.kind)
    cycles = simulate(schedule_plan(plan)).cycles
    return replace(design, simulated_cycles=cycles, latency_ms=cycles / platform.clock_mhz / 1e3)

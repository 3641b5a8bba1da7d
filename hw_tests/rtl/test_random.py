"""If these fail, the RTL is another machine than the simulator for some layer that nobody has thought of.

Networks are drawn by the generator of the scheduler's tests, with random integers, on random memories, a third of them
with random stalls. All networks of an array run one after the other in one simulation: the program is data. `make test`
draws a share of them, for the accelerator that other tests have built; `make test-hw` draws all.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from cgap.backends.rtl.board import Board
from cgap.backends.rtl.twin import ROOM, simulation_of
from fpga_model.errors import UserError
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.capability import Capability
from fpga_model.machine.operations import ConvolveOp, PoolOp
from fpga_model.machine.platform import Platform
from fpga_model.machine.stalls import Stalls
from fpga_model.machine.tiles import Unit
from fpga_model.models.simulator import simulate
from fpga_model.operators import Concatenation, Convolution, Pooling
from fpga_model.schedule.schedule import Kind, Schedule, build_schedule
from hw_tests.rtl.equality import check
from tests.backends.networks import number, random_images
from tests.fpga_model.networks import networks, platform_of

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="a simulation is compiled with g++")
DRAWN = 8
"""Networks drawn for one that is run."""
MOST_CYCLES = 100_000
SHARE = 30
"""Networks in `make test`."""


@dataclass(frozen=True)
class Design:
    """An elaborated accelerator, and how many random networks it runs."""

    accelerator: Accelerator
    capability: Capability
    beat_bytes: int
    burst_beats: int
    outstanding: int
    networks: int

    @property
    def platform(self) -> Platform:
        """Its bus; the rest of a platform is no part of an elaborated design."""
        return platform_of(8 * self.beat_bytes, self.burst_beats, self.outstanding, 40, 20, 32, 2400.0)


WIDE = Capability(
    kernel_columns=34,
    stride_columns=3,
    shortcut_stride=3,
    pool_columns=34,
    pool_stride=3,
    pool_dilation=3,
    load_commands=4096,
    compute_commands=2048,
    store_commands=2048,
)
DESIGNS = {
    # What most tests of this folder run on: no build of its own.
    "8x8x4": Design(Accelerator(), ROOM, 16, 256, 8, 130),
    # Beats narrower than words, few and short bursts; rows that are no power of two.
    "4x3x2": Design(Accelerator(4, 3, 2, pages=4, page_depth=1024), WIDE, 4, 16, 2, 140),
    "2x5x8": Design(Accelerator(2, 5, 8, pages=3, page_depth=2048), WIDE, 4, 64, 1, 130),
}


@dataclass(frozen=True)
class Case:
    schedule: Schedule
    images: np.ndarray
    stalls: Stalls | None


def cases(design: Design, count: int, start: int) -> list[Case]:
    """The first networks of a random sequence that fit the design; its memories are used whole or in part."""
    built = design.accelerator
    variants = st.builds(
        lambda pages, depth, weights, records: replace(
            built, pages=pages, page_depth=depth, weight_depth=weights, parameter_depth=records
        ),
        st.integers(2, built.pages),
        st.sampled_from([depth for depth in (8, 24, 64, 256, 512) if depth <= built.page_depth]),
        st.sampled_from([100, 512, built.weight_depth]),
        st.sampled_from([20, built.parameter_depth]),
    )
    buses = st.builds(
        platform_of,
        st.just(8 * design.beat_bytes),
        st.just(design.burst_beats),
        st.just(design.outstanding),
        st.integers(4, 60),
        st.integers(2, 40),
        st.integers(1, 64),
        st.sampled_from([2400.0, 400.0, 133.3]),
    )
    lengths = st.integers(1, 40)
    found: list[Case] = []
    number_of = start * 10_000
    while len(found) < count:
        number_of += 1
        examples = []

        @seed(number_of)
        @settings(
            max_examples=DRAWN,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(st.tuples(networks(), variants, buses, st.sampled_from(list(Kind)), st.integers(0, 2), lengths))
        def draw(example):
            examples.append(example)  # noqa: B023 - called in this turn

        draw()
        # The first draws are simple ones; of a few, the network of the most layers is worth most.
        examples.sort(key=lambda example: -len(example[0].graph.layers))
        case = next(filter(None, (made(design, number_of, *example) for example in examples)), None)
        if case is not None:
            found.append(case)
    return found


def made(design, number_of, fixed, accelerator, bus, kind, stalled, longest) -> Case | None:
    """A case of what was drawn; None if the network has no room in these memories or asks for other capabilities."""
    try:
        schedule = build_schedule(number(fixed.graph, number_of), accelerator, bus, kind)
    except UserError:
        return None
    if design.capability.missing(schedule.needs):
        return None
    cycles = simulate(schedule).cycles
    if cycles > MOST_CYCLES:
        return None
    share = 0.9 if longest == 1 else 0.3
    stalls = None if stalled else Stalls.random(number_of, 2 * cycles, share, longest)
    return Case(schedule, random_images(fixed.graph, 1, number_of), stalls)


def kinds(case: Case) -> dict[str, bool]:
    """What is special about a case."""
    graph, schedule = case.schedule.graph, case.schedule
    operators = [layer.operator for layer in graph.layers]
    convolutions = [operator for operator in operators if isinstance(operator, Convolution)]
    commands = [operation for operation in schedule.operations if isinstance(operation, (ConvolveOp, PoolOp))]
    array = schedule.accelerator
    layers = [operation.layer for operation in commands]
    stored = {operation.layer for operation in schedule.operations if operation.unit is Unit.STORE}
    return {
        "strides": any(operator.stride != (1, 1) for operator in convolutions),
        "ragged maps": any(operation.Tof % array.Pof for operation in commands),
        "one pixel": any(graph.shape(layer.name).pixels == 1 for layer in graph.layers),
        "drain-bound": any(cost.bound == "drain" for cost in simulate(schedule).layers.values()),
        "pooled": any(isinstance(operator, Pooling) for operator in operators),
        "residual": any(operator.shortcut is not None for operator in convolutions),
        "grouped": any(operator.groups > 1 for operator in convolutions),
        "tiled": len(layers) > len(set(layers)),
        "spilled": bool(stored - {layer.name for layer in graph.outputs}),
        "concatenated": any(isinstance(operator, Concatenation) for operator in operators),
        "stalled": case.stalls is not None,
        "not stalled": case.stalls is None,
    }


def run_all(design: Design, drawn: list[Case]) -> None:
    binary, memory_bytes = simulation_of(design.accelerator, design.capability, design.platform)
    with Board(binary, memory_bytes) as board:
        for index, case in enumerate(drawn):
            try:
                check(board, case.schedule, case.images, case.stalls)
            except (AssertionError, UserError) as error:
                shown = case.schedule
                raise AssertionError(
                    f"network {index} of the sequence, {shown.kind.value} on {shown.accelerator}, {shown.platform}:\n"
                    f"{shown.graph}\n{error}"
                ) from error


def test_random_networks():
    """A share of them; every special kind is among them."""
    design = DESIGNS["8x8x4"]
    drawn = cases(design, SHARE, start=0)
    found = {kind: sum(kinds(case)[kind] for case in drawn) for kind in kinds(drawn[0])}
    assert min(found.values()) >= 2, found
    run_all(design, drawn)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("array", DESIGNS)
def test_more_random_networks(array):
    design = DESIGNS[array]
    run_all(design, cases(design, design.networks, start=1))

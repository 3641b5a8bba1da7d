"""The explorer: what a part holds, shared costs, fronts, and that the front is the machine's."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fpga_model.errors import UserError
from fpga_model.explore.design import Design, confirm, evaluate_group, groups
from fpga_model.explore.front import Band, candidates, exact_front, front
from fpga_model.explore.space import Configuration, Space
from fpga_model.graph import LayerGraph
from fpga_model.machine.platform import load_platform, platform_names
from fpga_model.numerics.tensors import Shape
from fpga_model.operators import FullyConnected, Pooling, Shortcut
from fpga_model.schedule.plan import Kind
from tests.fpga_model.networks import ROOMY, conv, resnet
from tests.fpga_model.networks import Network as Builder
from tests.work import lines

SMALL = Space(
    Pox=(2, 4, 8),
    Poy=(3, 8),
    Pof=(1, 4, 16),
    page_depths=(128, 512),
    weight_depths=(512, 4096),
    port_bits=(64, 128),
    least_share=0,
)


def small_network() -> LayerGraph:
    """A stem, a residual block, one that halves the maps, and classes: every kind of layer, and quick to simulate."""
    network = Builder("small", Shape(3, 16, 16))
    x = network.add("stem", conv(3, 7), "image")
    y = network.add("a", conv(7, 5), x)
    x = network.add("b", conv(5, 7, shortcut=Shortcut((1, 1), 0, 7)), y, x)
    x = network.add("c", conv(7, 20, stride=(2, 2)), x)
    x = network.add("pool", Pooling("sum", (8, 8), (8, 8)), x)
    network.add("classes", FullyConnected(Shape(20, 1, 1), 10), x)
    return network.fixed().graph


def test_a_part_holds_what_is_explored():
    """Fails if a configuration is offered that a platform has no room for, or one platform has none at all."""
    graph = resnet(20).graph
    for name in platform_names():
        platform = load_platform(name)
        found = Space().configurations(graph, platform)
        assert len(set(found)) == len(found) > 500, name
        for configuration in found[:: max(1, len(found) // 50)]:
            platform.check(configuration.accelerator)
            assert configuration.port_bits <= platform.axi_bits
    tiny = replace(load_platform("ecp5_85"), dsp=3)
    with pytest.raises(UserError, match="holds no array"):
        Space().configurations(graph, tiny)


def test_front_is_that_of_exhaustive_simulation():
    """Fails if the explorer misses a design of a grid of 300, all of them simulated, or its band is no bound."""
    graph, band = small_network(), Band(0.30, 200)
    configurations = SMALL.configurations(graph, ROOMY)
    designs = [design for piece in groups(configurations) for design in evaluate_group(graph, ROOMY, piece)[0]]
    assert len(designs) >= 300
    simulated = {design.configuration: confirm(graph, ROOMY, design) for design in designs}
    for design in simulated.values():
        assert band.low(design.cycles) <= design.simulated_cycles <= band.high(design.cycles)
    asked = []

    def ask(design: Design) -> Design:
        asked.append(design.configuration)
        return simulated[design.configuration]

    found = exact_front(designs, band, ask)
    expected = front(list(simulated.values()))
    assert [design.objectives for design in found] == [design.objectives for design in expected]
    assert len(asked) == len(set(asked)) < len(designs), "some are ruled out without simulation"


def made(cycles: int, *others: float, simulated: int | None = None) -> Design:
    configuration = Configuration(8, 8, 4, 512, 8192, 1024, 128, Kind.RESIDENT)
    values = (*others, *(0 for _ in range(4 - len(others))))
    return Design(configuration, cycles, cycles / 1e5, int(values[0]), *values[1:], simulated_cycles=simulated)


points = st.lists(st.tuples(*[st.integers(0, 6)] * 3), min_size=1, max_size=300)


@given(points)
def test_front_by_definition(rows: list[tuple[int, int, int]]):
    """Fails if a design is on the front that another beats, or is left out though none does."""
    found = {design.objectives[:3] for design in front([made(*row) for row in rows])}
    expected = {
        row
        for row in rows
        if not any(all(o <= r for o, r in zip(other, row, strict=True)) and other != row for other in rows)
    }
    assert found == expected


@given(points, st.randoms(use_true_random=False))
def test_candidates_hold_the_front_wherever_the_cycles_are(rows: list[tuple[int, int, int]], random):
    """Fails if a design is ruled out by the model that the machine puts on the front."""
    band = Band(0.3, 2)
    designs = [made(*row) for row in rows]
    truth = [replace(d, simulated_cycles=random.randint(-(-max(0, d.cycles - 2) // 1), d.cycles + 2)) for d in designs]
    chosen = {id(design) for design in candidates(designs, band)}
    for design in front(truth):
        same = [d for d, t in zip(designs, truth, strict=True) if t.objectives == design.objectives]
        assert any(id(d) in chosen for d in same)


def test_front_of_nothing_is_nothing():
    """Fails if no design at all is a traceback."""
    assert front([]) == candidates([], Band()) == []


def test_designs_and_configurations_survive_json():
    """Fails if an exploration that goes on reads other designs than were written."""
    for kind, simulated in product(Kind, (None, 5)):
        design = replace(made(7, 1, 2.5, 3, 4, simulated=simulated))
        design = replace(design, configuration=replace(design.configuration, kind=kind))
        assert Design.from_json(design.to_json()) == design


def test_a_configuration_is_cheap():
    """Fails if costs are no longer shared: configurations of one array take less than half the work of those alone."""
    graph, platform = resnet(110).graph, load_platform("zcu104")
    piece, found = max(groups(Space().configurations(graph, platform)), key=len)[:24], []
    together = lines(lambda: found.extend(evaluate_group(graph, platform, piece)[0]))
    alone: list[Design] = []
    apart = lines(
        lambda: alone.extend(evaluate_group(graph, platform, [configuration])[0][0] for configuration in piece[:3])
    )
    assert alone == found[:3]
    assert together / len(piece) < apart / 3 / 2
    assert together / len(piece) < 200_000

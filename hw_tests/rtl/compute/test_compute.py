"""COMPUTE alone on random commands: every word of the pages, the cycles, the saturations and the cycles held."""

from collections.abc import Callable

import numpy as np
import pytest

from cgap.backends.rtl.verilate import rtl_sources
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.capability import Capability
from fpga_model.machine.platform import load_platform
from hw_tests.rtl.compute import bench
from hw_tests.rtl.compute.cases import Case, convolution, pooling

MEMORIES = {"page_depth": 512, "weight_depth": 4096, "parameter_depth": 128}
WIDE = Capability(stride_columns=3, shortcut_stride=5, pool_stride=3, pool_dilation=4)
CONFIGURATIONS = {
    "4x4x4": (Accelerator(4, 4, 4, pages=3, **MEMORIES), Capability(shortcut_stride=3, pool_dilation=3)),
    "8x8x4": (Accelerator(8, 8, 4, **MEMORIES), Capability()),
    "8x7x4": (Accelerator(8, 7, 4, **MEMORIES), Capability(kernel_columns=12, pool_columns=12)),
    "2x3x8": (Accelerator(2, 3, 8, **MEMORIES), WIDE),
}
QUICK = ("4x4x4", "2x3x8")
"""In `make test`, where whole networks run on the 8x8x4: a simulation of the 4x4x4 is compiled in half the time."""
COMMANDS = 150
MOST_TRIES = 100

Maker = Callable[[np.random.Generator, Accelerator, Capability, str], Case | None]


def made(maker: Maker, seed: int, accelerator: Accelerator, capability: Capability) -> Case:
    """The first case of a seed that fits into the pages."""
    random = np.random.default_rng(seed)
    for _ in range(MOST_TRIES):
        case = maker(random, accelerator, capability, f"{maker.__name__} {seed}")
        if case is not None:
            return case
    raise AssertionError(f"{maker.__name__} {seed}: no command of {MOST_TRIES} fits into the pages")


def check(case: Case, result: bench.Result, accelerator: Accelerator) -> None:
    """Everything that a command leaves behind is as the reference and the contract say."""
    differing = np.argwhere(result.pages != case.after)
    assert not len(differing), (
        f"{case.name}: {len(differing)} pixels differ, first [page, bank, word, pixel] {differing[0]}: "
        f"{result.pages[tuple(differing[0])]} for {case.after[tuple(differing[0])]}\n{case.operation}"
    )
    cycles = case.operation.cost(accelerator, load_platform("zcu104")).cycles
    assert result.cycles == cycles, f"{case.name}: {result.cycles} cycles for {cycles}\n{case.operation}"
    assert (result.saturated, result.held) == (case.saturated, case.held), f"{case.name}\n{case.operation}"


@pytest.mark.parametrize("maker", [convolution, pooling])
@pytest.mark.parametrize(
    "array",
    [
        pytest.param(name, marks=() if name in QUICK else [pytest.mark.slow, pytest.mark.long])
        for name in CONFIGURATIONS
    ],
)
def test_random_commands(array: str, maker: Maker, tmp_path):
    accelerator, capability = CONFIGURATIONS[array]
    cases = [made(maker, seed, accelerator, capability) for seed in range(COMMANDS)]
    binary = bench.build("compute_bench", bench.parameters(accelerator, capability))
    for case, result in zip(cases, bench.run(binary, cases, accelerator, tmp_path), strict=True):
        check(case, result, accelerator)


def test_every_kind_of_command_is_among_the_random_ones():
    """The random commands are worth something only if the rare kinds are among them."""
    accelerator, capability = CONFIGURATIONS["4x4x4"]
    found: dict[str, int] = {}
    for seed in range(COMMANDS):
        case = made(convolution, seed, accelerator, capability)
        command = case.operation
        stride = 0 if command.shortcut is None else command.shortcut.stride_x
        kinds = {
            "held": case.held > 0,
            "saturated": case.saturated > 0,
            "packed": command.destination.packed,
            "row by row": command.Toy > 1 and command.source.interleave != command.window.stride_y,
            "row by row, several groups": command.Toy > accelerator.Poy
            and command.source.interleave != command.window.stride_y,
            "grouped": command.Gof < command.Tof,
            "depthwise": command.Nif == command.Gof == 1,
            "shorter than a group's least": command.Nif * command.window.Nky * command.step < 4,
            "leaky": command.leak > 0,
            "bounded": command.high < 127,
            "ReLU": command.low == 0,
            "first row below the top": command.oy > 0,
            "one column": command.Nox == 1,
            "ragged columns": command.Nox % accelerator.Pox > 0,
            "interleaved destination": command.destination.interleave > 1,
            "shortcut of some maps": stride > 0 and command.shortcut.maps < command.Tof,
            f"shortcut stride {stride}": True,
            f"stride {command.window.stride_x}": True,
        }
        for kind, there in kinds.items():
            found[kind] = found.get(kind, 0) + there
    assert min(found.values()) >= 1, found
    assert {f"shortcut stride {stride}" for stride in range(4)} <= found.keys()


SMALL = Accelerator(2, 2, 2, **MEMORIES)
FAULTS = {
    "held_one_cycle_too_long": (
        "conv_ctrl.sv",
        "(drain_busy_i & ~drain_last_i)",
        "(drain_busy_i & (~drain_last_i | FAULT))",
    ),
    "not_zero_beyond_the_width": ("drain.sv", "&& live[i%Pox]", "&& (live[i%Pox] || FAULT)"),
}


@pytest.fixture(scope="module")
def faulty():
    """A simulation with all faults, of which an option of the run plants one."""
    changed = {}
    for fault, (name, right, wrong) in FAULTS.items():
        text = rtl_sources()[name]
        assert right in text
        changed[name] = text.replace(right, wrong.replace("FAULT", f'($test$plusargs("{fault}") != 0)'))
    return bench.build("compute_bench", bench.parameters(SMALL, Capability()), changed)


@pytest.fixture(scope="module")
def small_cases():
    return [made(convolution, seed, SMALL, Capability()) for seed in range(40)]


def test_without_a_fault_the_same_simulation_is_right(faulty, small_cases, tmp_path):
    for case, result in zip(small_cases, bench.run(faulty, small_cases, SMALL, tmp_path), strict=True):
        check(case, result, SMALL)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_rtl_is_found(fault: str, faulty, small_cases, tmp_path):
    """The random commands see what hardly shows: a wrong cycle, a pixel that no reader of this command takes."""
    results = bench.run(faulty, small_cases, SMALL, tmp_path, f"+{fault}")

    def outcomes():
        for case, result in zip(small_cases, results, strict=True):
            try:
                check(case, result, SMALL)
            except AssertionError:
                yield False
            else:
                yield True

    passed = list(outcomes())
    assert not all(passed)
    assert any(passed)

"""If these fail, the simulator takes a stalling DRAM for another one than the RTL does."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fpga_model.errors import UserError
from fpga_model.machine.platform import load_platform
from fpga_model.machine.stalls import CHANNELS, Stalls
from fpga_model.machine.tiles import DramRuns
from fpga_model.machine.timing import load_cycles, store_cycles
from fpga_model.models.simulator import simulate
from tests.fpga_model.networks import platforms, schedules

NONE = Stalls(b"")


@st.composite
def accesses(draw: st.DrawFn) -> tuple:
    """A platform, and an access of it."""
    platform = draw(platforms)
    size = draw(st.integers(1, 300)) * platform.beat_bytes
    runs = draw(st.integers(1, 5))
    gap = draw(st.integers(0, 40)) * platform.beat_bytes
    address = draw(st.integers(0, 400)) * platform.beat_bytes
    return platform, DramRuns("input", address, size, runs, size + gap)


@given(accesses(), st.integers(0, 1000))
def test_without_stalls_the_closed_forms_hold(access, start):
    platform, dram = access
    assert NONE.load_cycles(dram, platform, start) == load_cycles(dram, platform)
    assert NONE.store_cycles(dram, platform, start) == store_cycles(dram, platform)


@given(accesses(), st.integers(0, 50), st.integers(0, 100))
def test_stalls_delay_and_never_hasten(access, start, seed):
    platform, dram = access
    stalls = Stalls.random(seed, 4000, 0.3, 9)
    assert stalls.load_cycles(dram, platform, start) >= load_cycles(dram, platform)
    assert stalls.store_cycles(dram, platform, start) >= store_cycles(dram, platform)


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_stall_of_a_channel_delays_what_uses_it(channel):
    """By as many cycles as it holds the only event of a burst of one beat."""
    platform = replace(load_platform("zcu104"), read_latency=40, write_latency=20)
    dram = DramRuns("input", 0, platform.beat_bytes)
    load, store = (function(dram, platform, 0) for function in (NONE.load_cycles, NONE.store_cycles))
    held = Stalls(bytes([1 << CHANNELS.index(channel)]) * 100)
    # The first event of each channel without stalls: AR 1, R 41; AW 1, W 4, B 24.
    first = {"AR": 1, "R": 41, "AW": 1, "W": 4, "B": 24}[channel]
    assert held.load_cycles(dram, platform, 0) - load == (100 - first if channel in ("AR", "R") else 0)
    # An address taken in cycle 100 allows a beat in cycle 101, which else comes in cycle 4.
    later = {"AW": 101 - 4, "W": 100 - first, "B": 100 - first}.get(channel, 0)
    assert held.store_cycles(dram, platform, 0) - store == later


@settings(max_examples=20)
@given(schedules)
def test_a_network_without_stalls_is_the_same(schedule):
    assert simulate(schedule, NONE).events == simulate(schedule).events


def test_a_trace_is_written_and_read(tmp_path):
    path = tmp_path / "stalls.txt"
    for stalls in (NONE, Stalls.random(3, 500, 0.4, 5), Stalls(bytes(7))):
        stalls.write(path)
        assert Stalls.read(path) == stalls
    shares = [sum(bits >> k & 1 for bits in Stalls.random(0, 20_000, 0.3, 7).bits) for k in range(len(CHANNELS))]
    assert all(0.2 < share / 20_000 < 0.4 for share in shares)


@pytest.mark.parametrize("text", ["", "x", "5\n9 1", "5\n1 32", "5\n1", "-1", "99999999999", "5\n1 1 1"])
def test_no_trace(text, tmp_path):
    path = tmp_path / "stalls.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=r"stall trace .*stalls\.txt"):
        Stalls.read(path)


def test_no_file(tmp_path):
    with pytest.raises(UserError, match="stall trace"):
        Stalls.read(tmp_path / "none")

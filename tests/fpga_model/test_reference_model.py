"""The published model of the reference accelerator against figures worked by hand from its equations."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fpga_model.errors import UserError
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.platform import load_platform
from fpga_model.models.published import ReferenceCost, reference_estimate
from fpga_model.numerics.tensors import Shape
from fpga_model.operators import Convolution, Pooling, Shortcut
from tests.fpga_model.networks import Network, conv, resnet

ZCU104 = load_platform("zcu104")  # 16 bytes a cycle: the port is the narrower of port and DDR


def one_convolution(**sizes: int) -> ReferenceCost:
    network = Network("one", Shape(16, 32, 32))
    network.add("conv", conv(16, 16), "image")
    return reference_estimate(network.fixed().graph, Accelerator(**sizes), ZCU104)["conv"]


def test_single_tile_overlaps_nothing():
    """Fails if one of the four terms of a single-tile layer is hidden or miscounted.

    Compute 4*4*4 groups of 16*9; pixels 16 bursts of 1024 bytes, weights one of 2304, outputs like pixels; 32 more
    bytes a burst, 16 bytes a cycle.
    """
    read, write = (16 * 1056 + 2336) // 16, 16 * 1056 // 16
    assert one_convolution() == ReferenceCost(9216 + read + write, 9216, 16384 + 2304, 16384, 1, 16, 32)


def test_several_tiles_overlap_all_but_the_first_load_and_last_store():
    """Fails if tiles are not double buffered: two tiles of 8 maps, whose computation hides everything else."""
    cost = one_convolution(page_depth=192)
    first, store = (16 * 1056 + 8 * 144 + 32) // 16, 8 * 1056 // 16
    assert cost == ReferenceCost(first + store + 2 * 4608, 9216, 16384 + 2304, 16384, 2, 8, 32)


def test_rows_are_read_again_where_row_tiles_meet():
    """Fails if a row tile does not read its halo: 10 rows (9 at the borders of the map are charged as 10) for 8."""
    network = Network("rows", Shape(4, 32, 32))
    network.add("conv", conv(4, 4), "image")
    cost = reference_estimate(network.fixed().graph, Accelerator(page_depth=20), ZCU104)["conv"]
    assert (cost.Tof, cost.Toy, cost.tiles) == (4, 8, 4)
    assert cost.read_bytes == 4 * 4 * 10 * 32 + 4 * 36


def test_short_sums_are_bound_by_the_drain():
    """Fails if a group with few products is not held by its outputs: 27 products, 8*4 rows to drain."""
    network = Network("stem", Shape(3, 32, 32))
    network.add("conv", conv(3, 16), "image")
    assert reference_estimate(network.fixed().graph, Accelerator(), ZCU104)["conv"].compute_cycles == 64 * 32


def test_shortcut_is_a_layer_of_its_own():
    """Fails if the addition is fused: it reads two tensors and writes one, 16 bursts of 1056 bytes each."""
    network = Network("block", Shape(16, 32, 32))
    network.add("conv", conv(16, 16, shortcut=Shortcut((1, 1), 0, 16)), "image", "image")
    network.add("pool", Pooling("sum", (32, 32), (1, 1)), "conv")
    costs = reference_estimate(network.fixed().graph, Accelerator(page_depth=1024), ZCU104)
    assert list(costs) == ["conv", "conv + shortcut", "pool"]
    assert costs["conv + shortcut"].cycles == 3 * 16 * 1056 // 16
    assert costs["conv + shortcut"].read_bytes == 2 * costs["conv + shortcut"].write_bytes == 2 * 16384


def test_convolution_of_groups_is_named():
    """Fails if the published scheme, which has no groups, is charged for all input maps without a word."""
    network = Network("groups", Shape(4, 32, 32))
    network.add("depthwise", Convolution(4, 4, (3, 3), (1, 1), (1,) * 4, groups=4), "image")
    with pytest.raises(UserError, match=r"^layer 'depthwise': the published model has no grouped convolutions$"):
        reference_estimate(network.fixed().graph, Accelerator(), ZCU104)


def test_layer_that_fits_no_buffer_is_named():
    """Fails if a layer deeper than the buffers is given a cost."""
    with pytest.raises(UserError, match=r"^layer 'conv': its smallest tile does not fit the buffers twice"):
        one_convolution(page_depth=8)


def test_resnet110_comes_near_the_published_scheme_s_ratio():
    """Fails if exposed DMA is miscounted: 8x8x16, 200 MHz, 16 bit, data alone at 12.8 GB/s: 2.07 ms, 1.235 of compute.

    These figures count no drain, no pooling and no burst costs; with the drain and the pool this model has 2.09 ms.
    """
    costs = reference_estimate(
        resnet(110).graph, Accelerator.parse("8x8x16", page_depth=2048), ZCU104, bytes_per_word=2
    )
    assert {cost.tiles for cost in costs.values()} == {1}
    compute = sum(cost.compute_cycles for cost in costs.values()) / 200e3
    moved = sum(cost.read_bytes + cost.write_bytes for cost in costs.values())
    assert compute == pytest.approx(1.235, rel=0.01)
    assert moved == pytest.approx(10_691_828, rel=0.01)
    assert compute + moved / 12.8e6 == pytest.approx(2.07, rel=0.01)


def test_dram_slower_than_the_port_sets_the_pace():
    """Fails if DRAM efficiency is not applied to the peak: 8 bytes * 100 MT/s * 0.7 are 2.8 bytes a cycle."""
    network = Network("one", Shape(16, 32, 32))
    network.add("conv", conv(16, 16), "image")
    slow = replace(ZCU104, dram_megatransfers=100.0)
    cost = reference_estimate(network.fixed().graph, Accelerator(), slow)["conv"]
    assert cost.cycles - cost.compute_cycles == pytest.approx((2 * 16 * 1056 + 2336) / 2.8, abs=2)

"""Rounding and row walks alone: the SystemVerilog against the functions that define them."""

import itertools

import numpy as np
import pytest

from fpga_model.machine import assembler
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.tiles import FeatureTile
from fpga_model.numerics.fixed_point import requantise
from hw_tests.rtl.compute import bench

CLAMPS = ((-128, 127), (0, 127), (0, 6), (-128, 100), (0, 1), (-128, 126))
"""(low, high): saturation, ReLU, and bounds from above with and without it."""
LEAKS = (0, 1, 2, 5, 31)
WALKS = 20_000


def _sums(shift: int) -> np.ndarray:
    """Sums around every boundary of rounding and saturation at a shift: each quotient, each half, one beside both."""
    quotients = np.arange(-130, 131, dtype=np.int64)
    if shift:
        quotients = np.concatenate([quotients, quotients + 0.5])
    exact = (quotients * 2.0**shift).astype(np.int64)
    limits = np.array([-(1 << 31), (1 << 31) - 1, -(1 << 30), 1 << 30], dtype=np.int64)
    sums = np.concatenate([exact + near for near in (-1, 0, 1)] + [limits, limits + 1, limits - 1])
    return np.unique(sums[(sums >= -(1 << 31)) & (sums < 1 << 31)])


@pytest.fixture(scope="module")
def binary():
    return bench.build("units_bench", {})


def _requants():
    """(sum, shift, leak, low, high) rows, and what the definition makes of them."""
    vectors, expected = [], []
    for shift, leak in itertools.product(range(32), LEAKS):
        # A negative sum has its boundaries where the longer shift puts them.
        sums = np.union1d(_sums(shift), _sums(min(shift + leak, 31))) if leak else _sums(shift)
        for low, high in CLAMPS if leak == 0 else CLAMPS[:1] + CLAMPS[3:4]:
            bound = None if high == 127 else high
            results, count = requantise(sums, shift, 8, relu=low == 0, ceiling=bound, leak=leak)
            # What 8 bits saturate is what 16 bits hold beyond their limits.
            wide, _ = requantise(sums, shift, 16, relu=low == 0, ceiling=bound, leak=leak)
            clipped = (wide < -128) | (wide > 127)
            assert int(clipped.sum()) == count
            vectors.append(np.stack([sums, *(np.full_like(sums, v) for v in (shift, leak, low, high))], axis=1))
            expected.append(np.stack([results.astype(np.int64), clipped], axis=1))
    return np.concatenate(vectors), np.concatenate(expected)


def _walks(random: np.random.Generator):
    """Random rows of random tiles with a number of rows to go on: (Poy, from, step) and where that leads."""
    vectors, expected = [], []
    for _ in range(WALKS):
        accelerator = Accelerator(8, int(random.choice([1, 3, 7, 8, 16])), 4)
        interleave = int(random.integers(1, 6))
        first, rows, words = (int(random.integers(low, high)) for low, high in ((0, 30), (1, 90), (1, 5)))
        tile = FeatureTile(0, int(random.integers(0, 400)), 3, rows, words, interleave, 0, first)
        row, onward = int(random.integers(-20, 60)), int(random.integers(0, 40))
        here = assembler.walk(tile, 1, first + row, accelerator)
        step = assembler.row_step(tile, onward, accelerator)
        there = assembler.walk(tile, 1, first + row + onward, accelerator)
        vectors.append((accelerator.Poy, here, step))
        expected.append((there.bank, there.remainder, there.address & 0xFFFFF))
    return vectors, expected


def test_rounding_and_walks(binary, tmp_path):
    """Every boundary of rounding, saturation and the activations at every shift, and thousands of row steps."""
    requants, results = _requants()
    lines = [
        f"{high & 0xFF:02x}{low & 0xFF:02x}{shift + leak:02x}{shift:02x}{total & 0xFFFFFFFF:08x}"
        for total, shift, leak, low, high in requants.tolist()
    ]
    (tmp_path / "requant.hex").write_text("\n".join(lines) + "\n")
    walks, places = _walks(np.random.default_rng(1))
    lines = [
        f"{Poy:02x}{here.bank:02x}{here.remainder:02x}{here.address & 0xFFFFF:06x}{here.interleave:02x}"
        f"{here.group_words:06x}{step.bank:02x}{step.remainder:02x}{step.address & 0xFFFFF:06x}"
        for Poy, here, step in walks
    ]
    (tmp_path / "walk.hex").write_text("\n".join(lines) + "\n")
    bench.execute(binary, f"+vectors={tmp_path}", f"+requants={len(requants)}", f"+walks={len(walks)}")

    got = np.array([int(line, 16) for line in _lines(tmp_path / "requant.out.hex")])
    pixels, saturated = (got & 0xFF).astype(np.uint8).view(np.int8), got >> 8 & 1
    wrong = np.flatnonzero((pixels != results[:, 0]) | (saturated != results[:, 1]))
    assert not len(wrong), f"{len(wrong)} of {len(got)}: {requants[wrong[0]]} gives {pixels[wrong[0]]}"
    found = [int(line, 16) for line in _lines(tmp_path / "walk.out.hex")]
    assert [(n >> 32, n >> 24 & 0xFF, n & 0xFFFFF) for n in found] == places


def _lines(path):
    return [line for line in path.read_text().split() if not line.startswith(("/", "@"))]

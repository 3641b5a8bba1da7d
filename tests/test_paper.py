"""docs/paper.md holds what benchmarks/paper.py makes."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from fpga_model.schedule.plan import Kind

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def paper() -> ModuleType:
    """benchmarks/paper.py."""
    spec = importlib.util.spec_from_file_location("paper", ROOT / "benchmarks" / "paper.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_document_has_the_figures_of_the_command(paper: ModuleType):
    """Fails if the machine or the shipped network changed and the document did not: two of its rows are made anew."""
    text = (ROOT / "docs" / "paper.md").read_text("utf-8")
    dense, shipped = paper.networks()
    assert (dense.macs(), dense.weights()) == (252_887_680, 1_719_856)
    for array, scheme in (("8x8x4", "resident"), ("8x8x16", "published scheme")):
        before, after = paper.figures(dense, array, scheme), paper.figures(shipped, array, scheme)
        row = next(line for line in text.splitlines() if line.startswith(f"| {array} |") and f"| {scheme} |" in line)
        assert f"{before.cycles:,} to {after.cycles:,}" in row
        assert f"{before.dram_bytes:,} to {after.dram_bytes:,}" in row
        assert f"| {paper.change(before.cycles, after.cycles)} |" in row


def test_document_has_the_cause_by_layer(paper: ModuleType):
    """Fails if the table by layer is another than the command's, or causes do not add up to a layer's cycles."""
    text = (ROOT / "docs" / "paper.md").read_text("utf-8")
    dense, shipped = paper.networks()
    before, after = (paper.simulated(graph, "8x8x16", Kind.RESIDENT) for graph in (dense, shipped))
    rows = paper.layer_table(dense, shipped, "8x8x16", before, after)
    assert len(rows) > 3
    for row in rows:
        assert row in text
    array = paper.accelerator("8x8x16")
    for graph, found in ((dense, before), (shipped, after)):
        for name, cost in found.costs.items():
            parts = paper.lost(graph, name, cost, array)
            assert parts.cycles == pytest.approx(cost.cycles)
            assert min(getattr(parts, cause) for cause in paper.CAUSES) > -1e-6, name

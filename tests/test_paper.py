"""docs/paper.md holds what benchmarks/paper.py makes."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_document_has_the_figures_of_the_command():
    """Fails if the machine or the shipped network changed and the document did not: two of its rows are made anew."""
    spec = importlib.util.spec_from_file_location("paper", ROOT / "benchmarks" / "paper.py")
    assert spec is not None
    assert spec.loader is not None
    paper = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = paper
    spec.loader.exec_module(paper)
    text = (ROOT / "docs" / "paper.md").read_text("utf-8")
    dense, shipped = paper.networks()
    assert (dense.macs(), dense.weights()) == (252_887_680, 1_719_856)
    for array, scheme in (("8x8x4", "resident"), ("8x8x16", "published scheme")):
        before, after = paper.figures(dense, array, scheme), paper.figures(shipped, array, scheme)
        row = next(line for line in text.splitlines() if line.startswith(f"| {array} |") and f"| {scheme} |" in line)
        assert f"{before.cycles:,} to {after.cycles:,}" in row
        assert f"{before.dram_bytes:,} to {after.dram_bytes:,}" in row
        assert f"| {paper.change(before.cycles, after.cycles)} |" in row

"""What the project promises of its deepest shipped network: the paper's reduction or beyond, exact and near the limits.

If these break, `make hls MODEL=resnet110` no longer gives what README and docs/results.md say.
"""

from pathlib import Path

import pytest

from cgap.app import models
from cgap.app.build import BuildRequest, build_accelerator
from cgap.app.plan import Target
from cgap.app.report import Report

RESIDENT = Target.parse("zcu104", "8x8x4", "resident")


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Report:
    out: Path = tmp_path_factory.mktemp("build") / "resnet110"
    return build_accelerator(BuildRequest("resnet110", RESIDENT, images=20, out=out), say=print)[1]


@pytest.mark.slow
def test_every_stored_tensor_is_exact(report):
    assert report.runs["c_simulation"].images == 20
    assert report.runs["c_simulation"].mismatches == 0


@pytest.mark.slow
def test_it_has_the_paper_s_reduction_or_more(report):
    network = report.network
    assert network.macs <= (1 - 0.633) * network.dense_macs
    assert network.params <= (1 - 0.640) * network.dense_params


@pytest.mark.slow
def test_the_resident_schedule_comes_near_the_physical_limits(report):
    totals, limits = report.totals, report.limits
    moved = totals.dram_read_bytes["simulated"] + totals.dram_write_bytes["simulated"]
    assert moved <= 1.02 * limits.dram_bytes
    assert totals.cycles["simulated"] <= 1.06 * max(limits.compute_cycles, limits.dram_bytes / 16)


@pytest.mark.slow
def test_training_predicts_its_cycles(report):
    """What pruning counts from the dense network, at the widths that shipped, is what the shipped network takes.

    The record's own count is of the machine as it was when the network was trained.
    """
    pytest.importorskip("torch")
    from cgap import zoo
    from cgap.plasticity import find_spaces
    from cgap.training.config import AcceleratorSection
    from cgap.training.state import cycle_model

    model = zoo.build("resnet110")
    spaces = find_spaces(model)
    record = next(entry.record for entry in models.pretrained() if entry.name == "resnet110")
    widths = {name: width for name, width in record["widths"].items() if name in spaces.all_widths()}
    assert any(width < spaces.all_widths()[name] for name, width in widths.items())
    predicted = cycle_model(AcceleratorSection(), model, spaces, (3, 32, 32))({**spaces.all_widths(), **widths})
    assert predicted == report.totals.cycles["analytic"]

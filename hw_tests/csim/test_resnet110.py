"""What the project promises of its deepest shipped network: the paper's reduction or beyond, exact and near the limits.

If these break, `make hls MODEL=resnet110` no longer gives what README and docs/results.md say.
"""

from pathlib import Path

import pytest

from cgap.app.build import HlsRequest, build_hls, compile_model
from cgap.app.plan import Target

RESIDENT = Target.parse("zcu104", "8x8x4", "resident")


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> dict:
    out: Path = tmp_path_factory.mktemp("build") / "resnet110"
    return build_hls(HlsRequest("resnet110", RESIDENT, images=20, out=out), say=print)[1]


@pytest.mark.slow
def test_every_stored_tensor_is_exact(report):
    assert report["csim"]["images"] == 20
    assert report["csim"]["mismatches"] == 0


@pytest.mark.slow
def test_it_has_the_paper_s_reduction_or_more(report):
    network = report["network"]
    assert network["macs"] <= (1 - 0.633) * network["dense_macs"]
    assert network["params"] <= (1 - 0.640) * network["dense_params"]


@pytest.mark.slow
def test_the_resident_schedule_comes_near_the_physical_limits(report):
    totals, limits = report["totals"], report["limits"]
    moved = totals["dram_read_bytes"]["simulated"] + totals["dram_write_bytes"]["simulated"]
    assert moved <= 1.02 * limits["dram_bytes"]
    assert totals["cycles"]["simulated"] <= 1.06 * max(limits["compute_cycles"], limits["dram_bytes"] / 16)


@pytest.mark.slow
def test_training_predicted_its_cycles(report):
    """What pruning counted, from the dense network, is the analytic figure of the network that came out."""
    compiled = compile_model("resnet110", RESIDENT)
    assert compiled.record["history"][-1]["cycles"] == report["totals"]["cycles"]["analytic"]

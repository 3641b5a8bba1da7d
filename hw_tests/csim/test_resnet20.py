"""What the project promises of its main job, on the shipped ResNet-20 and real CIFAR-10 images.

If these break, `make hls MODEL=resnet20` no longer gives an accelerator that is exact, small and fast as README says.
"""

from pathlib import Path

import pytest

from cgap.app.build import BuildRequest, build_accelerator, compile_model
from cgap.app.plan import Target
from cgap.app.report import Report, read_report
from cgap.backends.hls import run_csim

IMAGES = 100
RESIDENT = Target.parse("zcu104", "8x8x4", "resident")


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, Report]:
    request = BuildRequest("resnet20", RESIDENT, images=IMAGES, out=tmp_path_factory.mktemp("build") / "resnet20")
    return build_accelerator(request, say=print)


@pytest.mark.slow
def test_every_stored_tensor_of_100_images_is_the_reference_s_and_onnxruntime_s(built):
    """`build_accelerator` itself raises where onnxruntime differs in any stored tensor."""
    _, report = built
    assert report.runs["c_simulation"].images == IMAGES
    assert report.runs["c_simulation"].mismatches == 0


@pytest.mark.slow
def test_the_c_code_counts_the_simulator_s_cycles(built):
    _, report = built
    cycles = report.totals.cycles
    assert cycles["c_simulation"] == pytest.approx(cycles["simulated"], rel=0.001)
    assert report.totals.dram_read_bytes["c_simulation"] == report.totals.dram_read_bytes["simulated"]


@pytest.mark.slow
def test_every_layer_alone_is_exact(built):
    compiled = compile_model("resnet20", RESIDENT)
    result = run_csim(built[0], compiled.fixed.graph, 1, bench="layers", optimise=["-O1"])
    assert result.mismatches == 0
    assert [layer.layer for layer in result.layers] == [layer.name for layer in compiled.fixed.graph.layers[1:]]


@pytest.mark.slow
def test_a_corrupted_golden_value_turns_it_red(built):
    folder, report = built
    vectors = folder / "vectors" / f"{report.layers[7].name.replace('.', '_')}.bin"
    content = bytearray(vectors.read_bytes())
    content[12_345] ^= 1
    vectors.write_bytes(content)
    try:
        found = run_csim(folder, compile_model("resnet20", RESIDENT).fixed.graph, 20, optimise=["-O1"])
        assert found.mismatches == 1
    finally:
        content[12_345] ^= 1
        vectors.write_bytes(content)


@pytest.mark.slow
def test_the_resident_schedule_comes_near_the_physical_limits(built):
    _, report = built
    totals, limits = report.totals, report.limits
    moved = totals.dram_read_bytes["simulated"] + totals.dram_write_bytes["simulated"]
    assert moved <= 1.02 * limits.dram_bytes
    bound = max(limits.compute_cycles, limits.dram_bytes / 16)
    assert totals.cycles["simulated"] <= 1.10 * bound
    assert all(layer.cycles["analytic"] is not None for layer in report.layers)


@pytest.mark.slow
def test_the_network_is_at_most_half_of_the_dense_one(built):
    network = built[1].network
    assert network.macs <= 0.5 * network.dense_macs
    assert network.params <= 0.5 * network.dense_params


@pytest.mark.slow
def test_emitted_files_repeat(built, tmp_path):
    request = BuildRequest("resnet20", RESIDENT, images=IMAGES, run=False, out=tmp_path / "resnet20")
    again, _ = build_accelerator(request, say=print)
    for folder in ("hls", "vectors"):
        for path in sorted((again / folder).rglob("*")):
            if path.is_file():
                assert path.read_bytes() == (built[0] / path.relative_to(again)).read_bytes(), path
    for name in ("weights.bin", "manifest.json", "schedule.json", "graph.json", "quantised.onnx"):
        assert (again / name).read_bytes() == (built[0] / name).read_bytes(), name


def test_the_report_is_read_back(built):
    folder, report = built
    assert read_report(folder) == report

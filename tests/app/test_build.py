"""One build end to end on a small network: what is in the folder, that it repeats, and that bad input costs nothing."""

import hashlib
import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cgap import cli
from cgap.app.build import BuildRequest, build_accelerator, compile_model
from cgap.app.plan import Target, build_name
from cgap.app.report import Report, read_report
from cgap.app.reporting import NOT_MEASURED
from cgap.app.sim import simulate_model
from cgap.backends.common.backend import Result
from cgap.backends.hls.backend import HlsBackend
from fpga_model.errors import UserError
from tests.lowering.models import Builder, residual_net

TARGET = Target.parse("zcu104", "8x8x4", "resident")

# The keys of report.json are an interface: programs read them.
FIGURES = {"analytic", "simulated", "c_simulation", "rtl"}
KEYS = {
    "kind": None,
    "energy": None,
    "dense": None,
    "version": None,
    "tool": None,
    "command": None,
    "model": None,
    "dataset": None,
    "onnx_sha256": None,
    "accuracy": {"images", "float", "fixed"},
    "network": {"macs", "params", "dense_macs", "dense_params", "image", "outputs"},
    "board": {"name", "description", "part", "dram", "axi_bits", "bytes_per_cycle"},
    "accelerator": {
        "platform",
        "array",
        "bits",
        "clock_mhz",
        "schedule",
        "macs_per_cycle",
        "pages",
        "page_depth",
        "weight_depth",
        "parameter_depth",
        "capability",
    },
    "resources": {"dsp", "block", "ultra", "lut", "ff"},
    "memory": {"residents", "in_dram", "dram_bytes", "feature_bytes", "weight_bytes"},
    "layers": None,
    "totals": {
        "cycles",
        "dram_read_bytes",
        "dram_write_bytes",
        "latency_ms",
        "dram_energy_mj",
        "utilisation",
    },
    "limits": {"compute_cycles", "dram_bytes", "latency_ms"},
    "runs": {"c_simulation", "rtl"},
}
LAYER_KEYS = {
    "name",
    "op",
    "inputs",
    "input_shapes",
    "output_shape",
    "kernel",
    "stride",
    "macs",
    "weights",
    "tiles",
    "tile_efficiency",
    "bound",
    "busy",
    "cycles",
    "dram_read_bytes",
    "dram_write_bytes",
    "traffic",
    "least_dram_bytes",
    "tensor_bytes",
    "saturated",
    "snr_db",
}


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    """A ResNet of CIFAR's input size with ragged widths."""
    return residual_net(tmp_path_factory.mktemp("model") / "small net.onnx", widths=(4, 6, 9), size=32)


def build(network: Path, out: Path, target: Target = TARGET, **changes) -> tuple[Path, Report]:
    request = BuildRequest(str(network), target, **{"images": 5, "run": False, "out": out, **changes})
    return build_accelerator(request, say=lambda text: None)


@pytest.fixture(scope="module")
def built(network, tmp_path_factory) -> tuple[Path, Report]:
    return build(network, tmp_path_factory.mktemp("build") / "small")


def test_the_report_has_its_keys_and_nothing_else(built):
    report = json.loads((built[0] / "report.json").read_text())
    assert {key: set(report[key]) if keys else None for key, keys in KEYS.items()} == KEYS
    assert set(report) == set(KEYS)
    for layer in report["layers"]:
        assert set(layer) == LAYER_KEYS
        assert set(layer["cycles"]) == set(layer["dram_read_bytes"]) == set(layer["dram_write_bytes"]) == FIGURES


def test_what_was_not_measured_is_null(built):
    _, report = built
    assert report.runs == {"c_simulation": None, "rtl": None}
    assert report.measured_by() == ["analytic", "simulated"]
    assert report.network.dense_macs is None
    assert all(layer.cycles["rtl"] is None for layer in report.layers)


def test_what_quantisation_costs_is_told_layer_by_layer(built):
    layers = built[1].layers
    assert all(layer.saturated >= 0 and 10 < layer.snr_db < 60 for layer in layers)
    assert any(layer.saturated for layer in layers)


def test_layers_sum_to_the_totals(built):
    _, report = built
    for quantity in ("cycles", "dram_read_bytes", "dram_write_bytes"):
        total = getattr(report.totals, quantity)
        for source in ("analytic", "simulated"):
            assert sum(getattr(layer, quantity)[source] for layer in report.layers) == total[source]
    assert sum(layer.macs for layer in report.layers) == report.network.macs
    assert sum(layer.weights for layer in report.layers) == report.network.params
    assert sum(layer.least_dram_bytes for layer in report.layers) == report.limits.dram_bytes
    for layer in report.layers:
        assert sum(layer.traffic.model_dump().values()) == (
            layer.dram_read_bytes["simulated"] + layer.dram_write_bytes["simulated"]
        )
        assert layer.traffic.parameters >= layer.weights
        assert max(layer.busy, key=lambda part: layer.busy[part]) == layer.bound


def test_no_figure_beats_the_physical_limits(built):
    _, report = built
    assert report.totals.cycles["simulated"] >= report.limits.compute_cycles
    assert report.totals.dram_read_bytes["simulated"] >= report.limits.dram_bytes - 10
    assert 0 < report.totals.utilisation <= 1
    assert all(0 < layer.tile_efficiency <= 1 for layer in report.layers if layer.op == "convolution")


def test_the_folder_holds_every_artefact(built):
    folder, report = built
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        "model.onnx", "quantised.onnx", "graph.json", "schedule.json", "weights.bin", "manifest.json",
        "vectors", "hls", "report.json", "trace.json",
    }  # fmt: skip
    assert hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest() == report.onnx_sha256


def test_the_trace_shows_every_command_once(built):
    folder, report = built
    events = json.loads((folder / "trace.json").read_text())["traceEvents"]
    blocks = [event for event in events if event["ph"] == "X"]
    assert len(blocks) == len(json.loads((folder / "schedule.json").read_text())["operations"])
    end = max(event["args"]["start"] + event["args"]["cycles"] for event in blocks)
    assert end == report.totals.cycles["simulated"]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_input_gives_the_same_bytes(built, network, tmp_path):
    again, _ = build(network, tmp_path / "again")
    assert tree(again) == tree(built[0])


def test_bad_input_leaves_an_earlier_build_untouched(built, tmp_path):
    folder, _ = built
    before = tree(folder)
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"not a model")
    with pytest.raises(UserError, match=r"bad\.onnx"):
        build(bad, folder)
    assert tree(folder) == before


def test_a_failure_half_way_leaves_an_earlier_build_untouched(built, network, monkeypatch):
    folder, _ = built
    before = tree(folder)

    def full(*_arguments):
        raise OSError("no space left on device")

    monkeypatch.setattr("cgap.app.build.write_vectors", full)
    with pytest.raises(OSError, match="no space"):
        build(network, folder)
    assert tree(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_difference_from_onnxruntime_is_not_swallowed(network, tmp_path, monkeypatch):
    from cgap.app import build as module

    def wrong(*arguments):
        outputs = module_run(*arguments)
        return {name: values + (name.endswith("stored")) for name, values in outputs.items()}

    module_run = module.run_onnx
    monkeypatch.setattr("cgap.app.build.run_onnx", wrong)
    with pytest.raises(RuntimeError, match="onnxruntime and the integer reference differ"):
        build(network, tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nosuch", "8x8x4", "resident"), "no platform 'nosuch'"),
        (("zcu104", "8x8", "resident"), "8x8x4"),
        (("zcu104", "8x8x4", "fastest"), "layerwise or resident"),
    ],
)
def test_a_wrong_target_is_named(arguments, message):
    with pytest.raises(UserError, match=message):
        Target.parse(*arguments)


def test_a_platform_that_is_too_small_is_named(network):
    with pytest.raises(UserError, match=r"platform zcu104 is too small.*DSP"):
        compile_model(str(network), Target.parse("zcu104", "64x8x4", "resident"))


def test_deeper_pages_are_emitted_and_in_the_command_that_makes_them_again(network, tmp_path):
    folder, _ = build(network, tmp_path / "out", Target.parse("zcu104", "8x8x4", "resident", 1024))
    config = (folder / "hls" / "config.h").read_text()
    assert "PAGE_DEPTH = 1024;" in config
    assert "--schedule resident --page-depth 1024\n" in config


def test_both_schedules_are_simulated(network, tmp_path):
    resident = simulate_model(str(network), TARGET, tmp_path / "trace.json")
    layerwise = simulate_model(str(network), Target.parse("zcu104", "8x8x4", "layerwise"), None)
    assert (tmp_path / "trace.json").exists()
    assert resident.totals.dram_read_bytes["simulated"] < layerwise.totals.dram_read_bytes["simulated"]
    assert resident.totals.cycles["simulated"] < layerwise.totals.cycles["simulated"]


def test_build_names_are_safe():
    assert build_name("../../etc/pass wd.onnx") == "pass_wd"
    assert build_name("resnet20") == "resnet20"


def test_another_input_size_asks_for_images(tmp_path):
    net = Builder(("N", 1, 12, 12))
    path = net.save(net.dense(net.node("Flatten", net.node("GlobalAveragePool", net.conv("image", 1, 4))), 4, 10),
                    tmp_path / "gray.onnx")  # fmt: skip
    with pytest.raises(UserError, match=r"1x12x12.*--images-file"):
        compile_model(str(path), TARGET)
    images = tmp_path / "images.npy"
    np.save(images, np.random.default_rng(0).uniform(-1, 0.99, (6, 1, 12, 12)).astype(np.float32))
    _, report = build(path, tmp_path / "out", images_file=images)
    assert report.dataset is None
    assert report.accuracy == NOT_MEASURED


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros((2, 3, 16, 16), np.float32), r"\[N, 3, 32, 32\]"),
        (np.zeros((2, 3, 32, 32), np.int64), "int64"),
        (np.zeros((0, 3, 32, 32), np.float32), r"\[0, 3, 32, 32\]"),
        (np.full((1, 3, 32, 32), np.nan, np.float32), r"\[-1, 1\)"),
        (np.full((1, 3, 32, 32), 1.5, np.float32), r"\[-1, 1\)"),
    ],
)
def test_images_that_do_not_fit_are_refused(network, tmp_path, content, message):
    path = tmp_path / "images.npy"
    np.save(path, content)
    with pytest.raises(UserError, match=message):
        compile_model(str(network), TARGET, path)


def test_image_files_are_hostile_input(network, tmp_path):
    for name, content in (("none.npy", None), ("text.npy", b"hello"), ("empty.npy", b"")):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UserError, match=name):
            compile_model(str(network), TARGET, path)
    pickled = tmp_path / "pickled.npy"
    np.save(pickled, np.array([object()]), allow_pickle=True)
    with pytest.raises(UserError, match="pickled"):
        compile_model(str(network), TARGET, pickled)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "cgap", *arguments], capture_output=True, text=True, check=False)


def test_the_command_prints_the_table_and_the_json(network):
    shown = run("sim", str(network))
    assert shown.returncode == 0, shown.stderr
    assert "simulated / limit" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80
    report = json.loads(run("sim", str(network), "--json").stdout)
    assert report["model"] == "small_net"


def test_the_command_in_the_report_makes_it_again(network, tmp_path, monkeypatch):
    """Fails if it leaves out an option without which the file is read, calibrated or built otherwise."""
    monkeypatch.chdir(network.parent)
    images = np.random.default_rng(0).uniform(0, 255, (3, 3, 32, 32)).astype("float32")
    np.save(network.parent / "my images.npy", images)
    given = ["--image-range", "0,255", "--outputs", "t29", "--images-file", "my images.npy", "--page-depth", "2048"]
    command = ["cgap", "hls", network.name, *given]
    reports = []
    for number in range(2):
        out = tmp_path / f"out{number}"
        monkeypatch.setattr(sys, "argv", [*command, "--no-csim", "--out", str(out)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
        reports.append(read_report(out))
        command = shlex.split(reports[-1].command)
    assert reports[0] == reports[1]


@pytest.mark.parametrize("command", ["hls", "sim"])
def test_an_unknown_model_is_one_line_and_exit_code_2(command):
    result = run(command, "resnet21")
    assert result.returncode == 2
    assert result.stderr.startswith("error: unknown model 'resnet21'")
    assert len(result.stderr.splitlines()) == 1


def test_mismatches_fail_the_command(network, tmp_path, monkeypatch, capsys):
    result = Result(5, {}, None, None, None, mismatches=3, seconds=0.1, differences=("row 2 differs",))
    monkeypatch.setattr(HlsBackend, "run", lambda *_arguments: result)
    monkeypatch.setattr(HlsBackend, "require", lambda *_arguments: None)
    monkeypatch.setattr(sys, "argv", ["cgap", "hls", str(network), "--images", "5", "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    said = capsys.readouterr()
    assert "differs from the integer reference" in said.err
    assert "row 2 differs" in said.out
    run = read_report(tmp_path / "out").runs["c_simulation"]
    assert run is not None
    assert run.mismatches == 3

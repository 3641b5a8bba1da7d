"""`cgap check` says what runs where, what blocks and what to do, before anybody waits for anything."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cgap.app.check import check_model
from cgap.cli import app
from cgap.lowering import ImportOptions
from fpga_model.errors import UserError
from tests.lowering.models import Builder, residual_net


def test_a_network_that_runs(tmp_path: Path) -> None:
    net = Builder((1, 8, 8, 3))
    data = net.conv(net.node("Transpose", "image", perm=[0, 3, 1, 2]), 3, 4)
    path = net.save(
        net.node("Softmax", net.dense(net.node("Flatten", data), 256, 5), name="classes"), tmp_path / "net.onnx"
    )
    report = check_model(str(path), ImportOptions()).to_json()
    assert report["runs"]
    assert report["operators"] == {"Transpose": 1, "Conv": 1, "Flatten": 1, "Gemm": 1, "Softmax": 1}
    assert report["image"] == {"name": "image", "shape": [1, 8, 8, 3], "kind": "float32", "maps": [3, 8, 8]}
    assert report["outputs"] == [{"name": "t3", "shape": [1, 5], "kind": "float32", "maps": [5, 1, 1], "layer": "fc"}]
    assert report["layers"] == {"convolution": 1, "fully_connected": 1}
    assert (report["macs"], report["weights"]) == (108 * 64 + 1280, 108 + 1280)
    assert report["host"] == ["'classes' (Softmax)"]
    assert report["todo"] == f"cgap hls {path} --images-file IMAGES.npy"


def test_what_blocks_and_the_command_that_goes_on(tmp_path: Path) -> None:
    net = Builder()
    inner = net.conv("image", 3, 4)
    data = net.node("Resize", inner, "", net.constant(np.float32([1, 1, 2, 2])), name="larger")
    path = net.save(net.conv(data, 4, 4), tmp_path / "net.onnx")
    result = CliRunner().invoke(app, ["check", str(path), "--json"])
    assert result.exit_code == 2
    report = json.loads(result.stdout)
    assert not report["runs"]
    assert [(block["operator"], block["nodes"]) for block in report["blocks"]] == [("Resize", ["larger"])]
    command = f"cgap check {path} --outputs {inner}"
    assert report["todo"].endswith(command)
    assert CliRunner().invoke(app, command.split()[1:]).exit_code == 0


def test_options_are_kept_in_the_commands(tmp_path: Path) -> None:
    net = Builder(("N", 3, "H", "W"))
    path = net.save(net.conv("image", 3, 4), tmp_path / "net.onnx")
    blocked = CliRunner().invoke(app, ["check", str(path)])
    assert blocked.exit_code == 2
    assert "give it by --shape" in " ".join(blocked.stdout.split())
    assert f"cgap check {path} --shape 1,3,224,224" in blocked.stdout
    found = CliRunner().invoke(app, ["check", str(path), "--shape", "1,3,9,9", "--image-range", "0,255"])
    assert found.exit_code == 0
    assert f"cgap hls {path} --shape 1,3,9,9 --image-range 0,255 --images-file" in found.stdout


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"no network")
    report = check_model(str(tmp_path / "net.onnx"), ImportOptions())
    assert [block.operator for block in report.blocks] == [None]
    with pytest.raises(UserError, match="does not exist"):
        check_model(str(tmp_path / "gone.onnx"), ImportOptions())


def test_a_shipped_network_needs_no_images() -> None:
    assert check_model("resnet20", ImportOptions()).todo == "cgap hls resnet20"


def test_large_files_are_checked_at_once(tmp_path: Path) -> None:
    """100 MB in two seconds of processor time."""
    net, data, before = Builder(("N", 3, 64, 64)), "image", 3
    for after in (1024, 1024, 1024, 670):
        weights = net.constant(np.zeros((after, before, 3, 3), np.float32))
        data, before = net.node("Relu", net.node("Conv", data, weights, strides=[2, 2], pads=[1] * 4)), after
    path = net.save(data, tmp_path / "net.onnx")
    assert path.stat().st_size > 100e6
    start = time.process_time()
    assert not check_model(str(path), ImportOptions()).blocks
    assert time.process_time() - start < 2


def test_the_table_of_a_network(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["check", str(residual_net(tmp_path / "net.onnx"))])
    assert result.exit_code == 0
    for words in (
        "operators ",
        "accelerator  7 convolution, 1 pooling, 1 fully_connected:",
        "host         nothing",
        "it runs",
    ):
        assert words in result.stdout

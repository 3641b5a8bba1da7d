"""`cgap check` says what runs where, what blocks and what to do, before anybody waits for anything."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cgap.app.build import compile_model
from cgap.app.check import check_model
from cgap.app.plan import Target, plan_model
from cgap.cli import app
from cgap.lowering import ImportOptions
from fpga_model.errors import UserError
from tests.lowering.models import Builder, residual_net
from tests.lowering.zoo import vgg11


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


def test_what_the_usual_accelerator_cannot_run_is_said_with_the_option_that_helps(tmp_path: Path) -> None:
    net = Builder(("N", 3, 128, 128))
    deep = net.save(net.conv(net.conv("image", 3, 64), 64, 64), tmp_path / "deep.onnx")
    report = check_model(str(deep), ImportOptions())
    assert report.unbuilt is not None
    assert report.unbuilt.endswith("choose larger buffers: --page-depth 1024 would do")
    assert report.todo == f"cgap hls {deep} --page-depth 1024 --images-file IMAGES.npy"
    with pytest.raises(UserError, match="--page-depth 1024 would do"):
        plan_model(str(deep), Target.parse())
    np.save(tmp_path / "images.npy", np.zeros((2, 3, 128, 128), np.float32))
    with pytest.raises(UserError, match="--page-depth 1024 would do"):
        compile_model(str(deep), Target.parse(), tmp_path / "images.npy")
    plan_model(str(deep), Target.parse(page_depth=1024))

    strided = net.save(net.conv("image", 3, 4, stride=60), tmp_path / "strided.onnx")
    found = CliRunner().invoke(app, ["check", str(strided)])
    assert found.exit_code == 0
    assert "60 needed, 2 there (stride_columns)" in found.stdout
    assert f"it runs      cgap hls {strided} --specialise --images-file IMAGES.npy" in found.stdout


def test_what_no_platform_holds_is_blocked(tmp_path: Path) -> None:
    net = Builder(("N", 3, 16, 4096))
    path = net.save(net.conv(net.conv("image", 3, 256), 256, 8), tmp_path / "net.onnx")
    report = check_model(str(path), ImportOptions())
    assert [block.operator for block in report.blocks] == [None]
    assert re.search(r"--page-depth \d+ would do, but platform zcu104 is too small", report.blocks[0].reason)


def test_a_large_file_is_checked(tmp_path: Path) -> None:
    """100 MB, most of them in a matrix."""
    report = check_model(str(vgg11(tmp_path / "net.onnx", hidden=700)), ImportOptions())
    assert report.bytes is not None
    assert report.bytes > 100e6
    assert not report.blocks


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

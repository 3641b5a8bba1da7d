"""Names from a model become text, file names and identifiers only after cleaning, through the whole build."""

from __future__ import annotations

import json
import os
import re
from io import StringIO
from pathlib import Path

import onnx
import pytest
from rich.console import Console

from cgap.app.build import BuildRequest, build_accelerator
from cgap.app.plan import Target
from cgap.app.report import read_report
from cgap.app.report_table import print_report
from tests.lowering.models import Builder

NAMES = (
    *("../../../escape", "/abs/olute", "a\\b", "quo\"te's", "new\nline\r", "*/ #error", "// \\", "??/", "%s{{ x }}{#"),
    *("int", "template", "always_comb", "con", "nul.txt", "manifest", "tops", "program", ".hidden", " ", "-rf"),
    *("\u00fcber\u6f22\u5b57", "\u202eevil\u2028", "\U0001f600", "x" * 10_000, "x" * 9_999 + "y", "A", "a", "a_2", "a"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chain with one convolution for every name, which is also its tensor's name, built without C simulation."""
    root = tmp_path_factory.mktemp("hostile")
    net = Builder((1, 3, 32, 32))
    data = "image"
    for name in NAMES:
        data = net.node("Relu", net.conv(data, 3, 3, kernel=1))
        net.nodes[-2].name = name
    model = net.model(data)
    for index, node in enumerate(model.graph.node[::2]):
        tensor = f"{NAMES[index]}{index}"
        model.graph.node[2 * index + 1].input[0] = node.output[0] = tensor
    (root / "in" / "work").mkdir(parents=True)
    path = root / "in" / "work" / "b'a\u00e4d; name\n.onnx"
    path.write_bytes(model.SerializeToString())
    before = Path.cwd()
    os.chdir(root / "in" / "work")
    try:
        request = BuildRequest(path.name, Target.parse("zcu104", "8x8x4", "resident"), images=2, run=False)
        built, _ = build_accelerator(request, say=lambda text: None)
    finally:
        os.chdir(before)
    return root / "in" / "work" / built


def test_everything_lies_in_the_build_folder(folder: Path) -> None:
    root = folder.parents[3]
    outside = [p for p in root.rglob("*") if p.is_file() and not p.is_relative_to(folder)]
    assert [path.suffix for path in outside] == [".onnx"]
    assert re.fullmatch(r"[A-Za-z0-9_]+", folder.name)


def test_file_names_are_plain_and_differ(folder: Path) -> None:
    layers = sorted(path.stem for path in (folder / "hls" / "layers").iterdir())
    assert len(layers) == len({name.lower() for name in layers}) == len(NAMES)
    files = [path.name for path in folder.rglob("*") if path.is_file() and path.name != ".cgap"]
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*(\.[a-z]+)?", name) and len(name) < 80 for name in files), files


def test_no_name_gets_out_of_a_comment_or_a_string(folder: Path) -> None:
    """Emitted text is printable ASCII, and no name ends its comment, opens a string or adds a line."""
    for path in [p for p in (folder / "hls").rglob("*") if p.is_file()]:
        text = path.read_text(encoding="ascii")
        assert all(" " <= letter <= "~" for letter in text.replace("\n", "").replace("\t", "")), path
        assert not re.search(r"^\s*#\s*error", text, re.MULTILINE)
        assert "??/" not in text
        assert max(map(len, text.splitlines())) < 1000, path


def test_original_names_are_kept_where_text_is_data(folder: Path) -> None:
    names = [layer["name"] for layer in json.loads((folder / "graph.json").read_text())["layers"]]
    assert set(NAMES) <= set(names)
    assert len(set(names)) == len(names) == len(NAMES) + 1
    report = read_report(folder)
    assert [layer.name for layer in report.layers] == names[1:]
    print_report(report, Console(file=StringIO()))
    onnx.checker.check_model(onnx.load(folder / "quantised.onnx"))

"""MODEL on the command line: a wrong network emitted, or an unhelpful error, would follow if these failed."""

import json

import pytest

from cgap.app import models
from fpga_model.errors import UserError


@pytest.fixture
def shipped(tmp_path):
    """A folder of two networks, one of them without a record."""
    folder = tmp_path / "pretrained"
    folder.mkdir()
    for name in ("resnet20", "lenet5"):
        (folder / f"{name}.onnx").write_bytes(b"")
    (folder / "resnet20.json").write_text(json.dumps({"dataset": "cifar10"}))
    (folder / "resnet20.txt").write_text("not a network")
    return folder


def test_shipped_networks_are_listed_with_their_records(shipped):
    assert [(entry.name, entry.record) for entry in models.pretrained(shipped)] == [
        ("lenet5", {}),
        ("resnet20", {"dataset": "cifar10"}),
    ]


@pytest.mark.parametrize("content", ["{", "[1]", '"text"'])
def test_a_broken_record_is_named(shipped, content):
    (shipped / "lenet5.json").write_text(content)
    with pytest.raises(UserError, match=r"lenet5\.json"):
        models.pretrained(shipped)


def test_a_name_is_resolved_from_anywhere(shipped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "resnet20").write_text("a file of the same name does not come first")
    assert models.resolve("resnet20", shipped) == shipped / "resnet20.onnx"


def test_a_path_is_taken_as_it_is(shipped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "resnet20").write_text("mine")
    (tmp_path / "net.onnx").write_text("mine")
    for model in ("./resnet20", "net.onnx", str(tmp_path / "net.onnx")):
        assert models.resolve(model, shipped).read_text() == "mine"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("resnet21", "unknown model 'resnet21': known are lenet5, resnet20. Did you mean 'resnet20'?"),
        ("ResNet20", "Did you mean 'resnet20'?"),
        ("transformer", "known are lenet5, resnet20. MODEL may also be"),
        ("", "unknown model ''"),
        ("nowhere/net.onnx", "model file 'nowhere/net.onnx' does not exist"),
        ("net.onnx", "model file 'net.onnx' does not exist"),
        ("x" * 10_000, "xxx...': File name too long"),
        ("/" + "x" * 10_000, "xxx...': File name too long"),
        ("a\0b", "unknown model 'a\\x00b'"),
        ("a\nb.onnx", "model file 'a\\nb.onnx' does not exist"),
        ("./", "is a folder"),
    ],
)
def test_what_cannot_be_resolved_gets_one_clear_sentence(shipped, model, message):
    with pytest.raises(UserError) as caught:
        models.resolve(model, shipped)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_the_error_says_when_nothing_is_shipped(tmp_path):
    with pytest.raises(UserError, match="ships none"):
        models.resolve("resnet20", tmp_path)

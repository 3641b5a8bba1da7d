"""If these fail, a hostile file costs the machine its memory or its time, or what is built is not what was read."""

from __future__ import annotations

import hashlib
import os
import re
import resource
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from cgap.app.build import BuildRequest, build_accelerator
from cgap.app.plan import Target
from cgap.lowering import import_onnx
from cgap.lowering.onnx import read, runtime
from fpga_model.errors import UserError
from tests.lowering.models import Builder, residual_net
from tests.work import lines

TARGET = Target.parse("zcu104", "8x8x4", "resident")


def refused(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        import_onnx(path)
    return str(caught.value)


def save(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def external(tmp_path: Path) -> Path:
    """A network whose weights lie in a file beside it, one after the other."""
    path = residual_net(tmp_path / "inside.onnx", (4, 6), size=32)
    model = onnx.load(path)
    path.unlink()
    (tmp_path / "model").mkdir()
    path = tmp_path / "model" / "net.onnx"
    onnx.save(model, path, save_as_external_data=True, location="net.bin", size_threshold=100)
    return path


def build(path: Path, out: Path) -> Path:
    return build_accelerator(BuildRequest(str(path), TARGET, images=2, run=False, out=out), say=lambda text: None)[0]


# What is built is what was read


def test_a_model_with_files_beside_it_is_written_as_one_that_stands_alone(external: Path, tmp_path: Path) -> None:
    folder = build(external, tmp_path / "build")
    written = (folder / "model.onnx").read_bytes()
    image = np.random.default_rng(0).uniform(-1, 1, (1, 3, 32, 32)).astype(np.float32)
    runs = [onnxruntime.InferenceSession(path).run(None, {"image": image})[0] for path in (str(external), written)]
    assert np.array_equal(*runs)
    first = import_onnx(external).sha256
    assert first == hashlib.sha256(written).hexdigest() == import_onnx(folder / "model.onnx").sha256


def test_what_lies_beside_a_model_is_part_of_its_hash(external: Path) -> None:
    before = import_onnx(external).sha256
    data = bytearray((external.parent / "net.bin").read_bytes())
    data[3] ^= 1
    (external.parent / "net.bin").write_bytes(data)
    assert import_onnx(external).sha256 != before


def test_weights_are_copied_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if what only asks for shapes converts, checks or serialises weights again: they are most of a file."""
    net = Builder((1, 3, 8, 8))
    path = net.save(net.node("Relu", net.conv(net.conv("image", 3, 64, bias=True), 64, 64, 5)), tmp_path / "net.onnx")
    monkeypatch.setattr(read.checker, "check_model", lambda model: sizes.append(model.ByteSize()))
    sizes: list[int] = []
    model = import_onnx(path)
    assert sizes[0] < 1 << 14 < path.stat().st_size
    kernels = [initialiser for initialiser in net.initialisers if len(initialiser.dims) == 4]
    for initialiser, given in zip(kernels, model.parameters.values(), strict=True):
        weights = given.weights
        assert weights.dtype == np.float32
        assert not weights.flags.owndata
        assert np.array_equal(weights, numpy_helper.to_array(initialiser))


def test_an_opened_file_is_good_for_one_import(tmp_path: Path) -> None:
    opened = read.open_model(residual_net(tmp_path / "net.onnx", (4, 6)))
    assert (opened.opset, opened.operators["Relu"]) == (17, 5)
    import_onnx(opened)
    with pytest.raises(ValueError, match="open it again"):
        import_onnx(opened)


def test_large_weights_are_checked_as_small_ones(tmp_path: Path) -> None:
    """They leave the model before the checker sees it."""
    net = Builder((1, 3, 8, 8))
    model = net.model(net.conv("image", 3, 64))
    (weights,) = model.graph.initializer
    for change, reason in (
        (lambda tensor: tensor.ClearField("dims"), "do not fill its shape|not a valid ONNX model"),
        (lambda tensor: setattr(tensor, "raw_data", tensor.raw_data[:-4]), "do not fill its shape"),
        (lambda tensor: setattr(tensor, "raw_data", np.full(1728, np.nan, np.float32).tobytes()), "NaN or infinity"),
    ):
        broken = onnx.ModelProto()
        broken.CopyFrom(model)
        change(broken.graph.initializer[0])
        assert re.search(reason, refused(save(broken, tmp_path / "broken.onnx")))
    model.graph.initializer.append(weights)
    assert "not a valid ONNX model" in refused(save(model, tmp_path / "twice.onnx"))


def test_a_file_that_changes_meanwhile_is_not_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is another one as soon as it was read."""
    path = residual_net(tmp_path / "net.onnx", (4, 6), size=32)
    content = path.read_bytes()
    read_bytes = read._read_bytes

    def read_and_change(given: Path) -> bytes:
        found = read_bytes(given)
        residual_net(given, (5, 7), size=32)
        return found

    monkeypatch.setattr(read, "_read_bytes", read_and_change)
    folder = build(path, tmp_path / "build")
    assert path.read_bytes() != content
    assert (folder / "model.onnx").read_bytes() == content
    assert f'"onnx_sha256": "{hashlib.sha256(content).hexdigest()}"' in (folder / "report.json").read_text()


def test_two_models_of_one_name_do_not_replace_one_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        residual_net(tmp_path / name / "net.onnx", (4, 5 + (name == "b")), size=32)

    def build_named(model: str) -> Path:
        return build_accelerator(BuildRequest(model, TARGET, images=1, run=False), say=lambda text: None)[0]

    before = (build_named("a/net.onnx") / "model.onnx").read_bytes()
    with pytest.raises(UserError, match=r"build/net was made from another model, .*/a/net\.onnx: .*--out"):
        build_named("b/net.onnx")
    assert (tmp_path / "build" / "net" / "model.onnx").read_bytes() == before
    build_named("resnet20")
    residual_net(tmp_path / "resnet20.onnx", (4, 5), size=32)
    with pytest.raises(UserError, match=r"build/resnet20 was made from another model, resnet20 \(shipped\)"):
        build_named("./resnet20.onnx")


# Limits come before work


@pytest.fixture
def bounded() -> Iterator[None]:
    """512 MiB of address space more than there are now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    old = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (512 << 20), old[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, old)


def test_forty_tensors_on_one_sparse_file_are_refused_unread(tmp_path: Path, bounded: None) -> None:
    (tmp_path / "sparse.bin").touch()
    os.truncate(tmp_path / "sparse.bin", 900 << 20)
    net = Builder()
    data = "image"
    for _ in range(40):
        data = net.conv(data, 3, 3)
    model = net.model(data)
    for tensor in model.graph.initializer:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="sparse.bin")
    assert "its shape [3, 3, 3, 3] takes 324" in refused(save(model, tmp_path / "net.onnx"))
    for tensor in model.graph.initializer:
        tensor.dims[:] = [1 << 20, 225, 1, 1]
    message = refused(save(model, tmp_path / "net.onnx"))
    assert "bytes of external data; at most 1,073,741,824 are read" in message


@pytest.mark.parametrize(
    ("entry", "value"), [("offset", "-4"), ("offset", "99999999"), ("length", "8"), ("length", "-1"), ("offset", "x")]
)
def test_a_piece_that_is_not_in_its_file_is_named(external: Path, entry: str, value: str) -> None:
    model = onnx.load(external, load_external_data=False)
    for item in model.graph.initializer[0].external_data:
        if item.key == entry:
            item.value = value
    external.write_bytes(model.SerializeToString())
    assert "lies in 'net.bin'" in refused(external)


def test_a_pipe_for_a_file_does_not_hang(external: Path) -> None:
    (external.parent / "net.bin").unlink()
    os.mkfifo(external.parent / "net.bin")
    assert "there is no such file" in refused(external)
    external.unlink()
    os.mkfifo(external)
    assert "is not a file" in refused(external)


def functions(depth: int, calls: int, *, circle: bool = False) -> onnx.ModelProto:
    """A network of `depth` local functions, each of which calls the next one `calls` times."""
    net = Builder()
    opset = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model = net.model(net.node("Relu", "image"))
    model.graph.node[0].op_type, model.graph.node[0].domain = "f0", "own"
    model.opset_import.append(helper.make_opsetid("own", 1))
    for k in range(depth):
        last = k == depth - 1 and not circle
        names = ["x", *(f"t{j}" for j in range(calls - 1)), "y"]
        kind, domain = ("Relu", "") if last else (f"f{(k + 1) % depth}", "own")
        nodes = [helper.make_node(kind, [a], [b], domain=domain) for a, b in pairwise(names)]
        model.functions.append(helper.make_function("own", f"f{k}", ["x"], ["y"], nodes, opset))
    return model


def test_functions_that_multiply_are_counted_before_they_are_inlined(tmp_path: Path) -> None:
    def refusals() -> None:
        assert "more than 100,000 nodes" in refused(save(functions(12, 10), tmp_path / "net.onnx"))
        assert "more than 100,000 nodes" in refused(save(functions(60, 60), tmp_path / "net.onnx"))
        assert "calls itself" in refused(save(functions(3, 1, circle=True), tmp_path / "net.onnx"))
        assert "calls itself" in refused(save(functions(1, 1, circle=True), tmp_path / "net.onnx"))
        assert "too deeply" in refused(save(functions(3000, 1), tmp_path / "net.onnx"))

    assert lines(refusals) < 1_000_000


def test_a_name_in_a_function_that_is_no_text(tmp_path: Path) -> None:
    path = save(functions(2, 2), tmp_path / "net.onnx")
    for place in (b"\x02t0", b"\x01x", b"\x02f1"):
        content = path.read_bytes()
        assert place in content
        (tmp_path / "odd.onnx").write_bytes(content.replace(place, place[:-1] + b"\xff"))
        assert "not UTF-8 text" in refused(tmp_path / "odd.onnx")


def test_a_sparse_constant_is_named(tmp_path: Path) -> None:
    net = Builder()
    values = helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0])
    sparse = helper.make_sparse_tensor(values, helper.make_tensor("i", TensorProto.INT64, [1], [0]), [3, 1, 1])
    total = net.node("Add", net.conv("image", 3, 3), net.node("Constant", sparse_value=sparse))
    assert "attribute 'sparse_value' holds a sparse tensor" in refused(net.save(total, tmp_path / "net.onnx"))


def test_onnxruntime_sends_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every session of the package is made where its telemetry is switched off."""
    switched: list[bool] = []
    monkeypatch.setattr(onnxruntime, "disable_telemetry_events", lambda: switched.append(True))
    runtime.start_session(residual_net(tmp_path / "net.onnx", (4, 5), size=8).read_bytes())
    assert switched
    package = Path(runtime.__file__).parents[2]
    users = [path.name for path in package.rglob("*.py") if "InferenceSession(" in path.read_text()]
    assert users == ["runtime.py"]

"""Two thousand damaged models: each becomes a simulated schedule, or is refused in words; in time, with no stray file.

Every sixteenth goes through the whole of `cgap hls`, short of C simulation.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from cgap.app.build import BuildRequest, build_accelerator
from cgap.app.plan import Target
from cgap.app.reporting import Costs
from cgap.lowering import export_qdq, import_onnx, quantise
from fpga_model.errors import UserError
from fpga_model.schedule.schedule import build_schedule
from tests.lowering.models import Builder, residual_net

SECONDS = 5
"""Most processor time that one file may take."""
BATCH = 100
BUILT = 16
"""One file in this many is built to the end."""
NAMES = ("", "/", "../../x", "\n", "x" * 10_000, "\u00fc\u2028\U0001f600", "int", '"*/', "\0", "%s{}", "image", "t0")
NUMBERS = (-(1 << 63), -(1 << 31), -1, 0, 1, 2, 3, 7, 1 << 16, 1 << 31, (1 << 63) - 1)
OPERATORS = (
    *("Conv", "Gemm", "MatMul", "BatchNormalization", "Relu", "Clip", "LeakyRelu", "Add", "Mul", "MaxPool"),
    *("AveragePool", "GlobalAveragePool", "ReduceMean", "Flatten", "Reshape", "Transpose", "Squeeze", "Pad", "Slice"),
    *("Concat", "Identity", "Dropout", "Softmax", "ArgMax", "QuantizeLinear", "DequantizeLinear", "Shape", "Gather"),
    *("ConstantOfShape", "Expand", "Tile", "Range", "Cast", "Div", "Pow", "Split", "If", "Loop", "Sigmoid", "NoSuch"),
)
Random = np.random.Generator


def _pick(random: Random, items: Iterable[Any]) -> Any:
    pool = list(items)
    return pool[int(random.integers(len(pool)))] if pool else None


def _operator(model: onnx.ModelProto, random: Random) -> None:
    _pick(random, model.graph.node).op_type = _pick(random, OPERATORS)


def _name(model: onnx.ModelProto, random: Random) -> None:
    _pick(random, model.graph.node).name = _pick(random, NAMES)


def _tensor_name(model: onnx.ModelProto, random: Random) -> None:
    """Rename one end of an edge, or both."""
    node, name = _pick(random, model.graph.node), _pick(random, NAMES)
    if random.random() < 0.5:
        node.input[int(random.integers(len(node.input)))] = name
        return
    old, node.output[0] = node.output[0], name
    for reader in model.graph.node:
        for index, tensor in enumerate(reader.input):
            if tensor == old and random.random() < 0.7:
                reader.input[index] = name


def _rewire(model: onnx.ModelProto, random: Random) -> None:
    """Read some other tensor: cycles, wrong ranks, constants as data."""
    node = _pick(random, model.graph.node)
    tensors = [*(t for n in model.graph.node for t in n.output), *(t.name for t in model.graph.initializer), "image"]
    node.input[int(random.integers(len(node.input)))] = _pick(random, tensors)


def _arity(model: onnx.ModelProto, random: Random) -> None:
    node = _pick(random, model.graph.node)
    if random.random() < 0.5:
        node.input.append(_pick(random, ["", "image", *node.input]))
    else:
        del node.input[int(random.integers(len(node.input))) :]


def _node(model: onnx.ModelProto, random: Random) -> None:
    """Remove a node, repeat one, or move one."""
    nodes, how = model.graph.node, random.integers(3)
    index = int(random.integers(len(nodes)))
    taken = onnx.NodeProto()
    taken.CopyFrom(nodes[index])
    if how != 1:
        del nodes[index]
    if how != 0:
        nodes.insert(int(random.integers(len(nodes) + 1)), taken)


def _attribute(model: onnx.ModelProto, random: Random) -> None:
    """Change a number of an attribute, its length, its type, or add one that does not belong."""
    found = [item for node in model.graph.node for item in node.attribute]
    item, number = _pick(random, found), _pick(random, NUMBERS)
    how = random.integers(5)
    if how == 0 and item.ints:
        item.ints[int(random.integers(len(item.ints)))] = number
    elif how == 1 and item.ints:
        item.ints.append(number) if random.random() < 0.5 else item.ints.pop()
    elif how == 2:
        item.i = number
    elif how == 3:
        item.type = _pick(random, [1, 2, 3, 4, 6, 7, 8])
    else:
        names = ("group", "dilations", "axis", "ceil_mode", "auto_pad", "transA", "alpha", "keepdims", "body")
        value = _pick(random, [number, [number] * 2, 0.5, float("nan"), "SAME_UPPER", "x"])
        _pick(random, model.graph.node).attribute.append(helper.make_attribute(_pick(random, names), value))


def _initialiser(model: onnx.ModelProto, random: Random) -> None:
    """Change the shape, type, place or values of a weight, or remove it."""
    how, items = random.integers(6), model.graph.initializer
    tensor = _pick(random, items)
    if how == 0 and tensor.dims:
        tensor.dims[int(random.integers(len(tensor.dims)))] = _pick(random, NUMBERS)
    elif how == 1:
        tensor.data_type = int(random.integers(0, 25))
    elif how == 2:
        del items[int(random.integers(len(items)))]
    elif how == 3:
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=_pick(random, [*NAMES, "/etc/passwd", "net.onnx", ".", "a/b"]))
        tensor.external_data.add(key=_pick(random, ["offset", "length"]), value=str(_pick(random, [*NUMBERS, "x"])))
    elif how == 4 and tensor.raw_data:
        values = np.array(_pick(random, [np.nan, np.inf, 3e38, 1e-45, 0]), np.float32).tobytes()
        tensor.raw_data = (values * len(tensor.raw_data))[: len(tensor.raw_data)]
    else:
        old, tensor.name = tensor.name, _pick(random, NAMES)
        for node in model.graph.node:
            node.input[:] = [tensor.name if name == old else name for name in node.input]


def _interface(model: onnx.ModelProto, random: Random) -> None:
    info = _pick(random, [*model.graph.input, *model.graph.output])
    dims, how = info.type.tensor_type.shape.dim, random.integers(4)
    if how == 0 and dims:
        dims[int(random.integers(len(dims)))].dim_value = _pick(random, NUMBERS)
    elif how == 1:
        info.type.tensor_type.elem_type = int(random.integers(0, 20))
    elif how == 2:
        info.name = _pick(random, NAMES)
    else:
        dims.add().dim_value = 1


def _model(model: onnx.ModelProto, random: Random) -> None:
    how = random.integers(4)
    if how == 0:
        model.opset_import[0].version = _pick(random, [*NUMBERS, *range(7, 27)])
    elif how == 1:
        model.opset_import[0].domain = _pick(random, NAMES)
    elif how == 2:
        model.ir_version = _pick(random, NUMBERS)
    else:
        model.graph.name = _pick(random, NAMES)


MUTATIONS: tuple[Callable[[onnx.ModelProto, Random], None], ...] = (
    *(_operator, _name, _tensor_name, _rewire, _arity, _node, _attribute, _attribute, _initialiser),
    *(_interface, _model),
)


def mutated(content: bytes, random: Random) -> bytes:
    """One or two structural changes, or a few changed, removed or repeated bytes."""
    if random.random() < 0.75:
        model = onnx.load_model_from_string(content)
        for _ in range(random.integers(1, 3)):
            try:
                _pick(random, MUTATIONS)(model, random)
            except (ValueError, TypeError, IndexError, AttributeError):
                continue  # nothing of that kind is left, or the file format cannot say it
        return bytes(model.SerializeToString())
    damaged = bytearray(content)
    for _ in range(random.integers(1, 6)):
        at = int(random.integers(len(damaged)))
        how = random.integers(20)
        if how < 10:
            damaged[at] = random.integers(256)
        elif how < 18:
            damaged[at] ^= 1 << random.integers(8)
        elif how == 18:
            del damaged[at : at + int(random.integers(1, 40))]
        else:
            damaged[at:at] = damaged[at : at + int(random.integers(1, 40))]
    return bytes(damaged)


@contextmanager
def in_time(seconds: int) -> Iterator[None]:
    """Fails the test when the block takes longer (processor time of this process, whatever else the machine does).

    A block that waits for something instead of computing is caught too, at ten times as long by the clock.
    """
    start = time.monotonic()

    def ring(_signal: int, _frame: object) -> None:
        raise TimeoutError(f"beyond {seconds} s")

    before = signal.signal(signal.SIGVTALRM, ring)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    if time.monotonic() - start > 10 * seconds:
        raise TimeoutError(f"waited beyond {10 * seconds} s")


def _plain_net(path: Path) -> Path:
    """Operators that exporters write around the layers, in the forms that hold lists, axes and shapes."""
    net = Builder(("N", 3, 6, 6), opset=13)
    data = net.node("Relu", net.conv("image", 3, 4, bias=True))
    data = net.node("MaxPool", data, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=0)
    data = net.node("AveragePool", data, kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)
    shape = net.node("Concat", net.node("Slice", net.node("Shape", data), *map(net.constant, ([0], [1]))),
                     net.constant(np.array([-1])), axis=0)  # fmt: skip
    data = net.node("Identity", net.node("Dropout", net.node("Reshape", data, shape)))
    product = net.node("MatMul", data, net.constant(np.ones((36, 5), np.float32)))
    model = net.model(net.node("Add", product, net.constant(np.arange(5, dtype=np.float32))))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("t11", TensorProto.FLOAT, ["N", 5]))
    path.write_bytes(model.SerializeToString())
    return path


def _mobile_net(path: Path) -> Path:
    """Groups, dilation, every activation, arithmetic with constants, padding, layout and an ending for the host."""
    net = Builder((1, 4, 7, 7), opset=13)
    data = net.node("Pad", "image", net.constant([0, 0, 1, 1, 0, 0, 1, 1]))
    data = net.node("Conv", data, net.constant(np.ones((4, 1, 3, 3), np.float32)), group=4)
    data = net.node(
        "Clip", net.node("Mul", data, net.constant(np.float32(0.5))), *map(net.constant, np.float32([0, 6]))
    )
    data = net.node("LeakyRelu", net.conv(data, 4, 4, dilations=[2, 2], pads=[2] * 4), alpha=0.25)
    data = net.node("Add", net.conv(data, 4, 4, kernel=1, pads=[0] * 4), data)
    data = net.node("MaxPool", data, kernel_shape=[3, 3], strides=[2, 1], dilations=[1, 2], ceil_mode=1)
    data = net.node("Transpose", net.node("ReduceMean", data, axes=[2, 3]), perm=[0, 2, 3, 1])
    data = net.node("Sub", net.dense(net.node("Flatten", data), 4, 5), net.constant(np.ones((1, 5), np.float32)))
    return net.save(net.node("Softmax", data, axis=-1), path)


def _branching_net(path: Path) -> Path:
    """A normalised image, concatenations, slices, a split, and everything that stands alone."""
    net = Builder((1, 3, 6, 6), opset=13)
    image = net.node("Div", net.node("Sub", "image", net.constant(np.float32(0.5))), net.constant(np.float32(0.25)))
    data = net.node("Concat", net.node("Relu", net.conv(image, 3, 4)), image, axis=1)
    first, second = (
        net.node("Slice", data, *map(net.constant, bounds)) for bounds in (([0], [4], [1]), ([-4], [99], [1]))
    )
    total = net.node("Add", net.node("Relu", first), net.node("PRelu", second, net.constant(np.float32([[[0.5]]]))))
    net.nodes.append(helper.make_node("Split", [net.batch_norm(total, 4)], ["left", "right"], "split", axis=1))
    mean = net.node("AveragePool", "right", kernel_shape=[2, 2], strides=[2, 2])
    half = net.node("MaxPool", net.node("Relu", "left"), kernel_shape=[2, 2], strides=[2, 2])
    return net.save(net.node("Relu", net.node("Concat", mean, half, axis=-3)), path)


def _quantised_net(path: Path) -> Path:
    """Integer weights and stored tensors between QuantizeLinear and DequantizeLinear."""
    model = import_onnx(residual_net(path, (2, 3), size=8))
    export_qdq(quantise(model, np.random.default_rng(1).uniform(-1, 1, (2, 3, 8, 8))), path)
    return path


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("seeds")
    return [
        residual_net(folder / "residual.onnx", (2, 3), size=8).read_bytes(),
        _plain_net(folder / "plain.onnx").read_bytes(),
        _mobile_net(folder / "mobile.onnx").read_bytes(),
        _branching_net(folder / "branching.onnx").read_bytes(),
        _quantised_net(folder / "quantised.onnx").read_bytes(),
    ]


@pytest.mark.parametrize("batch", range(21))
def test_no_file_crashes_hangs_or_leaves_files(
    batch: int, seeds: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would break: a traceback, a hang, or a file written where a model's names point."""
    inside = tmp_path / "outer" / "work"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    random = np.random.default_rng(batch)
    for index in range(BATCH):
        path = Path("net.onnx")
        content = mutated(seeds[index % len(seeds)], random)
        path.write_bytes(content)
        try:
            with in_time(SECONDS):
                survive(path)
                if index % BUILT == 0:
                    build(path)
        except Exception as error:
            raise AssertionError(f"batch {batch}, file {index}: {type(error).__name__}: {error}") from error
        assert [(folder, files) for folder, _, files in os.walk(tmp_path) if files] == [(str(inside), ["net.onnx"])]
        assert path.read_bytes() == content


def build(path: Path) -> None:
    """All that `cgap hls` writes, in the folder `build`, which is removed again; or a refusal."""
    out = Path("build")
    try:
        target = Target.parse("zcu104", "8x8x4", "resident")
        build_accelerator(BuildRequest(str(path), target, images=1, run=False, out=out), print)
    except UserError:
        assert not out.exists()
    else:
        assert (out / "report.json").exists()
        shutil.rmtree(out)


def survive(path: Path) -> bool:
    """Import, quantise, schedule and simulate; False if the file was refused."""
    try:
        model = import_onnx(path)
        shape = model.graph.shape(model.graph.input.name)
        if max(shape.size, model.graph.macs()) < 1 << 24:
            images = np.random.default_rng(1).uniform(-1, 1, (2, shape.channels, shape.height, shape.width))
            fixed = quantise(model, images)
            target = Target.parse("zcu104", "8x8x4", "resident")
            Costs.of(build_schedule(fixed, target.accelerator, target.platform, target.kind))
    except UserError:
        return False
    return True


def test_mutations_reach_both_ends(seeds: list[bytes], tmp_path: Path) -> None:
    """A fuzz whose files are all refused, or all harmless, tests nothing."""
    random = np.random.default_rng(99)
    path = tmp_path / "net.onnx"
    accepted = 0
    for index in range(BATCH):
        path.write_bytes(mutated(seeds[index % len(seeds)], random))
        accepted += survive(path)
    assert 5 <= accepted <= 80

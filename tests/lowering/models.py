"""Small ONNX models built by hand, as exporters write them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Builder:
    """Writes an ONNX graph node by node; weights are random but fixed by `seed`."""

    def __init__(self, image: Sequence[int | str] = ("N", 3, 8, 8), seed: int = 0, opset: int = 17) -> None:
        self.image = list(image)
        self.random = np.random.default_rng(seed)
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: list[TensorProto] = []

    def constant(self, values: object, name: str | None = None) -> str:
        name = name or f"const_{len(self.initialisers)}"
        self.initialisers.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, op: str, *inputs: str, name: str | None = None, **attributes: object) -> str:
        name = f"{op.lower()}_{len(self.nodes)}" if name is None else name
        output = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], name, **attributes))
        return output

    def split(self, data: str, sizes: Sequence[int], outputs: Sequence[str], name: str, axis: int = 1) -> None:
        self.nodes.append(helper.make_node("Split", [data, self.constant(list(sizes))], list(outputs), name, axis=axis))

    def conv(
        self,
        data: str,
        depth: int,
        channels: int,
        kernel: int = 3,
        stride: int = 1,
        bias: bool = False,
        gain: float = 1.0,
        **more: object,
    ) -> str:
        weights = gain * self.random.normal(
            0, (2 / (depth * kernel * kernel)) ** 0.5, (channels, depth, kernel, kernel)
        )
        extra = [self.constant(self.random.normal(0, 0.3, channels).astype(np.float32))] if bias else []
        settings = {"pads": [kernel // 2] * 4, "strides": [stride, stride], **more}
        return self.node("Conv", data, self.constant(weights.astype(np.float32)), *extra, **settings)

    def batch_norm(self, data: str, channels: int) -> str:
        draw = self.random.uniform
        parts = draw(0.7, 1.3, channels), draw(-0.3, 0.3, channels), draw(-0.3, 0.3, channels), draw(0.5, 1.5, channels)
        return self.node("BatchNormalization", data, *(self.constant(part.astype(np.float32)) for part in parts))

    def option_a(self, data: str, before: int, after: int) -> str:
        """Every second pixel, zero channels at the end."""
        starts, axes, steps = ([0, 0], [2, 3], [2, 2])
        ends = [np.iinfo(np.int64).max] * 2
        sliced = self.node("Slice", data, *(self.constant(np.array(v)) for v in (starts, ends, axes, steps)))
        return self.node("Pad", sliced, self.constant(np.array([0, 0, 0, 0, 0, after - before, 0, 0])))

    def block(self, data: str, before: int, after: int, stride: int) -> str:
        first = self.conv(data, before, after, stride=stride)
        inner = self.node("Relu", self.batch_norm(first, after))
        second = self.batch_norm(self.conv(inner, after, after), after)
        shortcut = data if (before, stride) == (after, 1) else self.option_a(data, before, after)
        return self.node("Relu", self.node("Add", second, shortcut))

    def dense(self, data: str, depth: int, channels: int, name: str = "fc") -> str:
        weights = self.random.normal(0, (1 / depth) ** 0.5, (channels, depth)).astype(np.float32)
        bias = self.random.normal(0, 0.1, channels).astype(np.float32)
        return self.node("Gemm", data, self.constant(weights), self.constant(bias), name=name, transB=1)

    def model(self, output: str | Sequence[str]) -> onnx.ModelProto:
        outputs = [output] if isinstance(output, str) else list(output)
        graph = helper.make_graph(
            self.nodes,
            "model",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, self.image)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            self.initialisers,
        )
        domains = sorted({node.domain for node in self.nodes} - {""})
        opsets = [helper.make_opsetid("", self.opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        for info, inferred in zip(graph.output, onnx.shape_inference.infer_shapes(model).graph.output, strict=True):
            info.type.CopyFrom(inferred.type)
        model.graph.CopyFrom(graph)
        return model

    def save(self, output: str | Sequence[str], path: Path) -> Path:
        path.write_bytes(self.model(output).SerializeToString())
        return path


def residual_net(path: Path, widths: Sequence[int] = (4, 6, 9), blocks: int = 1, size: int = 16, seed: int = 0) -> Path:
    """A small ResNet with option A shortcuts, BN, global average pooling and a classifier."""
    net = Builder(("N", 3, size, size), seed)
    data = net.node("Relu", net.batch_norm(net.conv("image", 3, widths[0]), widths[0]))
    before = widths[0]
    for stage, width in enumerate(widths):
        for index in range(blocks):
            data = net.block(data, before, width, 2 if stage and not index else 1)
            before = width
    pooled = net.node("Flatten", net.node("GlobalAveragePool", data, name="gap"))
    return net.save(net.dense(pooled, before, 10), path)

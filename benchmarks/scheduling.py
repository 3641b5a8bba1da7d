"""Processor seconds from a graph to cycles: plan, analytic model, operations, simulation, each the best of its runs.

    python benchmarks/scheduling.py [--repeat 3] [--large]

The work is the number of operations, to which every step should be proportional: ResNet-1202 has 11 times those of
ResNet-110. `--large` adds that network and a chain of 20,000 nodes, whose import is timed too.
"""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cgap.lowering import import_onnx
from fpga_model.graph import Layer, LayerGraph
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.platform import load_platform
from fpga_model.models.analytic import estimate
from fpga_model.models.simulator import simulate
from fpga_model.numerics.tensors import Shape
from fpga_model.operators import Convolution, FullyConnected, Input, Operator, Pooling, Shortcut
from fpga_model.schedule.plan import Kind, make_plan
from fpga_model.schedule.schedule import schedule_plan

ZCU104 = load_platform("zcu104")
PLATFORM = replace(ZCU104, name="roomy", dsp=10**6, block=replace(ZCU104.block, count=10**6))
DEFAULT, SPILLING = Accelerator(), Accelerator(4, 4, 4, page_depth=256)
DEEP = Accelerator(page_depth=2048)

Case = tuple[Callable[[], LayerGraph], Accelerator]


class Network(LayerGraph):
    """A graph that is written down layer by layer."""

    def __init__(self, name: str, image: Shape) -> None:
        super().__init__(name)
        self.put("image", Input(image))

    def put(self, name: str, operator: Operator, *inputs: str) -> str:
        self.add(Layer(name, operator, inputs))
        return name

    def conv(
        self, name: str, maps: int, kernel: int, source: str, stride: int = 1, groups: int = 1, added: str = ""
    ) -> str:
        """A padded convolution with ReLU, depthwise with as many groups as maps, with a shortcut or without."""
        channels, pad = self.shape(source).channels, kernel // 2
        shortcut = None
        if added:
            step = -(-self.shape(added).height * stride // self.shape(source).height)
            shortcut = Shortcut((step, step), 0, self.shape(added).channels)
        operator = Convolution(
            channels, maps, (kernel, kernel), (stride, stride), (pad,) * 4, True, shortcut, groups=groups
        )
        return self.put(name, operator, source, *([added] if added else []))

    def head(self, source: str, classes: int) -> None:
        shape = self.shape(source)
        pooled = self.put("pool", Pooling("sum", (shape.height, shape.width), (1, 1)), source)
        self.put("fc", FullyConnected(Shape(shape.channels, 1, 1), classes), pooled)


def cifar_resnet(depth: int) -> LayerGraph:
    """He et al. 2016, with option-A shortcuts."""
    net = Network(f"ResNet-{depth}", Shape(3, 32, 32))
    x = net.conv("stem", 16, 3, "image")
    for stage, maps in enumerate((16, 32, 64)):
        for block in range((depth - 2) // 6):
            stride = 2 if stage and not block else 1
            inner = net.conv(f"{stage}.{block}.1", maps, 3, x, stride)
            operator = Convolution(
                maps, maps, (3, 3), (1, 1), (1,) * 4, True, Shortcut((stride, stride), 0, net.shape(x).channels)
            )
            x = net.put(f"{stage}.{block}.2", operator, inner, x)
    net.head(x, 10)
    return net


def resnet50() -> LayerGraph:
    """He et al. 2016, at 224x224, its first pooling left to a stride."""
    net = Network("ResNet-50", Shape(3, 224, 224))
    x = net.conv("stem", 64, 7, "image", 2)
    x = net.put("stem.pool", Pooling("max", (3, 3), (2, 2), (1, 1, 1, 1)), x)
    for stage, (maps, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            h = net.conv(f"{stage}.{block}.1", maps, 1, x)
            h = net.conv(f"{stage}.{block}.2", maps, 3, h, stride)
            short = x if block else net.conv(f"{stage}.{block}.short", 4 * maps, 1, x, stride)
            x = net.conv(f"{stage}.{block}.3", 4 * maps, 1, h, added=short)
    net.head(x, 1000)
    return net


def mobilenet_v2() -> LayerGraph:
    """Sandler et al. 2018, at 224x224."""
    net = Network("MobileNetV2", Shape(3, 224, 224))
    x, number = net.conv("stem", 32, 3, "image", 2), 0
    for factor, maps, blocks, first in (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for block in range(blocks):
            stride, wide = (1 if block else first), factor * net.shape(x).channels
            h = x if factor == 1 else net.conv(f"{number}.expand", wide, 1, x)
            h = net.conv(f"{number}.depthwise", wide, 3, h, stride, groups=wide)
            added = x if stride == 1 and net.shape(x).channels == maps else ""
            x, number = net.conv(f"{number}.project", maps, 1, h, added=added), number + 1
    net.head(net.conv("head", 1280, 1, x), 1000)
    return net


def chain(nodes: int) -> bytes:
    """An ONNX file of convolutions and ReLUs in turn."""
    weights = numpy_helper.from_array(np.full((4, 4, 1, 1), 0.25, np.float32), "w")
    made, x = [], "image"
    for index in range(nodes):
        kind, inputs = ("Conv", [x, "w"]) if index % 2 == 0 else ("Relu", [x])
        made.append(helper.make_node(kind, inputs, [f"t{index}"], name=f"n{index}"))
        x = f"t{index}"
    sizes = [1, 4, 4, 4]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes) for name in ("image", x)]
    graph = helper.make_graph(made, "chain", ends[:1], ends[1:], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    data: bytes = onnx.ModelProto.SerializeToString(model)
    return data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--large", action="store_true")
    arguments = parser.parse_args()
    cases: list[Case] = [
        (partial(cifar_resnet, 110), DEFAULT),
        (partial(cifar_resnet, 110), SPILLING),
        (mobilenet_v2, DEEP),
        (resnet50, DEEP),
    ]
    if arguments.large:
        cases.append((partial(cifar_resnet, 1202), DEFAULT))
    print(f"{'network':12} {'array':8} {'pages':>5} {'schedule':10} {'plan':>7} {'analytic':>8} ", end="")
    print(f"{'operations':>10} {'simulate':>8}   CPU s; operations")
    # Each in a process of its own, as commands are: what another network has left in memory would slow it down.
    for (network, accelerator), kind in product(cases, (Kind.RESIDENT, Kind.LAYERWISE)):
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            print(process.submit(row, network, accelerator, kind, arguments.repeat).result(), flush=True)
    if arguments.large:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "chain.onnx"
            path.write_bytes(chain(20_000))
            reading = cpu_seconds(lambda: import_onnx(path))
            planning = cpu_seconds(lambda: make_plan(import_onnx(path).graph, DEFAULT, PLATFORM, Kind.RESIDENT))
            print(f"chain of 20,000 nodes: import {reading:.2f}, import and plan {planning:.2f} CPU s")


def row(network: Callable[[], LayerGraph], accelerator: Accelerator, kind: Kind, repeat: int) -> str:
    """A line of the table."""
    graph = network()
    plan = make_plan(graph, accelerator, PLATFORM, kind)
    schedule = schedule_plan(plan)
    steps: list[Callable[[], Any]] = [
        lambda: make_plan(graph, accelerator, PLATFORM, kind),
        lambda: estimate(plan),
        lambda: schedule_plan(plan),
        lambda: simulate(schedule),
    ]
    a, b, c, d = (min(cpu_seconds(step) for _ in range(repeat)) for step in steps)
    array = f"{accelerator.Pox}x{accelerator.Poy}x{accelerator.Pof}"
    return (
        f"{graph.name:12} {array:8} {accelerator.page_depth:5} {kind.value:10} "
        f"{a:7.3f} {b:8.3f} {c:10.3f} {d:8.3f}   {len(schedule.operations):,}"
    )


def cpu_seconds(step: Callable[[], Any]) -> float:
    """Processor time of this process for one call."""
    gc.collect()
    start = time.process_time()
    step()
    return time.process_time() - start


if __name__ == "__main__":
    main()

"""Wall seconds, processor seconds and memory of whole commands, as a user waits for them; the least of several runs.

    python benchmarks/commands.py [--repeat 5]

Each runs in a process of its own; its first run, which may compile Python's bytecode and a test bench, is not counted.
`cgap check` is given VGG-11 (Simonyan and Zisserman 2015, with 700 instead of 4,096 units in its one hidden layer): a
file of 110 MB. `cgap hls` makes a new folder each time, and runs 100 images in C simulation with all its checks.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MAPS = (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M")
HIDDEN = 700


def vgg11() -> onnx.ModelProto:
    """The network as exporters write it, with random weights."""
    generator = np.random.default_rng(11)
    nodes: list[onnx.NodeProto] = []
    weights: list[TensorProto] = []

    def put(op: str, source: str, shape: tuple[int, ...] = (), **attributes: object) -> str:
        inputs, output = [source], f"t{len(nodes)}"
        if shape:
            values = generator.standard_normal(shape, np.float32) / np.float32(np.prod(shape[1:]) ** 0.5)
            for name, tensor in (("weight", values), ("bias", np.zeros(shape[0], np.float32))):
                inputs.append(f"{output}.{name}")
                weights.append(numpy_helper.from_array(tensor, inputs[-1]))
        nodes.append(helper.make_node(op, inputs, [output], f"{op.lower()}_{len(nodes)}", **attributes))
        return output

    tensor, depth = "image", 3
    for maps in MAPS:
        if isinstance(maps, int):
            tensor = put("Conv", tensor, (maps, depth, 3, 3), kernel_shape=[3, 3], pads=[1, 1, 1, 1])
            tensor, depth = put("Relu", tensor), maps
        else:
            tensor = put("MaxPool", tensor, kernel_shape=[2, 2], strides=[2, 2])
    tensor = put("Gemm", put("Flatten", tensor), (HIDDEN, depth * 7 * 7), transB=1)
    tensor = put("Gemm", put("Relu", tensor), (1000, HIDDEN), transB=1)
    ends = (("image", [1, 3, 224, 224]), (tensor, [1, 1000]))
    image, classes = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in ends)
    graph = helper.make_graph(nodes, "VGG-11", [image], [classes], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def write(path: Path) -> None:
    """Make the file."""
    onnx.save(vgg11(), path)


def measure(words: list[str]) -> tuple[float, float, float]:
    """Wall seconds, processor seconds and MB of one run, which may write into the folder that it is started in."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-m", "cgap", *words], cwd=folder, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"cgap {' '.join(words)} failed")
    return wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vgg11.onnx"
        # In a process of its own: what starts a command counts as its memory until it begins.
        writer = multiprocessing.get_context("spawn").Process(target=write, args=(path,))
        writer.start()
        writer.join()
        print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")
        print(f"{'command':22} {'wall s':>7} {'CPU s':>6} {'MB':>5}")
        commands = (
            ["check", str(path)],
            ["check", "resnet110"],
            ["sim", "resnet110"],
            ["hls", "resnet110"],
            ["--help"],
        )
        for words in commands:
            measure(words)
            runs = [measure(words) for _ in range(arguments.repeat)]
            wall, cpu, memory = (min(values) for values in zip(*runs, strict=True))
            name = " ".join(["cgap", *(Path(word).name for word in words)])
            print(f"{name:22} {wall:7.2f} {cpu:6.2f} {memory:5.0f}", flush=True)


if __name__ == "__main__":
    main()

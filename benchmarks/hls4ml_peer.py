"""hls4ml beside `cgap hls`, on the same integers; part of benchmarks/peers.py.

The network is rebuilt in PyTorch from the quantised one: its integers times their scales, its number formats. A strided
shortcut, which hls4ml's PyTorch front end has no layer for, becomes a 1x1 convolution with an identity as weights; the
sum pooling becomes an average, and the last layer's weights are so much larger. So both emit the same function, and
each is compared with the same reference: this project's integers.
"""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cgap.app import models
from cgap.app.inputs import load_inputs
from cgap.backends.hls.csim import find_ap_include
from cgap.lowering import import_onnx, quantise
from fpga_model.graph import FixedGraph, Layer
from fpga_model.machine.platform import load_platform
from fpga_model.models.golden import run_reference
from fpga_model.numerics.fixed_point import Format
from fpga_model.operators import FullyConnected, Pooling
from fpga_model.schedule.schedule import Schedule

HEADINGS = (
    *("network", "tool", "emission, CPU s", "lines of C++: its own, library", "g++, CPU s", "emulated images a CPU s"),
    *("logits that differ", "on chip, Mbit", "predicted cycles"),
)
COMPILER_SECONDS = 600
COMPILER_GIBIBYTES = 8
REUSE = 72
"""Products of an output pixel that share a multiplier in hls4ml's C++ (reuse factor), or the nearest number it has."""


def row(*cells: object) -> str:
    """A row of the table."""
    return "| " + " | ".join(map(str, cells)) + " |"


def cpu_seconds(command: Sequence[str | Path], folder: Path, output: Path) -> float:
    """Run a command whose output goes to a file; the CPU seconds of it and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with output.open("w") as file:
        subprocess.run(command, cwd=folder, check=True, stdout=file, stderr=subprocess.STDOUT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


# --- the network, for PyTorch ---------------------------------------------------------------------------------------


def ap_fixed(form: Format, extra: int = 0) -> str:
    """The type of a stored tensor in hls4ml's words, with `extra` more fraction bits: ties to even, saturated."""
    return f"fixed<{form.bits},{form.bits - form.frac - extra},RND_CONV,SAT>"


def holding(values: npt.NDArray[np.float64], frac: int) -> str:
    """A type with `frac` fraction bits that holds all values."""
    most = max(float(np.abs(values).max()), 2.0**-frac)
    integer = math.floor(math.log2(most)) + 2
    return f"fixed<{max(integer + frac, 1)},{integer}>"


@dataclass
class Rebuilt:
    """Layers for `hls4ml_flow.Network`, their arrays and number formats; `tensors` are the names of stored ones."""

    fixed: FixedGraph
    layers: list[dict[str, Any]]
    arrays: dict[str, npt.NDArray[np.float32]]
    formats: dict[str, dict[str, str]]
    tensors: dict[str, str]
    averaged: dict[str, int]

    @classmethod
    def of(cls, fixed: FixedGraph) -> Rebuilt:
        """From the quantised network."""
        image = fixed.graph.input.name
        made = cls(fixed, [], {}, {"image": {"result": ap_fixed(fixed.format(image))}}, {image: "image"}, {})
        for layer in fixed.graph.layers[1:]:
            (made._pool if isinstance(layer.operator, Pooling) else made._convolve)(layer)
        return made

    def _module(self, name: str, module: str, inputs: Sequence[str], **arguments: Any) -> None:
        self.layers.append({"name": name, "module": module, "inputs": list(inputs), "arguments": arguments})

    def _pool(self, layer: Layer) -> None:
        """A sum is the average times the pixels of its window, a power of two."""
        operator, name = layer.operator, _name(layer)
        pixels = operator.kernel[0] * operator.kernel[1]
        extra = pixels.bit_length() - 1
        if operator.mode != "sum" or pixels != 1 << extra or self.fixed.graph.shape(layer.name).pixels != 1:
            raise SystemExit(f"layer {layer.name}: only the sum over all pixels, a power of two of them, is rebuilt")
        self._module(name, "AvgPool2d", [self.tensors[layer.inputs[0]]], kernel_size=operator.kernel)
        self._module(f"{name}_flat", "Flatten", [name])
        self.formats[name] = {"result": ap_fixed(self.fixed.format(layer.name), extra)}
        self.tensors[layer.name], self.averaged[layer.name] = f"{name}_flat", extra

    def _convolve(self, layer: Layer) -> None:
        operator, name, numbers = layer.operator, _name(layer), self.fixed.numbers[layer.name]
        extra = self.averaged.get(layer.inputs[0], 0)
        frac = numbers.weight_frac - extra
        weights = np.ldexp(numbers.weights.astype(np.float64), -frac[:, None, None, None])
        bias_frac = self.fixed.format(layer.inputs[0]).frac + numbers.weight_frac
        bias = np.ldexp(numbers.bias.astype(np.float64), -bias_frac)
        sizes = {"in_channels": operator.in_channels, "out_channels": operator.out_channels}
        source = [self.tensors[layer.inputs[0]]]
        if isinstance(operator, FullyConnected):
            weights = weights[:, :, 0, 0]
            self._module(name, "Linear", source, in_features=operator.in_channels, out_features=operator.out_channels)
        else:
            shape = {"kernel_size": operator.kernel, "stride": operator.stride, "padding": operator.pad[:2]}
            self._module(name, "Conv2d", source, **sizes, **shape, groups=operator.groups)
        self.arrays[f"{name}.weight"], self.arrays[f"{name}.bias"] = (v.astype(np.float32) for v in (weights, bias))
        self.formats[name] = {
            "weight": holding(weights, int(frac.max())),
            "bias": holding(bias, int(bias_frac.max())),
        }
        stored, sources = name, [name]
        if operator.shortcut is not None:
            sources.append(self._shortcut(layer, name))
        if operator.relu:
            stored = f"{name}_relu"
            self._module(stored, "ReLU", sources)
        elif len(sources) > 1:
            raise SystemExit(f"layer {layer.name}: a shortcut without ReLU is not rebuilt")
        self.formats.setdefault(stored, {})["result"] = ap_fixed(self.fixed.format(layer.name))
        self.tensors[layer.name] = stored

    def _shortcut(self, layer: Layer, name: str) -> str:
        """The tensor that is added: as it is, or by a strided 1x1 convolution that copies maps."""
        operator, source = layer.operator, self.tensors[layer.inputs[1]]
        shortcut = operator.shortcut
        if shortcut.stride == (1, 1) and shortcut.channels == operator.out_channels:
            return source
        weights = np.zeros((operator.out_channels, shortcut.channels, 1, 1), np.float32)
        for channel in range(shortcut.channels):
            weights[shortcut.channel_offset + channel, channel] = 1
        name = f"{name}_shortcut"
        sizes = {"in_channels": shortcut.channels, "out_channels": operator.out_channels, "bias": False}
        self._module(name, "Conv2d", [source], kernel_size=1, stride=shortcut.stride, **sizes)
        self.arrays[f"{name}.weight"], self.formats[name] = weights, {"weight": "fixed<2,2>"}
        return name


def _name(layer: Layer) -> str:
    return "n_" + layer.name.replace(".", "_")


# --- the two tools --------------------------------------------------------------------------------------------------


def run_hls4ml(model: str, images: int, folder: Path, python_of: Callable[[str, Path], Path], title: str) -> str:
    """hls4ml's row: its C++ within the limits of its compiler, its logits against the integers."""
    imported = import_onnx(models.resolve(model))
    inputs = load_inputs(imported.image, None)
    fixed = quantise(imported, inputs.calibration().images)
    made, graph, some = Rebuilt.of(fixed), fixed.graph, inputs.first(images)
    place = folder / f"hls4ml-{model}"
    place.mkdir(parents=True, exist_ok=True)
    for old in ("result.json", "logits.npy"):
        (place / old).unlink(missing_ok=True)
    shape = graph.shape(graph.input.name)
    description = {
        "layers": made.layers,
        "image": [shape.channels, shape.height, shape.width],
        "formats": made.formats,
        "reuse": REUSE,
        "part": load_platform("zcu104").part,
    }
    (place / "network.json").write_text(json.dumps(description, indent=1))
    np.savez(place / "arrays.npz", images=some.images, **made.arrays)
    flow = Path(__file__).with_name("hls4ml_flow.py")
    limits = str(COMPILER_SECONDS), str(COMPILER_GIBIBYTES)
    cpu_seconds([python_of("hls4ml", folder), flow, place, *limits], place, place / "output.txt")
    found = json.loads((place / "result.json").read_text())
    lines, bits = found["lines"], found["bits"]
    compiled = images_a_second = differ = "ended"
    if "compile_s" in found:
        expected = run_reference(fixed, some.integers(), keep=[graph.output.name])[graph.output.name]
        values = fixed.format(graph.output.name).value(expected).reshape(len(some.images), -1)
        wrong = np.load(place / "logits.npy").reshape(values.shape) != values
        compiled, images_a_second = f"{found['compile_s']:.0f}", f"{found['images_per_s']:.2f}"
        differ = f"{np.count_nonzero(wrong):,} of {wrong.size:,}"
    memory = sum(bits.values()) / 1e6
    return row(
        *(model, title, f"{found['emit_s']:.1f}", f"{lines['own']:,}, {lines['library']:,}", compiled),
        *(images_a_second, differ, f"{memory:.1f}, {bits['fifos'] / 1e6:.1f} of it streams", "none"),
    )


def lines_of(hls: Path) -> tuple[int, int]:
    """Lines of the C++ that are of this network alone, and of the accelerator; test benches left out."""
    mine = {*hls.glob("layers/*.h"), *hls.glob("tops/*"), hls / "config.h", hls / "trips.h", hls / "program_rom.h"}
    files = [path for path in hls.rglob("*") if path.suffix in (".h", ".cpp")]
    files = [path for path in files if not path.name.startswith("tb") and path.parent.name != "bench"]
    counts = {path: len(path.read_text().splitlines()) for path in files}
    own = sum(count for path, count in counts.items() if path in mine)
    return own, sum(counts.values()) - own


def run_cgap(model: str, images: int, folder: Path, schedule: Schedule, cycles: int, title: str) -> str:
    """This project's row, by its own command and the Makefile that it emits."""
    place = folder / f"cgap-{model}"
    hls = place / "hls"
    command = [sys.executable, "-m", "cgap", "hls", model, "--no-csim", "--images", str(images), "--out", place]
    emitted = cpu_seconds(command, Path.cwd(), folder / "cgap-emission.txt")
    compiled = cpu_seconds(["make", "-B", "tb", f"AP_INCLUDE={find_ap_include()}"], hls, folder / "cgap-compiler.txt")
    ran = cpu_seconds(["make", "csim", f"AP_INCLUDE={find_ap_include()}"], hls, folder / "cgap-csim.txt")
    own, library = lines_of(hls)
    memory = sum(m.width * m.depth * m.copies for m in schedule.accelerator.memories()) / 1e6
    return row(
        *(model, title, f"{emitted:.1f}", f"{own:,}, {library:,}", f"{compiled:.0f}"),
        *(f"{images / ran:.1f}", "0, and no stored tensor", f"{memory:.1f}", f"{cycles:,}"),
    )

"""C simulation: compiles the emitted C++ against the vendor's `ap_int.h` and runs its test benches."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cgap.boundary.locks import scratch
from cgap.boundary.processes import ToolError, run_tool, run_tools
from fpga_model.errors import UserError
from fpga_model.graph import LayerGraph

FLAGS = (
    *("-std=c++14", "-Wall", "-Wextra", "-Wno-unknown-pragmas", "-Wno-unused-label"),
    # The constructors of the vendor's integers, once inlined.
    *("-Wno-uninitialized", "-Wno-maybe-uninitialized"),
)
EXIT_DIFFERENT = 1
"""Exit code of a test bench that found differences; any other but 0 means that it could not run."""
DIFFERENCE = "difference: "
"""How a test bench begins a line about a pixel that is not what it should be."""

BENCHES = {"accelerator": ("tb.cpp", "accelerator.cpp"), "layers": ("tb_layers.cpp", "tops/tops.cpp")}
"""Sources of the test benches: of the whole network, and of every layer's own top."""


@dataclass(frozen=True)
class LayerResult:
    """Pixels of one layer that were compared, and how many differed."""

    layer: str
    compared: int
    mismatches: int


@dataclass(frozen=True)
class CsimResult:
    """What a C simulation found.

    Attributes:
        images: images that ran.
        mismatches: pixels of stored tensors that differ from the integer reference, in all layers.
        seconds: wall time of the simulation.
        compile_seconds: wall time of the compiler; 0 if it did not run.
        layers: by layer, in order; a bench of single layers compares each one's own output.
        differences: the first differences, as the test bench describes them.
        outputs: every output of the network as it lay in DRAM, int8 [N, C, H, W]; empty of a bench of single layers.
    """

    images: int
    mismatches: int
    seconds: float
    compile_seconds: float
    layers: tuple[LayerResult, ...]
    differences: tuple[str, ...] = ()
    outputs: Mapping[str, npt.NDArray[np.int8]] = field(default_factory=dict)

    @property
    def compared(self) -> int:
        """Pixels compared in all layers."""
        return sum(layer.compared for layer in self.layers)


def find_ap_include(given: Path | None = None) -> Path:
    """The folder of the vendor's `ap_int.h`.

    Looked for in `given`, `$AP_INCLUDE`, `$XILINX_HLS/include` and the hls4ml package (which is not imported).

    Raises:
        UserError: it is nowhere; the message says what to install.
    """
    if given is None and os.environ.get("AP_INCLUDE"):
        given = Path(os.environ["AP_INCLUDE"])
    if given is not None:
        if not (given / "ap_int.h").is_file():
            raise UserError(f"there is no ap_int.h in {given}: give the folder that holds it")
        return given.resolve()
    candidates = []
    if os.environ.get("XILINX_HLS"):
        candidates.append(Path(os.environ["XILINX_HLS"]) / "include")
    spec = importlib.util.find_spec("hls4ml")
    for root in (spec.submodule_search_locations or []) if spec else []:
        candidates.append(Path(root) / "templates" / "vivado" / "ap_types")
    for folder in candidates:
        if (folder / "ap_int.h").is_file():
            return folder.resolve()
    raise UserError(
        "C simulation needs the vendor's ap_int.h: `pip install --no-deps hls4ml` brings it, or set XILINX_HLS (folder "
        "of Vitis or Vivado HLS) or AP_INCLUDE (folder of ap_int.h); --no-csim emits without simulating"
    )


def find_compiler() -> list[str]:
    """The C++ compiler's command: `$CXX`, or g++.

    Raises:
        UserError: it is not installed.
    """
    command = os.environ.get("CXX", "").split() or ["g++"]
    if shutil.which(command[0]) is None:
        raise UserError(
            f"C simulation needs a C++ compiler and {command[0]!r} is not one that can be run: install g++ (Debian: "
            f"`apt-get install g++`) or set CXX; --no-csim emits without simulating"
        )
    return command


def compile_bench(
    hls: Path,
    binary: Path,
    bench: str = "accelerator",
    ap_include: Path | None = None,
    options: Sequence[str] = ("-O2",),
) -> None:
    """Compile a test bench of the emitted folder `hls`, one of BENCHES, to `binary`.

    Raises:
        UserError: compiler or headers are missing, or the compiler fails; the message ends with its last lines.
    """
    compiler, include = find_compiler(), find_ap_include(ap_include)
    paths = ["-I", str(hls), "-isystem", str(include)]
    sources = [str(hls / source) for source in BENCHES[bench]]
    failed = f"{compiler[0]} cannot compile the emitted C++ in {hls}"
    with scratch() as folder:  # where the compiler's own temporary files go, too
        printed = run_tool(
            [*compiler, *FLAGS, *options, *paths, "-o", str(binary), *sources],
            failed,
            environment={"TMPDIR": str(folder)},
        )
    if not binary.is_file():
        raise ToolError(f"{failed}: it made no program", 0, printed)


def run_bench(
    binary: Path,
    build: Path,
    graph: LayerGraph,
    images: int | None = None,
    workers: int = 1,
    options: Sequence[str] = (),
    vectors: Path | None = None,
) -> CsimResult:
    """Run a compiled test bench on a build.

    Args:
        binary: made by `compile_bench`.
        build: folder with `program.bin`, `weights.bin`, `vectors/` and `hls/network.txt`.
        graph: the network, for the names of its layers.
        images: how many images to run; all that there are vectors for when None.
        workers: processes that share the images.
        options: more options of the test bench.
        vectors: images and golden values; those of the build when None.

    Raises:
        UserError: the program cannot do its work, for example because a file is missing or too short.
    """
    vectors = vectors or build / "vectors"
    if images is None:
        images = int(json.loads((vectors / "manifest.json").read_text("utf-8"))["images"])
    shares = _shares(images, max(1, workers))
    files = {
        "program": "program.bin",
        "weights": "weights.bin",
        "network": "hls/network.txt",
    }
    paths = [word for option, file in files.items() for word in (f"--{option}", str(build / file))]
    paths += ["--vectors", str(vectors)]
    start = time.perf_counter()
    with scratch() as folder:
        results = [folder / f"result{k}.json" for k in range(len(shares))]
        commands = [[str(binary), *paths, *options] for _ in shares]
        for command, result, (first, count) in zip(commands, results, shares, strict=True):
            command += ["--result", str(result), "--outputs", str(result.with_suffix(".bin"))]
            command += ["--first", str(first), "--images", str(count)]
        outputs = run_tools(commands, "the C simulation failed", accept=(0, EXIT_DIFFERENT))
        seconds = time.perf_counter() - start
        documents = [json.loads(result.read_text("utf-8")) for result in results]
        made = [result.with_suffix(".bin") for result in results]
        tensors = _outputs(graph, b"".join(file.read_bytes() for file in made if file.exists()))
    return replace(_combine(graph, documents, outputs, seconds), outputs=tensors)


def run_csim(
    build: Path,
    graph: LayerGraph,
    images: int | None = None,
    *,
    bench: str = "accelerator",
    workers: int = 1,
    ap_include: Path | None = None,
    optimise: str = "-O2",
    vectors: Path | None = None,
) -> CsimResult:
    """Compile and run a test bench of a build.

    Args:
        build: folder with `hls/`, `program.bin`, `weights.bin` and `vectors/`.
        graph: the network, for the names of its layers.
        images: how many images to run; all that there are vectors for when None.
        bench: `accelerator` for the whole network, `layers` for every layer's own top from its golden input.
        workers: processes that share the images.
        ap_include: folder of `ap_int.h`, looked for when None (`find_ap_include`).
        optimise: the compiler's optimisation flag.
        vectors: images and golden values; those of the build when None.

    Raises:
        UserError: compiler, headers or vectors are missing, or a program fails.
    """
    with scratch() as folder:
        binary = folder / bench
        start = time.perf_counter()
        compile_bench(build / "hls", binary, bench, ap_include, (optimise,))
        compile_seconds = time.perf_counter() - start
        result = run_bench(binary, build, graph, images, workers, vectors=vectors)
    return replace(result, compile_seconds=round(compile_seconds, 3))


def _outputs(graph: LayerGraph, data: bytes) -> dict[str, npt.NDArray[np.int8]]:
    """The outputs of the network, by layer, from [image][output][map][row][column]; none of no bytes."""
    outputs = {layer.name for layer in graph.outputs}
    names = [layer.name for layer in graph.layers if layer.name in outputs]
    shapes = [graph.shape(name) for name in names]
    image = np.frombuffer(data, np.int8).reshape(-1, sum(shape.size for shape in shapes))
    found, begin = {}, 0
    for name, shape in zip(names, shapes, strict=True):
        part = image[:, begin : begin + shape.size]
        found[name] = part.reshape(-1, shape.channels, shape.height, shape.width)
        begin += shape.size
    return found if data else {}


def _shares(images: int, workers: int) -> list[tuple[int, int]]:
    """(first, count) of each worker's images."""
    bounds = [images * k // workers for k in range(workers + 1)]
    return [(a, b - a) for a, b in pairwise(bounds) if b > a] or [(0, images)]


def _combine(graph: LayerGraph, documents: list[dict[str, Any]], outputs: list[str], seconds: float) -> CsimResult:
    names = [layer.name for layer in graph.layers[1:]]
    layers = tuple(
        LayerResult(name, sum(part["compared"] for part in parts), sum(part["mismatches"] for part in parts))
        for name, parts in zip(names, zip(*(document["layers"] for document in documents), strict=True), strict=True)
    )
    lines = [line for output in outputs for line in output.splitlines() if line.startswith(DIFFERENCE)]
    return CsimResult(
        images=sum(document["images"] for document in documents),
        mismatches=sum(document["mismatches"] for document in documents),
        seconds=round(seconds, 3),
        compile_seconds=0.0,
        layers=layers,
        differences=tuple(line.removeprefix(DIFFERENCE) for line in lines),
    )

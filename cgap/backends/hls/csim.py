"""C simulation: compiles the emitted C++ against the vendor's `ap_int.h` and runs its test benches."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cgap.boundary.files import cache_folder, keep_program
from cgap.boundary.locks import scratch, turn
from cgap.boundary.processes import ToolError, run_tool, run_tools
from fpga_model.errors import UserError
from fpga_model.graph import LayerGraph

FLAGS = (
    *("-std=c++14", "-Wall", "-Wextra", "-Wno-unknown-pragmas", "-Wno-unused-label"),
    # The constructors of the vendor's integers, once inlined.
    *("-Wno-uninitialized", "-Wno-maybe-uninitialized"),
)
OPTIMISE = ("-O2", "-march=native")
"""How a test bench is compiled that runs many images: it runs where it is compiled."""
OPTIMISE_GNU = ("-fvect-cost-model=dynamic", "-fpeel-loops", "-funswitch-loops")
"""And what g++ needs besides to make vectors of the array's loops."""
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
class LayerTime:
    """Cycles by which a layer delays the network, and bytes that its commands move."""

    cycles: int
    read_bytes: int
    write_bytes: int


@dataclass(frozen=True)
class Timing:
    """An image as the C++ counts it: iterations of its own loops, with the platform's DRAM.

    Attributes:
        cycles: of the network, from its first command's start on.
        layers: by layer, in order.
        commands: by unit (LOAD, COMPUTE, STORE), each command's layer, start and completion.
    """

    cycles: int
    layers: tuple[LayerTime, ...]
    commands: tuple[tuple[tuple[int, int, int], ...], ...]


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
        timing: of the last image; None for single layers and where units take turns.
    """

    images: int
    mismatches: int
    seconds: float
    compile_seconds: float
    layers: tuple[LayerResult, ...]
    differences: tuple[str, ...] = ()
    outputs: Mapping[str, npt.NDArray[np.int8]] = field(default_factory=dict)
    timing: Timing | None = None

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
    options: Sequence[str] | None = None,
) -> None:
    """Compile a test bench of the emitted folder `hls`, one of BENCHES, to `binary`.

    Args:
        hls: the folder.
        binary: what is made.
        bench: the test bench's name.
        ap_include: folder of `ap_int.h`, looked for when None (`find_ap_include`).
        options: of the compiler; those of a bench for many images when None.

    Raises:
        UserError: compiler or headers are missing, or the compiler fails; the message ends with its last lines.
    """
    compiler = find_compiler()
    if options is None:
        options = OPTIMISE if "clang" in compiler[0] else OPTIMISE + OPTIMISE_GNU
    paths = ["-I", str(hls)]
    if ap_include or "-DSEQUENTIAL" in options or _has_wide_words(hls):
        paths += ["-isystem", str(find_ap_include(ap_include))]
    source, design = (str(hls / name) for name in BENCHES[bench])
    # One translation unit: what both include is read and compiled once.
    sources = ["-include", design, source]
    failed = f"{compiler[0]} cannot compile the emitted C++ in {hls}"
    with scratch() as folder:  # where the compiler's own temporary files go, too
        printed = run_tool(
            [*compiler, *FLAGS, *options, *paths, "-o", str(binary), *sources],
            failed,
            environment={"TMPDIR": str(folder)},
        )
    if not binary.is_file():
        raise ToolError(f"{failed}: it made no program", 0, printed)


def cached_bench(
    hls: Path,
    work: Path,
    bench: str = "accelerator",
    ap_include: Path | None = None,
    options: Sequence[str] | None = None,
) -> Path:
    """`compile_bench`, or what an earlier call made of the same sources: networks are data, so many share a program.

    `work` is where the program is put when the cache cannot be written.
    """
    state = Path(shutil.which(find_compiler()[0]) or "").stat()
    digest = hashlib.sha256()
    chosen = find_compiler() + list(options or (*OPTIMISE, *OPTIMISE_GNU)) + [*FLAGS, _processor(), str(ap_include)]
    for part in (*chosen, str(state.st_size), str(state.st_mtime_ns)):
        digest.update(part.encode() + b"\0")
    for name, text in _sources(hls, bench, options or ()):
        digest.update(name.encode() + b"\0" + text + b"\0")
    binary = cache_folder("csim") / digest.hexdigest()[:24] / bench
    if binary.is_file():
        return binary
    made = work / bench
    with ExitStack() as stack:
        with suppress(OSError, UserError):  # a cache that cannot be written
            binary.parent.mkdir(parents=True, exist_ok=True)
            # Others that want the same meanwhile wait for it: side by side, each would take as long for it.
            stack.enter_context(turn(binary.parent / "lock"))
        if binary.is_file():
            return binary
        compile_bench(hls, made, bench, ap_include, options)
        with suppress(OSError):
            keep_program(made, binary)
            return binary
    return made


def _processor() -> str:
    """What `-march=native` makes code for."""
    info = Path("/proc/cpuinfo")
    flags = re.search(r"^(?:flags|Features)\s*:.*$", info.read_text("utf-8"), re.MULTILINE) if info.is_file() else None
    return flags[0] if flags else platform.processor() or platform.machine()


def _sources(hls: Path, bench: str, options: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """What the compiler reads for a test bench, without the comments that name the network."""
    patterns = ["*.h", "*.cpp", "bench/*.h", *(["tops/*"] if bench == "layers" else [])]
    unread = {"trips.h"} if "-DPROGRAM_ROM" in options else {"trips.h", "program_rom.h"}
    for path in sorted(path for pattern in patterns for path in hls.glob(pattern) if path.name not in unread):
        yield path.relative_to(hls).as_posix(), re.sub(rb"(?m)^//.*\n", b"", path.read_bytes())


def _has_wide_words(hls: Path) -> bool:
    config = hls / "config.h"
    return config.is_file() and "define WIDE_WORDS 1" in config.read_text("ascii")


def run_bench(
    binary: Path,
    build: Path,
    graph: LayerGraph,
    images: int | None = None,
    workers: int = 1,
    options: Sequence[str] = (),
    vectors: Path | None = None,
    timed: bool = False,
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
        timed: count cycles, too, which benches of single layers and of units that take turns cannot.

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
        "timing": "hls/timing.txt",
    }
    if not timed:
        del files["timing"]
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
    optimise: Sequence[str] | None = None,
    vectors: Path | None = None,
) -> CsimResult:
    """Compile and run a test bench of a build; one that was compiled before is taken from the cache.

    Args:
        build: folder with `hls/`, `program.bin`, `weights.bin` and `vectors/`.
        graph: the network, for the names of its layers.
        images: how many images to run; all that there are vectors for when None.
        bench: `accelerator` for the whole network, `layers` for every layer's own top from its golden input.
        workers: processes that share the images.
        ap_include: folder of `ap_int.h`, looked for when None (`find_ap_include`).
        optimise: options of the compiler; those for many images when None.
        vectors: images and golden values; those of the build when None.

    Raises:
        UserError: compiler, headers or vectors are missing, or a program fails.
    """
    with scratch() as folder:
        start = time.perf_counter()
        binary = cached_bench(build / "hls", folder, bench, ap_include, optimise)
        compile_seconds = time.perf_counter() - start
        whole = bench == "accelerator"
        result = run_bench(binary, build, graph, images, workers, vectors=vectors, timed=whole)
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
    timed = documents[-1].get("commands")
    timing = None
    if timed is not None:
        times = tuple(LayerTime(*layer) for layer in documents[-1]["layer_times"])
        commands = tuple(tuple((layer, start, done) for layer, start, done, _ in unit) for unit in timed)
        timing = Timing(documents[-1]["cycles"], times, commands)
    lines = [line for output in outputs for line in output.splitlines() if line.startswith(DIFFERENCE)]
    return CsimResult(
        images=sum(document["images"] for document in documents),
        mismatches=sum(document["mismatches"] for document in documents),
        seconds=round(seconds, 3),
        compile_seconds=0.0,
        layers=layers,
        differences=tuple(line.removeprefix(DIFFERENCE) for line in lines),
        timing=timing,
    )

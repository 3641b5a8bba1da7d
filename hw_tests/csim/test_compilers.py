"""If these fail, a compiler warns about the emitted C++, or the loops compute what no clock period has time for.

clang comes with the PyPI package `ziglang`: a vendor's front end is a clang, too.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fpga_model.machine.accelerator import Accelerator
from hw_tests.csim.rules import VENDOR
from tests.backends.networks import residual_network

GNU = ["g++", "-fsyntax-only"]
CLANG = [sys.executable, "-m", "ziglang", "c++", "-S", "-emit-llvm"]
WARNINGS = ["-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wno-unknown-pragmas", "-Wno-unused-label"]
BENCHES = {"accelerator": ("accelerator.cpp", "tb.cpp"), "layers": ("tops/tops.cpp", "tb_layers.cpp")}
UNROLLED = ["-O2", "-fno-vectorize", "-fno-slp-vectorize", "-mllvm", "-unroll-threshold=1000000"]
"""What hardware has: every product by itself, and constants where loops are unrolled."""
MOST_MULTIPLIES = 8
"""Beside the array's."""

needs_clang = pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="needs `pip install ziglang`")


@pytest.fixture(scope="module")
def build(make_build):
    return make_build(residual_network(), Accelerator())


@pytest.mark.parametrize(
    "standard",
    ["c++11", "c++20", *(pytest.param(name, marks=pytest.mark.long) for name in ("c++14", "c++17"))],
)
@pytest.mark.parametrize("bench", ["accelerator", pytest.param("layers", marks=pytest.mark.long)])
@pytest.mark.parametrize("compiler", ["g++", pytest.param("clang++", marks=needs_clang)])
def test_no_compiler_warns(build, tmp_path, compiler, bench, standard):
    command = GNU if compiler == "g++" else [*CLANG, "-o", str(tmp_path / "bench.ll")]
    design, source = (str(build.folder / "hls" / name) for name in BENCHES[bench])
    words = [*command, f"-std={standard}", *WARNINGS, f"-I{build.folder / 'hls'}", "-include", design, source]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not re.search(r"\.(h|cpp):\d+:\d+: warning", done.stderr), done.stderr


@needs_clang
def test_only_the_array_multiplies_and_nothing_divides(build, tmp_path):
    """In the LLVM IR of a convolution and a pooling as hardware has them: inlined, unrolled, without vectors."""
    for name, text in VENDOR.items():
        (tmp_path / name).write_text(text)
    multiplies, divisors = arithmetic(build.folder / "hls", tmp_path, "")
    array = build.schedule.accelerator
    units = array.Pox * array.Poy * array.Pof
    assert units <= multiplies <= units + MOST_MULTIPLIES
    assert divisors == 0


@needs_clang
def test_a_division_by_a_field_would_be_counted(build, tmp_path):
    for name, text in VENDOR.items():
        (tmp_path / name).write_text(text)
    _, divisors = arithmetic(build.folder / "hls", tmp_path, "  m.stores /= decode<Convolve>(words).Nky;\n")
    assert divisors == 1


def arithmetic(hls: Path, folder: Path, planted: str) -> tuple[int, int]:
    """Multiplies of a command of COMPUTE, and divisions by what is no constant."""
    source, listing = folder / "compute.cpp", folder / "compute.ll"
    source.write_text(
        '#include "engine.h"\nvoid go(const uint64_t *words, Weights w, Parameters p, Features f, Movers &m) {\n'
        f"  compute(words, w, p, f, m);\n{planted}}}\n"
    )
    options = ["-std=c++14", "-w", "-D__SYNTHESIS__", *UNROLLED, f"-I{hls}", f"-I{folder}", "-o", str(listing)]
    subprocess.run([*CLANG, *options, str(source)], check=True, capture_output=True)
    text = listing.read_text()
    multiplies = re.findall(r" = mul ", text)
    divisors = re.findall(r" = [us](?:div|rem) [^,]*, %", text)
    return len(multiplies), len(divisors)

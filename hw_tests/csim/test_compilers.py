"""If these fail, a compiler warns about the emitted C++, or the loops compute what no clock period has time for.

clang comes with the PyPI package `ziglang`: a vendor's front end is a clang, too.
"""

from __future__ import annotations

import heapq
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
MOST_LEVELS = 12
"""Operations one behind the other from one word's checksum to the next word's: what a clock period has time for."""

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


@needs_clang
def test_a_checksum_takes_one_word_a_cycle(build, tmp_path):
    """The loop that reads a program asks for an interval of 1, and a report with another fails the step `check`."""
    for name, text in VENDOR.items():
        (tmp_path / name).write_text(text)
    source, listing = tmp_path / "checksum.cpp", tmp_path / "checksum.ll"
    source.write_text('#include "program.h"\nuint32_t go(uint32_t crc, uint64_t word) { return crc_of(crc, word); }\n')
    options = ["-std=c++14", "-w", "-D__SYNTHESIS__", *UNROLLED, f"-I{build.folder / 'hls'}", f"-I{tmp_path}"]
    subprocess.run([*CLANG, *options, "-o", str(listing), str(source)], check=True, capture_output=True)
    assert 0 < levels(listing.read_text(), "go") <= MOST_LEVELS


def levels(text: str, function: str) -> int:
    """Operations on the longest way from a function's first argument to what it returns, in straight LLVM IR.

    Exclusive ors of more than two values are taken as a balanced tree, as HLS compilers make one of them.
    """
    body = re.search(rf"define [^\n]*{function}[^\n]*\n(.*?)\n}}", text, re.DOTALL)
    assert body is not None
    assert " br " not in body[1]
    made = {
        name: (kind, re.findall(r"%(\w+)", rest)) for name, kind, rest in re.findall(r"%(\w+) = (\w+)(.*)", body[1])
    }
    used = [name for _, operands in made.values() for name in operands]
    depth = {"0": 0}

    def leaves(name: str) -> list[str]:
        kind, operands = made.get(name, ("", []))
        inner = kind == "xor" and used.count(name) == 1
        return [leaf for operand in operands for leaf in leaves(operand)] if inner else [name]

    for name, (kind, operands) in made.items():
        if kind == "xor":
            ready = [depth.get(leaf, 0) for operand in operands for leaf in leaves(operand)]
            heapq.heapify(ready)
            while len(ready) > 1:
                heapq.heappush(ready, max(heapq.heappop(ready), heapq.heappop(ready)) + 1)
            depth[name] = ready[0]
        else:
            wires = kind in ("zext", "trunc")
            depth[name] = max((depth.get(operand, 0) for operand in operands), default=0) + (not wires)
    returned = re.search(r"ret \w+ %(\w+)", body[1])
    assert returned is not None
    return depth[returned[1]]

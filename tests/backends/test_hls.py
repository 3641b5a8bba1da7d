"""If these fail, emitted files differ from run to run, grow with the network, or can be broken by a name."""

import dataclasses
import inspect
import re
from pathlib import Path
from typing import Annotated

import jinja2
import pytest

from cgap.backends.common.templates import environment, figure, plain
from cgap.backends.hls import Header, emit_hls
from cgap.backends.hls.checks import check_alignment
from cgap.backends.hls.commands import records
from cgap.backends.hls.emit import BENCH, BUILD, LIBRARY, MADE
from fpga_model import operators
from fpga_model.errors import UserError
from fpga_model.graph import Layer, LayerGraph
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.capability import Capability
from fpga_model.machine.isa import COMMANDS, UNITS, Command, S, Store, bits, encode
from fpga_model.machine.operations import LoadOp
from fpga_model.machine.platform import load_platform
from fpga_model.machine.program import read_program
from fpga_model.machine.tiles import Buffer
from fpga_model.numerics.tensors import Shape
from fpga_model.operators import ComputeOperator, Convolution, Input
from fpga_model.schedule.schedule import Kind
from tests.backends.networks import branch_network, grouped_network, number, residual_network, schedules

HEADER = Header("model \\\nname */", "ab" * 32, "cgap hls model")


def is_concrete(candidate):
    """Whether this is the class of an operator that the accelerator computes."""
    return inspect.isclass(candidate) and issubclass(candidate, ComputeOperator) and hasattr(candidate, "kind")


ENGINE_FILES = (*LIBRARY, *MADE, *BENCH, *BUILD)
SCRIPTS = ("Makefile", "run_hls.tcl", "hls_config.cfg", "block_design.tcl", "network.txt", "timing.txt")
MOST_LINES = 2500
"""Of what a tool reads for the accelerator's top: library and top, comments and blank lines included."""


def emitted(fixed, folder, accelerator=None, figures=None, capability=None):
    both = schedules(fixed, accelerator or Accelerator())
    built_for = capability or both[Kind.RESIDENT].needs
    emit_hls(both[Kind.RESIDENT], both[Kind.LAYERWISE], HEADER, figures or {}, folder, built_for)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def chain(depth):
    graph = LayerGraph("chain")
    graph.add(Layer("layer0", Input(Shape(4, 8, 8))))
    for k in range(depth):
        graph.add(Layer(f"layer{k + 1}", Convolution(4, 4, (3, 3), (1, 1), (1, 1, 1, 1)), (f"layer{k}",)))
    return number(graph, 5)


def test_the_same_network_gives_the_same_bytes(tmp_path):
    first = emitted(residual_network(), tmp_path / "a")
    assert first == emitted(residual_network(), tmp_path / "b")
    assert set(ENGINE_FILES) <= set(first)
    assert not [name for name in first if ".part" in name]


def test_every_file_says_what_it_is_and_how_to_make_it_again(tmp_path):
    for name, content in emitted(residual_network(), tmp_path).items():
        head = content.decode("ascii").splitlines()[:6]
        comment = "#" if name in SCRIPTS else "//"
        assert head[0].startswith(comment), name
        if name in (*LIBRARY, *BENCH, "command.h", "accelerator.cpp"):
            continue  # the same for every network
        assert all(line.startswith(comment) for line in head), name
        assert "ab" * 32 in head[3], name
        assert "cgap hls model" in head[5], name


def test_a_layer_has_a_file_under_its_name_with_plan_and_figures(tmp_path):
    figures = {"block.0/conv1": {"cycles (simulated)": 12345, "cycles (rtl)": None}}
    files = emitted(residual_network(), tmp_path, figures=figures)
    text = files["layers/block_0_conv1.h"].decode()
    for expected in (
        "layer block.0/conv1",
        "convolution, 5 -> 7 maps, kernel 3x3",
        "Tof 7 maps x Toy 13 rows",
        "stem [5x13x17] on chip: page",
        "cycles (simulated): 12,345",
        "cycles (rtl): not measured",
        "what a vendor's HLS makes of this code is yours to measure",
    ):
        assert expected in text
    assert "uint32_t layer_block_0_conv1(" in files["tops/block_0_conv1.cpp"].decode()


def test_code_does_not_grow_with_depth(tmp_path):
    """Only tables do: the engine, the top and the test bench's code are the same for 2 layers as for 6."""
    shallow, deep = emitted(chain(2), tmp_path / "a"), emitted(chain(6), tmp_path / "b")
    for name in set(ENGINE_FILES) - {*BUILD, "config.h"}:
        assert shallow[name] == deep[name], name
    # For Vivado HLS sequential.h takes the place of three files that are longer.
    read = [name for name in (*LIBRARY, *MADE) if name != "sequential.h"]
    assert sum(deep[name].count(b"\n") for name in read) <= MOST_LINES


def test_one_engine_executes_every_network(tmp_path):
    """With one capability set, accelerator and test bench are the same but for the head of config.h."""
    networks = residual_network(), grouped_network()
    needs = [schedules(network, Accelerator())[Kind.RESIDENT].needs for network in networks]
    both = needs[0].joined(needs[1])
    first, second = (emitted(n, tmp_path / n.graph.name, capability=both) for n in networks)
    for name in set(ENGINE_FILES) - {*BUILD}:
        assert first[name].partition(b"#ifndef ")[2] == second[name].partition(b"#ifndef ")[2], name


def test_a_network_that_needs_more_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"more than this accelerator(.|\n)*pool_columns"):
        emitted(residual_network(), tmp_path, capability=dataclasses.replace(Capability(), pool_columns=8))
    assert not list(tmp_path.iterdir())


def test_a_new_field_is_one_line():
    """A field that is added to the table is in the C++ structure and in its decoder, at the next free bit."""

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Wider(Store):
        """Feature pages to DRAM, and more."""

        OPCODE = 5
        new: Annotated[int, S(5), "what nobody had thought of"] = 0

    text = records((*COMMANDS, Wider))
    assert "  Field<int8_t, 5> new; // what nobody had thought of\n" in text
    assert f"  static constexpr int WIDTH = {bits(Store) + 5};\n" in text
    assert "decode_fields<LOW>(from, head, dram, tile, new);" in text
    assert "constexpr uint8_t WIDER_OPCODE = 5;" in text


def test_command_h_is_the_table_s(tmp_path):
    """Every field with its meaning, in order; nothing about a command is written a second time in a template."""
    files = emitted(residual_network(), tmp_path)
    assert records().encode() in files["command.h"]
    for kind in COMMANDS:
        body = files["command.h"].decode().partition(f"\nstruct {kind.__name__} {{\n")[2].partition("\n};")[0]
        lines = [line.split(" // ") for line in body.partition("\n\n")[0].splitlines()]
        head = {field.name for field in dataclasses.fields(Command)}
        expected = ["head", *(field.name for field in dataclasses.fields(kind) if field.name not in head)]
        assert [declaration.split()[-1].rstrip(";") for declaration, _ in lines] == expected
        assert all(meaning for _, meaning in lines)


def test_the_rom_holds_the_program(tmp_path):
    """Read-only tables have the words of program.bin, and each layer's top those of its own commands."""
    files = emitted(residual_network(), tmp_path)
    schedule = schedules(residual_network(), Accelerator())[Kind.RESIDENT]
    program = read_program(schedule.program_bytes())
    commands = [command for unit in UNITS for command in program.commands[unit]]
    encoded = b"".join(encode(command, "") for command in commands)
    assert words_in(files["program_rom.h"]) == encoded
    alone = schedules(residual_network(), Accelerator())[Kind.LAYERWISE].program
    pool = [command for unit in UNITS for command in alone.commands[unit] if command.layer == 6]
    assert words_in(files["tops/pool.cpp"]) == b"".join(encode(command, "") for command in pool)


def words_in(text):
    """The 64-bit constants of a C++ file."""
    found = re.findall(r"0x([0-9a-f]{16})\b", text.decode())
    return b"".join(int(word, 16).to_bytes(8, "little") for word in found)


CFG_KEYS = {
    "": {"part", "platform"},
    "hls": {
        *("clock", "clock_uncertainty", "flow_target", "syn.top", "syn.file", "syn.cflags", "tb.file", "tb.cflags"),
        *("csim.argv", "cosim.argv", "package.output.format", "package.ip.vendor", "package.ip.library"),
        "package.ip.version",
    },
}
"""What AMD's UG1702 and UG1399 (2025.1) document for `v++ -c --mode hls`, by section; no tool has read the file."""


def test_hls_config_cfg_has_documented_keys_only(tmp_path):
    lines = emitted(residual_network(), tmp_path)["hls_config.cfg"].decode().splitlines()
    section, found = "", {"": {}, "hls": {}}
    for line in (line for line in lines if line and not line.startswith("#")):
        if line.startswith("["):
            section = line.strip("[]")
        else:
            key, _, value = line.partition("=")
            assert key in CFG_KEYS[section], f"[{section}] {key}"
            assert value, line
            assert key not in found[section], line
            found[section][key] = value
    assert found[""] == {"part": load_platform("zcu104").part}
    assert found["hls"]["flow_target"] == "vivado"
    assert found["hls"]["package.output.format"] == "ip_catalog"
    assert re.fullmatch(r"\d+\.\d+ns", found["hls"]["clock_uncertainty"])
    assert all((tmp_path / found["hls"][key]).is_file() for key in ("syn.file", "tb.file"))


def test_a_layer_s_file_lists_its_commands(tmp_path):
    text = emitted(residual_network(), tmp_path)["layers/block_0_conv2.h"].decode()
    for expected in ("COMPUTE 3: Convolve", " Tof=5 Toy=13 Nox=17 ", " shortcut_present=1 shortcut_maps=5 "):
        assert expected in text
    assert all(line.startswith("//") for line in text.splitlines())


def test_names_cannot_leave_comments_or_strings(tmp_path):
    files = emitted(branch_network(), tmp_path)
    for name, content in files.items():
        text = content.decode("ascii")
        assert "#error" not in text, name
        assert "??" not in text, name
        if not name.endswith((".tcl", "Makefile")):
            assert "\\\n" not in text, name


@pytest.mark.parametrize("operator", [c for c in vars(operators).values() if is_concrete(c)], ids=lambda c: c.kind)
def test_every_operator_has_its_template(operator):
    assert environment("hls").get_template(f"operators/{operator.template}.j2")


@pytest.mark.parametrize("text", ["a\nb", "a\\", "??/", "a*/", '"', "é", "{{ x }}", "`", "$(x)", "\x00"])
def test_plain_text_has_nothing_that_ends_a_comment_or_a_string(text):
    assert re.fullmatch(r"[A-Za-z0-9 ._/:;,+()<>\[\]='-]*", plain(text))


def test_figures_are_written_as_people_read_them():
    assert [figure(value) for value in (1234567, 0.5, None, "compute\n")] == [
        "1,234,567",
        "0.5",
        "not measured",
        "compute_",
    ]


def test_a_name_that_a_template_is_not_given_is_an_error():
    with pytest.raises(jinja2.UndefinedError):
        environment("hls").get_template("config.h.j2").render()


def test_an_array_without_an_axi_port_is_refused():
    with pytest.raises(UserError, match="Pox = 1 "):
        emitted(chain(1), None, Accelerator(Pox=1))


def test_loads_of_part_of_a_beat_are_a_defect_that_is_found():
    schedule = schedules(chain(1), Accelerator())[Kind.RESIDENT]
    load = next(c for c in schedule.operations if isinstance(c, LoadOp) and c.buffer is Buffer.WEIGHT)
    check_alignment([load], schedule.accelerator, schedule.platform)
    with pytest.raises(ValueError, match="inside a beat"):
        check_alignment([dataclasses.replace(load, address=1)], schedule.accelerator, schedule.platform)


def test_both_schedules_must_be_of_one_network(tmp_path):
    first, second = schedules(chain(1), Accelerator()), schedules(chain(2), Accelerator())
    with pytest.raises(ValueError, match="same network"):
        emit_hls(first[Kind.RESIDENT], second[Kind.LAYERWISE], HEADER, {}, tmp_path, Capability())


def test_the_script_names_part_clock_and_every_top(tmp_path):
    script = emitted(residual_network(), tmp_path)["run_hls.tcl"].decode()
    platform = load_platform("zcu104")
    assert f"set_part {{{platform.part}}}" in script
    assert f"set period {1000 / platform.clock_mhz:.3f}" in script
    assert "layer_block_1_conv2" in script


def test_the_script_runs_every_step_for_every_top(tmp_path, monkeypatch):
    """Run by a Tcl interpreter, with the tool's commands replaced by ones that write down their arguments."""
    tkinter = pytest.importorskip("tkinter")
    monkeypatch.chdir(tmp_path)  # the script changes the folder of the whole process
    emitted(residual_network(), tmp_path)
    script = tmp_path / "run_hls.tcl"
    for name, steps in (("accelerator", "csim csynth cosim export"), ("layer_fc", "csim")):
        monkeypatch.setenv("TOP", name)
        monkeypatch.setenv("STEPS", steps)
        calls = run_tcl(tkinter, script)
        assert ["set_top", name] in calls
        sources = [Path(call[-3]) for call in calls if call[0] == "add_files"]
        assert len(sources) == 2
        assert all(source.is_file() for source in sources)
        done = [call[0] for call in calls]
        assert [step for step in steps.split() if f"{step}_design" in done] == steps.split()
    assert "-DVITIS_PORTS" in next(call for call in calls if call[0] == "add_files")[-1]
    assert "--layer 7" in next(call for call in calls if call[0] == "csim_design")[-1]
    monkeypatch.setenv("TOP", "layer_none")
    with pytest.raises(tkinter.TclError, match="no top layer_none: choose accelerator or one of layer_stem"):
        run_tcl(tkinter, script)


def test_the_script_gives_vivado_hls_units_that_take_turns(tmp_path, monkeypatch):
    tkinter = pytest.importorskip("tkinter")
    monkeypatch.chdir(tmp_path)
    emitted(residual_network(), tmp_path)
    calls = run_tcl(tkinter, tmp_path / "run_hls.tcl", "/opt/vivado_hls", STEPS="csynth")
    assert "-DSEQUENTIAL" in next(call for call in calls if call[0] == "add_files")[-1]
    assert "config_array_partition" in [call[0] for call in calls]


REPORT = """<profile><PerformanceEstimates>
<SummaryOfTimingAnalysis><unit>ns</unit><EstimatedClockPeriod>{clock}</EstimatedClockPeriod></SummaryOfTimingAnalysis>
<SummaryOfLoopLatency><convolve_cycles><TripCount>undef</TripCount><PipelineII>{interval}</PipelineII></convolve_cycles>
</SummaryOfLoopLatency></PerformanceEstimates></profile>
"""
"""The part of a csynth report that the check reads, written from the documented format."""


@pytest.mark.parametrize(
    ("clock", "interval", "fault"),
    [("4.2", 1, None), ("4.2", 2, "interval 2"), ("5.7", 1, "a clock of 5.7 ns"), (None, 1, "run the step csynth")],
)
def test_the_check_fails_where_interval_or_clock_are_missed(tmp_path, monkeypatch, clock, interval, fault):
    tkinter = pytest.importorskip("tkinter")
    monkeypatch.chdir(tmp_path)
    emitted(residual_network(), tmp_path / "hls")
    reports = tmp_path / "work" / "project_accelerator" / "solution" / "syn" / "report"
    reports.mkdir(parents=True)
    if clock:
        (reports / "engine_csynth.xml").write_text(REPORT.format(clock=clock, interval=interval))
    settings = {"STEPS": "check", "WORK": str(tmp_path / "work")}
    if fault is None:
        assert run_tcl(tkinter, tmp_path / "hls" / "run_hls.tcl", **settings)
    else:
        with pytest.raises(tkinter.TclError, match=fault):
            run_tcl(tkinter, tmp_path / "hls" / "run_hls.tcl", **settings)


VIVADO = (
    *(
        "create_project",
        "set_property",
        "update_ip_catalog",
        "create_bd_design",
        "create_bd_cell",
        "apply_bd_automation",
    ),
    *("connect_bd_intf_net", "connect_bd_net", "assign_bd_address", "validate_bd_design", "save_bd_design"),
    *("make_wrapper", "launch_runs", "wait_on_run", "open_run", "write_hw_platform", "open_project"),
)
QUERIES = {
    **dict.fromkeys(("get_bd_intf_pins", "get_bd_pins", "get_files"), "[lindex $args 0]"),
    "current_project": "project",
    "current_fileset": "sources",
    "get_timing_paths": "path",
    "get_board_parts": "{[string map {* a} [lindex $args end]]}",
}


def run_block_design(tkinter, folder, board, slack="0.1"):
    """What the script connects, creates and sets for a board: calls of Vivado's commands."""
    calls = []
    tcl = tkinter.Tcl()
    for command in VIVADO:
        tcl.createcommand(command, lambda *words, name=command: calls.append([name, *words]) or " ".join(words[-1:]))
    for name, value in QUERIES.items():
        tcl.eval(f"proc {name} {{args}} {{ return {value} }}")
    tcl.eval(f"proc get_property {{name args}} {{ if {{$name eq {{SLACK}}}} {{ return {slack} }}; return part }}")
    for name, value in (("BOARD", board), ("WORK", folder / "work"), ("IP", folder / "ip")):
        tcl.eval(f"set ::env({name}) {{{value}}}")
    tcl.eval(f"source {{{folder / 'hls' / 'block_design.tcl'}}}")
    return calls


@pytest.fixture
def exported(tmp_path, monkeypatch):
    """A build with an IP beside it."""
    emitted(residual_network(), tmp_path / "hls")
    (tmp_path / "ip").mkdir()
    (tmp_path / "ip" / "component.xml").touch()
    for name in ("BOARD", "WORK", "IP", "STEPS"):
        monkeypatch.setenv(name, "")
    return tmp_path


@pytest.mark.parametrize(
    ("board", "reads", "clock"),
    [
        ("zcu104", "ps/S_AXI_HP0_FPD", "ps/pl_clk0"),
        ("ultra96", "ps/S_AXI_HP0_FPD", "ps/pl_clk0"),
        ("pynq_z2", "ps/S_AXI_HP0", "ps/FCLK_CLK0"),
    ],
)
def test_the_block_design_connects_every_port(exported, board, reads, clock):
    tkinter = pytest.importorskip("tkinter")
    calls = run_block_design(tkinter, exported, board)
    buses = [tuple(call[1:]) for call in calls if call[0] == "connect_bd_intf_net"]
    assert {end for bus in buses for end in bus if end.startswith("accelerator/")} == {
        *("accelerator/m_axi_gmem_read", "accelerator/m_axi_gmem_program", "accelerator/m_axi_gmem_write"),
        "accelerator/s_axi_control",
    }
    assert ("reads/M00_AXI", reads) in buses
    nets = [tuple(call[1:]) for call in calls if call[0] == "connect_bd_net"]
    assert (clock, "accelerator/ap_clk") in nets
    assert {end for net in nets for end in net} >= {"accelerator/ap_rst_n", "accelerator/interrupt"}
    done = [call[0] for call in calls]
    assert done.index("validate_bd_design") < done.index("launch_runs") < done.index("write_hw_platform")


def test_the_block_design_says_what_is_missing(exported):
    tkinter = pytest.importorskip("tkinter")
    with pytest.raises(tkinter.TclError, match="no board nexys: choose BOARD=zcu104"):
        run_block_design(tkinter, exported, "nexys")
    with pytest.raises(tkinter.TclError, match=r"missed by 0\.3 ns"):
        run_block_design(tkinter, exported, "zcu104", slack="-0.3")
    (exported / "ip" / "component.xml").unlink()
    with pytest.raises(tkinter.TclError, match="there is no IP in"):
        run_block_design(tkinter, exported, "zcu104")


def run_tcl(tkinter, script, tool="/opt/vitis_hls", **settings):
    """Calls of the tool's commands that the script makes, run by an executable of that name."""
    calls = []
    tcl = tkinter.Tcl()
    tcl.eval(
        "rename info plain_info; proc info {args} { if {[lindex $args 0] eq {nameofexecutable}} { return "
        f"{tool} }}; uplevel 1 plain_info $args }}"
    )
    for name, value in settings.items():
        tcl.eval(f"set ::env({name}) {{{value}}}")
    steps = ("csim_design", "csynth_design", "cosim_design", "export_design")
    setup = (
        "open_project",
        "set_top",
        "add_files",
        "open_solution",
        "set_part",
        "create_clock",
        "set_clock_uncertainty",
    )
    commands = (*setup, "config_array_partition", *steps, "exit")
    for command in commands:
        tcl.createcommand(command, lambda *words, name=command: calls.append([name, *words]))
    tcl.eval(f"source {{{script}}}")
    return calls

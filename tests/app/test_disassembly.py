"""If these break, a program cannot be read by a person, or a damaged one ends in a traceback."""

import json

import pytest

from cgap.app.disassembly import lines
from fpga_model.errors import UserError
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.platform import load_platform
from fpga_model.schedule.plan import Kind
from fpga_model.schedule.schedule import Schedule, build_schedule
from tests.fpga_model.networks import resnet


@pytest.fixture(scope="module")
def schedule() -> Schedule:
    return build_schedule(resnet(8), Accelerator(), load_platform("zcu104"), Kind.RESIDENT)


def test_every_command_is_a_line_with_its_fields(schedule, tmp_path):
    (tmp_path / "program.bin").write_bytes(schedule.program_bytes())
    text = list(lines(tmp_path))
    commands = [line for line in text if " layer " in line and ": " in line and line[:6].strip().isdecimal()]
    assert len(commands) == len(schedule.operations)
    assert sum("Convolve" in line for line in commands) == len([n for n in schedule.plan.layers if n != "pool"])
    assert any("Nif=16 Nky=3 Nkx=3" in line for line in commands)
    assert any(line.startswith("needs_kernel_columns") and " 3 " in line for line in text)


def test_one_unit_alone(schedule, tmp_path):
    file = tmp_path / "any.bin"
    file.write_bytes(schedule.program_bytes())
    assert not any("Convolve" in line for line in lines(file, "load"))
    with pytest.raises(UserError, match="no unit 'lod': choose load, compute, store"):
        list(lines(file, "lod"))


def test_what_is_no_program_is_told_in_a_sentence(schedule, tmp_path):
    data = schedule.program_bytes()
    for content, why in ((b"", "not a program"), (data[:-1], "cut off"), (data[:200] + b"x" + data[201:], "damaged")):
        (tmp_path / "program.bin").write_bytes(content)
        with pytest.raises(UserError, match=why):
            list(lines(tmp_path))
    with pytest.raises(UserError, match=r"`cgap hls MODEL` writes a program"):
        list(lines(tmp_path / "none"))


def test_layers_are_called_as_in_the_graph_beside_the_program(schedule, tmp_path):
    (tmp_path / "program.bin").write_bytes(schedule.program_bytes())
    (tmp_path / "graph.json").write_text(json.dumps(schedule.fixed.to_json()))
    assert any(" stem: " in line for line in lines(tmp_path))
    for text, why in (("{}", "not a layer graph"), ('{"version": 9}', "version 9"), ("nothing", "is not JSON")):
        (tmp_path / "graph.json").write_text(text)
        with pytest.raises(UserError, match=rf"graph\.json.*{why}"):
            list(lines(tmp_path))

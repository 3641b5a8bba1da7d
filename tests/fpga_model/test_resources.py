"""If these fail, the resource model says what synthesis does not, or lets pass what no part holds."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest

from fpga_model.errors import UserError
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.capability import Capability
from fpga_model.machine.platform import load_platform
from fpga_model.models.resources import NAMES, check_fits, estimate_resources, memory_blocks
from tests.work import lines

STORED = sorted((Path(__file__).parents[2] / "docs" / "results" / "synthesis").glob("*.json"))
WITHIN = {"lut": 0.08, "ff": 0.03}
"""Largest share by which the model may miss a total of synthesis; DSP and memory blocks must be equal."""


def configuration(parameters: dict[str, int]) -> tuple[Accelerator, Capability]:
    """An accelerator and its capability set from the parameters of the RTL."""
    accelerator = Accelerator(
        Pox=parameters["Pox"],
        Poy=parameters["Poy"],
        Pof=parameters["Pof"],
        pages=parameters["Pages"],
        page_depth=parameters["PageDepth"],
        weight_depth=parameters["WeightDepth"],
        parameter_depth=parameters["ParameterDepth"],
    )
    names = {field.name: "".join(part.capitalize() for part in field.name.split("_")) for field in fields(Capability)}
    return accelerator, Capability(**{name: parameters[key] for name, key in names.items()})


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_totals_are_those_of_synthesis(path: Path):
    measured = json.loads(path.read_text("utf-8"))
    accelerator, capability = configuration(measured["parameters"])
    platform = load_platform(measured["platform"])
    assert measured["parameters"]["BeatBytes"] == platform.fitted(accelerator).beat_bytes
    total = estimate_resources(accelerator, platform, capability).total
    assert total.dsp == measured["total"]["dsp"] == accelerator.macs
    assert total.block == measured["total"]["block"]
    for name, share in WITHIN.items():
        assert getattr(total, name) == pytest.approx(measured["total"][name], rel=share), name
    # A few dozen LUTs as delay lines are of no account in a share of their own.
    assert total.lutram == pytest.approx(measured["total"]["lutram"], rel=0.1, abs=32)


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_blocks_are_those_of_synthesis(path: Path):
    """The blocks are the RTL's, and memories and multipliers are where the model puts them."""
    measured = json.loads(path.read_text("utf-8"))["blocks"]
    accelerator, capability = configuration(json.loads(path.read_text("utf-8"))["parameters"])
    platform = load_platform(json.loads(path.read_text("utf-8"))["platform"])
    blocks = estimate_resources(accelerator, platform, capability).blocks
    assert measured.keys() == blocks.keys()
    for name, usage in blocks.items():
        assert usage.dsp == measured[name].get("dsp", 0), name
        assert usage.block == measured[name].get("block", 0), name


def test_synthesis_of_three_arrays_is_stored():
    assert len({path.stem.split("_")[0] for path in STORED}) >= 3
    assert {path.stem.split("_", 1)[1] for path in STORED} >= {"zcu104", "pynq_z2", "ecp5_85"}


def test_the_page_of_the_rtl_has_the_results():
    """Fails if results are stored and the documentation shows other figures."""
    page = (Path(__file__).parents[2] / "docs" / "rtl.md").read_text("utf-8")
    for path in STORED:
        measured = json.loads(path.read_text("utf-8"))
        total = measured["total"]
        figures = (
            f"| {total['lut'] + total['lutram']:,g} | {total['lutram']:,g} | {total['ff']:,g} | {total['dsp']:,g} "
        )
        assert f"| {measured['array']} | {measured['platform']} {figures}" in page, path.name
        if measured["routed"]:
            assert f"**{measured['routed']['fmax_mhz']:.1f} MHz**" in page


def test_memory_blocks():
    """Halves of a RAMB36, bytes that are written alone, and blocks of other makers."""
    ramb36 = load_platform("zcu104").block
    assert memory_blocks(ramb36, 72, 512) == 1
    assert memory_blocks(ramb36, 72, 512, byte_writes=True) == 1.5  # 64 + 8 bits
    assert memory_blocks(ramb36, 32, 512) == 0.5
    assert memory_blocks(ramb36, 64, 6144) == 12
    assert memory_blocks(load_platform("arria10_gx1150").block, 40, 512) == 1
    assert memory_blocks(load_platform("ecp5_85").block, 36, 512) == 1


def test_more_of_anything_never_takes_less():
    base = Accelerator()
    larger = [
        *(replace(base, **{name: 2 * getattr(base, name)}) for name in ("Pox", "Poy", "Pof", "pages", "weight_depth")),
        replace(base, page_depth=1024),
        replace(base, parameter_depth=4096),
    ]
    for platform in (load_platform("zcu104"), load_platform("ecp5_85"), load_platform("arria10_gx1150")):
        less = estimate_resources(base, platform).total
        for accelerator in larger:
            more = estimate_resources(accelerator, platform).total
            assert all(getattr(more, name) >= getattr(less, name) for name in NAMES), (platform.name, accelerator)
        least = estimate_resources(base, platform, Capability.least()).total
        assert least.lut < less.lut
        assert least.block < less.block


def test_deep_memories_go_to_ultraram_when_blocks_do_not_suffice():
    accelerator, zcu104 = Accelerator(page_depth=2048), load_platform("zcu104")
    without = estimate_resources(accelerator, replace(zcu104, ultra=None))
    assert without.over(zcu104) == {"block": (322, 312)}
    placed = estimate_resources(accelerator, zcu104)
    assert not placed.over(zcu104)
    assert placed.total.ultra > 0
    assert placed.blocks["weights"].block == 0


def test_what_does_not_fit_is_named_with_what_takes_most_and_what_fits():
    accelerator, board = Accelerator(), load_platform("ecp5_85")
    with pytest.raises(UserError) as error:
        check_fits(accelerator, board)
    text = str(error.value)
    assert "256 MULT18X18D blocks and there are 156 (compute.mac_array 256)" in text
    assert "EBR blocks and there are 208 (pages 128" in text
    fits = text.partition("--array ")[2].split()[0]
    check_fits(Accelerator.parse(fits), board)
    with pytest.raises(UserError, match="no smaller array fits with these buffers"):
        check_fits(replace(accelerator, weight_depth=1 << 22), board)
    with pytest.raises(UserError, match="LUTs and there are 1,000"):
        check_fits(accelerator, replace(load_platform("zcu104"), lut=1000))


@pytest.mark.parametrize("command", ["hls", "sim", "rtl"])
def test_commands_refuse_before_they_read_the_model(command: str):
    """A model that is not there would be the next error."""
    done = subprocess.run(
        [sys.executable, "-m", "cgap", command, "absent.onnx", "--platform", "pynq_z2", "--array", "8x8x4"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "platform pynq_z2 is too small" in done.stderr
    assert "220 (compute.mac_array 256)" in done.stderr.replace("\n", " ")


@pytest.mark.parametrize("name", ["zcu104", "ecp5_85"])
def test_an_estimate_costs_little(name: str):
    """Fails if an exploration would spend its time on resources: an array of any size takes as few steps."""
    platform = load_platform(name)
    small, large = (lines(lambda rows=rows: estimate_resources(Accelerator(Poy=rows), platform)) for rows in (1, 25))
    assert large <= small + 10
    assert large < 2000

"""Accelerators and platforms: faulty descriptions end in one sentence that names the thing."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest

from fpga_model.errors import UserError
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.platform import load_platform, parse_platform, platform_names

TEXT = (resources.files("fpga_model") / "platforms" / "zcu104.toml").read_text("utf-8")


def one_sentence(error: pytest.ExceptionInfo[UserError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    assert not message.endswith(".")
    return message


def test_every_platform_of_the_package_loads():
    """Fails if a platform file that ships cannot be read."""
    assert "zcu104" in platform_names()
    for name in platform_names():
        platform = load_platform(name)
        assert platform.name == name
        text = (resources.files("fpga_model") / "platforms" / f"{name}.toml").read_text("utf-8")
        assert text.count("ource: ") + text.count("ssumption") + text.count("Ma et al.") >= 4, (
            "figures cite their source"
        )


def test_unknown_platform_suggests_the_nearest():
    """Fails if a typing error is not answered with the name that was meant."""
    with pytest.raises(UserError) as error:
        load_platform("zcu14")
    assert "no platform 'zcu14': did you mean zcu104?" in one_sentence(error)
    with pytest.raises(UserError, match=r"known: .*zcu104"):
        load_platform("qqqqqq")


def test_platform_files(tmp_path: Path):
    """Fails if a user's own file is not read, or a missing, foreign or binary one ends in a traceback."""
    path = tmp_path / "mine.toml"
    path.write_text(TEXT.replace('"zcu104"', '"mine"'))
    assert load_platform(str(path)) == replace(load_platform("zcu104"), name="mine")
    with pytest.raises(UserError, match=r"absent\.toml: No such file"):
        load_platform(str(tmp_path / "absent.toml"))
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"mine\.toml is not text"):
        load_platform(str(path))


FAULTS = {
    "not TOML": ("mhz = 200", "mhz = = 200", "not valid TOML"),
    "no name": ('name = "zcu104"', "", "name must be given as text"),
    "missing field": ("mhz = 200", "", "clock.mhz must be given as a number"),
    "text for a number": ("mhz = 200", 'mhz = "fast"', "clock.mhz must be given as a number"),
    "truth for a number": ("dsp = 1728", "dsp = true", "resources.dsp must be given as a whole number"),
    "fraction for a count": ("dsp = 1728", "dsp = 17.5", "resources.dsp must be given as a whole number"),
    "number for text": ('kind = "DDR4-2400"', "kind = 4", "dram.kind must be given as text"),
    "zero": ("outstanding = 8", "outstanding = 0", "axi.outstanding is 0; it must be above 0"),
    "negative": ("mhz = 200", "mhz = -1", "clock.mhz is -1; it must be above 0"),
    "not a number": ("mhz = 200", "mhz = nan", "clock.mhz is nan"),
    "infinite": ("mhz = 200", "mhz = inf", "clock.mhz is inf; it must be above 0 and below"),
    "efficiency above one": ("efficiency = 0.7", "efficiency = 70", "dram.efficiency is 70.0; it is a share"),
    "odd port": ("width_bits = 128", "width_bits = 96", "axi.width_bits is 96; AXI has 32"),
    "long burst": ("burst_beats = 256", "burst_beats = 512", "axi.burst_beats is 512"),
    "no shapes": (
        "[[72, 512], [36, 1024], [18, 2048], [9, 4096]]",
        "[]",
        "memory.block.shapes must be given as a list",
    ),
    "odd shape": ("[72, 512]", "[72, 512, 1]", "memory.block.shapes.0 must be given as a list"),
    "no blocks": ("count = 312", "count = 0", "memory.block.count is 0; it must be above 0"),
    "no memory": (
        "[memory.block]",
        "[memory.ultra2]",
        "section [memory.block] is missing",
    ),
    "unknown field": ("mhz = 200", "mhz = 200\nvolts = 1", "unknown field clock.volts"),
    "unknown section": ("[clock]", "[fan]\nspeed = 1\n[clock]", "unknown section 'fan'"),
    "value for a section": ("[energy]\ndram_pj_per_bit = 8.8", "", "energy.dram_pj_per_bit must be given"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_platform_files_name_the_field(fault: str):
    """Fails if a fault in a platform file is accepted, or its message does not name file and field."""
    old, new, message = FAULTS[fault]
    assert TEXT.count(old) == 1
    with pytest.raises(UserError, match=re.escape(message)) as error:
        parse_platform(TEXT.replace(old, new), "mine.toml")
    assert one_sentence(error).startswith("platform mine.toml: ")


def test_section_that_is_a_value_is_named():
    """Fails if `clock = 5` ends in a traceback."""
    with pytest.raises(UserError, match=r"mine: clock must be a section \(\[clock\]\)"):
        parse_platform("clock = 5\n" + TEXT.replace("[clock]", "[clock_]"), "mine")


@pytest.mark.parametrize("array", ["8x8", "8x8x4x2", "axbxc", "8 x 8 x 4", "", "-8x8x4", "8x8x4\n", "9999x1x1"])
def test_arrays_that_are_not_written_as_arrays_are_refused(array: str):
    """Fails if a misspelt array is guessed at."""
    with pytest.raises(UserError, match="write it as PoxxPoyxPof, for example 8x8x4"):
        Accelerator.parse(array)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        ("0x8x4", "Pox is 0; it must be at least 1"),
        ("8x0x4", "Poy is 0; it must be at least 1"),
        ("6x8x4", "Pox = 6 gives buffer words of 96 bits; choose a power of two"),
        ("1x8x4", "Pox = 1 gives buffer words of 16 bits"),
        ("128x8x4", "Pox = 128 gives buffer words of 2048 bits"),
        ("8x8x3", "Pof = 3 gives buffer words of 24 bits"),
    ],
)
def test_arrays_that_no_memory_can_feed_are_refused(array: str, message: str):
    """Fails if an array is accepted whose words do not divide into AXI beats."""
    with pytest.raises(UserError, match=re.escape(message)) as error:
        Accelerator.parse(array)
    one_sentence(error)


def test_other_impossible_accelerators_are_refused():
    """Fails if too few pages, an empty buffer or an unsupported width is accepted."""
    with pytest.raises(UserError, match="at least 2 are needed"):
        Accelerator(pages=1)
    with pytest.raises(UserError, match="page_depth is 0"):
        Accelerator(page_depth=0)
    with pytest.raises(UserError, match="16-bit data is not supported"):
        Accelerator(bits=16)


def test_sizes_of_the_default_accelerator():
    """Fails if the default accelerator grows without anybody noticing: sizes counted by hand."""
    accelerator = Accelerator()
    platform = load_platform("zcu104")
    assert accelerator.macs == platform.dsps(accelerator) == 256
    assert accelerator.feature_bytes == 2 * 8 * 512 * 16 == 131072
    assert accelerator.weight_bytes == 32768 * 4
    assert platform.block.blocks(128, 512) == 2  # two of 72 x 512
    assert platform.block.blocks(32, 32768) == 32  # 36 x 1024, thirty-two deep
    assert platform.blocks(accelerator) == 2 * 2 * 8 * 2 + 32 + 1


def test_buffers_are_counted_in_the_blocks_of_the_part():
    """Fails if M20K or EBR are counted as RAMB36, or two multipliers of a DSP block as two blocks: counted by hand."""
    arria, ecp5, accelerator = load_platform("arria10_gx1150"), load_platform("ecp5_85"), Accelerator()
    assert arria.dsps(accelerator) == 128
    # Features: 128 bits are four of 40 x 512; weights: two of 20 x 1024, thirty-two deep; records: two of 20 x 1024.
    assert arria.blocks(accelerator) == 2 * 2 * 8 * 4 + 64 + 2
    assert ecp5.dsps(accelerator) == 256
    assert ecp5.blocks(accelerator) == 2 * 2 * 8 * 4 + 64 + 2  # 36 x 512; 36 x 512, sixty-four deep; 36 x 512, two deep
    with pytest.raises(UserError, match="256 DSP blocks and there are 156"):
        ecp5.check(accelerator)
    with pytest.raises(UserError, match="194 EBR blocks and there are 100"):
        replace(ecp5, dsp=256, block=replace(ecp5.block, count=100)).check(accelerator)


def test_port_is_no_wider_than_a_feature_word():
    """Fails if a command could move part of a beat."""
    platform = load_platform("zcu104")
    assert platform.fitted(Accelerator()).axi_bits == 128
    assert platform.fitted(Accelerator.parse("4x4x2")).axi_bits == 64
    assert platform.fitted(Accelerator.parse("16x4x8")).axi_bits == 128


def test_beat_interval_of_slow_memory():
    """Fails if DRAM delivers more than its bandwidth: 64 bits at 100 MT/s and 0.7 are 2.8 bytes a cycle at 200 MHz."""
    platform = replace(load_platform("zcu104"), dram_megatransfers=100)
    assert load_platform("zcu104").beat_interval == 256
    assert platform.beat_interval == 1463  # 16 / 2.8 * 256, rounded up
    assert platform.bytes_per_cycle == pytest.approx(2.8, rel=1e-3)

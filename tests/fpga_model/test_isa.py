"""The instruction set: commands and programs survive their encoding, and what cannot be encoded or read is refused."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fpga_model.errors import UserError
from fpga_model.machine import isa
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.assembler import row_step, walk
from fpga_model.machine.capability import Capability, needs
from fpga_model.machine.hazards import Touches
from fpga_model.machine.isa import COMMANDS, Command, Convolve, Pool, RowStep, Slot, Store, U, Walk
from fpga_model.machine.pages import instruction_set
from fpga_model.machine.platform import load_platform
from fpga_model.machine.program import HEADER_BYTES, VERSION, read_program, sealed
from fpga_model.machine.tiles import FeatureTile
from fpga_model.numerics.tensors import Shape
from fpga_model.schedule.schedule import Kind, Schedule, build_schedule
from tests.fpga_model.networks import ROOMY, Network, conv, mobilenet, resnet, schedules

CHECKED_FIRST = 12
PAGE = Path(__file__).parents[2] / "docs" / "instruction-set.md"
ALL_COMMANDS = pytest.mark.parametrize("kind", COMMANDS, ids=lambda kind: kind.__name__)
SCHEDULES = settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def records(kind: type) -> st.SearchStrategy[Any]:
    """Any value of a record class whose every field is within its width, the limits drawn often."""
    drawn = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        if name not in {field.name for field in fields(kind)}:
            continue
        inner, note, *_ = get_args(hint)
        limits = (
            None if is_dataclass(inner) else st.integers(note.low, note.high) | st.sampled_from([note.low, note.high])
        )
        drawn[name] = records(inner) if limits is None else limits
    return st.builds(kind, **drawn)


def value_of(record: object, path: tuple[str, ...]) -> Any:
    for name in path:
        record = getattr(record, name)
    return record


def changed(record: Any, path: tuple[str, ...], value: int) -> Any:
    """The record with one field, maybe inside others, replaced."""
    first, *rest = path
    return replace(record, **{first: changed(getattr(record, first), tuple(rest), value) if rest else value})


def zero(kind: type) -> Any:
    """A record of zeros."""
    return isa.unpack(kind, 0)


# --- commands -----------------------------------------------------------------------------------------------------


@ALL_COMMANDS
@given(st.data())
def test_a_command_survives_its_encoding(kind: type[Command], data: st.DataObject):
    """Fails if two fields overlap, one is cut short or loses its sign, or lies elsewhere than the table says."""
    command = data.draw(records(kind))
    encoded = isa.encode(command, "layer")
    assert len(encoded) == 8 * kind.WORDS
    assert isa.decode(encoded) == command
    number = int.from_bytes(encoded, "little")
    for slot in isa.layout(kind):
        stored = number >> slot.offset & (1 << slot.width.bits) - 1
        assert stored == (value_of(command, slot.path) if slot.path else kind.OPCODE) % (1 << slot.width.bits), (
            slot.name
        )
    assert number >> isa.bits(kind) == 0


@ALL_COMMANDS
def test_a_value_that_does_not_fit_is_refused_by_layer_field_value_and_limits(kind: type[Command]):
    """Fails if one field of one command would be cut to its width without a word."""
    for slot in (slot for slot in isa.layout(kind) if slot.path):
        for value in (slot.width.low - 1, slot.width.high + 1):
            with pytest.raises(UserError) as refused:
                isa.encode(changed(zero(kind), slot.path, value), "stage1.conv2")
            text = str(refused.value)
            assert "'stage1.conv2'" in text
            assert f"{slot.name} is {value:,}" in text
            assert f"{slot.width.low:,} to {slot.width.high:,}" in text


@pytest.mark.parametrize(("stride", "field"), [((1, 300), "columns_stride"), ((300, 1), "rows_stride")])
def test_a_stride_beyond_its_field_is_refused_when_the_program_is_written(stride: tuple[int, int], field: str):
    """Fails if a network can reach the compiler, or hardware, with a number that its command does not hold."""
    network = Network("far", Shape(1, 400, 400))
    network.add("leap", conv(1, 1, kernel=1, stride=stride), "image")
    schedule = build_schedule(network.fixed(), Accelerator(page_depth=8192), ROOMY, Kind.LAYERWISE)
    with pytest.raises(UserError, match=rf"layer 'leap': {field} is 300, and a command holds 0 to 255"):
        schedule.program_bytes()


def test_commands_of_a_unit_have_one_length():
    """Fails if a unit could not find its next command without decoding this one."""
    for unit in isa.UNITS:
        assert len({kind.WORDS for kind in COMMANDS if unit == kind.UNIT}) == 1


def test_an_operation_code_that_is_none_is_refused():
    for code in {0, *range(8)} - {kind.OPCODE for kind in COMMANDS}:
        with pytest.raises(UserError, match="no command with the operation code"):
            isa.decode(bytes([code]) + bytes(200))


# --- programs -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def program() -> bytes:
    """The program of a network with every kind of command."""
    schedule = build_schedule(mobilenet(), Accelerator(), load_platform("zcu104"), Kind.LAYERWISE)
    return schedule.program_bytes()


@SCHEDULES
@given(schedules)
def test_a_program_survives_its_file(schedule: Schedule):
    """Fails if a header or a command is read back as another, or units are mixed up."""
    data = schedule.program_bytes()
    read = read_program(data)
    assert read.commands == schedule.program.commands
    assert replace(read.header, bytes=0, crc=0) == schedule.program.header
    assert read.to_bytes([layer.name for layer in schedule.graph.layers]) == data
    for unit, commands in read.commands.items():
        assert len(commands) == sum(operation.unit.value == unit for operation in schedule.operations)


def refusal(data: bytes) -> str:
    with pytest.raises(UserError) as refused:
        read_program(data)
    return str(refused.value)


@pytest.mark.parametrize("data", [b"", b"CGAP", bytes(64), b"\x89PNG\r\n\x1a\n" + bytes(1000), bytes(1000)])
def test_a_foreign_file_is_refused(data: bytes):
    assert refusal(data).startswith("not a program: ")


def test_another_version_is_refused(program: bytes):
    assert f"version 7, and this cgap reads version {VERSION}: build it again" in refusal(
        program[:4] + b"\x07" + program[5:]
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_program_that_is_cut_off_is_refused_at_any_place(program: bytes, data: st.DataObject):
    assert "\n" not in refusal(program[: data.draw(st.integers(0, len(program) - 1))])


def test_a_program_with_something_behind_it_is_refused(program: bytes):
    assert f"{len(program) + 8} bytes of {len(program)}" in refusal(program + bytes(8))


@given(st.data())
def test_one_wrong_bit_is_refused(program: bytes, data: st.DataObject):
    """Fails if a damaged command would be executed, or a program whose header is damaged, such as its region sizes."""
    named = 8 * CHECKED_FIRST  # magic, version and length are refused in words of their own
    bit = data.draw(st.integers(named, 8 * HEADER_BYTES - 1) | st.integers(named, 8 * len(program) - 1))
    damaged = bytearray(program)
    damaged[bit // 8] ^= 1 << bit % 8
    assert refusal(bytes(damaged)) == "the program is damaged: its checksum is wrong"


@pytest.mark.parametrize("unit", isa.UNITS)
@pytest.mark.parametrize("change", [-1, 1, 1 << 30])
def test_a_wrong_number_of_commands_is_refused(program: bytes, unit: str, change: int):
    """Fails if a unit would leave out its last command, or take another's for its own."""
    header = read_program(program).header
    count = getattr(header.needs, f"{unit}_commands")
    wrong = replace(header, needs=replace(header.needs, **{f"{unit}_commands": count + change}))
    data = isa.pack(wrong, "program").to_bytes(HEADER_BYTES, "little") + program[HEADER_BYTES:]
    assert "checksum" in refusal(data)
    message = refusal(sealed(data))
    assert "checksum" not in message
    assert "\n" not in message


# --- walks --------------------------------------------------------------------------------------------------------


def place(tile: FeatureTile, map_: int, row: int, Poy: int) -> tuple[int, int]:
    """Bank and word of a row of the tile, by the formula of FeatureTile; both counted in the whole tensor."""
    m, r, rows = map_ - tile.first_map, row - tile.first_row, tile.interleave
    word = tile.address + (m * tile.group_rows(Poy) + r // (rows * Poy) * rows + r % rows) * tile.row_words
    return r // rows % Poy, word


def moved(at: Walk, step: RowStep, Poy: int) -> Walk:
    """What hardware does, with additions and comparisons alone."""
    remainder, bank, address = at.remainder + step.remainder, at.bank, at.address + step.address
    if remainder >= at.interleave:
        remainder, bank, address = remainder - at.interleave, bank + 1, address - at.group_words
    bank += step.bank
    if bank >= Poy:
        bank, address = bank - Poy, address + at.group_words
    return replace(at, remainder=remainder, bank=bank, address=address)


tiles = st.builds(
    FeatureTile,
    page=st.integers(0, 3),
    address=st.integers(0, 99),
    maps=st.integers(1, 9),
    rows=st.integers(1, 60),
    row_words=st.integers(1, 9),
    interleave=st.integers(1, 7),
    first_map=st.integers(0, 9),
    first_row=st.integers(0, 40),
)


@given(tiles, st.integers(1, 9))
def test_a_walk_starts_where_a_row_lies(tile: FeatureTile, Poy: int):
    """Fails if the bank or word of a row of a map is another than the place at which LOAD and the drain put it."""
    accelerator = Accelerator(Poy=Poy)
    for map_ in range(tile.first_map, tile.first_map + tile.maps):
        for row in range(tile.first_row - 8, tile.first_row + tile.rows):
            at = walk(tile, map_, row, accelerator)
            assert (at.bank, at.address) == place(tile, map_, row, Poy)
            assert (at.page, at.interleave) == (tile.page, tile.interleave)
            assert 0 <= at.bank < Poy
            assert 0 <= at.remainder < tile.interleave
    places = [place(tile, m, r, Poy) for m in range(tile.maps) for r in range(tile.rows)]
    assert len(set(places)) == tile.maps * tile.rows


@given(tiles, st.integers(1, 9), st.integers(-8, 8), st.lists(st.integers(0, 30), max_size=8))
def test_a_walk_moves_to_where_the_rows_lie(tile: FeatureTile, Poy: int, start: int, steps: list[int]):
    """Fails if adding a step leads elsewhere than to the row that many rows on, from rows above the tile too."""
    accelerator, row = Accelerator(Poy=Poy), tile.first_row + start
    at = walk(tile, tile.first_map, row, accelerator)
    for step in steps:
        at, row = moved(at, row_step(tile, step, accelerator), Poy), row + step
        assert at == walk(tile, tile.first_map, row, accelerator)
    group = replace(at, address=at.address + at.group_words)
    assert group == walk(tile, tile.first_map, row + tile.interleave * Poy, accelerator)
    assert replace(at, address=at.address + at.map_words) == walk(tile, tile.first_map + 1, row, accelerator)


# --- hazards ------------------------------------------------------------------------------------------------------

spans = st.tuples(st.integers(0, 40), st.integers(1, 24)).map(lambda span: (span[0], span[0] + span[1]))


@given(st.lists(st.tuples(spans, spans), max_size=30))
def test_touches_know_the_last_operation_of_every_word(history: list[tuple[tuple[int, int], tuple[int, int]]]):
    """Fails if an operation would not wait for one that it depends on, or for a later one than that."""
    touches, words = Touches(), [0] * 64
    for number, ((begin, end), asked) in enumerate(history, start=1):
        touches.touch(begin, end, number)
        words[begin:end] = [number] * (end - begin)
        assert touches.latest(*asked) == max(words[slice(*asked)])
        assert [touches.latest(word, word + 1) for word in range(64)] == words
        assert sorted(touches.begins) == touches.begins
        assert all(a <= b for a, b in zip(touches.ends, touches.begins[1:], strict=False))


# --- capabilities -------------------------------------------------------------------------------------------------


def needed(schedule: Schedule) -> dict[str, int]:
    """What the commands of a program ask of the accelerator, read off their fields."""
    commands = schedule.program.commands
    sums = [c for c in commands["compute"] if isinstance(c, Convolve)]
    pools = [c for c in commands["compute"] if isinstance(c, Pool)]
    wide, wide_pools = [c for c in sums if c.Nox > 1], [c for c in pools if c.Nox > 1]
    return {
        "kernel_columns": max((c.Nkx for c in sums), default=1),
        "stride_columns": max((c.columns.stride for c in wide), default=1),
        "shortcut_stride": max((c.shortcut.stride for c in wide if c.shortcut.present), default=1),
        "pool_columns": max(((c.Nkx - 1) * c.dilation + 1 for c in pools), default=1),
        "pool_stride": max((c.columns.stride for c in wide_pools), default=1),
        "pool_dilation": max((c.dilation for c in pools), default=1),
        "row_by_row": max((c.row_by_row for c in sums), default=0),
        "grouped": int(any(c.group_left < c.Tof for c in sums)),
        "leaky": int(any(c.leak for c in sums)),
        **{f"{unit}_commands": len(commands[unit]) for unit in isa.UNITS},
    }


@SCHEDULES
@given(schedules)
def test_a_header_needs_what_its_commands_ask_for(schedule: Schedule):
    """Fails if an accelerator would accept a program that it cannot execute, or refuse one that it can."""
    need = needs(schedule.operations, schedule.accelerator)
    assert {field.name: getattr(need, field.name) for field in fields(need)} == needed(schedule)
    assert need.missing(need) == []
    need.check(need, "net")


def test_everything_that_an_accelerator_lacks_is_named_at_once():
    """Fails if a user learns of the second thing missing only after mending the first."""
    schedule = build_schedule(resnet(), Accelerator(), load_platform("zcu104"), Kind.RESIDENT)
    need = needs(schedule.operations, schedule.accelerator)
    small = Capability(**{field.name: 0 for field in fields(Capability)})
    lacking = {field.name for field in fields(need) if getattr(need, field.name) > 0}
    with pytest.raises(UserError) as refused:
        small.check(need, "resnet20")
    text = str(refused.value)
    assert "'resnet20'" in text
    for name in lacking:
        assert f"{getattr(need, name):,} needed, 0 there ({name})" in text
    assert len(small.missing(need)) == len(lacking)
    for name in lacking:
        (line,) = replace(need, **{name: getattr(need, name) - 1}).missing(need)
        assert line.endswith(f"({name})")


@given(records(Capability), records(Capability))
def test_joined_capabilities_cover_both_and_no_more(one: Capability, other: Capability):
    joined = one.joined(other)
    assert joined.missing(one) == joined.missing(other) == []
    for field in fields(joined):
        assert getattr(joined, field.name) in {getattr(one, field.name), getattr(other, field.name)}


# --- the page -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Longer(Store):
    """A STORE with one field more."""

    colour: Annotated[int, U(7), "a field that was added"] = 0


def test_a_field_added_to_a_command_is_one_line():
    """Fails if the encoder, its limits or the page would have to be told of a new field."""
    last: Slot = isa.layout(Longer)[-1]
    assert (last.name, last.offset) == ("colour", isa.bits(Store))
    longer = changed(zero(Longer), ("colour",), 127)
    assert isa.unpack(Longer, isa.pack(longer, "layer")) == longer
    with pytest.raises(UserError, match="colour is 128, and a command holds 0 to 127"):
        isa.pack(replace(longer, colour=128), "layer")
    assert f"| {isa.bits(Store)} | u7 | `colour` | a field that was added |\n" in instruction_set([Longer])
    assert "colour" not in instruction_set()


def test_the_page_is_current():
    """Fails if the page and the table part: run python -m fpga_model.machine.pages docs/instruction-set.md."""
    assert PAGE.read_text() == instruction_set()


@ALL_COMMANDS
def test_the_page_names_every_field_with_its_place(kind: type[Command]):
    """Fails if an engineer who builds from the page would miss a field."""
    section = instruction_set().split(f"### `{kind.__name__}`\n")[1].split("\n### ")[0]
    for slot in isa.layout(kind):
        if len(slot.path) <= 1:
            sign = "s" if slot.width.signed else "u"
            assert f"| {slot.offset} | {sign}{slot.width.bits} | `{slot.name}` | {slot.meaning} |" in section
        else:
            assert f"| `{slot.path[0]}` ([" in section

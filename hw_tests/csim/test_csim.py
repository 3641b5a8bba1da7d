"""If these fail, the emitted C++ computes something else than the integer network, or would not be noticed to.

Every test compiles with warnings as errors, against the vendor's ap_int.h.
"""

import dataclasses
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from cgap.backends.hls.csim import FLAGS, find_ap_include, find_compiler, run_bench
from cgap.lowering import import_onnx, quantise
from fpga_model.errors import UserError
from fpga_model.graph import FixedGraph
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.isa import COMMANDS, OPCODE, Command, layout, unpack, values_of
from fpga_model.machine.operations import ConvolveOp
from fpga_model.numerics.fixed_point import requantise
from fpga_model.schedule.schedule import Kind
from hw_tests.csim.conftest import IMAGES, STRICT
from tests.backends.networks import (
    branch_network,
    grouped_network,
    joined_network,
    mixed_network,
    number,
    random_images,
    residual_network,
    schedules,
    strides_network,
)
from tests.fpga_model.networks import mobilenet
from tests.lowering.networks import save
from tests.lowering.test_architectures import densenet

# ReLU, upper bound and leak of the lines that rounding.cpp prints.
ACTIVATIONS = [(False, None, 0), (True, None, 0), (True, 96, 0), (False, None, 1), (False, 50, 31)]
SANITISED = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.fixture(scope="module")
def residual(make_build):
    return make_build(residual_network(), Accelerator())


def assert_equal(result, build):
    """No difference, and every pixel of every layer was compared."""
    assert result.mismatches == 0, result.differences
    assert result.images == IMAGES
    for layer in result.layers:
        assert layer.compared >= IMAGES * build.fixed.graph.shape(layer.layer).size


def test_whole_network(residual):
    """Odd widths with Pof = 4, both strides, identity and option-A shortcut, pooling, packed logits."""
    interleaves = {c.destination.interleave for c in residual.schedule.operations if isinstance(c, ConvolveOp)}
    assert interleaves == {1, 2}
    assert_equal(residual.run(), residual)


def test_two_workers_find_the_same(residual):
    assert_equal(residual.run(workers=2), residual)


def test_one_accelerator_runs_another_network(make_build):
    """Nothing but program, weights and golden values is exchanged."""
    networks = residual_network(), grouped_network()
    both = [schedules(network, Accelerator())[Kind.RESIDENT].needs for network in networks]
    needs = both[0].joined(both[1])
    first, second = (make_build(network, Accelerator(), capability=needs) for network in networks)
    binary = first.compile()
    assert_equal(run_bench(binary, second.folder, second.fixed.graph), second)
    assert_equal(run_bench(binary, first.folder, first.fixed.graph), first)


def test_a_program_for_more_than_this_accelerator_is_refused(residual, grouped):
    with pytest.raises(UserError, match="error 1: a program that this accelerator cannot execute"):
        run_bench(residual.compile(), grouped.folder, grouped.fixed.graph)


def test_the_program_can_be_compiled_in(residual, tmp_path):
    residual.copy_data(tmp_path)
    program = bytearray((tmp_path / "program.bin").read_bytes())
    program[128:] = bytes(len(program) - 128)
    (tmp_path / "program.bin").write_bytes(program)
    binary = residual.compile(options=(*STRICT, "-DPROGRAM_ROM"))
    assert_equal(run_bench(binary, tmp_path, residual.fixed.graph), residual)


def test_rows_one_by_one(make_build):
    """A tensor whose interleave is its other reader's stride, in groups of rows that are full and that are not."""
    for accelerator in (Accelerator(), Accelerator(Pox=4, Poy=3, Pof=2)):
        build = make_build(strides_network(), accelerator)
        assert build.schedule.needs.row_by_row
        assert_equal(build.run(options=SANITISED), build)


def test_every_layer_alone(residual):
    """Each layer's own top from its golden input in DRAM, with its layerwise commands."""
    assert_equal(residual.run("layers"), residual)


@pytest.mark.parametrize(
    ("network", "accelerator", "kind"),
    [
        (mixed_network, Accelerator(Pox=4, Poy=4, Pof=2, page_depth=100), Kind.LAYERWISE),
        (mixed_network, Accelerator(Pox=8, Poy=8, Pof=16), Kind.RESIDENT),
        (branch_network, Accelerator(Pox=4, Poy=3, Pof=2, page_depth=128), Kind.RESIDENT),
        (branch_network, Accelerator(Pox=2, Poy=5, Pof=8, pages=3), Kind.RESIDENT),
    ],
    ids=["tiles of all kinds", "weight word as wide as a beat", "spilled tensors", "weight word of two beats"],
)
def test_other_arrays(make_build, network, accelerator, kind):
    build = make_build(network(), accelerator, kind)
    assert_equal(build.run(), build)


def test_no_access_leaves_its_array(make_build):
    """Address and undefined-behaviour sanitisers, with shortcuts of two words."""
    build = make_build(branch_network(), Accelerator())
    assert_equal(build.run(options=SANITISED), build)


@pytest.fixture(scope="module")
def grouped(make_build):
    return make_build(grouped_network(), Accelerator())


@pytest.mark.parametrize("bench", ["accelerator", "layers"])
def test_groups_bounds_and_leaks(grouped, bench):
    """Array groups that end with a weight word, with a group of the convolution, with both and with neither."""
    assert_equal(grouped.run(bench), grouped)


@pytest.fixture(scope="module")
def joined(make_build):
    return make_build(joined_network(), Accelerator(Pox=4, Poy=3, Pof=2))


@pytest.mark.parametrize("bench", ["accelerator", "layers"])
def test_parts_of_several_tensors(joined, bench):
    """Copies with and without rounding, from any map to any map, out of pages and out of DRAM."""
    assert len({int(shift) for shift in joined.fixed.numbers["join"].shift}) > 1
    assert_equal(joined.run(bench), joined)


@pytest.mark.parametrize(
    ("accelerator", "kind"),
    [
        (Accelerator(Pox=4, Poy=4, Pof=2, page_depth=88), Kind.LAYERWISE),
        (Accelerator(Pox=8, Poy=3, Pof=16), Kind.RESIDENT),
    ],
    ids=["tiles that begin inside a group", "groups that share a weight word"],
)
def test_groups_on_other_arrays(make_build, accelerator, kind):
    build = make_build(grouped_network(), accelerator, kind)
    assert_equal(build.run(options=SANITISED), build)


def imported_densenet(folder: Path) -> FixedGraph:
    """From ONNX: concatenations of tensors of several fractions; normalisations that stand alone are depthwise."""
    model = import_onnx(save(densenet(), folder / "net.onnx"))
    return quantise(model, random_images(model.graph, 4) / np.float32(128))


def small_mobilenet(_folder: Path) -> FixedGraph:
    """Inverted residuals: depthwise at strides 1 and 2, ReLU6, a shortcut without activation."""
    return number(mobilenet().graph, seed=8)


@pytest.mark.parametrize("make", [small_mobilenet, imported_densenet])
def test_networks_of_today(make_build, tmp_path, make):
    build = make_build(make(tmp_path), Accelerator())
    assert_equal(build.run(), build)


@pytest.fixture
def damaged(residual, tmp_path):
    """A copy of the build whose files may be spoilt, and a function that runs it."""
    residual.copy_data(tmp_path)
    binary = residual.compile()

    def run():
        return run_bench(binary, tmp_path, residual.fixed.graph)

    assert run().mismatches == 0
    return tmp_path, run


@pytest.mark.parametrize(
    ("position", "message"), [(200, "error 2: a damaged program"), (96, "error 2: a damaged program"), (0, "error 1")]
)
def test_a_damaged_program_is_refused(damaged, position, message):
    folder, run = damaged
    change_byte(folder / "program.bin", position)
    with pytest.raises(UserError, match=message):
        run()


def change_byte(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def test_a_base_off_its_boundary_is_an_error(residual, tmp_path):
    """Before anything is loaded or run: bursts would begin elsewhere than the host thinks."""
    source, binary = tmp_path / "base.cpp", tmp_path / "base"
    source.write_text(
        '#include "accelerator.cpp"\n#include "bench/bench.h"\nint main(int, char **argv) {\n'
        "  uint64_t at[4] = {0, 4096, 0, 8192};\n  at[argv[1][0] - '0'] += 64;\n  beat_t memory[1];\n"
        "  return int(accelerator(START | LOAD_PROGRAM, nullptr, memory, memory, at[0], at[1], at[2], at[3]));\n}\n"
    )
    include = ["-isystem", str(find_ap_include()), "-I", str(residual.folder / "hls")]
    subprocess.run([*find_compiler(), *FLAGS, *include, "-o", str(binary), str(source)], check=True)
    for region in "0123":
        assert subprocess.run([str(binary), region], check=False).returncode == 9


@pytest.mark.parametrize("layer", ["stem", "block_0_conv2", "pool", "fc"])
def test_one_wrong_golden_value_turns_the_bench_red(damaged, layer):
    folder, run = damaged
    change_byte(folder / "vectors" / f"{layer}.bin", -1)
    result = run()
    # The logits are compared on chip and once more in DRAM.
    assert result.mismatches == (2 if layer == "fc" else 1)
    assert result.differences[0].startswith(f"{layer.replace('_0_', '.0/')} image {IMAGES - 1} ")


@pytest.mark.parametrize(("build", "layer"), [("grouped", "depthwise"), ("grouped", "twos"), ("joined", "ends")])
def test_one_wrong_golden_value_of_a_group_or_a_part_turns_the_bench_red(request, tmp_path, build, layer):
    build = request.getfixturevalue(build)
    build.copy_data(tmp_path)
    change_byte(tmp_path / "vectors" / f"{layer}.bin", -1)
    result = run_bench(build.compile(), tmp_path, build.fixed.graph)
    assert result.mismatches == (2 if layer == "ends" else 1)
    assert result.differences[0].startswith(f"{layer} image {IMAGES - 1} ")


def test_one_wrong_weight_turns_the_bench_red(damaged):
    folder, run = damaged
    change_byte(folder / "weights.bin", 40)
    assert run().mismatches > 0


def test_one_wrong_pixel_turns_the_bench_red(damaged):
    folder, run = damaged
    pixels = np.fromfile(folder / "vectors" / "image.bin", np.int8)
    pixels[200] ^= 64
    pixels.tofile(folder / "vectors" / "image.bin")
    assert run().mismatches > 0


@pytest.mark.parametrize(
    "name", ["vectors/pool.bin", "vectors/image.bin", "weights.bin", "program.bin", "hls/network.txt"]
)
@pytest.mark.parametrize("missing", [False, True], ids=["short", "missing"])
def test_a_short_or_missing_file_stops_the_bench(damaged, name, missing):
    folder, run = damaged
    if missing:
        (folder / name).unlink()
    else:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2] if name.endswith("txt") else content[:-1])
    with pytest.raises(UserError, match="exit code 2"):
        run()


def test_more_images_than_vectors_stop_the_bench(residual):
    with pytest.raises(UserError, match="exit code 2"):
        run_bench(residual.compile(), residual.folder, residual.fixed.graph, images=IMAGES + 1)


def test_decoders_are_the_inverse_of_the_encoder(residual, tmp_path):
    """Commands of random bits: every field that the C++ decodes is the one that the table says."""
    lines, head = [], {"opcode", *(field.name for field in dataclasses.fields(Command))}
    for index, kind in enumerate(COMMANDS):
        fields = [".".join(slot.path) or "opcode" for slot in layout(kind)]
        fields = [f"head.{field}" if field in head else field for field in fields]
        body = " ".join(f'std::printf("%lld ", (long long)c.{field});' for field in fields)
        name = kind.__name__
        lines.append(f"if (kind == {index}) {{ const {name} c = decode<{name}>(words); {body} }}")
    source, binary = tmp_path / "decode.cpp", tmp_path / "decode"
    source.write_text(
        '#include <cstdio>\n#include "command.h"\nint main() { int kind = 0; uint64_t words[16]; '
        "while (std::fread(&kind, 4, 1, stdin) == 1 && std::fread(words, 8, 16, stdin) == 16) {\n"
        + "\n".join(lines)
        + '\nstd::puts(""); } }\n'
    )
    include = ["-isystem", str(find_ap_include()), "-I", str(residual.folder / "hls")]
    subprocess.run([*find_compiler(), *FLAGS, *include, "-o", str(binary), str(source)], check=True)
    rng = np.random.default_rng(7)
    given = [(index, rng.bytes(128)) for index in range(len(COMMANDS)) for _ in range(50)]
    data = b"".join(index.to_bytes(4, "little") + words for index, words in given)
    printed = subprocess.run([str(binary)], input=data, check=True, capture_output=True).stdout.decode().splitlines()
    assert len(printed) == len(given)
    for (index, words), line in zip(given, printed, strict=True):
        bits, found = int.from_bytes(words, "little"), [int(word) for word in line.split()]
        command = unpack(COMMANDS[index], bits)
        values = zip(layout(COMMANDS[index]), values_of(command), strict=True)
        expected = [value if slot.path else bits & OPCODE.high for slot, value in values]
        assert found == expected


def test_rounding_is_the_reference_s_rounding(grouped, tmp_path):
    """The C++ twin of `requantise`: exhaustive on small widths, and at the extremes of 32 bits."""
    binary = tmp_path / "rounding"
    source = Path(__file__).with_name("rounding.cpp")
    include = ["-isystem", str(find_ap_include()), "-I", str(grouped.folder / "hls")]
    subprocess.run([*find_compiler(), *FLAGS, *include, "-o", str(binary), str(source)], check=True)
    found = np.frombuffer(subprocess.run([str(binary)], check=True, capture_output=True).stdout, np.int8)

    cases = [np.stack(np.broadcast_arrays(np.arange(13)[:, None], np.arange(-8192, 8193)), -1).reshape(-1, 2)]
    low, high = -(1 << 31), (1 << 31) - 1
    extremes = []
    for shift in range(32):
        for offset in range(301):
            odd = ((offset - 150) * 2 + 1) << shift
            centre = -((-odd) // 2) if odd < 0 else odd // 2
            near = [centre + half if low <= centre + half <= high else 0 for half in (-1, 0, 1)]
            extremes += [(shift, value) for value in (low + offset, high - offset, *near)]
    shifts, values = np.concatenate([*cases, np.array(extremes)]).T
    expected = [requantise(values, shifts, 8, *activation)[0] for activation in ACTIVATIONS]
    np.testing.assert_array_equal(found, np.stack(expected, -1).ravel())


def test_the_makefile_simulates(residual):
    make = shutil.which("make")
    if make is None:
        pytest.skip("no make")
    settings = [f"AP_INCLUDE={find_ap_include()}", "CXXFLAGS=-O1", f"CXX={' '.join(find_compiler())}"]
    done = subprocess.run(
        [make, "-C", str(residual.folder / "hls"), "csim", *settings], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"{IMAGES} images, 0 mismatches" in done.stdout
    question = [make, "-C", str(residual.folder / "hls"), "-q", "tb", *settings]
    assert subprocess.run(question, capture_output=True, check=False).returncode == 0
    for name in ("drain.h", "bench/dram.h"):  # a changed header makes the bench out of date
        later = (residual.folder / "hls" / "tb").stat().st_mtime + 1
        os.utime(residual.folder / "hls" / name, (later, later))
        assert subprocess.run(question, capture_output=True, check=False).returncode == 1, name
        os.utime(residual.folder / "hls" / name, (0, 0))

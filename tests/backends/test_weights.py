"""If these fail, the accelerator multiplies with other weights than the integer network has."""

import hashlib
import json

import numpy as np
import pytest

from cgap.backends.common.weights import pack, pack_records, pack_weights, write_weights
from fpga_model.errors import UserError
from fpga_model.machine.accelerator import Accelerator
from fpga_model.numerics.fixed_point import Format
from fpga_model.numerics.tensors import LayerNumbers
from fpga_model.schedule.schedule import Kind
from tests.backends.networks import residual_network, schedules


def test_weight_words_follow_the_layout_of_the_contract():
    """Word [group][if][ky][kx], lane p is map group * Pof + p, lanes beyond Nof are zero."""
    weights = np.random.default_rng(0).integers(-128, 128, (7, 3, 2, 5)).astype(np.int8)
    packed = np.frombuffer(pack_weights(weights, Accelerator(Pof=4)), np.int8)
    position = 0
    for group in range(2):
        for nif, ky, kx in np.ndindex(3, 2, 5):
            for lane in range(4):
                of = group * 4 + lane
                assert packed[position] == (weights[of, nif, ky, kx] if of < 7 else 0)
                position += 1
    assert position == len(packed)


def numbers(bias: list[int], shift: list[int]) -> LayerNumbers:
    return LayerNumbers(Format(8, 0), np.array(shift), np.zeros((len(bias), 1, 1, 1), np.int8), bias=np.array(bias))


def test_a_record_holds_bias_and_shift():
    edge = 1 << 26
    records = np.frombuffer(pack_records("x", numbers([-1, edge - 1, -edge, 5], [31, 0, 7, 1])), "<u4")
    assert (records.astype(np.int32) >> 5).tolist() == [-1, edge - 1, -edge, 5]
    assert (records & 31).tolist() == [31, 0, 7, 1]


@pytest.mark.parametrize(
    ("bias", "shift", "what"), [(1 << 26, 0, "bias"), (-(1 << 26) - 1, 0, "bias"), (0, 32, "shift")]
)
def test_what_a_record_cannot_hold_is_refused_by_name(bias, shift, what):
    with pytest.raises(UserError, match=rf"'conv', output map 1: .*{what}"):
        pack_records("conv", numbers([0, bias], [0, shift]))


def test_the_blob_is_the_parameter_part_of_either_schedule():
    """One weights.bin serves the whole network and every layer alone."""
    both = schedules(residual_network(), Accelerator())
    assert pack(both[Kind.RESIDENT]) == pack(both[Kind.LAYERWISE])
    assert len(pack(both[Kind.RESIDENT])) == both[Kind.RESIDENT].dram.parameter_bytes


def test_the_manifest_describes_every_layer(tmp_path):
    schedule = schedules(residual_network(), Accelerator())[Kind.RESIDENT]
    write_weights(schedule, tmp_path)
    blob = (tmp_path / "weights.bin").read_bytes()
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["sha256"] == hashlib.sha256(blob).hexdigest()
    assert [entry["layer"] for entry in manifest["layers"]] == list(schedule.parameters)
    for entry in manifest["layers"]:
        begin = entry["records"]["offset"]
        end = entry["weights"]["offset"] + entry["weights"]["bytes"]
        assert hashlib.sha256(blob[begin:end]).hexdigest() == entry["sha256"]

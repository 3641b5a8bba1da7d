"""Packs the integers of a network as they lie in DRAM: `weights.bin` with its manifest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cgap.boundary.files import write_atomic
from fpga_model.errors import UserError
from fpga_model.machine.accelerator import RECORD_BITS, Accelerator, ceil_div
from fpga_model.numerics.fixed_point import MAX_SHIFT
from fpga_model.numerics.tensors import LayerNumbers
from fpga_model.schedule.schedule import Schedule

SHIFT_BITS = MAX_SHIFT.bit_length()
BIAS_BITS = RECORD_BITS - SHIFT_BITS


def pack_weights(weights: npt.NDArray[Any], accelerator: Accelerator) -> bytes:
    """Weight words of [Nof, Nif, Nky, Nkx]: [group of Pof maps][Nif][Nky][Nkx][Pof], the last group zero padded."""
    Pof = accelerator.Pof
    groups = ceil_div(len(weights), Pof)
    padded = np.zeros((groups * Pof, *weights.shape[1:]), np.int8)
    padded[: len(weights)] = weights
    return padded.reshape(groups, Pof, *weights.shape[1:]).transpose(0, 2, 3, 4, 1).tobytes()


def pack_records(layer: str, numbers: LayerNumbers) -> bytes:
    """One record per output map: bias in the upper 27 bits (signed), rounding shift in the lower 5.

    Raises:
        UserError: a bias or a shift does not fit; the message names the layer and the map.
    """
    if numbers.bias is None:
        raise ValueError(f"layer {layer!r} has weights but no bias")
    limit = 1 << (BIAS_BITS - 1)
    for what, bad in (
        (f"bias outside {BIAS_BITS} bits", (numbers.bias < -limit) | (numbers.bias >= limit)),
        (f"rounding shift outside 0..{MAX_SHIFT}", (numbers.shift < 0) | (numbers.shift > MAX_SHIFT)),
    ):
        if bad.any():
            raise UserError(f"layer {layer!r}, output map {int(bad.argmax())}: {what}; the accelerator cannot hold it")
    records = (numbers.bias << SHIFT_BITS) | numbers.shift
    return (records & 0xFFFFFFFF).astype("<u4").tobytes()


def pack(schedule: Schedule) -> bytes:
    """`weights.bin`: the parameter part of the DRAM image, from its byte 0."""
    blob = bytearray(schedule.dram.parameter_bytes)
    for layer, layout in schedule.parameters.items():
        numbers = schedule.fixed.numbers[layer]
        assert numbers.weights is not None, "only layers with weights have a place for them"
        records = pack_records(layer, numbers)
        weights = pack_weights(numbers.weights, schedule.accelerator)
        assert len(records) <= layout.record_bytes, "the layout leaves room for the records"
        assert len(weights) <= layout.weight_bytes, "the layout leaves room for the weights"
        blob[layout.records : layout.records + len(records)] = records
        blob[layout.weights : layout.weights + len(weights)] = weights
    return bytes(blob)


def write_weights(schedule: Schedule, folder: Path) -> None:
    """Write `weights.bin` and `manifest.json` into the folder.

    Raises:
        UserError: a number does not fit its field.
    """
    blob = pack(schedule)
    write_atomic(folder / "weights.bin", blob)
    document = {
        "file": "weights.bin",
        "bytes": len(blob),
        "sha256": hashlib.sha256(blob).hexdigest(),
        "weight_order": ["group", "Nif", "Nky", "Nkx", "Pof"],
        "Pof": schedule.accelerator.Pof,
        "record": {"bits": RECORD_BITS, "bias_bits": BIAS_BITS, "shift_bits": SHIFT_BITS, "byte_order": "little"},
        "layers": [_entry(schedule, layer, blob) for layer in schedule.parameters],
    }
    write_atomic(folder / "manifest.json", json.dumps(document, indent=1) + "\n")


def _entry(schedule: Schedule, layer: str, blob: bytes) -> dict[str, Any]:
    layout, numbers = schedule.parameters[layer], schedule.fixed.numbers[layer]
    assert numbers.weights is not None, "only layers with weights have a place for them"
    assert numbers.weight_frac is not None, "weights have fractions"
    data = blob[layout.records : layout.weights + layout.weight_bytes]
    return {
        "layer": layer,
        "records": {"offset": layout.records, "bytes": layout.record_bytes, "count": len(numbers.weights)},
        "weights": {"offset": layout.weights, "bytes": layout.weight_bytes, "shape": list(numbers.weights.shape)},
        "format": {
            "weight_bits": numbers.weights.dtype.itemsize * 8,
            "weight_frac": numbers.weight_frac.tolist(),
            "output_bits": numbers.output.bits,
            "output_frac": numbers.output.frac,
        },
        "sha256": hashlib.sha256(data).hexdigest(),
    }

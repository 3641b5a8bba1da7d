"""What the emitted C++ cannot have: refused before anything is written."""

from __future__ import annotations

from collections.abc import Iterable

from fpga_model.errors import UserError
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.operations import Operation
from fpga_model.machine.platform import Platform
from fpga_model.machine.tiles import Buffer, Unit

LEAST_AXI_BITS = 32


def check_port(accelerator: Accelerator, platform: Platform) -> None:
    """Refuse a port that is narrower than AXI has. Raises UserError."""
    if platform.axi_bits < LEAST_AXI_BITS:
        raise UserError(
            f"an AXI port of {platform.axi_bits} bits, and the emitted C++ needs at least {LEAST_AXI_BITS}: choose "
            f"another platform or more columns than Pox = {accelerator.Pox}"
        )


def check_alignment(operations: Iterable[Operation], accelerator: Accelerator, platform: Platform) -> None:
    """Loads of weights and records begin at whole rows of their banks; a schedule without that is a defect.

    Raises:
        ValueError: a load begins inside a beat.
    """
    for operation in operations:
        if operation.unit is Unit.LOAD and operation.tile is None:
            parameters = operation.buffer is Buffer.PARAMETER
            word = accelerator.record_bytes if parameters else accelerator.weight_word_bytes
            if operation.address * word % max(platform.beat_bytes, word):
                raise ValueError(f"layer {operation.layer!r}: a load begins at word {operation.address}, inside a beat")

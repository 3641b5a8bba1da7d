"""What every backend does: emit an accelerator with its program, and run images on what it emitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from cgap.backends.common.drivers import tensors_of
from cgap.backends.common.templates import Header
from cgap.backends.common.weights import write_weights
from cgap.boundary.files import write_atomic
from fpga_model.machine.capability import Capability
from fpga_model.models.analytic import LayerEstimate
from fpga_model.models.simulator import Simulation
from fpga_model.schedule.schedule import Schedule


@dataclass(frozen=True, eq=False)
class Design:
    """A network as a program for one accelerator, with its predicted costs.

    Attributes:
        schedule: the network on its accelerator, with its integers.
        capability: what the accelerator is built for.
        header: header comment of every emitted file.
        analytic: costs of each layer by the analytic model.
        simulation: costs by the simulator.
    """

    schedule: Schedule
    capability: Capability
    header: Header
    analytic: Mapping[str, LayerEstimate]
    simulation: Simulation


@dataclass(frozen=True, eq=False)
class Build:
    """A design as a backend emitted it into a folder."""

    design: Design
    folder: Path


@dataclass(frozen=True)
class LayerFigures:
    """Costs of one layer for one image: cycles by which it delays the network, bytes read and written on the bus."""

    cycles: int
    read_bytes: int
    write_bytes: int


@dataclass(frozen=True, eq=False)
class Result:
    """The result of running images.

    Attributes:
        images: number of images that ran.
        outputs: every output tensor as read from DRAM, int8 [N, C, H, W], by layer name.
        cycles: cycles of one image; None if the backend does not count them.
        read_bytes, write_bytes: bytes on the bus for one image; None if the backend does not count them.
        mismatches: stored values, in all layers, that differ from the integer reference.
        seconds: wall time of running, without compiling.
        layers: the figures of single layers, if the backend has them.
        differences: the first differences, in words.
    """

    images: int
    outputs: Mapping[str, npt.NDArray[np.int8]]
    cycles: int | None
    read_bytes: int | None
    write_bytes: int | None
    mismatches: int
    seconds: float
    layers: Mapping[str, LayerFigures] = field(default_factory=dict)
    differences: tuple[str, ...] = ()


class Backend(Protocol):
    """One way to make an accelerator: `HlsBackend` in C++, `RtlBackend` in SystemVerilog.

    Attributes:
        name: of the backend in reports.
        folder: folder of its files in a build; also the name of the `cgap` command that makes one.
        title: what it emits, in words.
    """

    name: ClassVar[str]
    folder: ClassVar[str]
    title: ClassVar[str]

    def require(self) -> None:
        """Raise UserError if what `run` needs, such as a compiler, is missing."""

    def emit(self, program: Design, folder: Path) -> Build:
        """Write the accelerator's sources, its program and its weights into a build folder.

        The same design gives the same bytes.

        Raises:
            UserError: the backend cannot make this accelerator.
        """

    def run(self, build: Build, images: npt.NDArray[Any]) -> Result:
        """Compile and run images [N, C, H, W] of integers in the input's format.

        Raises:
            UserError: a tool is missing or fails.
        """


def write_program(design: Design, folder: Path) -> None:
    """Write what is the same for all backends: `program.bin`, `weights.bin` with `manifest.json`, and `tensors.txt`.

    Raises:
        UserError: a number does not fit its field.
    """
    write_weights(design.schedule, folder)
    write_atomic(folder / "program.bin", design.schedule.program_bytes())
    write_atomic(folder / "tensors.txt", tensors_of(design.schedule).to_text())

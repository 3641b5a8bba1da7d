"""The RTL used like a function: build once, then run images and get outputs, cycles and bytes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cgap.backends.common.weights import pack
from cgap.backends.rtl.memory import pack_tensor, unpack_tensor
from cgap.backends.rtl.trace import Trace, read_trace
from cgap.backends.rtl.verilate import MEMORY_BYTES, build_simulation, parameters, tail
from cgap.boundary.locks import scratch
from cgap.boundary.processes import ToolError, run_tool
from fpga_model.errors import UserError
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.capability import Capability
from fpga_model.machine.platform import AXI_BOUNDARY, Platform
from fpga_model.machine.registers import ERRORS
from fpga_model.schedule.dram import FEATURE, INPUT, OUTPUT, PARAMETERS, is_packed, round_up
from fpga_model.schedule.schedule import Schedule

ROOM = Capability(
    kernel_columns=9, shortcut_stride=3, pool_dilation=3, load_commands=4096, compute_commands=2048, store_commands=2048
)
"""What a simulation is built for at least, so that one build runs most networks. Capabilities cost logic, not time."""
ERROR_STATUS = 8


@dataclass(frozen=True)
class RtlRun:
    """What the RTL made of images.

    Attributes:
        outputs: every output tensor, int8 [N, C, H, W], by layer name.
        cycles: of one image.
        read_bytes, write_bytes: of one image, on the bus.
        registers: what the registers said after the last image, by name.
        trace: the first image's; None unless asked for.
        seconds: wall time of the simulation.
    """

    outputs: dict[str, npt.NDArray[np.int8]]
    cycles: int
    read_bytes: int
    write_bytes: int
    registers: Mapping[str, int]
    trace: Trace | None
    seconds: float


@dataclass(frozen=True)
class Places:
    """Where a program and its regions lie in the memory of the simulation."""

    program: int
    bases: dict[str, int]
    input_stride: int
    output_stride: int
    end: int


def place(schedule: Schedule, program_bytes: int, images: int) -> Places:
    """One after the other, each at a multiple of 4 KiB; input and output once an image."""
    sizes = {role: round_up(size, AXI_BOUNDARY) for role, size in schedule.dram.sizes.items()}
    address = round_up(program_bytes, AXI_BOUNDARY)
    bases = {}
    for role in (PARAMETERS, FEATURE, INPUT, OUTPUT):
        bases[role] = address
        address += sizes[role] * (images if role in (INPUT, OUTPUT) else 1)
    return Places(0, bases, sizes[INPUT], sizes[OUTPUT], address)


@dataclass(frozen=True)
class Twin:
    """An accelerator in simulation, with one network's program.

    Attributes:
        schedule: the network, as it runs.
        binary: the built simulation, which other networks of the same configuration share.
        memory_bytes: size of its memory.
    """

    schedule: Schedule
    binary: Path
    memory_bytes: int

    def run(
        self,
        images: npt.NDArray[Any],
        trace: bool = False,
        options: Sequence[str] = (),
        program: bytes | None = None,
    ) -> RtlRun:
        """Run images [N, C, H, W] of integers in the input's format.

        Args:
            images: at least one.
            trace: keep what the first image did.
            options: more plus-arguments of the simulation.
            program: `program.bin`; the schedule's when None.

        Raises:
            UserError: the simulation ends with an error of the accelerator or of an assertion.
        """
        if len(images) == 0:
            raise ValueError("the RTL runs at least one image")
        program = self.schedule.program_bytes() if program is None else program
        fixed_end = place(self.schedule, len(program), 0).end
        one = place(self.schedule, len(program), 1).end - fixed_end
        batch = max(1, (self.memory_bytes - fixed_end) // one)
        runs = [
            self._run(program, images[k : k + batch], trace and k == 0, options) for k in range(0, len(images), batch)
        ]
        outputs = {name: np.concatenate([run.outputs[name] for run in runs]) for name in runs[0].outputs}
        return replace(runs[-1], outputs=outputs, trace=runs[0].trace, seconds=sum(run.seconds for run in runs))

    def _run(self, program: bytes, images: npt.NDArray[Any], trace: bool, options: Sequence[str]) -> RtlRun:
        schedule = self.schedule
        places = place(schedule, len(program), len(images))
        packed = bytearray()
        for image in images:
            packed += pack_tensor(image, schedule.accelerator).ljust(places.input_stride, b"\0")
        with scratch() as folder:
            for name, data in (("program", program), ("weights", pack(schedule)), ("input", bytes(packed))):
                (folder / f"{name}.bin").write_bytes(data)
            figures = {
                "program_base": f"{places.program:x}",
                "parameter_base": f"{places.bases[PARAMETERS]:x}",
                "input_base": f"{places.bases[INPUT]:x}",
                "output_base": f"{places.bases[OUTPUT]:x}",
                "feature_base": f"{places.bases[FEATURE]:x}",
                "input_stride": places.input_stride,
                "output_stride": places.output_stride,
                "output_bytes": places.output_stride * len(images),
                "images": len(images),
                **bus_figures(schedule.platform),
            }
            files = {name: folder / f"{name}.bin" for name in ("program", "weights", "input", "output")}
            arguments = [f"+{name}={value}" for name, value in {**figures, **files}.items()]
            arguments += [f"+trace={folder / 'trace'}", f"+events={int(trace)}", *options]
            start = time.perf_counter()
            try:
                run_tool([str(self.binary), *arguments], "the simulation of the RTL failed")
            except ToolError as error:
                raise UserError(f"the simulation of the RTL failed:\n{tail(error.output)}") from error
            seconds = time.perf_counter() - start
            found = read_trace((folder / "trace").read_text("ascii").splitlines())
            output = (folder / "output.bin").read_bytes()
        if found.registers["status"] & ERROR_STATUS:
            raise UserError(f"the accelerator stopped: {describe_error(found.registers['error'])}")
        return RtlRun(
            outputs=self._outputs(output, places.output_stride, len(images)),
            cycles=found.registers["cycles"],
            read_bytes=found.registers["read_bytes"],
            write_bytes=found.registers["write_bytes"],
            registers=found.registers,
            trace=found if trace else None,
            seconds=seconds,
        )

    def _outputs(self, data: bytes, stride: int, images: int) -> dict[str, npt.NDArray[np.int8]]:
        schedule, found = self.schedule, {}
        for layer in schedule.graph.outputs:
            shape = schedule.graph.shape(layer.name)
            there = schedule.dram.place(layer.name, OUTPUT)
            size = (shape.channels, shape.height, shape.width)
            packed = is_packed(schedule.graph, layer.name)
            parts = [data[k * stride + there.address :][: there.bytes] for k in range(images)]
            found[layer.name] = np.stack([unpack_tensor(part, size, schedule.accelerator, packed) for part in parts])
        return found


def bus_figures(platform: Platform) -> dict[str, int]:
    """What the simulated memory is told of a platform."""
    return {
        "read_latency": platform.read_latency,
        "write_latency": platform.write_latency,
        "gap": platform.burst_gap,
        "interval": platform.beat_interval,
    }


def describe_error(value: int) -> str:
    """The content of the register ERROR, in words."""
    code, unit, command = value & 15, value >> 4 & 3, value >> 8
    meaning = ERRORS[code] if code < len(ERRORS) else f"code {code}"
    return f"{meaning} ({('LOAD', 'COMPUTE', 'STORE', '')[unit]}, {command} commands completed)"


def build(
    schedule: Schedule,
    *,
    capability: Capability = ROOM,
    replaced: Mapping[str, str] | None = None,
    waves: bool = False,
    cache: Path | None = None,
) -> Twin:
    """The RTL of a schedule's accelerator in simulation, ready to run its network.

    Args:
        schedule: network, accelerator and platform.
        capability: what the accelerator is built for; more where the network needs it.
        replaced: SystemVerilog sources in place of those of the same path.
        waves: can write waveforms (`options=["+waves=FILE"]` of `run`).
        cache: where built simulations are kept.

    Raises:
        UserError: Verilator or a C++ compiler is missing, or one fails.
    """
    needs = schedule.needs
    accelerator: Accelerator = schedule.accelerator
    size = place(schedule, len(schedule.program_bytes()), 1).end
    memory_bytes = max(MEMORY_BYTES, 1 << (size - 1).bit_length())
    configuration = parameters(accelerator, capability.joined(needs), schedule.platform)
    binary = build_simulation(
        configuration | {"MemoryBytes": memory_bytes}, replaced=replaced, waves=waves, cache=cache
    )
    return Twin(schedule, binary, memory_bytes)

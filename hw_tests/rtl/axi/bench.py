"""Run inside the simulation by cocotb; `test_axi.py` starts it. Bus models of cocotbext-axi, with random stalls."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.task import bridge, resume
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import (
    AxiLiteBus,
    AxiLiteMaster,
    AxiRamRead,
    AxiRamWrite,
    AxiReadBus,
    AxiWriteBus,
)
from cocotbext.axi.sparse_memory import SparseMemory

from cgap.backends.common.drivers import tensors_of
from cgap.backends.common.weights import pack
from cgap.backends.host import Driver, registers
from fpga_model.graph import Layer, LayerGraph
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.platform import load_platform
from fpga_model.machine.registers import ADDRESS_BITS, REGISTERS, Access
from fpga_model.models.golden import run_reference
from fpga_model.numerics.tensors import Shape
from fpga_model.operators import Convolution, FullyConnected, Input, Pooling, Shortcut
from fpga_model.schedule.schedule import Kind, Schedule, build_schedule
from tests.backends.networks import number, random_images

ACCELERATOR = Accelerator(4, 2, 2)
READ_LATENCY = 4
PLATFORM = replace(load_platform("zcu104"), axi_bits=64, burst_beats=16, outstanding=3)


def pauses(seed: int, share: float):
    """Whether a channel stalls, cycle by cycle."""
    numbers = random.Random(seed)
    return (numbers.random() < share for _ in itertools.count())


class SlowRead(AxiRamRead):
    """Answers no sooner than the contract allows: a command must not be over before the next is fetched."""

    async def _read(self, address: int, length: int) -> bytes:
        await ClockCycles(self.clock, READ_LATENCY)
        return await super()._read(address, length)


class Bench:
    """The accelerator with a host and a memory, both of which stall on every channel."""

    def __init__(self, dut, share: float, seed: int) -> None:
        self.dut = dut
        cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
        self.host = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.clk, dut.rst_n, reset_active_level=False)
        self.memory = SparseMemory(1 << 32)
        buses = AxiReadBus.from_prefix(dut, "m_axi_rd"), AxiWriteBus.from_prefix(dut, "m_axi_wr")
        reads, writes = (
            kind(bus, dut.clk, dut.rst_n, reset_active_level=False, size=1 << 32, mem=self.memory)
            for kind, bus in zip((SlowRead, AxiRamWrite), buses, strict=True)
        )
        write, read = self.host.write_if, self.host.read_if
        channels = [write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel]
        channels += [reads.ar_channel, reads.r_channel, writes.aw_channel, writes.w_channel, writes.b_channel]
        for index, channel in enumerate(channels):
            channel.set_pause_generator(pauses(seed + index, share))
        self.end = 0

    async def reset(self) -> None:
        self.dut.rst_n.value = 0
        await ClockCycles(self.dut.clk, 5)
        self.dut.rst_n.value = 1
        await ClockCycles(self.dut.clk, 2)

    # --- what the driver asks for, out of its thread ------------------------------------------------------------------

    @resume
    async def read(self, offset: int = 0) -> int:
        return await self.host.read_dword(offset)

    @resume
    async def write(self, offset: int, data: int) -> None:
        await self.host.write_dword(offset, data)

    @resume
    async def wait(self) -> None:
        await ClockCycles(self.dut.clk, 200)

    def allocate(self, shape, dtype):
        array = np.zeros(shape, dtype).view(Buffer)
        array.memory, array.physical_address = self.memory, self.end
        self.end += array.nbytes + -array.nbytes % 4096
        return array


class Buffer(np.ndarray):
    """Of the driver, in the bus model's memory."""

    def sync_to_device(self) -> None:
        self.memory.write(self.physical_address, self.tobytes())

    def sync_from_device(self) -> None:
        self[...] = np.frombuffer(self.memory.read(self.physical_address, self.nbytes), self.dtype)

    def freebuffer(self) -> None:
        pass


@cocotb.test()
async def registers_keep_what_is_written(dut):
    """Any strobes, any order; reads and writes at once; what the host may not write stays."""
    bench = Bench(dut, share=0.4, seed=1)
    await bench.reset()
    numbers = random.Random(2)
    rows = [row for row in REGISTERS if row.access is Access.STORED]
    stored = [row.offset + 4 * half for row in rows for half in range(row.bits // 32)]
    shown = [row.offset for row in REGISTERS if row.access is Access.STATUS]
    content = {offset: bytearray(4) for offset in stored}
    before = {offset: await bench.host.read(offset, 4) for offset in shown}
    for _ in range(150):
        offset = numbers.choice(stored)
        first = numbers.randrange(4)
        data = numbers.randbytes(numbers.randint(1, 4 - first))
        other = numbers.choice([each for each in stored if each != offset])
        written = cocotb.start_soon(bench.host.write(offset + first, data))
        assert (await bench.host.read(other, 4)).data == bytes(content[other])
        await written
        content[offset][first : first + len(data)] = data
        assert (await bench.host.read(offset, 4)).data == bytes(content[offset])
    for offset in shown:
        await bench.host.write(offset, b"\xff\xff\xff\xff")
        assert (await bench.host.read(offset, 4)).data == before[offset].data, hex(offset)
    named = {row.offset + 4 * half for row in REGISTERS for half in range(row.bits // 32)}
    for offset in set(range(0, 1 << ADDRESS_BITS, 4)) - named:
        assert (await bench.host.read(offset, 4)).data == bytes(4), hex(offset)


def networks() -> list[tuple[Schedule, np.ndarray]]:
    """A stride, a shortcut, a pooling and a matrix, with all tensors through DRAM and with none."""
    graph = LayerGraph("small")
    pad = (1, 1, 1, 1)
    graph.add(Layer("image", Input(Shape(2, 7, 11))))
    graph.add(Layer("stem", Convolution(2, 5, (3, 3), (2, 2), pad, True), ("image",)))
    graph.add(Layer("inner", Convolution(5, 3, (3, 3), (1, 1), pad, True), ("stem",)))
    graph.add(Layer("add", Convolution(3, 5, (1, 1), shortcut=Shortcut((1, 1), 0, 5)), ("inner", "stem")))
    graph.add(Layer("pool", Pooling("max", (2, 3), (2, 1)), ("add",)))
    graph.add(Layer("fc", FullyConnected(graph.shape("pool"), 7), ("pool",)))
    fixed = number(graph, seed=14)
    images = random_images(graph, 2)
    return [(build_schedule(fixed, ACCELERATOR, PLATFORM, kind), images) for kind in Kind]


@cocotb.test()
@cocotb.parametrize(share=[0.0, 0.15, 0.5])
async def networks_on_a_memory_that_stalls(dut, share):
    """Other people's model of a memory, which knows nothing of the contract's times: the results are the same."""
    bench = Bench(dut, share, seed=int(100 * share))
    await bench.reset()

    @bridge
    def drive() -> None:
        driver = Driver(bench, bench.allocate, pause=bench.wait, wait=bench.wait, timeout_s=None)
        for schedule, images in networks():
            driver.load_program(schedule.program_bytes(), tensors_of(schedule))
            driver.load_weights(pack(schedule))
            outputs = driver.run(images).outputs
            stored = run_reference(schedule.fixed, images)
            for name, tensor in outputs.items():
                assert np.array_equal(tensor, stored[name]), name

    await drive()


@cocotb.test()
async def the_interrupt_is_what_was_enabled(dut):
    """A start without a program is an error: an interrupt only if it is enabled, and until it is cleared."""
    bench = Bench(dut, share=0.3, seed=5)
    await bench.reset()
    write = bench.host.write_dword
    await write(registers.CTRL, registers.CTRL_START)
    await ClockCycles(dut.clk, 10)
    assert dut.irq.value == 0
    assert await bench.host.read_dword(registers.IRQ_STATUS) == registers.IRQ_STATUS_ERROR
    await write(registers.IRQ_ENABLE, registers.IRQ_ENABLE_ERROR)
    await RisingEdge(dut.clk)
    assert dut.irq.value == 1
    await write(registers.IRQ_STATUS, registers.IRQ_STATUS_ERROR)
    await ClockCycles(dut.clk, 3)
    assert dut.irq.value == 0
    await write(registers.CTRL, registers.CTRL_RESET)
    await ClockCycles(dut.clk, 10)
    assert await bench.host.read_dword(registers.STATUS) == registers.STATUS_IDLE

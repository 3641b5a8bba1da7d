"""Builds the benches of this folder and runs cases on them: memories travel as files, the clock is in SystemVerilog."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cgap.backends.rtl.verilate import build_simulation
from fpga_model.machine import assembler, isa
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.capability import Capability
from hw_tests.rtl.compute.cases import Bytes, Case

HERE = Path(__file__).parent
RUN_LIMIT_S = 600


def build(bench: str, parameters: Mapping[str, int], changed: Mapping[str, str] | None = None) -> Path:
    """The compiled bench of this folder, for these parameters, with some of the RTL's files `changed`."""
    source = {f"sim/{bench}.sv": (HERE / f"{bench}.sv").read_text("utf-8"), **(changed or {})}
    return build_simulation(parameters, replaced=source, top=bench)


def execute(binary: Path, *arguments: str) -> None:
    """Run a bench; a failed assertion fails the test with the bench's words."""
    done = subprocess.run([str(binary), *arguments], capture_output=True, text=True, check=False, timeout=RUN_LIMIT_S)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def parameters(accelerator: Accelerator, capability: Capability) -> dict[str, int]:
    """Of `compute_bench`."""
    return {
        "Pox": accelerator.Pox,
        "Poy": accelerator.Poy,
        "Pof": accelerator.Pof,
        "Pages": accelerator.pages,
        "PageDepth": accelerator.page_depth,
        "WeightDepth": accelerator.weight_depth,
        "ParameterDepth": accelerator.parameter_depth,
        "KernelColumns": capability.kernel_columns,
        "StrideColumns": capability.stride_columns,
        "ShortcutStride": capability.shortcut_stride,
        "PoolColumns": capability.pool_columns,
        "PoolStride": capability.pool_stride,
        "PoolDilation": capability.pool_dilation,
    }


@dataclass(frozen=True)
class Result:
    """What a command did: the pages after it, its cycles, saturated pixels and cycles held."""

    pages: Bytes
    cycles: int
    saturated: int
    held: int


def run(binary: Path, cases: Sequence[Case], accelerator: Accelerator, folder: Path, *options: str) -> list[Result]:
    """The cases' commands, one after the other; `options` are more plus-arguments."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, case in enumerate(cases):
        command = assembler.assemble(case.operation, 1, False, accelerator, accelerator.feature_word_bytes)
        _write(folder / f"{index}.page.hex", case.before.reshape(-1, accelerator.word_pixels))
        _write(folder / f"{index}.weight.hex", case.weights)
        _write(folder / f"{index}.parameter.hex", case.parameters.astype("<u4").view(np.uint8).reshape(-1, 4))
        _write(folder / f"{index}.command.hex", np.frombuffer(isa.encode(command, case.name), np.uint8)[None])
    execute(binary, f"+cases={folder}", f"+count={len(cases)}", *options)
    lines = (folder / "results.txt").read_text().splitlines()
    return [
        Result(_read(folder / f"{index}.out.hex").reshape(case.before.shape), *(int(n) for n in line.split()))
        for index, (case, line) in enumerate(zip(cases, lines, strict=True))
    ]


def _write(path: Path, words: npt.NDArray[np.int8 | np.uint8]) -> None:
    """Words [word, byte], lowest byte first. There is always one, for an empty file is an error."""
    lines = [word[::-1].tobytes().hex() for word in words] or ["0"]
    path.write_text("\n".join(lines) + "\n")


def _read(path: Path) -> Bytes:
    words = [line for line in path.read_text().split() if not line.startswith(("/", "@"))]
    return np.stack([np.frombuffer(bytes.fromhex(word), np.int8)[::-1] for word in words])

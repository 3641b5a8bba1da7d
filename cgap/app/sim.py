"""`cgap sim`: cycles and DRAM bytes of a network, for which no images are needed, and of backends, which run some."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cgap.app.plan import Target, plan_model
from cgap.app.report import Report
from cgap.app.reporting import Costs, make_report
from cgap.app.trace import trace_json
from cgap.boundary.files import write_atomic
from cgap.boundary.locks import scratch
from cgap.boundary.threads import one_thread
from cgap.lowering import ImportOptions

if TYPE_CHECKING:
    from cgap.app.build import Say
    from cgap.backends.common.backend import Backend


def simulate_model(
    model: str,
    target: Target,
    trace: Path | None = None,
    options: ImportOptions | None = None,
    *,
    beside_dense: bool = True,
) -> Report:
    """The report of a network that is scheduled and simulated but neither quantised nor emitted. Raises UserError.

    `beside_dense` as in `make_report`.
    """
    planned = plan_model(model, target, options)
    costs = Costs.of(planned.schedule)
    _write_trace(trace, costs)
    dataset = planned.record.get("dataset")
    return make_report(planned, costs, command=planned.command("sim"), dataset=dataset, beside_dense=beside_dense)


@one_thread
def run_model(
    model: str,
    target: Target,
    backends: Sequence[Backend],
    images: int,
    say: Say,
    *,
    trace: Path | None = None,
    images_file: Path | None = None,
    options: ImportOptions | None = None,
    beside_dense: bool = True,
) -> Report:
    """The same report with a column for each of some backends, which run `images` images.

    Raises:
        UserError: the input is at fault, or what a backend needs is missing.
        RuntimeError: executions that must agree do not, which is a defect of this program.
    """
    from cgap.app.build import compile_model, design_of, run_backend

    for backend in backends:
        backend.require()
    say("importing, quantising and scheduling")
    compiled = compile_model(model, target, images_file, options)
    costs, runs = Costs.of(compiled.schedule), {}
    _write_trace(trace, costs)
    for backend in backends:
        with scratch() as folder:
            build = backend.emit(design_of(compiled, costs, backend), folder)
            runs[backend.name] = run_backend(backend, build, compiled.inputs.first(images), say)
    command = " ".join([compiled.command("sim"), *(f"--{backend.folder}" for backend in backends)])
    return make_report(
        compiled, costs, command=command, dataset=compiled.inputs.dataset, runs=runs, beside_dense=beside_dense
    )


def _write_trace(trace: Path | None, costs: Costs) -> None:
    if trace is not None:
        write_atomic(trace, trace_json(costs.simulation, costs.schedule.platform.clock_mhz))

"""`cgap check`: what a file is, what runs where, what blocks, and what to do about it."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from rich.console import Console

from cgap.app import models
from cgap.app.plan import LargerBuffers, Target, plan_on
from cgap.lowering import ImportedModel, ImportOptions, import_onnx
from cgap.lowering.onnx.axes import FileTensor
from cgap.lowering.onnx.read import OpenedModel, open_model
from cgap.lowering.passes.refusals import Unlowered
from fpga_model.errors import UserError
from fpga_model.graph import LayerGraph
from fpga_model.machine.capability import needs
from fpga_model.schedule.sequence import make_operations
from fpga_model.schedule.sharing import Sharing

SHOWN = 12
"""Operators that are listed on the terminal; the JSON has them all."""


@dataclass(frozen=True)
class Block:
    """Nodes that keep a network from the accelerator, for one reason; no nodes where it is the file as a whole."""

    operator: str | None
    nodes: list[str]
    reason: str


@dataclass(frozen=True)
class CheckReport:
    """What was found.

    Attributes:
        model: as asked for.
        bytes, opset, producer, operators: of the file, `operators` with the number of nodes; None where unreadable.
        image, outputs: as the file has them, where the network runs.
        layers, macs, weights: what the accelerator runs, layers by kind.
        host: what the host runs behind the outputs.
        blocks: what keeps it from running; empty: it runs.
        unbuilt: why the usual accelerator does not run it, where another does, which `todo` builds.
        todo: a command, or a sentence, that goes on from here.
    """

    model: str
    bytes: int | None = None
    opset: int | None = None
    producer: str | None = None
    operators: dict[str, int] = field(default_factory=dict)
    image: dict[str, Any] | None = None
    outputs: list[dict[str, Any]] = field(default_factory=list)
    layers: dict[str, int] = field(default_factory=dict)
    macs: int | None = None
    weights: int | None = None
    host: list[str] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    unbuilt: str | None = None
    todo: str = ""

    def to_json(self) -> dict[str, Any]:
        """For `json.dump`, with `runs` first."""
        return {"runs": not self.blocks, **asdict(self)}


def check_model(model: str, options: ImportOptions) -> CheckReport:
    """Look at a network without quantising it.

    Args:
        model: a shipped network or a path.
        options: as the other commands take them.

    Raises:
        UserError: there is no such file.
    """
    path, file = models.resolve(model), {}
    read = shlex.join([model, *options.words()])
    try:
        opened = open_model(path)
        file = _file(opened)
        imported = import_onnx(opened, options=options)
    except Unlowered as error:
        groups: dict[tuple[str, str], list[str]] = {}
        for node, reason in error.found:
            groups.setdefault((node.op, reason), []).append(node.name or node.output)
        blocks = [Block(op, nodes, reason) for (op, reason), nodes in groups.items()]
        way = "change the network as the reasons say"
        if error.cut:
            way += f", or leave the rest to the host: cgap check {read} --outputs {','.join(error.cut)}"
        return CheckReport(model, **file, blocks=blocks, todo=way)
    except UserError as error:
        reason = str(error)
        example = next((part for part in reason.split("such as ")[1:] if part.startswith("--shape")), "")
        todo = f"cgap check {read} {example.split(';')[0]}" if example else "mend what the reason says"
        return CheckReport(model, **file, blocks=[Block(None, [], reason)], todo=todo)
    network = {**file, **_network(imported)}
    try:
        needed, unbuilt = _build_options(imported.graph)
    except UserError as error:
        return CheckReport(model, **network, blocks=[Block(None, [], str(error))], todo="mend what the reason says")
    command = " ".join((f"cgap hls {read}", *needed))
    images = "" if imported.image.maps == (3, 32, 32) else " --images-file IMAGES.npy"
    return CheckReport(model, **network, unbuilt=unbuilt, todo=command + images)


def _build_options(graph: LayerGraph) -> tuple[list[str], str | None]:
    """The options that `cgap hls` needs, and why it needs any. Raises UserError if none helps."""
    usual = target = Target.parse()
    unbuilt, sharing = None, Sharing(graph)
    while True:
        try:
            plan = plan_on(target, graph, sharing)
        except LargerBuffers as error:
            deeper = error.enough and replace(target.accelerator, page_depth=error.enough.page_depth)
            if deeper is None or deeper != error.enough:  # no option gives the other buffers
                raise
            unbuilt, target = unbuilt or str(error), replace(target, accelerator=deeper)
            continue
        try:
            target.capability_for(graph.name, needs(make_operations(plan, None), plan.accelerator))
        except UserError as error:
            unbuilt, target = unbuilt or str(error), replace(target, capability=None)
        return [word for word in target.options() if word not in usual.options()], unbuilt


def _file(opened: OpenedModel) -> dict[str, Any]:
    """What the file says of itself."""
    return {
        "bytes": len(opened.content),
        "opset": opened.opset,
        "producer": opened.producer,
        "operators": dict(opened.operators.most_common()),
    }


def _network(imported: ImportedModel) -> dict[str, Any]:
    graph = imported.graph
    return {
        "image": _tensor(imported.image),
        "outputs": [{**_tensor(found), "layer": layer} for layer, found in imported.results],
        "layers": dict(Counter(layer.operator.kind for layer in graph.layers[1:])),
        "macs": graph.macs(),
        "weights": graph.weights(),
        "host": list(imported.host),
    }


def _tensor(found: FileTensor) -> dict[str, Any]:
    return {"name": found.name, "shape": list(found.shape), "kind": found.kind, "maps": list(found.maps)}


def print_check(report: CheckReport, console: Console) -> None:
    """A few lines for the terminal."""

    def say(what: str, text: str) -> None:
        console.print(f"{what:12} {text}", markup=False, highlight=False, soft_wrap=True)

    if report.bytes is not None:
        made = f", by {report.producer}" if report.producer else ""
        say("file", f"{report.model}: {report.bytes / 1e6:.1f} MB, opset {report.opset}{made}")
        listed = list(report.operators.items())
        more = f", and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
        say("operators", ", ".join(f"{count} {name}" for name, count in listed[:SHOWN]) + more)
    if report.image is not None:
        say("image", f"{report.image['name']} {report.image['shape']} of {report.image['kind']}")
        for output in report.outputs:
            say("output", f"{output['name']} {output['shape']}, layer {output['layer']}")
        kinds = ", ".join(f"{count} {kind}" for kind, count in report.layers.items())
        say("accelerator", f"{kinds}: {report.macs:,} MACs, {report.weights:,} weights")
        say("host", ", ".join(report.host) or "nothing")
    for block in report.blocks:
        nodes = ", ".join(block.nodes[:3]) + (", ..." if len(block.nodes) > 3 else "")
        say(
            "blocked by",
            f"{len(block.nodes)} {block.operator} ({nodes}): {block.reason}" if block.nodes else block.reason,
        )
    if report.unbuilt:
        say("but", f"not with the usual accelerator: {report.unbuilt}")
    say("to do" if report.blocks else "it runs", report.todo)

"""How long an exploration takes, and how far the model is from the simulator at the design that it finds best.

    python benchmarks/exploring.py                   # 1,000 configurations of ResNet-110 on the ZCU104, one process
    python benchmarks/exploring.py --count 0 --platforms kv260,ultra96    # all configurations

CPU seconds of this process. Where fewer are asked for than there are, they are spread over all arrays.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from cgap.app import models
from cgap.lowering import import_onnx
from fpga_model.explore.design import confirm, evaluate_group, groups
from fpga_model.explore.front import front
from fpga_model.explore.space import Configuration, Space
from fpga_model.graph import LayerGraph
from fpga_model.machine.platform import load_platform, platform_names


def chosen(graph: LayerGraph, platform: str, count: int) -> list[list[Configuration]]:
    """Groups of configurations that share an array and a port, spread over all of them; about `count` (0: all)."""
    pieces = list(groups(Space().configurations(graph, load_platform(platform))))
    total = sum(map(len, pieces))
    if not count or count >= total:
        return pieces
    kept, taken = [], 0
    for number, piece in enumerate(pieces):
        if taken + len(piece) / 2 <= count * (number + 1) / len(pieces):
            kept.append(piece)
            taken += len(piece)
    while taken < count:
        piece = next(piece for piece in pieces if piece not in kept)
        kept.append(piece)
        taken += len(piece)
    return kept


def main() -> None:
    """Print a line a platform, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet110")
    parser.add_argument("--platforms", default="zcu104", help="names with commas between, or all")
    parser.add_argument("--count", type=int, default=1000)
    arguments = parser.parse_args()
    graph = import_onnx(models.resolve(arguments.model)).graph
    names = platform_names() if arguments.platforms == "all" else arguments.platforms.split(",")
    print("| platform | configurations | CPU s | front | best | ms | model against simulator | DSP | memory blocks |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in names:
        platform, start = load_platform(name), time.process_time()
        pieces = chosen(graph, name, arguments.count)
        designs = [design for piece in pieces for design in evaluate_group(graph, platform, piece)[0]]
        found = front(designs)
        seconds = time.process_time() - start
        best = confirm(graph, platform, found[0])
        error = best.cycles / best.best_cycles - 1
        c = best.configuration
        print(
            f"| {name} | {sum(map(len, pieces)):,} | {seconds:.1f} | {len(found)} | {c.array}, {c.kind.value}, "
            f"{c.pages} pages of {c.page_depth}, {c.weight_depth} weights | {best.latency_ms:.3f} | {error:+.2%} "
            f"| {best.dsp:,} of {platform.dsp:,} | {best.blocks:,} of {platform.block.count:,} {platform.block.name} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

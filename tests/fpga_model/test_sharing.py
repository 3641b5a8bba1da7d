"""Plans that share tile costs are those that are made alone."""

from __future__ import annotations

from itertools import product

import pytest

from fpga_model.errors import UserError
from fpga_model.graph import LayerGraph
from fpga_model.machine.accelerator import Accelerator
from fpga_model.models.analytic import estimate
from fpga_model.schedule.plan import Kind, make_plan
from fpga_model.schedule.sharing import Sharing
from tests.fpga_model.networks import ROOMY, mobilenet, resnet


def decisions(
    graph: LayerGraph, accelerator: Accelerator, kind: Kind, sharing: Sharing | None = None
) -> tuple[object, ...] | str:
    """All that a plan decides and costs, or why there is none."""
    try:
        plan = make_plan(graph, accelerator, ROOMY, kind, sharing)
    except UserError as error:
        return str(error)
    layers = [(name, layer.tiling, layer.sides) for name, layer in plan.layers.items()]
    return layers, plan.residents, plan.dram, estimate(plan)


@pytest.mark.parametrize("graph", [resnet(20, (11, 19, 40)).graph, mobilenet(16).graph], ids=["resnet", "mobilenet"])
def test_shared_costs_change_no_plan(graph: LayerGraph):
    """Fails if what is kept for one accelerator is used for another one on which it is different."""
    sharing, fitting = Sharing(graph), 0
    for (Pox, Poy, Pof), page_depth, weight_depth, kind in product(
        ((8, 8, 4), (4, 7, 2), (4, 4, 16)), (256, 512), (1500, 8192), Kind
    ):
        accelerator = Accelerator(
            Pox, Poy, Pof, page_depth=page_depth, weight_depth=weight_depth, parameter_depth=weight_depth // 4
        )
        shared = decisions(graph, accelerator, kind, sharing)
        assert shared == decisions(graph, accelerator, kind)
        fitting += not isinstance(shared, str)
    assert fitting >= 8


def test_sharing_is_of_one_network():
    """Fails if the facts of one network are taken for those of another."""
    with pytest.raises(ValueError, match="of one network"):
        make_plan(resnet(20).graph, Accelerator(), ROOMY, Kind.RESIDENT, Sharing(mobilenet(16).graph))

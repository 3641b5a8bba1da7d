"""If these break, an accelerator is promised that cannot run its network, or costs ask for images."""

import pytest

from cgap.app.plan import Target, plan_model
from fpga_model.errors import UserError
from fpga_model.machine.capability import Capability


def test_a_network_beyond_the_declared_capabilities_is_refused_with_all_that_is_missing():
    target = Target.parse("zcu104", "8x8x4", "resident", capabilities=["kernel_columns=2", "pool_columns=3"])
    with pytest.raises(UserError, match="needs more than this accelerator is built for") as refused:
        plan_model("resnet20", target)
    assert "3 needed, 2 there (kernel_columns)" in str(refused.value)
    assert "8 needed, 3 there (pool_columns)" in str(refused.value)
    assert "--specialise" in str(refused.value)


def test_specialised_is_what_the_network_needs():
    target = Target.parse("zcu104", "8x8x4", "resident", specialise=True)
    need = target.capability_for("resnet20", plan_model("resnet20", target).schedule.needs)
    assert (need.kernel_columns, need.grouped, need.leaky, need.row_by_row, need.pool_stride) == (3, 0, 0, 0, 1)
    with pytest.raises(UserError, match="leave out --capability"):
        Target.parse("zcu104", "8x8x4", "resident", capabilities=["leaky=1"], specialise=True)


def test_program_memories_are_as_deep_as_the_program():
    target = Target.parse("zcu104", "8x8x4", "layerwise")
    schedule = plan_model("resnet110", target).schedule
    deep = target.capability_for("resnet110", schedule.needs)
    assert deep.load_commands >= schedule.needs.load_commands > Capability().load_commands
    assert deep.load_commands & (deep.load_commands - 1) == 0


@pytest.mark.parametrize("setting", ["kernel", "kernel_columns", "kernel_columns=-1", "colour=3"])
def test_misspelt_capabilities_are_told_the_fields(setting):
    with pytest.raises(UserError, match="give FIELD=NUMBER; fields are kernel_columns, "):
        Capability.parse([setting])

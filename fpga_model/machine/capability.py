"""What an accelerator can execute, declared with it, and what a program needs of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import Annotated

from fpga_model.errors import UserError
from fpga_model.machine.accelerator import Accelerator
from fpga_model.machine.isa import U, layout
from fpga_model.machine.operations import Operation


@dataclass(frozen=True)
class Capability:
    """Sizes that the accelerator's registers and multiplexers are built for; a network may need no more.

    Larger numbers cost logic, not time. Fields are in the order in which a program's header states its needs.
    """

    kernel_columns: Annotated[int, U(32), "columns of a convolution's kernel"] = 8
    stride_columns: Annotated[int, U(32), "columns from one window of a convolution to the next"] = 2
    shortcut_stride: Annotated[int, U(32), "columns from one pixel of a shortcut to the next"] = 2
    pool_columns: Annotated[int, U(32), "columns that a pooling window spans, dilation included"] = 16
    pool_stride: Annotated[int, U(32), "columns from one pooling window to the next"] = 2
    pool_dilation: Annotated[int, U(32), "columns from one column of a pooling window to the next"] = 1
    row_by_row: Annotated[int, U(32), "1: row strides other than the interleave of what is read"] = 1
    grouped: Annotated[int, U(32), "1: grouped convolutions"] = 1
    leaky: Annotated[int, U(32), "1: leaky ReLU"] = 1
    load_commands: Annotated[int, U(32), "LOAD commands of a program"] = 1024
    compute_commands: Annotated[int, U(32), "COMPUTE commands of a program"] = 512
    store_commands: Annotated[int, U(32), "STORE commands of a program"] = 512

    def missing(self, need: Capability) -> list[str]:
        """In words, every need that exceeds this capability set."""
        hints = {slot.name: slot.meaning for slot in layout(Capability)}
        return [
            f"{hints[field.name]}: {getattr(need, field.name):,} needed, {getattr(self, field.name):,} there "
            f"({field.name})"
            for field in fields(self)
            if getattr(need, field.name) > getattr(self, field.name)
        ]

    def check(self, need: Capability, network: str) -> None:
        """Refuse a network that needs more than this, all at once.

        Raises:
            UserError: names every need that is not met, and what to do.
        """
        missing = self.missing(need)
        if missing:
            raise UserError(
                f"network {network!r} needs more than this accelerator is built for:\n"
                + "\n".join(f"  {line}" for line in missing)
                + "\nbuild a larger one with --capability FIELD=VALUE, or one for this network alone with --specialise"
            )

    @classmethod
    def parse(cls, settings: Iterable[str]) -> Capability:
        """The default capability set with some fields changed, each as FIELD=VALUE.

        Raises:
            UserError: no such field, or a value that is no whole number.
        """
        names = [field.name for field in fields(cls)]
        values = {}
        for setting in settings:
            name, _, value = setting.partition("=")
            if name not in names or not value.isdecimal():
                raise UserError(f"--capability {setting}: give FIELD=NUMBER; fields are {', '.join(names)}")
            values[name] = int(value)
        return cls(**values)

    @classmethod
    def least(cls) -> Capability:
        """The least that an accelerator can be built for."""
        columns = dict.fromkeys((field.name for field in fields(cls)), 1)
        return cls(**columns | dict.fromkeys(("row_by_row", "grouped", "leaky"), 0))

    def deepened(self, need: Capability) -> Capability:
        """This with program memories that hold what is needed, a power of two of commands each."""
        depths = {
            field.name: 1 << (getattr(need, field.name) - 1).bit_length()
            for field in fields(self)
            if field.name.endswith("_commands") and getattr(need, field.name) > getattr(self, field.name)
        }
        return replace(self, **depths)

    def joined(self, other: Capability) -> Capability:
        """The least that covers both."""
        return Capability(**{f.name: max(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)})


def needs(operations: Iterable[Operation], accelerator: Accelerator) -> Capability:
    """The least capability that executes these operations."""
    found = asdict(Capability.least()) | dict.fromkeys(("load_commands", "compute_commands", "store_commands"), 0)
    for operation in operations:
        found[f"{operation.unit.value}_commands"] += 1
        for name, value in operation.needs(accelerator).items():
            found[name] = max(found[name], value)
    return Capability(**found)

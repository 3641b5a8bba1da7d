"""The driver of an accelerator in Python. It needs numpy alone, and is emitted as it is (docs/rtl.md)."""

from .driver import Driver, DriverError, Layout, Run, Tensor

__all__ = ["Driver", "DriverError", "Layout", "Run", "Tensor"]

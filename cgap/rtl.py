"""The RTL used like a function: `cgap.rtl.build(schedule).run(images)` (docs/rtl.md)."""

from cgap.backends.rtl.twin import RtlRun, Twin, build

__all__ = ["RtlRun", "Twin", "build"]

"""Python's cyclic garbage collector, paused where many objects without cycles are made."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collection_paused() -> Iterator[None]:
    """No collection in the block, or in the function that this decorates.

    The collector goes through all living objects each time their number has grown by a quarter. With the plan and the
    operations of a large network alive, that takes as long as the work itself and grows faster than it.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()

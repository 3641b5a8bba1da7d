"""The metrics of a run as TensorBoard's event files."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fpga_model.errors import UserError


class Board:
    """A folder of event files with the numbers of every line of `metrics.jsonl`, and of nothing else.

    Made anew by each session, which adds the lines that it goes on from: what a killed session logged too much is gone.
    Raises UserError when TensorBoard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        if importlib.util.find_spec("tensorboard") is None:
            raise UserError("run.tensorboard needs TensorBoard: pip install 'cgap[tensorboard]', or set it to false")
        from torch.utils.tensorboard import SummaryWriter

        shutil.rmtree(folder, ignore_errors=True)
        self._writer = SummaryWriter(str(folder))
        self._epoch = 0

    def add(self, record: Mapping[str, Any]) -> None:
        """Add a line: an epoch's at its number, an event's at the number of whole epochs before it."""
        self._epoch = record.get("epoch", self._epoch)
        numbers = {name: value for name, value in record.items() if isinstance(value, (int, float))}
        widths = {f"widths/{name}": width for name, width in record.get("widths", {}).items()}
        for name, value in {**numbers, **widths}.items():
            if name not in ("epoch", "step"):
                self._writer.add_scalar(name, value, self._epoch)
        self._writer.flush()

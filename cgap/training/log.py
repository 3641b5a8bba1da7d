"""`run.json` and `metrics.jsonl`, written so that a kill at any moment leaves readable files."""

from __future__ import annotations

import json
from pathlib import Path

from cgap.files import write_atomic


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, atomically."""
    write_atomic(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


class MetricsLog:
    """`metrics.jsonl`: one JSON object a line, appended as the run goes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines = 0

    def append(self, record: dict[str, object]) -> None:
        """Add one record and flush it."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, allow_nan=False) + "\n")
        self.lines += 1

    def truncate(self, lines: int) -> None:
        """Drop what was logged after the checkpoint that a resumed run continues from."""
        kept = self.path.read_bytes().splitlines(keepends=True)[:lines] if self.path.exists() else []
        write_atomic(self.path, b"".join(kept))
        self.lines = lines

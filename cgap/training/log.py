"""`run.json` and `metrics.jsonl`, written so that a kill at any moment leaves readable files."""

from __future__ import annotations

import json
from pathlib import Path

from cgap.boundary.files import write_atomic
from cgap.training.board import Board


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, atomically."""
    write_atomic(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


class MetricsLog:
    """`metrics.jsonl`: one JSON object a line, appended as the run goes (by one process of those that count along)."""

    def __init__(self, path: Path, writes: bool = True, board: Board | None = None) -> None:
        self.path = path
        self.writes = writes
        self.board = board
        self.lines = 0

    def append(self, record: dict[str, object]) -> None:
        """Add one record and flush it."""
        if self.writes:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record, allow_nan=False) + "\n")
        if self.board:
            self.board.add(record)
        self.lines += 1

    def truncate(self, lines: int) -> None:
        """Drop what was logged after the checkpoint that a resumed run continues from."""
        if self.writes:
            kept = self.path.read_bytes().splitlines(keepends=True)[:lines] if self.path.exists() else []
            write_atomic(self.path, b"".join(kept))
            if self.board:
                for line in kept:
                    self.board.add(json.loads(line))
        self.lines = lines

"""`run.json` and `metrics.jsonl`, written so that a kill at any moment leaves readable files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cgap.boundary.files import MIB, read_bounded, write_atomic
from cgap.training.board import Board
from fpga_model.errors import UserError

LIMIT = 256 * MIB
"""Largest `metrics.jsonl` that is read."""


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
            kept = self.begin(lines)
            write_atomic(self.path, b"".join(line for line, _ in kept))
            if self.board:
                for _, record in kept:
                    self.board.add(record)
        self.lines = lines

    def begin(self, lines: int) -> list[tuple[bytes, dict[str, Any]]]:
        """The first lines, and what they say. Raises UserError if there are fewer, or if one is no record."""
        if not lines:
            return []
        found = read_bounded(self.path, LIMIT).splitlines(keepends=True) if self.path.is_file() else []
        if len(found) < lines:
            raise UserError(f"{self.path}: has {len(found)} lines, and there were {lines} at the last checkpoint")
        return [(line, parse_line(line, self.path)) for line in found[:lines]]


def parse_line(line: bytes | str, path: Path) -> dict[str, Any]:
    """One record of `metrics.jsonl`. Raises UserError if it is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: a line of it is not JSON ({error})") from error
    if not isinstance(record, dict) or not ("epoch" in record or "event" in record):
        raise UserError(f"{path}: a line of it tells of no epoch and no event")
    return record

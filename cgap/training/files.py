"""Files that are whole or absent: written under a temporary name, flushed, renamed."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path


def write_atomic(path: Path, data: bytes) -> None:
    """Replace `path` by `data`; a kill at any moment leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


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

"""The run record, `run.json`: what ran, on what, and what came of it."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

import cgap
from cgap.boundary.files import MIB, read_json
from cgap.training.workers import Workers
from fpga_model.errors import UserError

_LIMIT = 64 * MIB


def read_record(folder: Path) -> dict[str, Any]:
    """The record of the run in a folder; empty where there is none yet. Raises UserError if it is not one."""
    path = folder / "run.json"
    if not os.path.lexists(path):
        return {}
    record = read_json(path, _LIMIT)
    if not isinstance(record, dict):
        raise UserError(f"{path}: is not a run's record")
    return record


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="allow", allow_inf_nan=False, strict=True)


class _Accuracy(_Lenient):
    test: float = Field(ge=0, le=100)
    held_out: float = Field(ge=0, le=100)


class _Network(_Lenient):
    macs: int = Field(gt=0)
    params: int = Field(gt=0)
    dense_macs: int = Field(gt=0)
    dense_params: int = Field(gt=0)


class _Settings(_Lenient):
    run: dict[str, Any]


class _Finished(_Lenient):
    """What is read from the record of a finished run."""

    status: Literal["complete"]
    model: str
    dataset: str
    seed: int
    config: _Settings
    accuracy: _Accuracy
    network: _Network
    cpu_seconds: float = Field(ge=0)
    training_macs: int | None = Field(None, ge=0)


def read_finished(folder: Path) -> dict[str, Any]:
    """The record of the finished run in a folder. Raises UserError if there is none, or if it is not whole."""
    record = read_record(folder)
    if record.get("status") != "complete":
        raise UserError(f"{folder}: holds no finished run")
    try:
        _Finished.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{folder / 'run.json'}: is not the record of a finished run ({field}: {first['msg']})"
        ) from error
    return record


def is_complete(folder: Path) -> bool:
    """Whether the run in a folder has reached its end."""
    return read_record(folder).get("status") == "complete"


def weights_hash(path: Path) -> str:
    """SHA-256 of the file that a run starts from. Raises UserError if it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"model.weights: {path}: cannot be read ({error.strerror})") from error


def code_version() -> dict[str, str | None]:
    """Package version, git commit if the code is in a checkout, and SHA-256 over the package's Python files."""
    root = Path(cgap.__path__[0])
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    try:
        version: str | None = metadata.version("cgap")
    except metadata.PackageNotFoundError:
        version = None
    return {"version": version, "commit": _commit(root), "sha256": digest.hexdigest()}


def _commit(root: Path) -> str | None:
    try:
        command = ["git", "-C", str(root), "rev-parse", "HEAD"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def machine(workers: Workers) -> dict[str, Any]:
    """Processor, cores, threads and devices in use and versions, without anything that identifies the host."""
    device = torch.cuda.get_device_name(workers.device) if workers.device.type == "cuda" else "cpu"
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device,
        "processes": workers.count,
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()

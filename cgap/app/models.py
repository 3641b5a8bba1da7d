"""The networks shipped in `cgap/pretrained`, and what MODEL on the command line stands for.

A shipped network is `<name>.onnx` beside `<name>.json`, the record of the run that trained it.
"""

import difflib
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from fpga_model.errors import UserError


@dataclass(frozen=True)
class PretrainedModel:
    """One shipped network: its `name` on the command line, its ONNX file, and its training record ({} without one)."""

    name: str
    onnx: Path
    record: dict[str, Any]


def pretrained_folder() -> Path:
    """The folder of shipped networks (package data, so an installed wheel has it too)."""
    return Path(str(resources.files("cgap"))) / "pretrained"


def pretrained(folder: Path | None = None) -> list[PretrainedModel]:
    """The shipped networks by name; `folder` (default: the package's own) is where they lie.

    Only the small JSON records are read, so this is quick. Raises UserError for a record that is not a JSON object.
    """
    return [
        PretrainedModel(path.stem, path, _record(path.with_suffix(".json")))
        for path in sorted((folder or pretrained_folder()).glob("*.onnx"))
    ]


def _record(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not a JSON file: {error}") from error
    if not isinstance(record, dict):
        raise UserError(f"{path}: expected a JSON object, found a {type(record).__name__}")
    return record


def resolve(model: str, folder: Path | None = None) -> Path:
    """The ONNX file that MODEL names: a shipped network's name, or a path (`./NAME` forces a path).

    Whether the file holds a usable network is for the importer to say. Raises UserError when there is no such
    network or file; the message lists the known names and the closest of them.
    """
    known = {entry.stem: entry for entry in sorted((folder or pretrained_folder()).glob("*.onnx"))}
    if model in known:
        return known[model]

    path = Path(model).expanduser()
    looks_like_path = "/" in model or path.suffix == ".onnx"
    try:
        if path.is_dir() and looks_like_path:
            raise UserError(f"{_short(model)} is a folder: MODEL is an ONNX file or a name from `cgap models`")
        if path.is_file():
            return path
    except OSError as error:  # too long a name, or a folder that may not be read
        raise UserError(f"model file {_short(model)}: {error.strerror}") from error
    if looks_like_path:
        raise UserError(f"model file {_short(model)} does not exist")

    close = difflib.get_close_matches(model, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    names = f"known are {', '.join(known)}" if known else "this installation ships none"
    raise UserError(f"unknown model {_short(model)}: {names}.{hint} MODEL may also be the path of an ONNX file.")


def _short(text: str) -> str:
    """Text from outside as one line of bounded length, for a message."""
    return repr(text if len(text) <= 200 else f"{text[:200]}...")


def record_of(onnx: Path) -> dict[str, Any]:
    """The training record of a shipped network, by the path of its file; empty for any other."""
    return next((entry.record for entry in pretrained() if entry.onnx == onnx), {})

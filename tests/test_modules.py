"""If these fail, a module cannot be imported: on this Python, or with no more than the extras that it is for."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

import pytest

import cgap

ROOT = Path(cgap.__file__).parent.parent
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("cgap", "fpga_model")
    for path in sorted((ROOT / package).rglob("*.py"))
    if path.stem != "__main__"
}
FOR_TRAINING = ("cgap.app.export", "cgap.plasticity", "cgap.training", "cgap.zoo")
"""Modules that may need the extra `train`."""


@pytest.mark.parametrize("name", FILES)
def test_a_module_is_imported(name: str) -> None:
    """One for training is at least compiled where there is no PyTorch."""
    if name.startswith(FOR_TRAINING) and importlib.util.find_spec("torch") is None:
        compile(FILES[name].read_bytes(), str(FILES[name]), "exec")
    else:
        importlib.import_module(name)

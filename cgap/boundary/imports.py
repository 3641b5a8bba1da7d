"""What users bring of their own, named as MODULE:ATTRIBUTE.

Importing it runs it. A name that a user gives, on the command line or in a configuration of their own, is their word;
one that is found in the folder of a run is whoever's made the folder, and needs `--trust`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fpga_model.errors import UserError


def import_own(what: str, name: str) -> Any:
    """The object that `name`, MODULE:ATTRIBUTE, stands for, imported from the working folder or the path.

    Raises UserError, which calls it `what`, if there is none.
    """
    module, _, attribute = name.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{what} {name!r}: cannot be imported ({error})") from error


def require_trust(folder: Path, names: Iterable[str], *, trust: bool) -> None:
    """Raise UserError if a run's folder names code of its own, among `names`, and the user did not say `--trust`."""
    own = [name for name in names if ":" in name]
    if own and not trust:
        raise UserError(
            f"{folder}: its config.toml names code that would be run, {own[0]!r}: if the folder is yours or you have "
            f"read that code, say so with --trust"
        )

"""What users bring of their own, named as MODULE:ATTRIBUTE."""

from __future__ import annotations

import importlib
import sys
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

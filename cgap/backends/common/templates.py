"""Renders templates of `hls_templates/`, and makes hostile text safe to stand in emitted files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

import jinja2

from cgap import __version__
from cgap.lowering.onnx.network import shorten

MAX_TEXT = 300
"""Longest text from a model that is shown: lines stay readable, whatever its layers are called."""
_UNSAFE = re.compile(r"[^A-Za-z0-9 ._/:;,+()<>\[\]='-]")


@dataclass(frozen=True)
class Header:
    """What the head of every emitted file says.

    Attributes:
        model: name of the model.
        onnx: SHA-256 of the ONNX file, in hex.
        command: how to make the files again.
    """

    model: str
    onnx: str
    command: str

    @property
    def tool(self) -> str:
        """Name and version of this program."""
        return f"cgap {__version__}"


def plain(text: object) -> str:
    """Text that can stand in a comment or a string literal: anything that could end either becomes `_`."""
    return _UNSAFE.sub("_", shorten(str(text), MAX_TEXT))


def boolean(value: object) -> str:
    """A C++ truth value."""
    return "true" if value else "false"


def figure(value: object) -> str:
    """A number as people read it; what was not measured is said to be so."""
    if value is None:
        return "not measured"
    return f"{value:,}" if isinstance(value, (int, float)) else plain(value)


def template_text(folder: str, name: str) -> str:
    """A file of `hls_templates/` as it is."""
    return resources.files("hls_templates").joinpath(folder, *name.split("/")).read_text("utf-8")


def environment(folder: str) -> jinja2.Environment:
    """Templates of one folder of `hls_templates`. A name that a template uses and is not given is an error."""
    root = resources.files("hls_templates").joinpath(folder)

    def load(name: str) -> str | None:
        entry = root.joinpath(name)
        return entry.read_text("utf-8") if entry.is_file() else None

    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(load),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # the output is C++; names from a model pass `plain` or `safe_name`
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters.update(plain=plain, boolean=boolean, figure=figure)
    return made


def render(templates: jinja2.Environment, name: str, context: Mapping[str, object]) -> str:
    """One emitted file."""
    return templates.get_template(name).render(context)

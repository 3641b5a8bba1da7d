"""Every field that a configuration may have, read off its schema."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import tomlkit

from cgap.training.config import Config

_LIMITS = {
    "minimum": ">=",
    "exclusiveMinimum": ">",
    "maximum": "<=",
    "exclusiveMaximum": "<",
    "multipleOf": "multiple of",
}
_KINDS = {"integer": "whole number", "number": "number", "boolean": "true or false", "array": "list", "object": "table"}


@dataclass(frozen=True)
class Field:
    """One field, or a section if it has no kind; texts for a table."""

    name: str
    """With its sections: `plasticity.growth.start`."""
    kind: str
    """What it may be: `number > 0`, or its choices."""
    default: str
    """As TOML, `required`, or `none` where there is none."""
    description: str


def all_fields() -> list[Field]:
    """Sections and their fields, in the order of `Config`."""
    schema = Config.model_json_schema()
    return list(_section(schema, schema["$defs"], ""))


def _section(section: dict[str, Any], definitions: dict[str, Any], prefix: str) -> Iterator[Field]:
    required = section.get("required", [])
    for name, given in section["properties"].items():
        options = [option for option in given.get("anyOf", [given]) if option.get("type") != "null"]
        optional = "anyOf" in given
        reference = options[0].get("$ref")
        if reference:
            inner = definitions[reference.rpartition("/")[2]]
            default = "required" if name in required else "none" if optional else ""
            yield Field(f"[{prefix}{name}]", "", default, " ".join(inner["description"].split("\n\n")[0].split()))
            yield from _section(inner, definitions, f"{prefix}{name}.")
        else:
            yield Field(prefix + name, _kind(options[0]), _default(name, given, required), given["description"])


def _kind(option: dict[str, Any]) -> str:
    if "enum" in option:
        return " | ".join(option["enum"])
    limits = [f"{sign} {option[key]:g}" for key, sign in _LIMITS.items() if key in option]
    return " ".join([_KINDS.get(option["type"], "text"), ", ".join(limits)]).strip()


def _default(name: str, given: dict[str, Any], required: list[str]) -> str:
    if name in required:
        return "required"
    if given.get("type") == "object":
        return "{}"
    default = given.get("default")
    return "none" if default is None else tomlkit.item(default).as_string()

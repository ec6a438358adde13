"""Holds messages against the schemas of `docs/asyncapi.yaml`: as much of JSON Schema as it uses."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).parents[2] / "docs/asyncapi.yaml"
TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}
KNOWN = {
    "$ref",
    "additionalProperties",
    "const",
    "default",
    "description",
    "enum",
    "format",
    "items",
    "maximum",
    "minimum",
    "oneOf",
    "properties",
    "required",
    "type",
}


@cache
def document() -> dict[str, Any]:
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))


def conforms(message: dict[str, Any]) -> None:
    """Fails unless the message is as its `type` in the document says."""
    for schema in document()["components"]["schemas"].values():
        if schema.get("properties", {}).get("type", {}).get("const") == message["type"]:
            hold(message, schema, message["type"])
            return
    raise AssertionError(f"docs/asyncapi.yaml knows no {message['type']}")


def hold(value: Any, schema: dict[str, Any], where: str) -> None:
    assert set(schema) <= KNOWN, f"{where}: the test knows nothing of {set(schema) - KNOWN}"
    if "$ref" in schema:
        hold(value, resolve(schema["$ref"]), where)
        return
    if "oneOf" in schema:
        fits = [one for one in schema["oneOf"] if holds(value, one)]
        assert len(fits) == 1, f"{where}: {value!r} fits {len(fits)} of oneOf"
    if "const" in schema:
        assert value == schema["const"], f"{where}: {value!r}"
    if "enum" in schema:
        assert value in schema["enum"], f"{where}: {value!r}"
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    assert not kinds or any(of_type(value, kind) for kind in kinds), f"{where}: {value!r}"
    if isinstance(value, int | float):
        assert value >= schema.get("minimum", value), f"{where}: {value}"
        assert value <= schema.get("maximum", value), f"{where}: {value}"
    if isinstance(value, list) and "items" in schema:
        for at, one in enumerate(value):
            hold(one, schema["items"], f"{where}[{at}]")
    if isinstance(value, dict):
        hold_object(value, schema, where)


def hold_object(value: dict[str, Any], schema: dict[str, Any], where: str) -> None:
    properties = schema.get("properties", {})
    missing = set(schema.get("required", [])) - set(value)
    assert not missing, f"{where}: lacks {missing}"
    for key, one in value.items():
        rest = schema.get("additionalProperties", True)
        inner = properties.get(key, rest if isinstance(rest, dict) else None)
        if inner is not None:
            hold(one, inner, f"{where}.{key}")
        else:
            assert rest is True, f"{where}: {key} is not in the document"


def holds(value: Any, schema: dict[str, Any]) -> bool:
    try:
        hold(value, schema, "")
    except AssertionError:
        return False
    return True


def of_type(value: Any, kind: str) -> bool:
    if isinstance(value, bool) and kind != "boolean":
        return False
    return isinstance(value, TYPES[kind])


def resolve(ref: str) -> Any:
    found: Any = document()
    for part in ref.removeprefix("#/").split("/"):
        found = found[part]
    return found

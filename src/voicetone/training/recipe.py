"""Recipes: an experiment as data. One TOML file, overridden by `key=value` words."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from voicetone.corpora.words import hint
from voicetone.errors import DataError, UsageError

T = TypeVar("T")


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The content of a recipe after its overrides.

    Args:
        path: the TOML file.
        overrides: `key=value` or `table.key=value`; the value is TOML, or else a string.

    Raises:
        DataError: no such file, or not TOML.
        UsageError: an override without `=`, or one that goes through something that is no table.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such recipe; recipes are TOML files, see recipes/")
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a TOML file ({error}); mend it") from error
    for word in overrides:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise UsageError(f"{word!r} is no override: write key=value")
        table = data
        *parents, last = key.split(".")
        for parent in parents:
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                raise UsageError(f"{word!r}: {parent} is no table of {path}")
        table[last] = _value(text)
    return data


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        return text


def dataclass_from(
    kind: type[T], data: dict[str, Any], path: Path, overrides: Sequence[str] = ()
) -> T:
    """The recipe as its dataclass, every value checked.

    Args:
        kind: the dataclass.
        data: the recipe after its overrides.
        path: its file, for messages.
        overrides: the words that changed it.

    Raises:
        DataError: the first missing, unknown or mistyped key, by name.
        UsageError: the same, where the file alone is in order: the override is at fault.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_python(data)
    except ValidationError as error:
        first = max(error.errors(), key=lambda e: len(e["loc"]))  # of a choice, the one meant
        named = {part for key in _keys(kind) for part in key.split(".")}
        extra = first["type"] == "unexpected_keyword_argument"
        parts = [str(p) for p in first["loc"] if extra or isinstance(p, int) or p in named]
        where = ".".join(parts) or "the recipe"  # without the kinds that a value was tried as
        if overrides and _in_order(kind, path):
            table = str(first["loc"][0]) if first["loc"] else ""
            blamed = [w for w in overrides if w.partition("=")[0].partition(".")[0] == table]
            raise UsageError(
                f"{' '.join(blamed or overrides)}: not a value that the recipe takes: {where}: "
                f"{_reason(kind, first)}"
            ) from error
        raise DataError(f"{path}: {where}: {_reason(kind, first)}; mend the recipe") from error


def _reason(kind: Any, error: Any) -> str:
    """What is wrong with a key, and what was probably meant."""
    key = str(error["loc"][-1]) if error["loc"] else ""
    if error["type"] == "tuple_type":
        return f"a list is wanted, as in {key}=[{error['input']!r}]"
    if error["type"] != "unexpected_keyword_argument":
        return str(error["msg"])
    meant = [name for name in _keys(kind) if name.rpartition(".")[2] == key]
    if meant:
        return f"no such key here; did you mean {' or '.join(map(repr, meant))}?"
    return f"no such key; {hint(key, sorted({n.rpartition('.')[2] for n in _keys(kind)}))}"


def _keys(kind: Any, above: str = "") -> list[str]:
    """Every key of a recipe with the tables that it is in, in their order."""
    if not (isinstance(kind, type) and is_dataclass(kind)):
        return list(dict.fromkeys(k for part in get_args(kind) for k in _keys(part, above)))
    found = []
    for name, inner in get_type_hints(kind, include_extras=True).items():
        found += [f"{above}{name}", *_keys(inner, f"{above}{name}.")]
    return list(dict.fromkeys(found))


def _in_order(kind: type[T], path: Path) -> bool:
    from pydantic import TypeAdapter, ValidationError

    try:
        TypeAdapter(kind).validate_python(read_recipe(path))
    except ValidationError:
        return False
    return True

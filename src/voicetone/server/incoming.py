"""What strangers and operators write, read the same way on every route."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError


def read_json(data: str | bytes, constant: Callable[[str], Any] | None = None) -> Any:
    """What JSON says.

    Args:
        data: the text.
        constant: makes of `NaN` and `Infinity`, which are no JSON, what they stand for.

    Raises:
        ValueError: no JSON, or half a character among its escapes, which could be told to nobody.
        RecursionError: too deep.
    """
    found = json.loads(data, parse_constant=constant)
    if ("\\u" if isinstance(data, str) else b"\\u") in data:  # type: ignore[operator]
        json.dumps(found, ensure_ascii=False).encode()
    return found


def first_problem(error: ValidationError) -> tuple[str, str]:
    """Where, in dots, and what the first thing wrong is; nothing of what was sent."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return where, str(first["msg"]).removeprefix("Value error, ")

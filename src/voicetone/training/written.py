"""Files that are whole or not there, and JSON for people to read."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A name to write under that becomes the file's when all is written."""
    unfinished = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with whole(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def as_json(found: Any) -> str:
    """With five places after the point; what is no number is null."""

    def rounded(value: Any) -> Any:
        if isinstance(value, float):
            return round(value, 5) if math.isfinite(value) else None
        if isinstance(value, dict):
            return {k: rounded(v) for k, v in value.items()}
        return [rounded(v) for v in value] if isinstance(value, list) else value

    return json.dumps(rounded(found), indent=1, ensure_ascii=False) + "\n"

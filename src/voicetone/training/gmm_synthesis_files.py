"""Files of synthetic samples: what is of our making, and nothing half-written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from voicetone.corpora.tables import SYNTHETIC
from voicetone.errors import DataError, MissingExtraError

MARK = "voicetone_synthetic"
"""Key of what made a file: in Parquet's metadata, in the JSON beside CSV, and in the quality."""
TITLE = "# Synthetic samples"


def sidecar(out: Path) -> Path:
    """What says of a CSV file what made it."""
    return out.with_name(f"{out.name}.json")


def require_ours(out: Path) -> list[Path]:
    """What may be written, the samples first.

    Args:
        out: the samples.

    Raises:
        DataError: a file of something else, which is not written over.
        OSError: one that can't be read.
    """
    files = _files_of(out)
    for file, ours in files.items():
        if file.exists() and not (file.is_file() and ours(file)):
            raise DataError(
                f"{file}: holds something else than synthetic samples; choose another --out"
            )
    return list(files)


def quality_place(out: Path, ending: str) -> Path:
    """Where the comparison of samples with real utterances goes: `FILE.quality.ENDING`."""
    return out.with_name(f"{out.name}.quality.{ending}")


def _files_of(out: Path) -> dict[Path, Callable[[Path], bool]]:
    """Each with what tells whether it is of our making."""
    csv_too = {sidecar(out): _is_marked} if out.suffix == ".csv" else {}
    return {
        out: _is_parquet if out.suffix == ".parquet" else _is_csv,
        **csv_too,
        quality_place(out, "json"): _is_marked,
        quality_place(out, "md"): _is_page,
    }


def _is_parquet(path: Path) -> bool:
    arrow, parquet = pyarrow_of()
    try:
        return MARK.encode() in (parquet.read_schema(path).metadata or {})
    except (arrow.ArrowException, OSError):
        return False


def _is_csv(path: Path) -> bool:
    return set(SYNTHETIC) <= set(_first_line(path).split(","))


def _is_page(path: Path) -> bool:
    return _first_line(path).startswith(TITLE)


def _first_line(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline(1_000_000).strip()


def _is_marked(path: Path) -> bool:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return isinstance(found, dict) and MARK in found


def pyarrow_of() -> tuple[Any, Any]:
    """pyarrow and its Parquet.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("Parquet", "data") from error
    return pyarrow, parquet

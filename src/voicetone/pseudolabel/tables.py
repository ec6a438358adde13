"""Manifests with gaps: read although labels are missing, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from voicetone.corpora.manifest import Manifest, refuse
from voicetone.corpora.tables import SUFFIXES, inspect_manifest, write_manifest
from voicetone.errors import DataError, UsageError

GAPS = ("no column 'emotion'", "no column 'speaker'")  # problems that are none here


def read(path: Path) -> Manifest:
    """A manifest that may lack labels and speakers.

    Raises:
        DataError: it can't be read.
        MissingExtraError: Parquet without pyarrow.
    """
    manifest, problems = inspect_manifest(path)
    refuse(p for p in problems if not p.text.startswith(GAPS))
    return manifest


def journal_of(out: Path) -> Path:
    """Where the answers behind a filled manifest are."""
    return out.with_suffix(".labels.jsonl")


def check_out(out: Path, manifest: Path) -> None:
    """Refuse a place where something could be lost.

    Raises:
        UsageError: it is the manifest itself, a file that was not made here, or of another kind.
    """
    if out.suffix not in SUFFIXES:
        raise UsageError(f"--out {out}: give a name that ends in {', '.join(SUFFIXES)}")
    if _same(out, manifest) or _same(journal_of(out), manifest):
        raise UsageError(f"--out {out}: would overwrite the manifest: choose another name")
    if out.exists() and not journal_of(out).is_file():
        raise UsageError(
            f"--out {out}: is there and was not made by this command, its {journal_of(out).name} "
            "is missing: choose another name or move it away"
        )


def write(manifest: Manifest, out: Path) -> None:
    """Write a manifest; what was under that name stays until the new one is complete.

    Raises:
        DataError: it can't be written.
        MissingExtraError: Parquet without pyarrow.
    """
    part = out.with_name(f".{out.stem[:200]}.{os.getpid()}.part{out.suffix}")
    try:
        try:
            write_manifest(manifest, part)
            part.replace(out)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{out}: can't be written ({reason}): choose another place") from error


def _same(a: Path, b: Path) -> bool:
    return a.resolve() == b.resolve()

"""audformat tables: an index of `file`, `start`, `end`, and a column of labels."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path

from voicetone.corpora.manifest import Manifest, Problem
from voicetone.corpora.tables import inspect_manifest, rows_of

_TIMEDELTA = re.compile(
    r"(?:(?P<days>\d+) days? ?)?(?:(?P<hours>\d+):(?P<minutes>\d\d):(?P<seconds>\d\d(?:\.\d+)?))?"
)
LABELS = ("emotion", "sentiment", "speaker", "sex", "language", "arousal", "valence", "dominance")


def read_audformat(
    path: Path,
    *,
    columns: Mapping[str, str] | None = None,
    corpus: str = "",
    licence: str = "",
) -> tuple[Manifest, list[Problem]]:
    """The manifest of an audformat table in CSV, with every problem in it.

    Times may be pandas' (`0 days 00:00:01.5`) or seconds; `NaT` is the recording's end. Relative
    files start from the table's folder.

    Args:
        path: the table, as in `db.emotion.csv`.
        columns: our name → the table's, where they differ.
        corpus: its name; the file's stem if not given.
        licence: of the database; it stands in its `db.yaml`, which is not read.

    Raises:
        DataError: no such file, or no table.
    """
    return inspect_manifest(path, columns=columns, corpus=corpus, licence=licence, times=_seconds)


def write_audformat(manifest: Manifest, path: Path) -> None:
    """Write a segmented audformat table, which `audformat.utils.read_csv` reads.

    Raises:
        OSError: the file can't be written.
    """
    rows = rows_of(manifest, path.parent)
    used = [c for c in LABELS if any(row[c] for row in rows)]
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["file", "start", "end", *used])
        for row, utterance in zip(rows, manifest, strict=True):
            end = "" if utterance.end is None else timedelta(utterance.end)
            writer.writerow([row["file"], timedelta(utterance.start), end, *(row[c] for c in used)])


def timedelta(seconds: float) -> str:
    """Seconds as pandas writes them: `0 days 00:00:01.500000`."""
    micros = round(seconds * 1e6)
    days, rest = divmod(micros, 86_400_000_000)
    hours, rest = divmod(rest, 3_600_000_000)
    minutes, rest = divmod(rest, 60_000_000)
    return f"{days} days {hours:02}:{minutes:02}:{rest // 1_000_000:02}.{rest % 1_000_000:06}"


def _seconds(text: str) -> str:
    """A time as seconds, in text; what is no time stays as it is, to be complained about."""
    text = text.strip()
    if text in ("", "NaT"):
        return ""
    match = _TIMEDELTA.fullmatch(text)
    if not match or not (match["days"] or match["hours"]):
        return text
    minutes = 60 * int(match["hours"] or 0) + int(match["minutes"] or 0)
    whole = 86_400 * int(match["days"] or 0) + 60 * minutes
    return repr(whole + float(match["seconds"] or 0))

"""Manifests as CSV and Parquet: written, read back, and any table with named columns."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from voicetone.corpora.columns import ALIASES, ALWAYS, COLUMNS, from_row, to_row
from voicetone.corpora.manifest import Manifest, Problem, refuse
from voicetone.corpora.words import hint
from voicetone.errors import DataError, MissingExtraError

CSV_SUFFIXES = (".csv", ".tsv")
SUFFIXES = (*CSV_SUFFIXES, ".parquet")
UNKNOWN = "unknown"
SYNTHETIC = ("id", "label", "synthetic", "source", "code_0")
"""First columns of what `voicetone synthesize` writes; no manifest has all of them."""


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write a manifest as `.csv`, `.tsv` or `.parquet`; columns without content are left out.

    Raises:
        DataError: another ending.
        MissingExtraError: Parquet without pyarrow.
        OSError: the file can't be written.
    """
    rows = rows_of(manifest, path.parent)
    used = [c for c in COLUMNS if c in ALWAYS or any(row[c] for row in rows)]
    if path.suffix in CSV_SUFFIXES:
        text = io.StringIO(newline="")
        delimiter = "\t" if path.suffix == ".tsv" else ","
        writer = csv.DictWriter(
            text, used, extrasaction="ignore", delimiter=delimiter, lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(rows)
        path.write_text(text.getvalue(), encoding="utf-8", newline="")
    elif path.suffix == ".parquet":
        arrow, parquet = _pyarrow()
        # Text, as in CSV: one parser for both, and no number changes on its way.
        columns = {c: arrow.array([row[c] for row in rows], arrow.string()) for c in used}
        parquet.write_table(arrow.table(columns), path, compression="zstd")
    else:
        raise DataError(f"{path}: manifests are written as .csv, .tsv or .parquet")


def rows_of(manifest: Manifest, folder: Path) -> list[dict[str, str]]:
    """All cells of a manifest as text; audio paths are relative to `folder` where below it."""
    provenance = {
        "corpus_version": manifest.version,
        "licence": manifest.licence,
        "citation": manifest.citation,
        "label_rule": manifest.rule,
    }
    return [{**to_row(u, folder), **provenance} for u in manifest]


def read_manifest(
    path: Path,
    *,
    columns: Mapping[str, str] | None = None,
    corpus: str = "",
    licence: str = "",
) -> Manifest:
    """A manifest, or any table that names its columns.

    Args:
        path: `.csv`, `.tsv` or `.parquet`; audio paths in it start from its folder.
        columns: our name → the table's, where they differ and are not among the usual others
            (`path`, `label`, `gender`, …).
        corpus: of rows that name none; if not given the file's stem, of a `manifest.csv` the
            name of its folder.
        licence: of a table that says none.

    Raises:
        DataError: the table can't be read as a manifest: the first problems, by file and line.
        MissingExtraError: Parquet without pyarrow.
    """
    manifest, problems = inspect_manifest(path, columns=columns, corpus=corpus, licence=licence)
    refuse(problems)
    return manifest


def inspect_manifest(
    path: Path,
    *,
    columns: Mapping[str, str] | None = None,
    corpus: str = "",
    licence: str = "",
    times: Callable[[str], str] = str.strip,
    extras: Sequence[str] = (),
    labelled: bool = True,
) -> tuple[Manifest, list[Problem]]:
    """Like `read_manifest`, but hands over what can be read together with every problem.

    `times` turns what stands under `start` and `end` into seconds; `extras` are columns of the
    table that go into each utterance's `extra` in a table that has no such column; without
    `labelled` the table needs neither emotions nor sentiments.

    Raises:
        DataError: no such file, no table at all, or synthetic samples.
        MissingExtraError: Parquet without pyarrow.
    """
    problems: list[Problem] = []
    header, cells = _read(path, problems)
    if set(SYNTHETIC) <= set(header):
        raise DataError(
            f"{path}: synthetic samples by voicetone synthesize, and no manifest: there are no "
            "recordings to them; name the corpus that they were learnt from"
        )
    names = _names(path, header, columns or {}, problems, labelled)
    rows: list[dict[str, str]] = []
    places: list[str] = []
    for place, values in cells:
        more = {c: v for c, v in zip(header, values, strict=True) if c in extras and v}
        row = {"extra": json.dumps(more)} if more else {}
        row |= dict(zip(names, values, strict=True))
        row.pop("", None)
        row |= {c: times(row[c]) for c in ("start", "end") if c in row}
        if not row.get("file"):
            if "file" in names:
                problems.append(Problem(place, "no file named; fill it in or drop the row"))
            continue
        rows.append(row)
        places.append(place)
    corpus = corpus or (path.resolve().parent.name if path.stem == "manifest" else path.stem)
    _fill_ids(rows, corpus)
    utterances = []
    for row, place in zip(rows, places, strict=True):
        found: list[str] = []
        utterances.append(from_row(row, path.parent, corpus, found.append))
        problems += [Problem(place, text) for text in found]
    if not rows and not problems:
        problems.append(Problem(str(path), "no rows; nothing can be trained or tested on it"))
    manifest = Manifest(
        corpus=" + ".join(sorted({u.corpus for u in utterances})) or corpus,
        version=_one(rows, "corpus_version") or UNKNOWN,
        licence=_one(rows, "licence") or licence or UNKNOWN,
        citation=_one(rows, "citation") or UNKNOWN,
        utterances=tuple(utterances),
        rule=_one(rows, "label_rule"),
        places=tuple(places),
    )
    return manifest, problems


def _names(
    path: Path,
    header: Sequence[str],
    columns: Mapping[str, str],
    problems: list[Problem],
    labelled: bool,
) -> list[str]:
    """Our name of each of the table's columns; the empty text for those not taken."""
    place = f"{path}:1" if path.suffix in CSV_SUFFIXES else str(path)
    ours: dict[str, str] = {}
    for name, theirs in columns.items():
        if name not in COLUMNS:
            problems.append(Problem(place, f"no column of a manifest is {name!r}; "
                                    + hint(name, COLUMNS)))  # fmt: skip
        elif theirs not in header:
            problems.append(Problem(place, f"no column {theirs!r}; " + hint(theirs, header)))
        else:
            ours[theirs] = name
    for name in COLUMNS:
        if name in ours.values():
            continue
        for theirs in (name, *ALIASES.get(name, ())):
            if theirs in header and theirs not in ours:
                ours[theirs] = name
                break
    twice = sorted({name for name in header if header.count(name) > 1})
    problems += [Problem(place, f"two columns {name!r}; rename one") for name in twice]
    needed = {"file": ("file",), "emotion": ("emotion", "sentiment")}
    problems += [
        Problem(place, f"no column {name!r}; {_why(name, header)}")
        for name, either in needed.items()
        if not set(either) & set(ours.values()) and (labelled or name == "file")
    ]
    if "speaker" not in ours.values():
        why = "without it no fold is speaker-disjoint"
        problems.append(Problem(place, f"no column 'speaker'; {why}; {hint('speaker', header)}"))
    return [ours.get(name, "") for name in header]


def _why(name: str, header: Sequence[str]) -> str:
    what = {"file": "it names each recording", "emotion": "it says each label"}[name]
    return f"{what}; {hint(name, header)}"


def _fill_ids(rows: Sequence[dict[str, str]], corpus: str) -> None:
    """Ids from file names, and from whole paths where these are not enough."""
    stems = [_segment(row, PurePath(row["file"]).stem) for row in rows]
    files = {row["file"] for row in rows}
    short = len({PurePath(name).stem for name in files}) == len(files)
    for row, stem in zip(rows, stems, strict=True):
        if not row.get("id"):
            whole = PurePath(row["file"]).with_suffix("").as_posix()
            own = stem if short else _segment(row, whole)
            row["id"] = f"{row.get('corpus') or corpus}/{own}"


def _segment(row: Mapping[str, str], name: str) -> str:
    parts = [row[c].strip() for c in ("start", "end", "channel") if row.get(c, "").strip()]
    return f"{name}#{'-'.join(parts)}" if parts else name


def _one(rows: Sequence[Mapping[str, str]], column: str) -> str:
    return " + ".join(sorted({row[column] for row in rows if row.get(column)}))


Cells = Iterator[tuple[str, list[str]]]


def _read(path: Path, problems: list[Problem]) -> tuple[list[str], Cells]:
    """Column names, and each row's place and cells, as many as there are columns."""
    if not path.is_file():
        raise DataError(f"{path}: no such manifest; check the path")
    if path.suffix.lower() in CSV_SUFFIXES:
        return _read_csv(path, problems)
    if path.suffix.lower() == ".parquet":
        return _read_parquet(path)
    raise DataError(f"{path}: manifests are read from .csv, .tsv or .parquet; rename or convert it")


def _read_csv(path: Path, problems: list[Problem]) -> tuple[list[str], Cells]:
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path}: its text is not UTF-8; save it again as CSV in UTF-8") from None
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        header = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        place = f"{path}:1"
        raise DataError(f"{place}: the header is not readable as CSV ({error})") from None
    if not any(header):
        raise DataError(f"{path}: empty; a manifest begins with the names of its columns")

    def cells() -> Cells:
        while True:
            line = reader.line_num + 1
            try:
                values = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                problems.append(Problem(f"{path}:{line}", f"not readable as CSV ({error})"))
                return
            if not values:
                continue
            if len(values) != len(header):
                text = f"{len(values)} fields where the header has {len(header)}; mend the row"
                problems.append(Problem(f"{path}:{line}", text))
                values = [*values, *[""] * len(header)][: len(header)]
            yield f"{path}:{line}", values

    return header, cells()


def _read_parquet(path: Path) -> tuple[list[str], Cells]:
    arrow, parquet = _pyarrow()
    try:
        table = parquet.read_table(path)
    except (arrow.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:100]
        raise DataError(f"{path}: not readable as Parquet ({reason}); write it again") from None
    columns = [[_text(v) for v in table.column(i).to_pylist()] for i in range(table.num_columns)]
    rows = zip(*columns, strict=True)
    return table.column_names, ((f"{path}: row {i}", list(r)) for i, r in enumerate(rows, 1))


def _text(value: object) -> str:
    if value is None or value != value:  # NaN is an empty cell too
        return ""
    return repr(value) if isinstance(value, float) else str(value)


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise MissingExtraError("a manifest as Parquet", "data") from None
    return pyarrow, parquet

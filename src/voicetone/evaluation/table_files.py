"""Prediction tables on disk: Parquet and CSV, by the same columns."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from voicetone.errors import DataError, MissingExtraError, UsageError
from voicetone.evaluation.table import (
    DimensionTable,
    PredictionTable,
    RowError,
    concatenate,
    concatenate_dimensions,
)

COMMON = ("id", "speaker", "corpus", "fold", "seed", "audio")
META = b"voicetone"
EMPTY = {"corpus": "", "fold": "", "seed": 0, "audio": ""}
"""What an optional column holds where nothing is known; such columns are not written."""
ENDINGS = (".parquet", ".csv", ".jsonl", ".json")
AnyTable = PredictionTable | DimensionTable
Columns = dict[str, Any]
Lines = Sequence[int]
"""The line of the file that each row begins in, counted from 1."""


def write_predictions(table: PredictionTable, path: Path) -> None:
    """Write a table of labels as Parquet or CSV; see `PredictionTable.write`."""
    columns: Columns = _common_columns(table)
    columns["truth"] = table.truth
    if not table.probabilities or (table.predicted_codes != table.scores.argmax(1)).any():
        columns["predicted"] = table.predicted
    columns |= {f"score_{name}": table.scores[:, k] for k, name in enumerate(table.labels)}
    columns |= {f"group_{name}": values for name, values in table.groups.items()}
    if table.votes is not None:
        columns |= {f"vote_{name}": table.votes[:, k] for k, name in enumerate(table.labels)}
    _write(columns, {"probabilities": table.probabilities, "meta": dict(table.meta)}, Path(path))


def write_dimensions(table: DimensionTable, path: Path) -> None:
    """Write a table of dimensions as Parquet or CSV; see `PredictionTable.write`."""
    columns: Columns = _common_columns(table)
    for k, name in enumerate(table.dimensions):
        columns[f"truth_{name}"] = table.truth[:, k]
        columns[f"predicted_{name}"] = table.predicted[:, k]
    columns |= {f"group_{name}": values for name, values in table.groups.items()}
    _write(columns, {"meta": dict(table.meta)}, Path(path))


def read_table(path: Path, truth: Path | None = None) -> AnyTable:
    """The table in a file, or the tables of a folder put together.

    Args:
        path: of predictions.
        truth: the file with the true labels, for formats of other tools that keep them apart.

    Raises:
        DataError: nothing there, or no table of predictions.
        UsageError: `truth` for a table that has its own.
    """
    if path.is_dir():
        return _read_folder(path, truth)
    if not path.is_file():
        raise DataError(f"{path}: no such file of predictions")
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise DataError(
            f"{path}: predictions are read from {', '.join(ENDINGS)}: rename or convert it"
        )
    if ending in (".jsonl", ".json"):
        from voicetone.evaluation.table_foreign import read_emobox

        return read_emobox(path, truth)
    facts: Columns = {}
    lines = None
    if ending == ".parquet":
        columns, facts = _read_parquet(path)
    else:
        columns, lines = read_csv(path)
    if not len(next(iter(columns.values()), ())):
        raise DataError(f"{path}: the table has no rows: write its predictions first")
    from voicetone.evaluation.table_foreign import is_odyssey, needs_truth, read_odyssey

    if truth is not None and not needs_truth(columns):
        raise UsageError(f"--truth {truth}: {path} has its truth in it: leave the option out")
    try:
        if is_odyssey(columns):
            return read_odyssey(path, columns, lines, truth)
        return _named(path, columns, facts)
    except RowError as error:
        raise DataError(_placed(path, lines, error)) from error


def _named(path: Path, columns: Columns, facts: Columns) -> AnyTable:
    try:
        return table_from(columns, facts)
    except RowError:
        raise
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _placed(path: Path, lines: Lines | None, error: RowError) -> str:
    """The message of a row, by its line in a text file."""
    if lines is None:
        return f"{path}: {error}"
    return f"{path}:{lines[error.row]}: {error.name}: {error.problem}"


def table_from(columns: Mapping[str, Any], facts: Mapping[str, Any] | None = None) -> AnyTable:
    """A table from named columns, as a file has them.

    Raises:
        DataError: a column is missing, or its values are not what they must be.
    """
    columns, facts = dict(columns), dict(facts or {})
    if "id" not in columns:
        raise DataError(_missing("id", columns))
    common = {name: columns[name] for name in COMMON if name in columns}
    if "seed" in common:
        common["seed"] = _integers(common["seed"], columns["id"])
    common["groups"] = {k[6:]: v for k, v in columns.items() if k.startswith("group_")}
    common["meta"] = facts.get("meta", {})
    dimensions = tuple(k[10:] for k in columns if k.startswith("predicted_"))
    if dimensions and "truth" not in columns:
        for name in dimensions:
            if f"truth_{name}" not in columns:
                raise DataError(_missing(f"truth_{name}", columns))
        return DimensionTable(
            **common,
            dimensions=dimensions,
            truth=_matrix(columns, [f"truth_{d}" for d in dimensions]),
            predicted=_matrix(columns, [f"predicted_{d}" for d in dimensions]),
        )
    if "truth" not in columns:
        raise DataError(_missing("truth", columns))
    return _predictions(columns, common, facts)


def _predictions(columns: Columns, common: Columns, facts: Columns) -> PredictionTable:
    truth = np.asarray(columns["truth"]).astype(np.str_)
    labels = tuple(k[6:] for k in columns if k.startswith("score_"))
    predicted: Any = columns.get("predicted")
    if labels:
        scores = _matrix(columns, [f"score_{name}" for name in labels])
    elif predicted is not None:
        predicted = np.asarray(predicted).astype(np.str_)
        labels = tuple(str(v) for v in np.unique(np.concatenate([truth, predicted])))
        scores = (predicted[:, None] == np.asarray(labels)).astype(np.float32)
    else:
        raise DataError(_missing("score_<label> or predicted", columns))
    voted = [f"vote_{name}" for name in labels]
    unknown = [k for k in columns if k.startswith("vote_") and k not in voted]
    if unknown:
        raise DataError(f"the column {unknown[0]} is for a label that has no score column")
    probabilities: Any = facts.get("probabilities")  # None: judged by the scores
    votes: Any = None
    if any(k in columns for k in voted):
        zeros = np.zeros(len(truth))
        votes = _matrix({k: columns.get(k, zeros) for k in voted}, voted)
    return PredictionTable(
        **common,
        truth=truth,
        labels=labels,
        scores=scores,
        predicted=predicted,
        probabilities=probabilities,
        votes=votes,
    )


def _read_folder(folder: Path, truth: Path | None) -> AnyTable:
    inner = folder / "predictions"
    files = sorted(p for p in (inner if inner.is_dir() else folder).iterdir() if _is_table(p))
    if not files:
        raise DataError(f"{folder}: no predictions here; name a run's folder or a table")
    tables = [read_table(p, truth) for p in files]
    labelled = [t for t in tables if isinstance(t, PredictionTable)]
    dimensions = [t for t in tables if isinstance(t, DimensionTable)]
    try:
        if labelled and dimensions:
            raise DataError("some tables hold labels, others dimensions: name them one by one")
        return concatenate(labelled) if labelled else concatenate_dimensions(dimensions)
    except DataError as error:
        raise DataError(f"{folder}: {error}") from error


def _is_table(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in (".parquet", ".csv")


def _common_columns(table: AnyTable) -> Columns:
    return {
        name: getattr(table, name)
        for name in COMMON
        if name in ("id", "speaker") or (getattr(table, name) != EMPTY[name]).any()
    }


def _write(columns: Columns, facts: Columns, path: Path) -> None:
    ending = path.suffix.lower()
    if ending not in (".parquet", ".csv"):
        raise DataError(f"{path}: predictions are written as .parquet or .csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")  # so that a file that is there is whole
    if ending == ".parquet":
        _write_parquet(columns, facts, part)
    else:
        with part.open("w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(zip(*(v.tolist() for v in map(_short, columns.values())), strict=True))
    part.replace(path)


def _short(values: Any) -> Any:
    """float32 as its shortest digits, not as the float64 that it is nearest to."""
    array = np.asarray(values)
    return array.astype(np.str_) if array.dtype == np.float32 else array


def _write_parquet(columns: Columns, facts: Columns, path: Path) -> None:
    pa, pq = _arrow()
    arrays = {
        name: pa.array(values.tolist() if values.dtype.kind == "U" else values)
        for name, values in columns.items()
    }
    table = pa.table(arrays)
    text = json.dumps(facts, sort_keys=True)
    table = table.replace_schema_metadata({META: text.encode()})
    pq.write_table(table, path, compression="zstd")


def _read_parquet(path: Path) -> tuple[Columns, Columns]:
    pa, pq = _arrow()
    try:
        table = pq.read_table(path)
        facts = json.loads((table.schema.metadata or {}).get(META, b"{}"))
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"{path}: not a readable Parquet table ({reason})") from error
    columns = {}
    for name in table.column_names:
        values: Any = table[name]
        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
            columns[name] = np.asarray([v or "" for v in values.to_pylist()], dtype=np.str_)
        else:
            columns[name] = values.to_numpy()
    return columns, facts


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("Parquet", "data") from error
    return pa, pq


def read_csv(path: Path) -> tuple[Columns, Lines]:
    """The columns of a table with commas, semicolons or tabs, and the line of each row.

    Raises:
        DataError: no such file, or no table; the message names file and line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = next((line for line in file if line.strip()), "")
            file.seek(0)
            reader = csv.reader(file, delimiter=max(",;\t", key=first.count))
            rows, lines, line = [], [], 1
            for row in reader:
                if row:
                    rows.append(row)
                    lines.append(line)
                line = reader.line_num + 1
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file of predictions") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a CSV table in UTF-8 ({error})") from error
    if not rows:
        raise DataError(f"{path}: the file is empty")
    header = [name.strip() for name in rows[0]]
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise DataError(f"{path}: the column {twice[0]} is there twice")
    for number, row in zip(lines[1:], rows[1:], strict=True):
        if len(row) != len(header):
            raise DataError(
                f"{path}:{number}: {len(row)} values for {len(header)} columns: repair this line"
            )
    values = zip(*rows[1:], strict=True) if len(rows) > 1 else [()] * len(header)
    columns: Columns = {}
    for name, column in zip(header, values, strict=True):
        numeric = name.startswith(("score_", "vote_", "truth_", "predicted_")) or name == "seed"
        columns[name] = (
            _numbers(path, name, column, lines[1:]) if numeric else np.asarray(column, np.str_)
        )
    return columns, lines[1:]


def _numbers(path: Path, name: str, values: tuple[str, ...], lines: Lines) -> Any:
    try:
        return np.asarray(values, dtype=np.float64)
    except ValueError:
        found = []
        for number, value in zip(lines, values, strict=True):
            try:
                found.append(float(value) if value.strip() else np.nan)
            except ValueError:
                raise DataError(f"{path}:{number}: {name} is {value!r}, not a number") from None
        return np.asarray(found)


def _integers(values: Any, ids: Any) -> Any:
    numbers = np.asarray(values)
    if numbers.dtype.kind == "f":
        wrong = ~(np.isfinite(numbers) & (numbers == np.round(numbers)))
        if wrong.any():
            first = int(wrong.argmax())
            raise RowError("a seed is a whole number", first, str(ids[first]))
    return numbers.astype(np.int64)


def _matrix(columns: Mapping[str, Any], names: list[str]) -> Any:
    try:
        return np.stack([np.asarray(columns[n], dtype=np.float32) for n in names], axis=1)
    except ValueError as error:
        raise DataError(f"the columns {', '.join(names)} must hold numbers") from error


def _missing(name: str, columns: Mapping[str, Any]) -> str:
    have = ", ".join(list(columns)[:8])
    return f"the column {name} is missing (there are: {have}); see docs/evaluation.md"
